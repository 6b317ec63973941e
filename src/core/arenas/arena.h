// Arenas: address space reserved by the GiB, handed out in slices of 64 KiB, committed in pieces and purged
// after a delay. All bookkeeping is bitmaps changed by single-word compare-and-swap: there is no lock that a
// thread could die with, and the state is valid at every instant. The slices that a killed thread was just
// taking, purging or giving back are found in its record (arena_hands_t). Records and bitmaps lie in memory
// of their own, far from what programs write to.
//
// Vocabulary
//   set        the arenas of one sub-process, and its huge pages outside of arenas
//   free       nobody's; whoever clears a slice's bit has it
//   committed  there is memory behind the slice
//   begun      not committed, but there is memory behind its first PAGE_PART_SIZE bytes
//   shut       not committed, but there is memory behind it, inaccessible: a guard, or was one (secure builds)
//   dirty      the slice was used since it was committed: it may not read as zero
//   aging/old  freed in this delay period / in an earlier one; those that are free still wait for their purge
//   huge_heads slices at which a page starts that is larger than those of any size class
//   summary    a bit per word of another bitmap: is there anything in it? Wrong only towards "perhaps"
//   open       an arena that may have free slices
//   exclusive  an arena for heaps that were made in it, and nobody else
//   pinned     its memory is never decommitted or reset (the program gave it so, or the system locked it)
#ifndef CORE_ARENAS_ARENA_H
#define CORE_ARENAS_ARENA_H

#include "core/pages/page_map.h"
#include "os/os.h"

#define ARENA_ALIGNMENT                                                                                      \
  (PAGE_LARGE_SLICES * SLICE_SIZE) // so that no 64-slice page straddles two page map tables
#define ARENA_COUNT_MAX  1024      // per set
#define ARENA_COUNT_KEPT 64 // of them are for what malloc needs, whatever the program reserves or gives
#define RUN_HINTS        16 // longest run, in slices, of which an arena knows where to look

// Commits or decommits memory that the program manages itself, as mi_commit_fun_t: `commit` false: decommit.
// *is_zero (NULL for a decommit) tells whether the memory reads as zero. False: failed.
typedef bool arena_commit_t(bool commit, void* start, size_t size, bool* is_zero, void* arg);

typedef struct arena_s {
  struct arena_set_s* set;
  uint32_t index; // in the set
  uint8_t* base;  // slice 0
  size_t slice_count;
  size_t word_count; // of each bitmap
  void* os_base;     // our reservation; NULL: the program's memory, never released
  size_t os_size;
  bool is_exclusive, is_pinned;
  bool is_large;          // of large pages: committed from the start, pinned
  int numa_node;          // -1: any
  arena_commit_t* commit; // NULL: the system's
  void* commit_arg;
  uint32_t purge_from; // clock from which the period of the next purge counts, meaningful while purge_waiting
  uint32_t purge_waiting;
  uint32_t purge_busy;               // the thread that purges, 0: none; others pass by
  uint32_t purge_since;              // clock of its beginning
  uint32_t purged_free;              // clock when all that was free was purged; 0: never
  uint32_t purge_cursor;             // where the next bounded purge goes on, in words
  uint32_t run_hints[RUN_HINTS + 1]; // by length: no free run of that length starts before (arena_claim.c)
  uint8_t* fits;                     // per chunk: what may start there (arena_slices.h)
  uint32_t* longest;
  uint32_t longest_run;
  uint32_t used_end; // slices from here on nobody had yet
  uint64_t* free;
  uint64_t* free_summary;
  uint64_t* committed;
  uint64_t* begun;
  uint64_t* shut; // secure builds
  uint64_t* dirty;
  uint64_t* aging;
  uint64_t* old;
  uint64_t* waiting_summary; // of aging and old
  uint64_t* huge_heads;
  size_t word_capacity;       // of the bitmaps
  struct arena_s* next_spare; // record that waits for a new arena
} arena_t;

