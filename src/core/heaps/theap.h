// Theaps: per-thread heaps. A theap belongs to one thread at a time; when that thread ends it is given back
// whole and the next thread that needs one adopts it, blocks, free lists and all.
//
//   malloc --- small[] ---> page->free            (api/alloc_fast.h: the whole hot path)
//     |
//     theap_allocate -> queue's pages: collect remote frees, extend -> mailbox -> orphans -> new page from an
//     arena
//
//   free ----- own page? -> page->free            (api/alloc_fast.h)
//     |
//     theap_free --> own: unfull, emptied -> arena
//                --> another's: page's remote list; if that page was full: into its owner's mailbox
//
// Vocabulary
//   queue    the pages of one bin that have (or may have) room, the current one first
//   full     pages without a free block, off the queue; remote frees bring them back through the mailbox
//   mailbox  list of pages that other threads ask the owner to look at
//   kept     an empty page that stays in its queue, so that a loop of malloc and free of one block stays fast
//   orphan   a theap whose thread ended; in the list from which threads adopt
// Theap records are type-stable: never freed, so a late notice to an old owner goes into a valid mailbox.
#ifndef CORE_HEAPS_THEAP_H
#define CORE_HEAPS_THEAP_H

#include "core/arenas/arena.h"
#include "os/os.h"

typedef struct page_queue_s {
  page_t* first;
  page_t* last;
} page_queue_t;

// theap_t.holder, one word so that a reaper can take exactly the ownership that it found dead:
//   bits 0..2   who has the theap; bits 3..34 the owner's thread id; bits 35..63 number of the acquisition
// ORPHAN: id and number are those of the thread that gave it back. TAKEN: the thread with that id is moving its pages to
// its own theap, whose number it bears.
enum { THEAP_SPARE, THEAP_OWNED, THEAP_ORPHAN, THEAP_LATE, THEAP_TAKEN };
#define THEAP_HOLDER(kind, id, number) ((uint64_t)(number) << 35 | (uint64_t)(id) << 3 | (uint64_t)(kind))

typedef struct MI_ALIGNED(64) theap_s {
  page_t* small[SMALL_WORDS + 1]; // by size in 8-byte words: the first page of the bin's queue, or page_none
  page_queue_t bins[BIN_COUNT];
  page_queue_t full;
  uint32_t slow_calls;  // heartbeat: every so many, theap_tick
  uint32_t kept_slices; // of empty pages that are kept
  size_t sweep_ticks;   // since the last sweep
  uint64_t heartbeat;   // counts ticks, for the deferred free callback
  int64_t extended;     // statistics of the slow path, like the block counts below
  int64_t searches, search_steps;
  int64_t allocated[BIN_COUNT]; // block counts of pages that are gone; written by the owner, read by anyone
  int64_t freed[BIN_COUNT];
  arena_hands_t hands;      // slices that the owner is taking, giving back or purging, for who finds it dead
  struct theap_s* all_next; // list of all records, push only
  // What other threads touch, on a cache line of its own.
  MI_ALIGNED(64) page_t* mailbox;
  struct theap_s* list_next; // link in the list of orphans or of spares
  uint64_t holder;
} theap_t;

MI_INLINE unsigned theap_holder_kind(uint64_t holder) { return (unsigned)(holder & 7); }
MI_INLINE uint32_t theap_holder_id(uint64_t holder) { return (uint32_t)(holder >> 3); }
MI_INLINE uint32_t theap_holder_number(uint64_t holder) { return (uint32_t)(holder >> 35); }

// ---- life -----------------------------------------------------------------------------------------------

// A theap for the calling thread: an orphan if there is one, else a spare or a new record. NULL when out of
// memory.
theap_t* theap_acquire(void);

// Gives the calling thread's theap back: empty pages return to the arenas, the rest waits for adoption.
void theap_give_back(theap_t* theap);

// The shared theap for threads that have none (any more). The first takes its lock, the second opens it.
theap_t* theap_late_enter(void);
void theap_late_leave(void);

// Looks whether owners of theaps are dead without having given them back (TerminateThread, or nobody told us of the
// thread's end), at most `checks` of them, and takes their pages into `theap`. Returns how many were reaped.
size_t theap_reap(theap_t* theap, size_t checks);

// The same for a few owners, if there is reason to suspect that some are dead. When a thread got its theap.
void theap_reap_some(theap_t* theap);

// All theap records ever made, linked by all_next.
theap_t* theap_first(void);

// Forgets all theaps (unload; the arenas' memory is gone).
void theap_reset_all(void);

// ---- blocks ---------------------------------------------------------------------------------------------

// A block of at least `size` bytes with `alignment` (a power of two; 1 for the natural one). *is_zero tells
// whether its memory is known to be zero. NULL when out of memory or beyond PTRDIFF_MAX. Owner only.
void* theap_allocate(theap_t* theap, size_t size, bool* is_zero);
void* theap_allocate_aligned(theap_t* theap, size_t size, size_t alignment, size_t offset, bool* is_zero);

typedef enum free_result_e { FREE_DONE, FREE_NOT_OURS } free_result_t;

// Frees any block of ours from any thread; `theap` is the calling thread's (NULL if none). NULL pointers are
// fine.
free_result_t theap_free(theap_t* theap, void* p);

// Bytes usable from `p` on; 0 when `p` isn't one of our blocks.
size_t theap_usable_size(const void* p);

// Tries to make the block at least `size` bytes without moving it. Any thread; `theap` as for theap_free.
bool theap_expand(theap_t* theap, void* p, size_t size);

// Frees what can be freed: kept pages, remote frees; with `force` also adopts orphans and purges. Owner only.
void theap_collect(theap_t* theap, bool force);

#endif
