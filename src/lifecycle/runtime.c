#include "lifecycle/runtime.h"
#include "lifecycle/lifecycle.h"
#include "core/arenas/arena.h"
#include "core/report/hooks.h"
#include "core/report/message.h"
#include "core/report/options.h"
#include "core/stats/stats_print.h"
#include "core/heaps/idle.h"
#include "core/memory/sysmem.h"

static uint32_t process_state; // process_state_t
static uint32_t has_slot;      // the slot works; without it every thread is served by the late theap

static thread_state_t thread_state(void) {
  if (!atomic_get_relaxed(&has_slot)) return THREAD_DETACHED; // no way to own a theap
  void* value = os_slot_get();
  return value == NULL ? THREAD_NEW : value == OS_SLOT_DETACHED ? THREAD_DETACHED : THREAD_ACTIVE;
}

static void reserve_at_start(void) {
  arena_set_t* set = &subproc_main()->arenas;
  long huge_pages = option_get_clamp(option_reserve_huge_os_pages, 0, 128 * 1024);
  if (huge_pages > 0)
    arena_reserve_huge(set, (size_t)huge_pages * MI_GIB,
                       (int)option_get_clamp(option_reserve_huge_os_pages_at, -1, 1023), false);
  size_t reserve = option_get_size(option_reserve_os_memory);
  if (reserve > 0 &&
      arena_reserve(set, reserve, false, option_is_enabled(option_allow_large_os_pages), false) == NULL)
    message_warning("unable to reserve %zu bytes at start-up", reserve);
}

// ---- purging when nobody calls us -------------------------------------------------------------------------
// Free memory goes back after its delay also when the whole process is idle: the system's timer calls. It is
// started by whoever frees something while it rests, and rests again when nothing waits any more.

#define TIMER_PURGES 64 // bounded steps of purging per call of the timer
#define TIMER_SLICES_MIN                                                                                     \
  16 // 1 MiB: less isn't worth a thread, which a short-lived program would have to start

static size_t idle_slices; // that began to wait since the timer rests

static uint32_t timer_ms(void) {
  long delay = option_get_clamp(option_purge_delay, 1, 1 << 20) *
               option_get_clamp(option_arena_purge_mult, 1, 1 << 10);
  return (uint32_t)(delay / 2 < 10 ? 10 : delay / 2 > 1 << 22 ? 1 << 22 : delay / 2);
}

// On a thread of the system's. False: nothing waits, no further call is wanted until os_timer_start. Before it rests it looks
// which threads sleep, and what they hold on to.
static bool on_timer(void) {
  static bool is_noted;
  bool is_waiting = false;
  for (subproc_t* subproc = subproc_first(); subproc != NULL; subproc = subproc->next) {
    arena_visit_t visit;
    if (!arena_set_enter(&subproc->arenas, &visit)) continue;
    for (int i = 0; i < TIMER_PURGES; i++) arena_purge(&subproc->arenas, false, NULL);
    is_waiting |= arena_purge_is_waiting(&subproc->arenas);
    arena_set_leave(&visit);
  }
  bool was_noted = is_noted;
  is_noted = !is_waiting && !was_noted;
  if (is_noted) idle_note();
  if (is_waiting || is_noted) return true;
  is_noted = !idle_give_back(NULL, false); // else it goes on next time, with what was noted
  if (is_noted) return true;
  atomic_set_relaxed(&idle_slices, (size_t)0);
  return false;
}

static void purge_wanted(size_t slice_count) {
  size_t idle = atomic_get_relaxed(&idle_slices); // roughly: other threads may be writing it, too
  if (idle < TIMER_SLICES_MIN) atomic_set_relaxed(&idle_slices, idle += slice_count);
  if (idle < TIMER_SLICES_MIN) return;
  if (option_get(option_purge_delay) <= 0 || runtime_is_exiting()) return;
  os_timer_start(timer_ms(), &on_timer);
}

