// Heaps and sub-processes.
//
//   sub-process > heaps > theaps (one per thread and heap) > pages; arenas belong to a sub-process
//
// Vocabulary
//   heap      a set of blocks that can be deleted or destroyed together; any thread may allocate in it, through a theap of
//             its own. The main heap of a sub-process is what malloc uses; it is never deleted
//   theap     a thread's part of a heap (core/heaps/theap.h)
//   abandoned a page that no theap owns: it is full, or its thread ended. Whoever needs its class takes it over, and whoever
//             frees its last block gives it back to its arena
//   listed    an abandoned page with free blocks, in the list of its heap and size class from which theaps adopt
//   deleted   the heap is gone, its blocks live on in the main heap;  destroyed: its blocks are gone, too
// Heap records are type-stable: never unmapped, but used again for later heaps.
#ifndef CORE_HEAPS_HEAP_H
#define CORE_HEAPS_HEAP_H

#include "core/arenas/arena.h"
#include "os/os.h"

struct theap_s;
struct thread_s;

// Abandoned pages of one heap and size class that have free blocks. The lock is held for a few instructions
// at a time, never across a call; a dead holder's lock is taken over, and the list made anew from the pages
// themselves.
typedef struct page_list_s {
  os_lock_t lock;
  uint32_t count;
  page_t* first; // read without the lock as a hint
  page_t* last;
} page_list_t;

// A walk over a heap's pages that go meanwhile: whoever takes the next one out of the list moves the walk on.
#define HEAP_WALKS 4 // at a time; further ones go over the arenas
typedef struct heap_walk_s {
  page_t* next;
  bool is_taken; // for good when its thread is killed, or its visitor never returns
} heap_walk_t;

enum { HEAP_FREE, HEAP_LIVE, HEAP_DYING, HEAP_DELETING }; // dying: it is being destroyed

typedef struct MI_ALIGNED(64) heap_s {
  struct subproc_s* subproc;
  arena_t* arena; // all pages come from there; NULL: from any shared arena of the sub-process
  int numa_node;  // preferred, -1: any
  uint32_t state;
  uint32_t ender;       // the thread that deletes or destroys it
  uint32_t cache_index; // where threads keep their theap of it (theap_cached)
  uint64_t sequence;    // numbers all heaps ever made
  page_list_t abandoned[BIN_COUNT];
  os_lock_t pages_lock;
  page_t*
      pages; // all pages, linked by heap_next; not kept for main heaps, whose pages are found in the arenas
  heap_walk_t walks[HEAP_WALKS]; // over `pages`, guarded by pages_lock
  os_lock_t theaps_lock;
  struct theap_s* theaps; // all theaps, linked by heap_next
  // Blocks of pages that are gone and were not counted by a theap. Atomic.
  int64_t allocated[BIN_COUNT];
  int64_t freed[BIN_COUNT];
  int64_t huge_allocated_bytes, huge_freed_bytes;
  struct heap_s* next; // in the sub-process, guarded by its lock; also of free records
  struct heap_s* previous;
  struct heap_s* all_next;   // of all records, push only
  struct heap_s* alike_next; // of those whose addresses have the same hash, push only
} heap_t;

typedef struct MI_ALIGNED(64) subproc_s {
  arena_set_t arenas;
  heap_t* main;
  os_lock_t heaps_lock;
  heap_t* heaps;           // all, the main one included
  uint32_t state;          // HEAP_FREE, HEAP_LIVE, HEAP_DYING
  int64_t threads;         // living threads in it; atomic
  struct subproc_s* next;  // of all records, push only
  struct subproc_s* spare; // link of those that wait for use
} subproc_t;

// ---- sub-processes --------------------------------------------------------------------------------------

// The one that exists from the start.
subproc_t* subproc_main(void);

// All records ever made, the first one last, linked by next; those that are not LIVE are to be passed over.
subproc_t* subproc_first(void);

// A new one with a main heap of its own; NULL when out of memory. Any thread.
subproc_t* subproc_new(void);

// Releases the sub-process with all its memory: no thread may be in it, and no block of it in use. False, and
// nothing done, for the main one, and while threads are in it.
bool subproc_destroy(subproc_t* subproc);

// ---- heaps ----------------------------------------------------------------------------------------------

// The main heap of the first sub-process.
heap_t* heap_main(void);

