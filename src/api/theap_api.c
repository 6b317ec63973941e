// Theaps, for runtimes that keep one in a context of their own. Short paths are mi_malloc's without the way
// to the theap; everything else goes by the theap's heap, which leads the calling thread back to the same
// theap.
#include "api/api_types.h"
#include "api/alloc_fast.h"

mi_theap_t* mi_heap_theap(mi_heap_t* heap) { return theap_to(heap_own_theap(heap_or_main(heap))); }

// The calling thread's default, made if need be; theap_none stands in for a late one, and passes on to
// malloc.
static theap_t* default_theap(void) {
  theap_t* theap = runtime_enter();
  bool is_late = thread_is_late(theap->thread);
  runtime_leave(theap);
  return is_late ? &theap_none : theap;
}

mi_theap_t* mi_theap_get_default(void) { return theap_to(default_theap()); }

mi_theap_t* mi_theap_set_default(mi_theap_t* theap) {
  theap_t* before = default_theap();
  if (before == &theap_none) return theap_to(before);
  theap_t* next = theap == NULL ? before->thread->main : theap_from(theap);
  if (next != &theap_none) runtime_set_default(next); // does nothing with another thread's
  return theap_to(before);
}

void mi_theap_collect(mi_theap_t* theap, bool force) {
  if (theap == NULL || theap_from(theap)->heap == NULL) return;
  thread_t* thread = theap_from(theap)->thread;
  theap_collect(theap_from(theap), force);
  arena_purge(&thread->subproc->arenas, force, &thread->hands);
}

void mi_theap_guarded_set_sample_rate(mi_theap_t* theap, size_t sample_rate, size_t seed) {
  if (theap != NULL && theap_from(theap) != &theap_none)
    theap_guarded_set_rate(theap_from(theap), sample_rate, seed);
}

void mi_theap_guarded_set_size_bound(mi_theap_t* theap, size_t min, size_t max) {
  if (theap != NULL && theap_from(theap) != &theap_none)
    theap_guarded_set_bounds(theap_from(theap), min, max);
}

// ---- allocation -------------------------------------------------------------------------------------------

void* mi_theap_malloc(mi_theap_t* theap, size_t size) {
  void* p = block_malloc_fast(theap_from(theap), size);
  return MI_LIKELY(p != NULL) ? p : block_allocate_in(theap_from(theap)->heap, size, false);
}

void* mi_theap_zalloc(mi_theap_t* theap, size_t size) {
  void* p = block_calloc_fast(theap_from(theap), size);
  return MI_LIKELY(p != NULL) ? p : block_allocate_in(theap_from(theap)->heap, size, true);
}

void* mi_theap_malloc_small(mi_theap_t* theap, size_t size) { return mi_theap_malloc(theap, size); }
void* mi_theap_zalloc_small(mi_theap_t* theap, size_t size) { return mi_theap_zalloc(theap, size); }

void* mi_theap_calloc(mi_theap_t* theap, size_t count, size_t size) {
  size_t total;
  return block_count_overflows(count, size, &total) ? NULL : mi_theap_zalloc(theap, total);
}

void* mi_theap_malloc_aligned(mi_theap_t* theap, size_t size, size_t alignment) {
  return block_allocate_aligned_in(theap_from(theap)->heap, size, alignment, 0, false);
}

void* mi_theap_realloc(mi_theap_t* theap, void* p, size_t newsize) {
  return block_reallocate_in(theap_from(theap)->heap, p, newsize, false);
}