typedef struct outside_s { // a page outside of all arenas: reservations of its own
  struct arena_set_s* set;
  page_t* page;
  void* os_base;
  size_t os_size;
  size_t
      reserved_end; // slices from the page's start to the end of this reservation; the page may grow into them
  uint32_t lane;    // that the page begins in, plus 1; 0: the system chose its place (outside.c)
  struct outside_s* more; // the reservation behind this one, which the page has grown into
  struct outside_s *next,
      *previous; // first reservations of the set's pages; `next` also in the list of spares
} outside_t;

typedef struct arena_set_s {
  arena_t* arenas[ARENA_COUNT_MAX]; // NULL: a place whose arena was released
  size_t count;
  uint64_t open[ARENA_COUNT_MAX / 64];    // shared arenas that may have free slices
  uint64_t waiting[ARENA_COUNT_MAX / 64]; // arenas with slices that wait for their purge
  os_lock_t lock; // over the table while an arena is added; never held across a call to the system
  os_lock_t outside_lock;
  outside_t* outside;
  size_t outside_bytes;
  size_t made;              // arenas ever made, from which the size of the next one follows
  struct arena_set_s* next; // of all sets, push only
  uint32_t is_known;        // in that list
  uint32_t next_purge;      // clock at which one of the arenas that wait is due
  uint32_t closed_by;       // thread that is about to release all of it, 0: open
} arena_set_t;

// Before first use; idempotent.
void arena_set_init(arena_set_t* set);

// Around all that is done with a set whose sub-process other threads might destroy meanwhile: between the two
// it stays as it is. False: it is being released, and not to be looked at. The functions below that visit or
// find something do it themselves.
typedef struct arena_visit_s {
  void* line;
} arena_visit_t;
bool arena_set_enter(arena_set_t* set, arena_visit_t* visit);
void arena_set_leave(const arena_visit_t* visit);

// No thread is between the two any more, nor comes there before arena_release_all.
void arena_set_close(arena_set_t* set);

// What a thread has claimed of an arena and hasn't made a page of, or has no page of any more; and what it is
// purging. Its own to write; who knows for sure that the thread is dead gives it back. All functions that
// take `hands` want the calling thread's, or NULL: then slices are lost for good if it is killed inside.
typedef struct arena_hold_s {
  arena_t* arena;
  uint64_t run; // start << 32 | count; 0: nothing
} arena_hold_t;

typedef struct arena_hands_s {
  arena_hold_t claimed, purging;
} arena_hands_t;

// Gives back what a dead thread had in its hands. Once per death: by whoever took its record over.
void arena_give_back(arena_hands_t* hands);

// The page is about to go, taken from its owner, who may be dead and still have its slices in `hands`: then they are struck
// out there. Before the page's owner word is cleared.
void arena_page_strike_out(const page_t* page, arena_hands_t* hands);

// The page whose slices these are, or were to be; NULL: there is none. The thread may be alive: then what is true of the
// page has to be asked of its owner word.
page_t* arena_page_in_hand(const arena_hands_t* hands);

// ---- pages ----------------------------------------------------------------------------------------------

// Where a page may come from.
typedef struct arena_source_s {
  arena_set_t* set;
  arena_t* only; // NULL: any shared arena of the set
  int numa_node; // preferred; -1: none
  arena_hands_t* hands;
} arena_source_t;

// Allocates `slice_count` slices, of which at least the first `commit_slices` are committed (0: of the first one PAGE_PART_SIZE
// bytes); the first is aligned to `alignment` bytes (a power of two; anything up to SLICE_SIZE is free of charge). The page
// record's start, slice_count, committed_slices, is_zero and origin are filled in. The caller goes on with
// page_init. NULL when out of memory. Any thread.
page_t* arena_page_allocate(const arena_source_t* source, size_t slice_count, size_t commit_slices,
                            size_t alignment);

// The page got its owner (page_init): from here on it is found by that. `hands` as in the allocation, not
// NULL.
void arena_page_made(arena_hands_t* hands);

// Commits the page's slices up to the first `slices` of them at least. False when out of memory: nothing has
// changed then. The page's owner only.
bool arena_page_commit(page_t* page, size_t slices, arena_hands_t* hands);

// Secure builds: the same for a page whose last slice is to be its guard.
page_t* arena_page_allocate_guarded(const arena_source_t* source, size_t slice_count, size_t commit_slices,
                                    size_t alignment);

