// The public types of heaps, and what they are inside.
#ifndef API_API_TYPES_H
#define API_API_TYPES_H

#include "mimalloc.h"

#include "lifecycle/runtime.h"

MI_INLINE heap_t* heap_from(const mi_heap_t* heap) { return (heap_t*)heap; }
heap_t*
heap_or_main(const mi_heap_t* heap); // NULL: the main heap of the calling thread's sub-process (heap.c)
MI_INLINE mi_heap_t* heap_to(heap_t* heap) { return (mi_heap_t*)heap; }
MI_INLINE theap_t* theap_from(const mi_theap_t* theap) { return (theap_t*)theap; }
MI_INLINE mi_theap_t* theap_to(theap_t* theap) { return (mi_theap_t*)theap; }
MI_INLINE subproc_t* subproc_from(mi_subproc_id_t id) { return (subproc_t*)id._mi_subproc_id; }
MI_INLINE mi_subproc_id_t subproc_to(subproc_t* subproc) { return (mi_subproc_id_t){subproc}; }

// The theap through which the calling thread may be handed a part of `heap`, made if need be. NULL when there
// is no memory, or when the thread gave its theaps back: late ones are used under a lock and never handed
// out.
theap_t* heap_own_theap(heap_t* heap);

// The arena that the program's id stands for, or NULL (arena_api.c).
arena_t* arena_from_id(mi_arena_id_t id);

// The node that option use_numa_nodes leaves of a number that the program gave; -1: any.
int numa_node_from(int node);

#endif
