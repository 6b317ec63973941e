// Arenas: address space reserved by the GiB, handed out in slices of 64 KiB, committed in pieces and purged
// after a delay. All bookkeeping is bitmaps changed by single-word compare-and-swap: there is no lock that a
// thread could die with, and the state is valid at every instant (the worst a killed thread can leave behind
// is a few slices that nobody gets).
//
// Vocabulary
//   free       nobody's; whoever clears a slice's bit has it
//   committed  there is memory behind the slice
//   dirty      the slice was used since it was committed: it may not read as zero
//   aging/old  free slices waiting to be purged: freed in this delay period / in an earlier one
//   heads      slices at which a page starts
#ifndef CORE_ARENA_H
#define CORE_ARENA_H

#include "core/page_map.h"

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
  uint32_t purge_busy; // the thread that purges, 0: none; others pass by
  uint32_t purge_since; // clock of its beginning
  uint64_t* free;
  uint64_t* committed;
  uint64_t* dirty;
  uint64_t* aging;
  uint64_t* old;
  uint64_t* heads;
} arena_t;

// Allocates `slice_count` committed slices, the first aligned to `alignment` bytes (a power of two; anything
// up to SLICE_SIZE is free of charge), with the page record's start, slice_count, is_zero and origin filled
// in. The caller goes on with page_init. NULL when out of memory. Any thread.
page_t* arena_page_allocate(size_t slice_count, size_t alignment);

// Claims `count` free slices, the first aligned to `alignment_slices` slices: the index of the first, or
// ARENA_NOT_FOUND. Whether there is memory behind them is the caller's business.
#define ARENA_NOT_FOUND SIZE_MAX
size_t arena_claim(arena_t* arena, size_t count, size_t alignment_slices);

// Gives a page's slices back; its record becomes nobody's. Any thread, once per page.
void arena_page_free(page_t* page);

// Enlarges a page in place to `slice_count` slices if the slices behind it are free. For huge pages.
bool arena_page_extend(page_t* page, size_t slice_count);

// Purges what has waited for its delay. `force`: everything that is free, now.
void arena_purge(bool force);

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

// Unload: releases all arenas and huge reservations.
void arena_release_all(void);

#endif
