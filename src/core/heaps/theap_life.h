// Theaps come and go. For core/heaps alone.
#ifndef CORE_HEAPS_THEAP_LIFE_H
#define CORE_HEAPS_THEAP_LIFE_H

#include "core/heaps/theap.h"

// A theap of `heap` for the thread, in its list of theaps; NULL when out of memory. The thread's own to call,
// or under the late theaps' lock.
theap_t* theap_make(struct thread_s* thread, heap_t* heap);

// The theap gives its pages back and its record to the spares. It must not be in the thread's list any more.
// Its heap may be in the middle of being destroyed by another thread, which then does it.
void theap_end(theap_t* theap);

// The same for a theap whose thread was killed, and is dead for sure. From here on its pages are let go by who found that,
// which is done when the second is called.
void theap_begin_salvage(theap_t* theap);
void theap_end_salvage(theap_t* theap);

// The thread's theap of `heap`, if it isn't in its table; NULL when there is none.
theap_t* theap_find(const struct thread_s* thread, heap_t* heap);

// The table of the thread's theaps is in this one from here on; NULL: nowhere. Then: `theap` is the thread's of `heap`.
void theap_take_cache(struct thread_s* thread, theap_t* theap);
void theap_remember(const struct thread_s* thread, theap_t* theap, const heap_t* heap);

// heap_delete: all theaps of `heap` become theaps of `to`.
void theaps_move(heap_t* heap, heap_t* to);

// The thread's own to call, from time to time: its theaps that were moved, but for its default one, give back what they have.
// `in_use` is left alone: the caller goes on with it.
void theaps_tidy(struct thread_s* thread, const theap_t* in_use);

// heap_destroy: no theap of `heap` has pages any more, nor is any in use; waits for threads that are just
// ending theirs.
void theaps_destroy(heap_t* heap);

// The list of the heap's theaps is made anew, and what a dead thread left of theaps that it was destroying is
// done.
void theaps_relink(heap_t* heap);

// The counters of ended theaps of a main heap that ends are of no interest any more.
void theaps_forget_counts(heap_t* heap);

// Unload.
void theaps_forget_all(void);

#endif
