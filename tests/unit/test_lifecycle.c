// The life cycle's state machine: every state with every event, and long random sequences against what must always hold.
#include "support/check.h"
#include "support/test_data.h"

#include "lifecycle/lifecycle.h"

enum { PROCESSES = PROCESS_UNLOADED + 1, THREADS = THREAD_DETACHED + 1 };

typedef struct expected_s {
  process_state_t process;
  thread_state_t thread;
  lifecycle_event_t event;
  process_state_t next_process;
  thread_state_t next_thread;
  unsigned actions;
} expected_t;

// The steps that do something; every other combination must change nothing and do nothing.
static const expected_t steps[] = {
    // The first sign of life, whichever it is, initialises.
    {PROCESS_NEW, THREAD_NEW, EVENT_PROCESS_ATTACH, PROCESS_RUNNING, THREAD_NEW, ACTION_INIT_PROCESS},
    {PROCESS_NEW, THREAD_NEW, EVENT_ALLOCATE, PROCESS_RUNNING, THREAD_ACTIVE,
     ACTION_INIT_PROCESS | ACTION_ACQUIRE_THEAP},
    // A thread comes, goes by hand and comes back, goes for good, and is served late.
    {PROCESS_RUNNING, THREAD_NEW, EVENT_ALLOCATE, PROCESS_RUNNING, THREAD_ACTIVE, ACTION_ACQUIRE_THEAP},
    {PROCESS_RUNNING, THREAD_ACTIVE, EVENT_THREAD_DONE, PROCESS_RUNNING, THREAD_NEW, ACTION_GIVE_THEAP_BACK},
    {PROCESS_RUNNING, THREAD_ACTIVE, EVENT_THREAD_DETACH, PROCESS_RUNNING, THREAD_DETACHED,
     ACTION_GIVE_THEAP_BACK | ACTION_MARK_DETACHED},
    {PROCESS_RUNNING, THREAD_NEW, EVENT_THREAD_DETACH, PROCESS_RUNNING, THREAD_DETACHED,
     ACTION_MARK_DETACHED},
    {PROCESS_RUNNING, THREAD_DETACHED, EVENT_THREAD_DETACH, PROCESS_RUNNING, THREAD_DETACHED,
     ACTION_MARK_DETACHED},
    {PROCESS_RUNNING, THREAD_DETACHED, EVENT_ALLOCATE, PROCESS_RUNNING, THREAD_DETACHED,
     ACTION_USE_LATE_THEAP},
    // The end: reported once, nothing given back.
    {PROCESS_RUNNING, THREAD_NEW, EVENT_PROCESS_EXIT, PROCESS_EXITING, THREAD_NEW, ACTION_REPORT},
    {PROCESS_RUNNING, THREAD_ACTIVE, EVENT_PROCESS_EXIT, PROCESS_EXITING, THREAD_ACTIVE, ACTION_REPORT},
    {PROCESS_RUNNING, THREAD_DETACHED, EVENT_PROCESS_EXIT, PROCESS_EXITING, THREAD_DETACHED, ACTION_REPORT},
    // Modules that detach after us still allocate.
    {PROCESS_EXITING, THREAD_NEW, EVENT_ALLOCATE, PROCESS_EXITING, THREAD_ACTIVE, ACTION_ACQUIRE_THEAP},
    {PROCESS_EXITING, THREAD_DETACHED, EVENT_ALLOCATE, PROCESS_EXITING, THREAD_DETACHED,
     ACTION_USE_LATE_THEAP},
    // Unload: everything is given back.
    {PROCESS_RUNNING, THREAD_NEW, EVENT_PROCESS_UNLOAD, PROCESS_UNLOADED, THREAD_NEW,
     ACTION_REPORT | ACTION_RELEASE_ALL},
    {PROCESS_RUNNING, THREAD_ACTIVE, EVENT_PROCESS_UNLOAD, PROCESS_UNLOADED, THREAD_NEW,
     ACTION_REPORT | ACTION_RELEASE_ALL},
    {PROCESS_RUNNING, THREAD_DETACHED, EVENT_PROCESS_UNLOAD, PROCESS_UNLOADED, THREAD_NEW,
     ACTION_REPORT | ACTION_RELEASE_ALL},
    {PROCESS_NEW, THREAD_NEW, EVENT_PROCESS_UNLOAD, PROCESS_UNLOADED, THREAD_NEW, 0},
    {PROCESS_EXITING, THREAD_NEW, EVENT_PROCESS_UNLOAD, PROCESS_UNLOADED, THREAD_NEW, 0},
    {PROCESS_EXITING, THREAD_ACTIVE, EVENT_PROCESS_UNLOAD, PROCESS_UNLOADED, THREAD_NEW, 0},
    {PROCESS_EXITING, THREAD_DETACHED, EVENT_PROCESS_UNLOAD, PROCESS_UNLOADED, THREAD_NEW, 0},
    // mi_process_done reports, and the process goes on.
    {PROCESS_RUNNING, THREAD_NEW, EVENT_PROCESS_DONE, PROCESS_RUNNING, THREAD_NEW, ACTION_REPORT},
    {PROCESS_RUNNING, THREAD_ACTIVE, EVENT_PROCESS_DONE, PROCESS_RUNNING, THREAD_ACTIVE, ACTION_REPORT},
    {PROCESS_RUNNING, THREAD_DETACHED, EVENT_PROCESS_DONE, PROCESS_RUNNING, THREAD_DETACHED, ACTION_REPORT},
};