// May run in several threads at once when the first allocations of two threads race: each step is idempotent,
// and none waits for another thread, as one of them may hold the loader lock.
static void process_init(void) {
  os_init();
  options_init();
  bool ok = os_slot_init();
  atomic_set_release(&has_slot, ok ? 1 : 0);
  uint32_t expected = PROCESS_NEW;
  if (!atomic_cas_acq_rel(&process_state, &expected, (uint32_t)PROCESS_RUNNING)) return;
  os_bell_init(&(os_bell_hooks_t){.thread_exit = &runtime_thread_detach,
                                  .process_done = &runtime_process_done,
                                  .process_exit = &runtime_process_exit,
                                  .process_unload = &runtime_process_unload,
                                  .wants_exit = option_is_enabled(option_show_stats)});
  if (!options_idle_purge_is_disabled()) atomic_set_release(&arena_purge_wanted, &purge_wanted);
  reserve_at_start();
  if (!ok) {
    message_warning(
        "no thread-local storage index is left in this process (TlsAlloc failed): all threads share one "
        "heap, which is correct but slow\n");
  }
  message_verbose("version %s, %d bit, %s build\n", MI_VERSION_TEXT, (int)sizeof(void*) * 8,
                  MI_DEBUG    ? "checking"
                  : MI_SECURE ? "secure"
                              : "release");
  if (option_is_enabled(option_verbose)) options_print_set(NULL, NULL);
  message_verbose("life cycle: process attached; thread exits are told by %s\n", os_bell_name());
}

static void thread_acquire_in(subproc_t* subproc) {
  thread_t* thread = thread_acquire(subproc);
  if (thread == NULL) return;
  theap_t* theap = thread->main;
  if (!os_slot_set(theap)) {
    thread_give_back(thread);
    return;
  }
  os_bell_arm_thread(theap);
  thread_reap_some(thread); // not before the slot has it: what this reports may allocate
  message_verbose("life cycle: thread %u has heap %p\n", (unsigned)os_thread_id(), (void*)theap);
}

static void thread_give_theap_back(void* mark) {
  theap_t* theap = (theap_t*)os_slot_get();
  os_slot_set(OS_SLOT_DETACHED); // first: what allocates from here on is served by the late theap
  message_verbose("life cycle: thread %u gives heap %p back\n", (unsigned)os_thread_id(), (void*)theap);
  thread_give_back(theap->thread);
  if (mark != OS_SLOT_DETACHED) os_slot_set(mark); // the thread may come again
}

static void release_all(void) {
  message_verbose("life cycle: unloaded; all memory is given back\n");
  atomic_set_relaxed(&idle_is_to_stop, 1u); // the loader lock is held: no longer than a page takes
  os_timer_free();
  atomic_set_relaxed(&idle_is_to_stop, 0u);
  os_bell_free();
  thread_reset_all();
  page_map_release();
  sysmem_release_metadata();
  if (has_slot) os_slot_free();
}

// Option destroy_on_exit. As before the first use, but for the slot and the bells. Not while others have
// memory of ours: a redirected C runtime has, until the process is gone, and so may other threads have.
static void destroy_all(void) {
  int64_t others = -(thread_state() == THREAD_ACTIVE);
  for (subproc_t* subproc = subproc_first(); subproc != NULL; subproc = subproc->next)
    others += atomic_get_relaxed(&subproc->threads);
  if (others > 0 || hooks_is_redirected()) {
    message_warning("option destroy_on_exit: the memory stays, %s",
                    others > 0 ? "other threads have heaps" : "the C runtimes use it");
    return;
  }
  os_timer_free();
  if (thread_state() == THREAD_ACTIVE) thread_give_theap_back(NULL);
  thread_reset_all();
  page_map_release();
  sysmem_release_metadata();
  stats_forget_blocks();
}

// Once: the program's own mi_process_done takes the place of the report at exit.
static void report(lifecycle_event_t event) {
  static uint32_t is_reported;
  message_verbose("life cycle: process %s\n", event == EVENT_PROCESS_DONE   ? "is done, it says"
                                              : event == EVENT_PROCESS_EXIT ? "exits"
                                                                            : "unloads the library");
  if (atomic_swap_acq_rel(&is_reported, 1u) == 0) stats_print_at_exit();
}

