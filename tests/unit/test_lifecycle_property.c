// The life cycle's state machine against a model that is written down in another way: what a process and its
// threads have, instead of states. A million random events, the same ones every time.
#include "support/check.h"
#include "support/test_data.h"

#include "base/attributes.h"
#include "lifecycle/lifecycle.h"

#include <stdlib.h>

enum { STEPS = 1000000, THREADS = 6 };

typedef struct model_thread_s {
  bool has_theap;
  bool is_gone; // the system said that it ends
} model_thread_t;

typedef struct model_s {
  bool is_used, is_over, is_unloaded; // the process: somebody called us; its end was told; we are unloaded
  model_thread_t threads[THREADS];
} model_t;

// What must be done when `event` comes on a thread; the model moves on.
static unsigned model_step(model_t* model, model_thread_t* thread, lifecycle_event_t event) {
  unsigned actions = 0;
  bool is_alive = model->is_used && !model->is_over;
  if (model->is_unloaded) return 0;
  if (event == EVENT_PROCESS_ATTACH || event == EVENT_ALLOCATE) {
    if (!model->is_used && !model->is_over) actions |= ACTION_INIT_PROCESS;
    model->is_used = true;
  }
  if (event == EVENT_ALLOCATE && thread->is_gone) actions |= ACTION_USE_LATE_THEAP;
  if (event == EVENT_ALLOCATE && !thread->is_gone && !thread->has_theap) {
    actions |= ACTION_ACQUIRE_THEAP;
    thread->has_theap = true;
  }
  if ((event == EVENT_THREAD_DONE || event == EVENT_THREAD_DETACH) && is_alive) {
    if (thread->has_theap) actions |= ACTION_GIVE_THEAP_BACK;
    thread->has_theap = false;
    if (event == EVENT_THREAD_DETACH) {
      actions |= ACTION_MARK_DETACHED;
      thread->is_gone = true;
    }
  }
  bool is_end = event == EVENT_PROCESS_EXIT || event == EVENT_PROCESS_UNLOAD;
  if ((is_end || event == EVENT_PROCESS_DONE) && is_alive) actions |= ACTION_REPORT;
  if (event == EVENT_PROCESS_EXIT && is_alive) model->is_over = true;
  if (event == EVENT_PROCESS_UNLOAD) {
    if (is_alive) actions |= ACTION_RELEASE_ALL;
    model->is_unloaded = true;
    thread->has_theap = thread->is_gone = false;
  }
  return actions;
}

static process_state_t process_of(const model_t* model) {
  return model->is_unloaded ? PROCESS_UNLOADED
         : model->is_over   ? PROCESS_EXITING
         : model->is_used   ? PROCESS_RUNNING
                            : PROCESS_NEW;
}
static thread_state_t thread_of(const model_thread_t* thread) {
  return thread->is_gone ? THREAD_DETACHED : thread->has_theap ? THREAD_ACTIVE : THREAD_NEW;
}

// Ends of processes are rare, so that long lives are met, too.
static lifecycle_event_t random_event(test_random_t* random) {
  lifecycle_event_t event = (lifecycle_event_t)test_random_below(random, EVENT_COUNT);
  bool ends = event == EVENT_PROCESS_EXIT || event == EVENT_PROCESS_UNLOAD;
  return ends && test_random_below(random, 8) != 0 ? EVENT_ALLOCATE : event;
}

static void test_million_random_events(void** state) {
  MI_UNUSED(state);
  test_random_t random = {20260000};
  static size_t met[PROCESS_UNLOADED + 1][THREAD_DETACHED + 1][EVENT_COUNT];
  model_t model = {0};
  process_state_t process = PROCESS_NEW;
  thread_state_t threads[THREADS] = {THREAD_NEW};
  int64_t theaps = 0;
  size_t processes = 1;
  for (size_t i = 0; i < STEPS; i++) {
    if (process == PROCESS_UNLOADED ? test_random_below(&random, 10) == 0
                                    : test_random_below(&random, 500) == 0) {
      model = (model_t){0}; // another process
      process = PROCESS_NEW;
      memset(threads, 0, sizeof(threads));
      theaps = 0;
      processes++;
    }
    size_t t = test_random_below(&random, THREADS);
    lifecycle_event_t event = random_event(&random);
    met[process][threads[t]][event]++;
    unsigned expected = model_step(&model, &model.threads[t], event);
    lifecycle_step_t step = lifecycle_step(process, threads[t], event);
    if (step.actions != expected || step.process != process_of(&model) ||
        step.thread != thread_of(&model.threads[t])) {
      fail_msg("step %zu: process %d, thread %d, event %d: actions 0x%x, not 0x%x; process %d, not %d; "
               "thread %d, not %d",
               i, (int)process, (int)threads[t], (int)event, step.actions, expected, (int)step.process,
               (int)process_of(&model), (int)step.thread, (int)thread_of(&model.threads[t]));
    }
    theaps += (step.actions & ACTION_ACQUIRE_THEAP) != 0;
    theaps -= (step.actions & ACTION_GIVE_THEAP_BACK) != 0;
    process = step.process;
    threads[t] = step.thread;
    int64_t owned = 0;
    for (size_t k = 0; k < THREADS; k++) owned += threads[k] == THREAD_ACTIVE;
    if (process != PROCESS_UNLOADED)
      assert_int_equal(theaps, owned); // each is owned by one thread, and by nobody in vain
  }
  assert_true(processes > 1000);
  for (size_t p = 0; p < PROCESS_UNLOADED; p++) { // every event in every state that can be
    for (size_t t = 0; t <= THREAD_DETACHED; t++) {
      for (size_t e = 0; e < EVENT_COUNT; e++) {
        if (p == PROCESS_NEW && t != THREAD_NEW) continue; // nobody has been here yet
        if (met[p][t][e] == 0) fail_msg("process %zu, thread %zu, event %zu never met", p, t, e);
      }
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_million_random_events)};
  return check_run(tests);
}
