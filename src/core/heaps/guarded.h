// Guarded sampling: now and then a block stands before an inaccessible page, so that an overflow faults where
// it happens.
//
// Such a block has a page to itself; the slices' last part is made inaccessible. It starts 16-byte aligned,
// or, in precise mode (option guarded_precise), so that it ends right at the inaccessible page. Costs nothing
// when off: the direct table for small sizes is left empty for theaps that sample, so that all their
// allocations come by the slow path.
#ifndef CORE_HEAPS_GUARDED_H
#define CORE_HEAPS_GUARDED_H

#include "core/heaps/theap.h"

// The theap takes the options' values. When it is made.
void guarded_init(theap_t* theap);

// A guarded block if it is this one's turn, else NULL.
void* guarded_allocate(theap_t* theap, size_t size, size_t alignment, bool* is_zero);

MI_INLINE bool guarded_is_page(const page_t* page) {
  return page->bin == BIN_HUGE && page->block_size != (size_t)page->slice_count * SLICE_SIZE;
}

// Before a huge page goes back to its arena.
void guarded_page_free(page_t* page);

#endif