// A new heap in `subproc`; `arena` NULL: memory from wherever there is some, else from that arena alone (of
// the same sub-process). NULL when out of memory. Any thread.
heap_t* heap_new(subproc_t* subproc, arena_t* arena);

// Moves all blocks to the main heap of its sub-process; they stay valid, and may be freed by anybody at any
// time, also meanwhile. No other thread may allocate in the heap from here on. False, and nothing done, for a
// main heap.
bool heap_delete(heap_t* heap);

// Frees all blocks at once, in time proportional to the heap's pages. Nobody may use the heap or its blocks
// from here on. False, and nothing done, for a main heap.
bool heap_destroy(heap_t* heap);

// Is this a heap that was made and not deleted? Any pointer; any thread.
bool heap_is_valid(const heap_t* heap);

// The heap of the block that `p` points to or into; NULL when there is none.
heap_t* heap_of(const void* p);

// Looks at all pages of the sub-process that nobody owns: empty ones go back to their arenas, others are
// listed if they should be. What threads leave undone that are killed on the way is done here. `theap`: any
// of the calling thread's, or NULL.
void subproc_collect_abandoned(subproc_t* subproc, struct theap_s* theap);
// The same for the pages of one heap; for a main heap, for all.
void heap_collect_abandoned(heap_t* heap, struct theap_s* theap);

// ---- visiting -------------------------------------------------------------------------------------------

// An area is a page. Field by field the public mi_heap_area_t.
typedef struct heap_area_s {
  void* blocks;           // first block
  size_t reserved;        // bytes of address space for blocks
  size_t committed;       // bytes of it with memory behind
  size_t used;            // blocks in use
  size_t block_size;      // bytes the program may use of each
  size_t full_block_size; // bytes from one block to the next
  void* page;             // ours
} heap_area_t;

// Calls `visit` for each page of the heap, until it returns false; for a main heap, and when many walk over it at the same
// time, also for pages of other heaps. True: it saw all of them.
bool heap_visit_pages(heap_t* heap, bool (*visit)(page_t* page, void* arg), void* arg);

// Called with `block` NULL for each area, then, if blocks are wanted, with each block in use. Returns false
// to stop. May not allocate or free in the heap that is visited.
typedef bool heap_visitor_t(heap_t* heap, const heap_area_t* area, void* block, size_t block_size, void* arg);

// What to visit: the pages of one theap (the calling thread's), those nobody owns, or all of the heap. For
// the last no other thread may use the heap meanwhile.
typedef enum heap_scope_e { HEAP_ALL, HEAP_ABANDONED, HEAP_THEAP } heap_scope_t;

// False when the visitor stopped. `theap`: for HEAP_THEAP.
bool heap_visit(heap_t* heap, heap_scope_t scope, struct theap_s* theap, bool blocks, heap_visitor_t* visitor,
                void* arg);

// Is the page of block `p` used by less than `percent`, and not one that its theap allocates from at the
// moment? For defragmenters: moving such blocks frees pages. False when `p` isn't a block of the heap.
bool heap_page_is_under_utilized(heap_t* heap, const void* p, size_t percent);

// Calls `visit` for each living heap of `subproc` (NULL: of any) until it returns false. Any thread; heaps may come and go meanwhile.
bool subproc_visit_heaps(const subproc_t* subproc, bool (*visit)(heap_t* heap, void* arg), void* arg);

// ---- for core/heaps alone -------------------------------------------------------------------------------

MI_INLINE bool heap_is_main(const heap_t* heap) {
  return heap == atomic_get_relaxed(&atomic_get_relaxed(&heap->subproc)->main);
}

// The page has just been made for `heap`, or is about to go back to its arena: then the heap counts its blocks,
// unless a theap has (`is_counted`).
void heap_page_add(heap_t* heap, page_t* page);
void heap_page_remove(page_t* page, bool is_counted);

// Was the theap's thread killed just when it had made a page, that page may be in no list. To be called while the
// theap's heap can't go.
void heap_add_page_in_hand(const struct theap_s* theap);

// The next page of a walk over the heap's, which *walk NULL begins; with `is_over` it ends before its time. NULL: no more,
// or, with *walk still NULL, too many walks. Pages that come meanwhile may be missed.
page_t* heap_walk(heap_t* heap, heap_walk_t** walk, bool is_over);

// Goes on with heaps whose deletion or destruction a thread began that was killed since.
void heaps_end_left(void);

// Unload: all records are forgotten; all arenas of all sub-processes are given back.
void heap_release_all(void);

#endif
