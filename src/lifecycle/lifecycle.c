#include "lifecycle/lifecycle.h"

lifecycle_step_t lifecycle_step(process_state_t process, thread_state_t thread, lifecycle_event_t event) {
  lifecycle_step_t step = {process, thread, 0};
  if (process == PROCESS_UNLOADED) return step; // nobody is left to serve

  switch (event) {
  case EVENT_PROCESS_ATTACH:
  case EVENT_ALLOCATE:
    if (process == PROCESS_NEW) {
      step.process = PROCESS_RUNNING;
      step.actions |= ACTION_INIT_PROCESS;
    }
    if (event == EVENT_PROCESS_ATTACH) break;
    if (thread == THREAD_NEW) {
      step.thread = THREAD_ACTIVE;
      step.actions |= ACTION_ACQUIRE_THEAP;
    } else if (thread == THREAD_DETACHED) {
      step.actions |= ACTION_USE_LATE_THEAP;
    }
    break;

  case EVENT_THREAD_DONE:
  case EVENT_THREAD_DETACH:
    // While the process exits a detach can only be a straggler's; what it holds dies with the process.
    if (process != PROCESS_RUNNING) break;
    if (thread == THREAD_ACTIVE) step.actions |= ACTION_GIVE_THEAP_BACK;
    if (event == EVENT_THREAD_DETACH) {
      step.thread = THREAD_DETACHED;
      step.actions |= ACTION_MARK_DETACHED;
    } else if (thread == THREAD_ACTIVE) {
      step.thread = THREAD_NEW;
    }
    break;

  case EVENT_PROCESS_DONE:
    if (process == PROCESS_RUNNING) step.actions |= ACTION_REPORT;
    break;

  case EVENT_PROCESS_EXIT:
    if (process != PROCESS_RUNNING) break; // a second notice, or we were never used
    step.process = PROCESS_EXITING;
    step.actions |= ACTION_REPORT;
    break;

  case EVENT_PROCESS_UNLOAD:
    if (process == PROCESS_RUNNING) step.actions |= ACTION_REPORT | ACTION_RELEASE_ALL;
    step.process = PROCESS_UNLOADED;
    step.thread = THREAD_NEW;
    break;

  case EVENT_COUNT:
    break;
  }
  return step;
}
