// The hot path: malloc and free of small blocks on the calling thread's own pages.
//
//   mi_malloc ------- block_malloc: slot -> theap -> small[words] -> page -> free   (4 loads, 2 stores)
//   mi_heap_malloc -- the same, from the thread's theap of the heap: slot -> theap -> cache[heap] -> theap
//   mi_theap_malloc - the same, from the theap that is given
//                       '-- block_allocate_in (alloc.c): theap_allocate
//   mi_free --------- block_free_fast: page map -> page; slot == owner? -> free             (4 loads, 3 stores)
//                       '-- block_free (alloc.c): theap_free; not ours: reported
#ifndef API_ALLOC_FAST_H
#define API_ALLOC_FAST_H

#include "base/memory.h"
#include "core/pages/block.h"
#include "lifecycle/runtime.h"

// Takes a block from the front page of the bin for `size` <= SMALL_SIZE_MAX bytes, or NULL: take the slow
// path.
MI_INLINE void* block_pop(page_t* page) {
  if (MI_DEBUG) return NULL; // the slow path fills fresh blocks with a pattern
  block_t* block = page->free;
  if (MI_UNLIKELY(block == NULL)) return NULL;
  block_hand_out(page, block);
  page->allocated++;
  return block;
}

MI_INLINE page_t* page_for_small(const theap_t* theap, size_t size) {
  return theap->small[(size + BLOCK_TAIL + 7) >> 3];
}

// Secure builds: whoever owns the page, so that blocks of threads that ended, or of full pages, go the same way. In a
// slice without a page no block starts; a page of one block has no rack, and neither has a theap of another heap.
MI_INLINE bool block_free_to_rack(const page_t* page, void* p) {
  theap_t* theap = runtime_theap_fast();
  if (MI_UNLIKELY(theap == NULL || atomic_get_relaxed(&page->heap) != theap->heap)) return false;
  if (MI_UNLIKELY(!page_is_others_block(page, p))) return false;
  return rack_put(theap, &theap->racks, page->bin, p);
}

// Frees `p` if it lies in an ordinary page of the calling thread that doesn't become empty. False: take the
// slow path.
MI_INLINE bool block_free_fast(void* p) {
  if (MI_DEBUG) return false; // the slow path checks
  uintptr_t table = page_map_table(p);
  if (MI_UNLIKELY(table == 0)) return false;
  page_t* page = page_map_record_in(table, p);
  if (MI_SECURE) return block_free_to_rack(page, p);
  // A slice without a page has owner 0 and a limit of 0, so in a thread without a theap the second test fails for
  // it.
  uintptr_t owner = atomic_get_relaxed(&page->owner);
  if (MI_UNLIKELY(owner != (uintptr_t)os_slot_get_fast())) return false;
  if (MI_UNLIKELY(!page_is_block(page, p))) return false;
  return block_put(page, (block_t*)p);
}

// ---- slow paths and general forms -------------------------------------------------------------------------
// Any thread. `heap`: where the block comes from; NULL: from the calling thread's default heap. Blocks have
// at least `size` bytes; NULL with the error reported and errno set when out of memory or size > PTRDIFF_MAX.
void* block_allocate_in(heap_t* heap, size_t size, bool zero);

// The address plus `offset` is aligned. `alignment`: a power of two, else NULL with a warning.
void* block_allocate_aligned_in(heap_t* heap, size_t size, size_t alignment, size_t offset, bool zero);

// Frees `p`; false when it isn't one of our blocks (nothing is done or said then). NULL is fine.
bool block_free(void* p);

// Reports a pointer that isn't ours, once per process in release builds.
void block_report_foreign(const char* function, const void* p);

// Bytes usable from `p` on; 0 when `p` isn't one of our blocks (or NULL).
size_t block_usable_size(const void* p);
bool block_is_ours(const void* p);

// realloc in its general form: contents kept up to the smaller size, the block stays where it is, in whatever
// heap, when it fits without wasting half of it. `zero`: bytes beyond the old usable size are zeroed, which
// needs blocks that were born zeroed. NULL leaves `p` as it is. `p` may be NULL. The second one goes without
// alignment when `alignment` is no power of two.
void* block_reallocate_in(heap_t* heap, void* p, size_t size, bool zero);
void* block_reallocate_aligned_in(heap_t* heap, void* p, size_t size, size_t alignment, size_t offset,
                                  bool zero);

// True when the product overflows; reports and sets errno then.
bool block_count_overflows(size_t count, size_t size, size_t* total);

