// Arenas: address space reserved by the GiB, handed out in slices of 64 KiB, committed in pieces and purged
// after a delay. All bookkeeping is bitmaps changed by single-word compare-and-swap: there is no lock that a
// thread could die with, and the state is valid at every instant. The slices that a killed thread was just taking,
// purging or giving back are found in its record (arena_hands_t).
//
// Vocabulary
//   free       nobody's; whoever clears a slice's bit has it
//   committed  there is memory behind the slice
//   dirty      the slice was used since it was committed: it may not read as zero
//   aging/old  free slices waiting to be purged: freed in this delay period / in an earlier one
//   heads      slices at which a page starts
#ifndef CORE_ARENAS_ARENA_H
#define CORE_ARENAS_ARENA_H

#include "core/pages/page_map.h"

#define ARENA_ALIGNMENT                                                                                      \
  (PAGE_LARGE_SLICES * SLICE_SIZE) // so that no 64-slice page straddles two page map tables
#define ARENA_COUNT_MAX 256

typedef struct arena_s {
  uint8_t* base; // slice 0
  size_t slice_count;
  size_t word_count;  // of each bitmap
  size_t info_slices; // the first slices hold this record and the bitmaps
  void* os_base;      // the reservation
  size_t os_size;
  size_t search_hint; // no free slice in words before this one (a hint: wrong only towards slower)
  uint32_t purge_due; // clock of the next purge, meaningful while purge_waiting
  uint32_t purge_waiting;
  uint32_t purge_busy;  // the thread that purges, 0: none; others pass by
  uint32_t purge_since; // clock of its beginning
  uint64_t* free;
  uint64_t* committed;
  uint64_t* dirty;
  uint64_t* aging;
  uint64_t* old;
  uint64_t* heads;
} arena_t;

// What a thread has claimed of an arena and hasn't made a page of, or has no page of any more; and what it is purging. Its
// own to write; who knows for sure that the thread is dead gives it back. All functions that take `hands` want the calling
// thread's, or NULL: then slices are lost for good if it is killed inside.
typedef struct arena_hold_s {
  arena_t* arena;
  uint64_t run; // start << 32 | count; 0: nothing
} arena_hold_t;

typedef struct arena_hands_s {
  arena_hold_t claimed, purging;
} arena_hands_t;

// Gives back what a dead thread had in its hands. Once per death: by whoever took its theap over.
void arena_give_back(arena_hands_t* hands);

// Allocates `slice_count` committed slices, the first aligned to `alignment` bytes (a power of two; anything
// up to SLICE_SIZE is free of charge), with the page record's start, slice_count, is_zero and origin filled
// in. The caller goes on with page_init. NULL when out of memory. Any thread.
page_t* arena_page_allocate(size_t slice_count, size_t alignment, arena_hands_t* hands);

// The page got its owner (page_init): from here on it is found by that. `hands` as in the allocation, not NULL.
void arena_page_made(arena_hands_t* hands);

// Gives a page's slices back; its record becomes nobody's. Any thread, once per page.
void arena_page_free(page_t* page, arena_hands_t* hands);

// Enlarges a page in place to `slice_count` slices if the slices behind it are free. For huge pages.
bool arena_page_extend(page_t* page, size_t slice_count, arena_hands_t* hands);

// Purges what has waited for its delay. `force`: everything that is free, now.
void arena_purge(bool force, arena_hands_t* hands);

// Reserves an arena of at least `size` bytes of usable space ahead of need.
bool arena_reserve(size_t size);

// Is the address inside memory that we manage (whether or not a block is there)? Slow; any thread.
bool arena_contains(const void* p);

// The page that holds any address inside one of our pages, also the inside of huge blocks. Slow; NULL if
// none.
page_t* arena_find_page(const void* p);

// Calls `visit` for the record of each page in an arena until it returns false. Pages may come and go
// meanwhile.
void arena_visit_pages(bool (*visit)(page_t* page, void* arg), void* arg);

// Bytes in pages that lie outside of the arenas. Any thread.
size_t arena_outside_bytes(void);

// Unload: releases all arenas and huge reservations.
void arena_release_all(void);

#endif
