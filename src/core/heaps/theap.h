// Theaps: a thread's part of a heap. A theap belongs to one thread; when that thread ends its pages are
// abandoned, each by itself, and whoever needs a page of the class takes it over.
//
//   malloc --- small[] ---> page->free            (api/alloc_fast.h: the whole hot path)
//     |
//     theap_allocate -> queue's pages: collect remote frees, extend -> abandoned pages of the class -> new page from an arena
//
//   free ----- own page? -> page->free            (api/alloc_fast.h)
//     |
//     theap_free --> own: emptied -> arena
//                --> abandoned, and was last ours: taken back into the queue
//                --> another's or nobody's: page's remote list; the last block of nobody's page: page -> arena
//
// Vocabulary
//   queue    the pages of one bin that have (or may have) room, the current one first. A page without room leaves it and is
//            abandoned: full pages have no owner
//   kept     an empty page that stays in its queue, so that a loop of malloc and free of one block stays fast
#ifndef CORE_HEAPS_THEAP_H
#define CORE_HEAPS_THEAP_H

#include "core/heaps/heap.h"
#include "core/heaps/rack.h"

typedef struct page_queue_s {
  page_t* first;
  page_t* last;
  uint32_t count;
  uint32_t filled; // pages of the bin that ran full
} page_queue_t;

// Counters of one theap. Written by its thread, read by anyone; they move to the heap when the theap ends.
typedef struct theap_counts_s {
  int64_t allocated[BIN_COUNT]; // blocks of pages that are gone; [BIN_HUGE]: huge blocks
  int64_t freed[BIN_COUNT];
  int64_t huge_allocated_bytes, huge_freed_bytes;
  int64_t pages_made, pages_gone, extended, retired, searches, search_steps, adopted, reclaimed, remote_frees;
} theap_counts_t;

#define THEAP_TICK_CALLS                                                                                     \
  64 // slow calls between two looks at kept pages, purges and the deferred free callback
#define KEPT_LENGTHS     (MI_SECURE ? 64 : 16) // slices of the longest page of one block that is kept
#define THEAP_CACHE_SIZE 64                    // heaps that a thread reaches by one look
#define THEAP_RING       (MI_SECURE ? 32 : 1)  // used in secure builds

typedef struct MI_ALIGNED(64) theap_s {
  page_t* small[SMALL_WORDS + 1]; // by size in 8-byte words: the first page of the bin's queue, or page_none
  struct thread_s* thread;        // whose it is; NULL: nobody's
  heap_t* heap;                   // NULL: the heap was destroyed, or the record waits for use
  // The thread's other theaps, by heap_t.cache_index; theap_none: nothing there, as everywhere in theaps that aren't
  // their thread's default.
  struct theap_s* cache[THEAP_CACHE_SIZE];
  page_queue_t bins[BIN_COUNT];
  uint32_t slow_calls;     // heartbeat: every so many, theap_tick
  uint32_t kept_slices;    // of empty pages that are kept
  uint64_t kept_bins[2];   // bins that have a kept page
  uint64_t queued_bins[2]; // bins whose queue isn't empty
  size_t sweep_ticks;
  unsigned sweep_bin; // where the sweep goes on
  page_t* sweep_page;
  // Pages of one freed block each, kept for the next one (core/heaps/single.h): lists by length, from 1 slice on.
  page_t* singles[KEPT_LENGTHS];
  uint64_t singles_lengths; // a bit for each list that isn't empty
  uint32_t singles_next;    // the length whose turn it is to give one up
  uint32_t singles_slices;  // of all of them
  uint64_t heartbeat;       // counts ticks, for the deferred free callback
  uint64_t noted;           // how far it had come when somebody looked (core/heaps/idle.h)
  // Guarded sampling: `guard_left` slow-path sizes until the next one (core/heaps/guarded.c).
  size_t guard_rate, guard_left, guard_min, guard_max;
  block_t* ring[THEAP_RING]; // freed blocks whose reuse is delayed
  uint64_t ring_state;
  bool has_ring; // of a main heap's, which nobody destroys under the ring, and not a late theap
  theap_counts_t counts;
  heap_t* counts_of;                             // the heap that `counts` belong to: they outlive the theap
  int64_t huge_flushed, pages_flushed;           // what the shared levels know of this theap
  uint32_t state;                                // THEAP_*: who may take the record's pages
  struct theap_s *thread_next, *thread_previous; // the thread's theaps; owner only
  struct theap_s *heap_next, *heap_previous;     // the heap's theaps, guarded by its theaps_lock
  struct theap_s* all_next;                      // all records, push only
  struct theap_s* list_next;                     // stack of spares
  // Secure builds: where small blocks go and come from (core/heaps/rack.h).
  racks_t racks;
} theap_t;

