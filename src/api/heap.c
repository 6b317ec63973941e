// First-class heaps: their life, and questions about them. Allocation in them is in heap_alloc.c.
#include "api/api_types.h"
#include "core/report/message.h"

// ---- life -------------------------------------------------------------------------------------------------

static heap_t* heap_make(arena_t* arena) {
  runtime_process_attach(); // may well be the first call into the library
  heap_t* heap = heap_new(runtime_subproc(), arena);
  if (heap == NULL) {
    message_error(MESSAGE_ENOMEM, "unable to make a heap");
    os_set_errno(MESSAGE_ENOMEM);
  }
  return heap;
}

mi_heap_t* mi_heap_new(void) { return heap_to(heap_make(NULL)); }

mi_heap_t* mi_heap_new_in_arena(mi_arena_id_t arena_id) {
  arena_t* arena = arena_from_id(arena_id);
  if (arena == NULL && arena_id != NULL) {
    message_warning("mi_heap_new_in_arena: %p is no arena of this sub-process\n", arena_id);
    return NULL;
  }
  return heap_to(heap_make(arena));
}

// A heap that goes can't stay the calling thread's default.
static void heap_leave(heap_t* heap) {
  theap_t* theap = runtime_theap();
  if (theap == NULL || theap->heap != heap) return;
  runtime_set_default(theap->thread->main);
}

// False, and a message, for what can't go.
static bool heap_may_go(heap_t* heap, const char* function) {
  if (heap == NULL) return false;
  if (!heap_is_valid(heap)) {
    message_error(MESSAGE_EINVAL, "%s: %p is no heap, or it is gone already", function, (void*)heap);
    return false;
  }
  if (heap == heap->subproc->main) {
    message_warning("%s: the main heap stays\n", function);
    return false;
  }
  return true;
}

void mi_heap_delete(mi_heap_t* heap) {
  if (!heap_may_go(heap_from(heap), "mi_heap_delete")) return;
  heap_leave(heap_from(heap));
  heap_delete(heap_from(heap));
}

void mi_heap_destroy(mi_heap_t* heap) {
  if (!heap_may_go(heap_from(heap), "mi_heap_destroy")) return;
  heap_leave(heap_from(heap));
  heap_destroy(heap_from(heap));
}

void mi_heap_set_numa_affinity(mi_heap_t* heap, int numa_node) {
  if (heap != NULL) atomic_set_relaxed(&heap_from(heap)->numa_node, numa_node_from(numa_node));
}

void mi_heap_collect(mi_heap_t* heap, bool force) {
  if (heap == NULL) return;
  heap_t* inner = heap_from(heap);
  const theap_t* any = runtime_theap();
  theap_t* theap = any == NULL ? NULL : thread_find_theap(any->thread, inner);
  if (theap != NULL) theap_collect(theap, force);
  if (force) heap_collect_abandoned(inner, theap);
  arena_purge(&inner->subproc->arenas, force, theap == NULL ? NULL : &theap->thread->hands);
}

theap_t* heap_own_theap(heap_t* heap) {
  theap_t* theap = runtime_heap_theap_fast(heap);
  if (MI_LIKELY(theap != NULL)) return theap;
  theap = runtime_heap_enter(heap);
  bool is_late = theap != NULL && thread_is_late(theap->thread);
  runtime_leave(theap);
  return is_late ? NULL : theap;
}

heap_t* heap_or_main(const mi_heap_t* heap) { return heap_from(heap != NULL ? heap : mi_heap_main()); }

// ---- questions --------------------------------------------------------------------------------------------

mi_heap_t* mi_heap_main(void) {
  runtime_process_attach();
  return heap_to(runtime_subproc()->main);
}

mi_heap_t* mi_heap_of(const void* p) { return heap_to(heap_of(p)); }

bool mi_heap_contains(const mi_heap_t* heap, const void* p) { return heap_of(p) == heap_or_main(heap); }

bool mi_any_heap_contains(const void* p) { return heap_of(p) != NULL; }
bool mi_check_owned(const void* p) { return heap_of(p) != NULL; }
