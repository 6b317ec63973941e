// Pages of one block: blocks above LARGE_SIZE_MAX, or aligned beyond a slice. Whoever frees the block takes the
// owner away and gives the page back; or keeps it for the next block of its size, as long as it is small.
//
// A kept page has the keeper's theap in its owner word, with PAGE_OWNER_SINGLE and PAGE_OWNER_CLAIMED, and no
// block (page_t.free is NULL). Only pages of main heaps are kept, which nobody destroys meanwhile; in secure builds
// with their guards, in checking ones not at all. What a killed thread kept is found by the owner
// word (thread.c). For core/heaps alone.
#ifndef CORE_HEAPS_SINGLE_H
#define CORE_HEAPS_SINGLE_H

#include "core/heaps/theap.h"

// A block of at least `size` bytes in a page of its own; as theap_allocate_aligned.
void* single_allocate(theap_t* theap, size_t size, size_t alignment, bool* is_zero);

// Frees the page's block: FREE_DONE. `theap`: any of the calling thread's, or NULL.
free_result_t single_free(theap_t* theap, page_t* page);

MI_INLINE bool single_is_kept(uintptr_t owner) {
  return (owner & (PAGE_OWNER_SINGLE | PAGE_OWNER_CLAIMED)) == (PAGE_OWNER_SINGLE | PAGE_OWNER_CLAIMED);
}

// Gives back what is kept; the second one, once a tick, one that nobody had use for lately. Owner only.
void singles_give_up(theap_t* theap);
void singles_tick(theap_t* theap);

// A page that a dead thread kept. `by`: any theap of the calling thread's, or NULL.
void single_salvage(theap_t* by, page_t* page);

#endif