// Secure builds: makes the page's last slice inaccessible. Returns how many slices are left: all of them when it
// can't be done. A page that was just allocated, with all but the last slice committed. The memory there stays, if there is
// any, and so does the guard when the page is freed, until its place is used in another way.
size_t arena_page_guard(page_t* page);

// For pages that anybody may free: takes the owner away, which only one of several can. `is_claimed`: whether
// the caller has PAGE_OWNER_CLAIMED it; else it isn't to be had while that flag is set. True: go on with
// arena_page_free.
bool arena_page_take(page_t* page, bool is_claimed, arena_hands_t* hands);

// Gives a page's slices back; its record becomes nobody's. Any thread, once per page.
void arena_page_free(page_t* page, arena_hands_t* hands);

// Enlarges a huge page in place to `slice_count` slices if the address space behind it is free.
bool arena_page_extend(page_t* page, size_t slice_count, arena_hands_t* hands);

// ---- purging --------------------------------------------------------------------------------------------

// Purges what has waited for its delay, a bounded part of it. `force`: everything that is free, now.
void arena_purge(arena_set_t* set, bool force, arena_hands_t* hands);

// Because an allocation failed: the same as by force the first time in a second, else only what was freed since.
void arena_purge_needed(arena_set_t* set, arena_hands_t* hands);

// Called whenever slices begin to wait for their purge, on any thread: somebody is to call arena_purge in a
// while.
extern void (*arena_purge_wanted)(size_t slice_count);

// Is anything waiting for its purge?
bool arena_purge_is_waiting(const arena_set_t* set);

// ---- reserving ------------------------------------------------------------------------------------------

// Reserves an arena of at least `size` bytes ahead of need. `commit`: with memory behind it; `large`: of
// large pages if the system grants them (else normal ones). NULL when out of memory or when there are too
// many arenas (with a warning).
arena_t* arena_reserve(arena_set_t* set, size_t size, bool commit, bool large, bool exclusive);

// The same with large pages of the node or not at all: `size` is a multiple of 1 GiB. NULL, with a warning
// that tells why, when the system grants none.
arena_t* arena_reserve_huge(arena_set_t* set, size_t size, int numa_node, bool exclusive);

typedef struct arena_given_s {
  void* start;
  size_t size;
  bool is_committed, is_pinned, is_zero, is_exclusive;
  int numa_node;
  arena_commit_t* commit;
  void* commit_arg;
} arena_given_t;

// Takes memory of the program's into use; it is never released. NULL, with a warning, when it is too small or
// there are too many arenas.
arena_t* arena_manage(arena_set_t* set, const arena_given_t* given);

// The smallest size and the alignment of memory for arena_manage that leaves nothing unused, bytes.
#define ARENA_MIN_SIZE (2 * SLICE_SIZE)

// ---- queries --------------------------------------------------------------------------------------------

// Is the address inside memory that we manage (whether or not a block is there)? Slow; any thread.
bool arena_contains(const void* p);
bool arena_holds(const arena_t* arena, const void* p);

// The page that holds any address inside one of our pages, also the inside of huge blocks. Slow; NULL if
// none.
page_t* arena_find_page(const void* p);

// Calls `visit` for each page of the set until it returns false: then false. Pages may come and go meanwhile.
bool arena_visit_pages(arena_set_t* set, bool (*visit)(page_t* page, void* arg), void* arg);

// Calls `visit` for each arena.
void arena_visit(arena_set_t* set, void (*visit)(arena_t* arena, void* arg), void* arg);

typedef struct arena_usage_s {
  size_t free;      // slices
  size_t committed; // bytes
} arena_usage_t;
arena_usage_t arena_usage(const arena_t* arena);

// Bytes in pages that lie outside of the arenas. Any thread.
size_t arena_outside_bytes(const arena_set_t* set);

// Unload, or the end of a sub-process: releases all arenas and reservations of the set.
void arena_release_all(arena_set_t* set);

// Unload, when all metadata is about to be released: forgets the records that wait for use.
void arena_forget_records(void);

#endif
