// Carries the life cycle's actions out: the only place where threads get, keep and lose their theap.
#ifndef LIFECYCLE_RUNTIME_H
#define LIFECYCLE_RUNTIME_H

#include "core/heaps/theap.h"

// Events, rung by dll/dllmain.c or by the bell of the static library. All idempotent.
void runtime_process_attach(void);
void runtime_thread_attach(void); // nothing to do: a thread's theap comes with its first allocation
void runtime_thread_detach(void); // on the ending thread
void runtime_thread_done(void);   // mi_thread_done
void runtime_process_done(void);  // mi_process_done
void runtime_process_exit(void);
void runtime_process_unload(void);

// The calling thread's theap, or NULL (no theap yet, or none any more, or the slot can't be read the fast
// way).
MI_INLINE theap_t* runtime_theap_fast(void) {
  theap_t* theap = (theap_t*)os_slot_get_fast();
  return MI_UNLIKELY((uintptr_t)theap <= (uintptr_t)OS_SLOT_DETACHED) ? NULL : theap;
}

// The same by whatever way works; never creates one.
theap_t* runtime_theap(void);

// A theap to allocate from: the calling thread's, made if need be, or the late theap under its lock. Never
// NULL.
theap_t* runtime_enter(void);
void runtime_leave(theap_t* theap);

bool runtime_is_exiting(void);

#endif
