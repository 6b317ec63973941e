// Names that only the 2.4 line has, where a heap belongs to the thread that makes it. Here they work on
// first-class heaps. That line's arena ids and sub-process ids are int and void*, which the same registers
// carry.
#include "api/api_types.h"

mi_heap_t* mi_heap_new_ex(int heap_tag, bool allow_destroy, int arena_id) {
  MI_UNUSED(heap_tag);
  MI_UNUSED(allow_destroy);
  return mi_heap_new_in_arena((mi_arena_id_t)(uintptr_t)(unsigned)arena_id);
}

mi_heap_t* mi_heap_try_new(void) { return mi_heap_new(); }
mi_heap_t* mi_heap_get_backing(void) { return mi_heap_main(); }

mi_heap_t* mi_heap_get_default(void) {
  heap_t* heap = atomic_get_relaxed(&theap_from(mi_theap_get_default())->heap); // others may destroy it
  return heap == NULL ? mi_heap_main() : heap_to(heap);
}

mi_heap_t* mi_heap_set_default(mi_heap_t* heap) {
  mi_heap_t* before = mi_heap_get_default();
  theap_t* theap = heap_own_theap(heap_or_main(heap));
  if (theap != NULL) runtime_set_default(theap);
  return before;
}

bool mi_heap_contains_block(mi_heap_t* heap, const void* p) {
  if (!mi_heap_contains(heap, p)) return false;
  const page_t* page = page_map_page(p); // of a huge block, only its beginning leads there
  if (page == NULL) return false;
  // Where blocks are handed out at an offset, any address may be one's beginning.
  return (atomic_get_relaxed(&page->owner) & PAGE_OWNER_INTERIOR) != 0 || p == page_block_of(page, p);
}

bool mi_heap_check_owned(mi_heap_t* heap, const void* p) { return mi_heap_contains(heap, p); }

void mi_heap_guarded_set_sample_rate(mi_heap_t* heap, size_t sample_rate, size_t seed) {
  mi_theap_guarded_set_sample_rate(mi_heap_theap(heap), sample_rate, seed);
}

void mi_heap_guarded_set_size_bound(mi_heap_t* heap, size_t min, size_t max) {
  mi_theap_guarded_set_size_bound(mi_heap_theap(heap), min, max);
}

void mi_subproc_delete(mi_subproc_id_t subproc) { mi_subproc_destroy(subproc); }
