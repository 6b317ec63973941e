// Carries the life cycle's actions out: the only place where threads get, keep and lose their theap.
#ifndef LIFECYCLE_RUNTIME_H
#define LIFECYCLE_RUNTIME_H

#include "core/heaps/thread.h"

// Events, rung by dll/dllmain.c or by the bell of the static library. All idempotent.
void runtime_process_attach(void);
void runtime_thread_attach(void); // nothing to do: a thread's theap comes with its first allocation
void runtime_thread_detach(void); // on the ending thread
void runtime_thread_done(void);   // mi_thread_done
void runtime_process_done(void);  // mi_process_done
void runtime_process_exit(void);
void runtime_process_unload(void);

// The calling thread's default theap, or NULL (no theap yet, or none any more, or the slot can't be read the
// fast way).
MI_INLINE theap_t* runtime_theap_fast(void) {
  theap_t* theap = (theap_t*)os_slot_get_fast();
  return MI_UNLIKELY((uintptr_t)theap <= (uintptr_t)OS_SLOT_DETACHED) ? NULL : theap;
}

// The same by whatever way works; never creates one.
theap_t* runtime_theap(void);

// A theap to allocate from: the calling thread's default one, made if need be, or a late theap under their
// lock. NULL when out of memory.
theap_t* runtime_enter(void);

// The calling thread's theap of `heap` if it is at hand, else NULL. So of `heap` NULL, too.
MI_INLINE theap_t* runtime_heap_theap_fast(heap_t* heap) {
  theap_t* theap = runtime_theap_fast();
  return MI_UNLIKELY(theap == NULL || heap == NULL) ? NULL : theap_cached(theap, heap);
}

// The same, made if need be, or a late theap of the heap under their lock. NULL when out of memory.
theap_t* runtime_heap_enter(heap_t* heap);

// After either.
void runtime_leave(theap_t* theap);

// Makes `theap`, one of the calling thread's, what malloc allocates from on this thread. Returns the one
// before; NULL, and nothing done, when the thread has none or it isn't the thread's.
theap_t* runtime_set_default(theap_t* theap);

// The sub-process of the calling thread.
subproc_t* runtime_subproc(void);

// The calling thread allocates in another sub-process from here on. False, and nothing done, when it has a
// theap already.
bool runtime_subproc_add_current_thread(subproc_t* subproc);

bool runtime_is_exiting(void);

#endif