static thread_state_t run(lifecycle_event_t event) {
  // In this order: who finds the process running finds the slot, too. The other way round a thread that comes while another
  // one initialises the process would take itself for detached.
  process_state_t process = (process_state_t)atomic_get_acquire(&process_state);
  thread_state_t thread = thread_state();
  lifecycle_step_t step = lifecycle_step(process, thread, event);
  if (step.actions & ACTION_INIT_PROCESS) {
    process_init();
    // Only now can the slot be asked.
    step = lifecycle_step(PROCESS_RUNNING, thread_state(), event);
  } else if (step.process != process) {
    atomic_set_release(&process_state, (uint32_t)step.process);
  }
  if (step.actions & ACTION_ACQUIRE_THEAP) thread_acquire_in(subproc_main());
  if (step.actions & ACTION_GIVE_THEAP_BACK) {
    thread_give_theap_back((step.actions & ACTION_MARK_DETACHED) ? OS_SLOT_DETACHED : NULL);
  } else if ((step.actions & ACTION_MARK_DETACHED) && has_slot) {
    os_slot_set(OS_SLOT_DETACHED);
  }
  if (step.actions & ACTION_REPORT) report(event);
  if (event == EVENT_PROCESS_DONE && (step.actions & ACTION_REPORT) &&
      option_is_enabled(option_destroy_on_exit))
    destroy_all();
  if (step.actions & ACTION_RELEASE_ALL) release_all();
  return step.thread;
}

void runtime_process_attach(void) { run(EVENT_PROCESS_ATTACH); }
void runtime_thread_attach(void) {}
void runtime_thread_detach(void) { run(EVENT_THREAD_DETACH); }
void runtime_thread_done(void) { run(EVENT_THREAD_DONE); }

void runtime_process_done(void) { run(EVENT_PROCESS_DONE); }

void runtime_process_exit(void) {
  message_hold_callbacks();
  run(EVENT_PROCESS_EXIT);
}

void runtime_process_unload(void) {
  message_hold_callbacks(); // the loader lock is held
  run(EVENT_PROCESS_UNLOAD);
}

bool runtime_is_exiting(void) {
  return atomic_get_relaxed(&process_state) == PROCESS_EXITING || os_is_exiting();
}

theap_t* runtime_theap(void) {
  theap_t* theap = runtime_theap_fast();
  if (MI_LIKELY(theap != NULL) || os_slot_is_fast()) return theap;
  return thread_state() == THREAD_ACTIVE ? (theap_t*)os_slot_get() : NULL;
}

// The thread's default theap, made if need be; NULL for a thread that has none any more.
static theap_t* enter_own(void) {
  os_stack_probe();
  theap_t* theap = runtime_theap_fast();
  if (MI_LIKELY(theap != NULL)) {
    if (MI_UNLIKELY(os_bell_is_per_fiber))
      os_bell_arm_thread(theap); // this may be a fiber that isn't armed yet
    return theap;
  }
  if (run(EVENT_ALLOCATE) != THREAD_ACTIVE || thread_state() != THREAD_ACTIVE) return NULL;
  theap = (theap_t*)os_slot_get();
  if (os_bell_is_per_fiber) os_bell_arm_thread(theap);
  return theap;
}

theap_t* runtime_enter(void) {
  theap_t* theap = enter_own();
  if (theap == NULL) {
    thread_t* late = thread_late_enter(subproc_main());
    theap = thread_theap(late, late->subproc->main);
    if (theap == NULL) thread_late_leave(); // no memory even for that
    return theap;
  }
  if (MI_UNLIKELY(atomic_get_relaxed(&theap->heap) == NULL)) { // its heap was destroyed under it
    thread_t* thread = theap->thread;
    theap = thread->main;
    thread_choose(thread, theap);
  }
  return theap;
}

theap_t* runtime_heap_enter(heap_t* heap) {
  theap_t* theap = enter_own();
  if (theap != NULL) return thread_theap(theap->thread, heap);
  theap = thread_theap(thread_late_enter(subproc_main()), heap);
  if (theap == NULL) thread_late_leave();
  return theap;
}

void runtime_leave(theap_t* theap) {
  if (theap != NULL && MI_UNLIKELY(thread_is_late(theap->thread))) thread_late_leave();
}

theap_t* runtime_set_default(theap_t* theap) {
  theap_t* before = runtime_theap();
  if (before == NULL || theap == NULL || theap->thread != before->thread) return NULL;
  return thread_choose(theap->thread, theap) ? before : NULL;
}

subproc_t* runtime_subproc(void) {
  theap_t* theap = runtime_theap();
  return theap == NULL ? subproc_main() : theap->thread->subproc;
}

bool runtime_subproc_add_current_thread(subproc_t* subproc) {
  runtime_process_attach();
  if (subproc == NULL || thread_state() != THREAD_NEW || atomic_get_acquire(&subproc->state) != HEAP_LIVE)
    return runtime_theap() != NULL && runtime_subproc() == subproc;
  thread_acquire_in(subproc);
  return runtime_theap() != NULL;
}