static void test_every_step(void** state) {
  MI_UNUSED(state);
  size_t met = 0;
  for (int process = 0; process < PROCESSES; process++) {
    for (int thread = 0; thread < THREADS; thread++) {
      if (process == PROCESS_NEW && thread != THREAD_NEW) continue; // can't be: there is no slot to say so
      for (int event = 0; event < EVENT_COUNT; event++) {
        expected_t expected = {.next_process = (process_state_t)process,
                               .next_thread = (thread_state_t)thread};
        for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
          const expected_t* e = &steps[i];
          if ((int)e->process == process && (int)e->thread == thread && (int)e->event == event) {
            expected = *e;
            met++;
          }
        }
        lifecycle_step_t step =
            lifecycle_step((process_state_t)process, (thread_state_t)thread, (lifecycle_event_t)event);
        if (step.process != expected.next_process || step.thread != expected.next_thread ||
            step.actions != expected.actions) {
          fail_msg(
              "process %d, thread %d, event %d: to process %d, thread %d, actions 0x%x, not %d, %d, 0x%x",
              process, thread, event, (int)step.process, (int)step.thread, step.actions,
              (int)expected.next_process, (int)expected.next_thread, expected.actions);
        }
      }
    }
  }
  assert_int_equal(met, sizeof(steps) / sizeof(steps[0]));
}

// One process, a few threads, any events in any order.
static void test_sequences(void** state) {
  MI_UNUSED(state);
  test_random_t random = {3};
  for (size_t run = 0; run < 20000; run++) {
    process_state_t process = PROCESS_NEW;
    thread_state_t threads[3] = {THREAD_NEW, THREAD_NEW, THREAD_NEW};
    int inits = 0, releases = 0, exit_reports = 0, theaps = 0;
    bool detached[3] = {false, false, false};
    for (size_t i = 0; i < 30; i++) {
      size_t t = test_random_below(&random, 3);
      lifecycle_event_t event = (lifecycle_event_t)test_random_below(&random, EVENT_COUNT);
      process_state_t before = process;
      lifecycle_step_t step = lifecycle_step(process, threads[t], event);
      process = step.process;
      threads[t] = step.thread;
      inits += (step.actions & ACTION_INIT_PROCESS) != 0;
      releases += (step.actions & ACTION_RELEASE_ALL) != 0;
      exit_reports += (step.actions & ACTION_REPORT) != 0 && event != EVENT_PROCESS_DONE;
      theaps += (step.actions & ACTION_ACQUIRE_THEAP) != 0;
      theaps -= (step.actions & ACTION_GIVE_THEAP_BACK) != 0;
      assert_true(process >= before); // never back
      assert_true(theaps >= 0 && theaps <= 3);
      if (before != PROCESS_RUNNING) {
        assert_int_equal(step.actions & (ACTION_GIVE_THEAP_BACK | ACTION_RELEASE_ALL | ACTION_REPORT), 0);
      }
      if (before == PROCESS_UNLOADED) assert_int_equal(step.actions, 0);
      if (event == EVENT_ALLOCATE &&
          before != PROCESS_UNLOADED) { // each allocation is served, and in one way
        bool late = (step.actions & ACTION_USE_LATE_THEAP) != 0;
        assert_int_equal(late, detached[t]);
        assert_true(late || step.thread == THREAD_ACTIVE);
      }
      if (detached[t] && process != PROCESS_UNLOADED)
        assert_int_equal(threads[t], THREAD_DETACHED); // for good
      if (threads[t] == THREAD_DETACHED) detached[t] = true;
    }
    assert_true(inits <= 1 && releases <= 1 && exit_reports <= 1);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_step), cmocka_unit_test(test_sequences)};
  return check_run(tests);
}
