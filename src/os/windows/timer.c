// The timer: one of the default timer queue, whose callbacks run in the queue's own thread. That one has gone
// through its DLL_THREAD_ATTACH long before, so at unload, with the loader lock held, it is safe to wait for
// a callback that is going on: ours makes system calls for memory, which need no loader lock. It is made at
// the first start and then only set anew.
#include "os/os.h"
#include "base/atomics.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#define RESTING_MS 0x7FFFFFFFu // 24 days; a tick more does no harm

enum { NONE, MAKING, RUNNING, RESTING };
static uint32_t state;
static HANDLE timer;
static bool (*timer_tick)(void);
static uint32_t timer_period;

static VOID CALLBACK on_timer(PVOID arg, BOOLEAN fired) {
  MI_UNUSED(arg);
  MI_UNUSED(fired);
  // Resting from here on, so that who starts it meanwhile is heard; the timer itself goes on if there is more
  // to do.
  uint32_t running = RUNNING;
  if (!atomic_cas_acq_rel(&state, &running, (uint32_t)RESTING) && running != RESTING) return;
  bool goes_on = timer_tick();
  uint32_t resting = RESTING;
  if (goes_on) {
    if (atomic_cas_acq_rel(&state, &resting, (uint32_t)RUNNING)) return; // else somebody started it: it runs
  } else if (atomic_get_acquire(&state) == RESTING) {
    ChangeTimerQueueTimer(NULL, timer, RESTING_MS, RESTING_MS);
    // Started between the two: that start's period was overwritten.
    if (atomic_get_seq_cst(&state) == RUNNING) ChangeTimerQueueTimer(NULL, timer, timer_period, timer_period);
  }
}

void os_timer_start(uint32_t period_ms, bool (*tick)(void)) {
  uint32_t before = atomic_get_acquire(&state);
  if (before == RUNNING || before == MAKING) return;
  DWORD error = GetLastError();
  if (before == NONE) {
    if (!atomic_cas_acq_rel(&state, &before, (uint32_t)MAKING)) return;
    timer_tick = tick;
    timer_period = period_ms;
    HANDLE made = NULL;
    bool ok = CreateTimerQueueTimer(&made, NULL, &on_timer, NULL, RESTING_MS, RESTING_MS,
                                    WT_EXECUTEINTIMERTHREAD) != 0;
    if (ok) timer = made;
    atomic_swap_seq_cst(&state, ok ? (uint32_t)RUNNING : (uint32_t)NONE);
    if (ok) ChangeTimerQueueTimer(NULL, timer, period_ms, period_ms);
  } else if (atomic_cas_acq_rel(&state, &before, (uint32_t)RUNNING)) {
    timer_period = period_ms;
    ChangeTimerQueueTimer(NULL, timer, period_ms, period_ms);
  }
  SetLastError(error);
}

void os_timer_free(void) {
  if (atomic_swap_acq_rel(&state, (uint32_t)NONE) == NONE || timer == NULL) return;
  DeleteTimerQueueTimer(NULL, timer, INVALID_HANDLE_VALUE); // waits for a callback that is going on
  timer = NULL;
}
