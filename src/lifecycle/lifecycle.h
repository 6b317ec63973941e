// The life cycle of the process and of its threads as a pure state machine: an event comes in, the next state
// and what has to be done come out. It calls nothing, allocates nothing and knows no system; runtime.c
// carries the actions out. docs/lifecycle.md draws it.
#ifndef LIFECYCLE_LIFECYCLE_H
#define LIFECYCLE_LIFECYCLE_H

#include "base/attributes.h"

typedef enum process_state_e {
  PROCESS_NEW,     // nothing has happened; zero, as static memory is
  PROCESS_RUNNING, // options read, slot allocated
  PROCESS_EXITING, // other threads are dead, perhaps inside our code; no lock is taken, nothing given back
  PROCESS_UNLOADED // everything was given back; nobody may call us
} process_state_t;

typedef enum thread_state_e {
  THREAD_NEW,     // no theap (yet, or after mi_thread_done by hand)
  THREAD_ACTIVE,  // owns a theap
  THREAD_DETACHED // gave its theap back for good; what still comes is served by the late theap
} thread_state_t;

typedef enum lifecycle_event_e {
  EVENT_PROCESS_ATTACH, // DLL_PROCESS_ATTACH, or mi_process_init
  EVENT_ALLOCATE,       // a thread needs a theap; may well come before EVENT_PROCESS_ATTACH
  EVENT_THREAD_DONE,    // mi_thread_done: the thread may come back
  EVENT_THREAD_DETACH,  // the system says that the thread ends; may come for threads we never saw, and twice
  EVENT_PROCESS_DONE,   // mi_process_done: a report is wanted, but the process goes on
  EVENT_PROCESS_EXIT,   // the process ends
  EVENT_PROCESS_UNLOAD, // the library is unloaded, the process goes on
  EVENT_COUNT
} lifecycle_event_t;

enum { // what to do, in this order
  ACTION_INIT_PROCESS = 1 << 0,
  ACTION_ACQUIRE_THEAP = 1 << 1,
  ACTION_USE_LATE_THEAP = 1 << 2,
  ACTION_GIVE_THEAP_BACK = 1 << 3,
  ACTION_MARK_DETACHED = 1 << 4,
  ACTION_REPORT = 1 << 5,     // statistics, when asked for
  ACTION_RELEASE_ALL = 1 << 6 // memory, page map, slot
};

typedef struct lifecycle_step_s {
  process_state_t process;
  thread_state_t thread; // of the calling thread
  unsigned actions;
} lifecycle_step_t;

lifecycle_step_t lifecycle_step(process_state_t process, thread_state_t thread, lifecycle_event_t event);

#endif