// theap_t.state. A heap may be destroyed by one thread while others, which have theaps in it, end: whoever
// swaps OWNED away deals with the pages.
enum {
  THEAP_SPARE,
  THEAP_OWNED,      // a thread's
  THEAP_ENDING,     // its thread, or who reaps that, gives the pages back
  THEAP_DESTROYING, // another thread destroys the heap
  THEAP_DESTROYED,  // done: the thread may recycle the record
  THEAP_LET_GO      // the thread ended meanwhile: the destroyer recycles the record
};

extern theap_t theap_none; // stands in for "no theap": serves nothing, belongs to no heap

// The calling thread's theap of `heap` if the table has it; `theap`: its default one. Entries are believed for what
// their own `heap` says, so that a heap that is gone is never mistaken; theap_none's matches none.
MI_INLINE theap_t* theap_cached(const theap_t* theap, const heap_t* heap) {
  theap_t* its = theap->cache[heap->cache_index];
  if (its == NULL) __builtin_unreachable(); // spares callers a comparison
  return MI_LIKELY(atomic_compared(&its->heap) == heap) ? its : NULL;
}

// ---- blocks ---------------------------------------------------------------------------------------------

// A block of at least `size` bytes with `alignment` (a power of two; 1 for the natural one). *is_zero tells
// whether its memory is known to be zero. NULL when out of memory or beyond PTRDIFF_MAX. Owner only.
void* theap_allocate(theap_t* theap, size_t size, bool* is_zero);
void* theap_allocate_aligned(theap_t* theap, size_t size, size_t alignment, size_t offset, bool* is_zero);

typedef enum free_result_e { FREE_DONE, FREE_NOT_OURS } free_result_t;

// Frees any block of ours from any thread; `theap` is any theap of the calling thread's (NULL if it has
// none). NULL pointers are fine.
free_result_t theap_free(theap_t* theap, void* p);

// Secure builds: blocks that were free, and held back, go to their page. `theap` as above.
void theap_release_run(theap_t* theap, page_t* page, block_run_t run);

// Bytes usable from `p` on; 0 when `p` isn't one of our blocks.
size_t theap_usable_size(const void* p);

// Tries to make the block at least `size` bytes without moving it. Any thread; `theap` as for theap_free.
bool theap_expand(theap_t* theap, void* p, size_t size);

// Gives back what the theap can: kept pages, remote frees. `force`: of all pages, now. To the arenas: these are to be
// purged afterwards. Owner only.
void theap_collect(theap_t* theap, bool force);

// ---- guarded sampling (core/heaps/guarded.c) --------------------------------------------------------------

// Every `rate`-th block of `min`..`max` bytes stands before an inaccessible page; rate 0: none. `seed`: where
// in the first round; 0: at random. A theap starts with the options' values. Owner only.
void theap_guarded_set_rate(theap_t* theap, size_t rate, size_t seed);
void theap_guarded_set_bounds(theap_t* theap, size_t min, size_t max);

// ---- records --------------------------------------------------------------------------------------------

// The calling thread's default theap; NULL when it has none. By the slow way.
MI_INLINE theap_t* theap_current(void) {
  void* value = os_slot_get();
  return (uintptr_t)value <= (uintptr_t)OS_SLOT_DETACHED ? NULL : (theap_t*)value;
}

// All records ever made, linked by all_next; type-stable.
theap_t* theap_first(void);

#endif