// The same in the default heap. The first is a function of its own so that the hot path passes its arguments
// on as they are.
void* block_allocate(size_t size, bool zero);
MI_INLINE void* block_allocate_aligned(size_t size, size_t alignment, size_t offset, bool zero) {
  return block_allocate_aligned_in(NULL, size, alignment, offset, zero);
}
MI_INLINE void* block_reallocate(void* p, size_t size, bool zero) {
  return block_reallocate_in(NULL, p, size, zero);
}
MI_INLINE void* block_reallocate_aligned(void* p, size_t size, size_t alignment, size_t offset, bool zero) {
  return block_reallocate_aligned_in(NULL, p, size, alignment, offset, zero);
}

// ---- the hot path -----------------------------------------------------------------------------------------
// `theap`: the calling thread's, or NULL when it isn't at hand. NULL: take the slow path.
MI_INLINE void* block_malloc_fast(const theap_t* theap, size_t size) {
  if (MI_SECURE && !MI_DEBUG) {
    bool has_rack = MI_LIKELY(theap != NULL && size <= SMALL_SIZE_MAX - BLOCK_TAIL);
    return has_rack ? rack_take(theap->racks.by_words[(size + BLOCK_TAIL + 7) >> 3]) : NULL;
  }
  return MI_LIKELY(theap != NULL && size <= SMALL_SIZE_MAX - BLOCK_TAIL)
             ? block_pop(page_for_small(theap, size))
             : NULL;
}

MI_INLINE void* block_calloc_fast(const theap_t* theap, size_t size) {
  if (MI_UNLIKELY(theap == NULL || size > SMALL_SIZE_MAX - BLOCK_TAIL)) return NULL;
  if (MI_SECURE && !MI_DEBUG) {
    rack_t* rack = theap->racks.by_words[(size + BLOCK_TAIL + 7) >> 3];
    void* block = rack_take(rack);
    if (MI_LIKELY(block != NULL)) mem_zero(block, rack->tail);
    return block;
  }
  page_t* page = page_for_small(theap, size);
  void* p = block_pop(page);
  if (MI_LIKELY(p != NULL))
    mem_zero(p, page->block_size - BLOCK_TAIL); // all of it: mi_rezalloc goes on from the usable size
  return p;
}

// Every block of a page is aligned if their size is a multiple of the alignment, since pages are.
MI_INLINE void* block_malloc_aligned_fast(const theap_t* theap, size_t size, size_t alignment, bool zero) {
  if (MI_UNLIKELY(theap == NULL || size > SMALL_SIZE_MAX || !bits_is_power_of_two(alignment) ||
                  alignment > SMALL_SIZE_MAX))
    return NULL;
  if (MI_SECURE && !MI_DEBUG) {
    size_t block_size = bits_align_up(size + BLOCK_TAIL, alignment);
    if (MI_UNLIKELY(block_size > SMALL_SIZE_MAX)) return NULL;
    rack_t* rack = theap->racks.by_words[(block_size + 7) >> 3];
    if (MI_UNLIKELY(((rack->tail + 8) & (alignment - 1)) != 0)) return NULL;
    void* block = rack_take(rack);
    if (zero && MI_LIKELY(block != NULL)) mem_zero(block, rack->tail);
    return block;
  }
  size_t rounded = bits_align_up(size, alignment);
  if (MI_UNLIKELY(rounded > SMALL_SIZE_MAX - BLOCK_TAIL)) return NULL;
  page_t* page = page_for_small(theap, rounded);
  if (MI_UNLIKELY((page->block_size & (alignment - 1)) != 0)) return NULL;
  void* p = block_pop(page);
  if (zero && MI_LIKELY(p != NULL)) mem_zero(p, page->block_size - BLOCK_TAIL);
  return p;
}

MI_INLINE void* block_malloc(size_t size) {
  void* p = block_malloc_fast(runtime_theap_fast(), size);
  return MI_LIKELY(p != NULL) ? p : block_allocate(size, false);
}

MI_INLINE void* block_calloc(size_t size) {
  void* p = block_calloc_fast(runtime_theap_fast(), size);
  return MI_LIKELY(p != NULL) ? p : block_allocate(size, true);
}

MI_INLINE void* block_malloc_in(heap_t* heap, size_t size) {
  void* p = block_malloc_fast(runtime_heap_theap_fast(heap), size);
  return MI_LIKELY(p != NULL) ? p : block_allocate_in(heap, size, false);
}

MI_INLINE void* block_calloc_in(heap_t* heap, size_t size) {
  void* p = block_calloc_fast(runtime_heap_theap_fast(heap), size);
  return MI_LIKELY(p != NULL) ? p : block_allocate_in(heap, size, true);
}

MI_INLINE bool free_try(void* p) { return block_free_fast(p) || block_free(p); }

#endif
