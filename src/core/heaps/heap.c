// Heaps and sub-processes: made, deleted, destroyed. What is done to them under their locks is short; a lock
// that a dead thread held is taken over and what it guards made anew.
#include "core/heaps/heap.h"

#include "core/heaps/abandoned.h"
#include "core/heaps/guarded.h"
#include "core/heaps/single.h"
#include "core/heaps/theap_life.h"
#include "core/heaps/theap_pages.h"
#include "core/heaps/thread.h"
#include "core/memory/sysmem.h"
#include "core/report/counters.h"
#include "base/memory.h"

// How often to look again at a page that somebody else looks into.
#define SEIZE_YIELDS 100000

#define HASHES       1021 // lists to look for a record in, a prime: 10 records are passed at 10,000 heaps

static subproc_t main_subproc;
static heap_t main_heap;
static uint32_t main_state;              // 0: not yet made
static heap_t* all_heaps;                // of all records, push only
static heap_t* heaps_by_address[HASHES]; // the same records by a hash of their addresses, push only
static subproc_t* all_subprocs;
static os_lock_t spares_lock; // a dead holder leaves the stacks whole, at worst one record short
static heap_t* spare_heaps;
static subproc_t* spare_subprocs;
static uint64_t sequence;

// ---- the first sub-process --------------------------------------------------------------------------------

static void heap_init(heap_t* heap, subproc_t* subproc, arena_t* arena) {
  atomic_set_relaxed(&heap->subproc, subproc); // late looks at pages that were of its record's heap before
  heap->arena = arena;
  mem_zero(heap->walks, sizeof(heap->walks));
  heap->numa_node = -1;
  heap->sequence = atomic_add_relaxed(&sequence, 1);
  heap->cache_index = (uint32_t)(heap->sequence % THEAP_CACHE_SIZE);
}

static heap_t** heaps_alike(const heap_t* heap) {
  return &heaps_by_address[(uintptr_t)heap / MI_CACHE_LINE % HASHES];
}

static void publish_heap(heap_t* heap) {
  atomic_push(&all_heaps, heap, all_next);
  atomic_push(heaps_alike(heap), heap, alike_next);
}

// May run in two threads at once; what it writes before the swap is the same in both.
static void make_main(void) {
  main_heap.subproc = &main_subproc;
  main_heap.numa_node = -1;
  main_subproc.main = &main_heap;
  atomic_set_release(&main_heap.state, (uint32_t)HEAP_LIVE);
  arena_set_init(&main_subproc.arenas);
  uint32_t none = 0;
  if (!atomic_cas_acq_rel(&main_state, &none, 1u)) return;
  main_heap.sequence = atomic_add_relaxed(&sequence, 1);
  main_subproc.heaps = &main_heap;
  publish_heap(&main_heap);
  atomic_push(&all_subprocs, &main_subproc, next);
  atomic_set_release(&main_subproc.state, (uint32_t)HEAP_LIVE);
  stats_increase(&stats_process.heaps, 1);
}

subproc_t* subproc_main(void) {
  if (MI_UNLIKELY(atomic_get_acquire(&main_subproc.state) != HEAP_LIVE)) make_main();
  return &main_subproc;
}

subproc_t* subproc_first(void) { return atomic_get_acquire(&all_subprocs); }
heap_t* heap_main(void) { return subproc_main()->main; }

// ---- lists under locks ------------------------------------------------------------------------------------

static void heaps_lock(subproc_t* subproc) {
  if (MI_LIKELY(!os_lock_acquire(&subproc->heaps_lock))) return;
  subproc->heaps = NULL;
  for (heap_t* heap = atomic_get_acquire(&all_heaps); heap != NULL; heap = heap->all_next) {
    if (atomic_get_relaxed(&heap->subproc) != subproc || atomic_get_acquire(&heap->state) != HEAP_LIVE)
      continue;
    heap->previous = NULL;
    heap->next = subproc->heaps;
    if (subproc->heaps != NULL) subproc->heaps->previous = heap;
    subproc->heaps = heap;
  }
}

static void heaps_add(heap_t* heap) {
  subproc_t* subproc = heap->subproc;
  heaps_lock(subproc);
  heap->previous = NULL;
  heap->next = subproc->heaps;
  if (subproc->heaps != NULL) subproc->heaps->previous = heap;
  subproc->heaps = heap;
  atomic_set_release(&heap->state, (uint32_t)HEAP_LIVE);
  os_lock_release(&subproc->heaps_lock);
  stats_increase(&stats_process.heaps, 1);
}

static void heaps_remove(heap_t* heap) {
  subproc_t* subproc = heap->subproc;
  heaps_lock(subproc);
  if (heap->previous != NULL && heap->previous->next == heap) heap->previous->next = heap->next;
  if (heap->next != NULL && heap->next->previous == heap) heap->next->previous = heap->previous;
  if (subproc->heaps == heap) subproc->heaps = heap->next;
  heap->next = heap->previous = NULL;
  os_lock_release(&subproc->heaps_lock);
}

// A list that was made anew holds what is there at that moment, perhaps not yet linked, and not what is about
// to be unlinked.
static bool page_is_linked(const heap_t* heap, const page_t* page) {
  return page->heap_previous != NULL ? page->heap_previous->heap_next == page : heap->pages == page;
}

static void link_page(heap_t* heap, page_t* page) {
  page->heap_previous = NULL;
  page->heap_next = heap->pages;
  if (heap->pages != NULL) heap->pages->heap_previous = page;
  heap->pages = page;
}

static bool relink_page(page_t* page, void* arg) {
  heap_t* heap = (heap_t*)arg;
  if (atomic_get_acquire(&page->heap) == heap) link_page(heap, page);
  return true;
}

static void relink_pages_locked(heap_t* heap) {
  heap->pages = NULL;
  arena_visit_pages(&heap->subproc->arenas, &relink_page, heap);
}

static void pages_lock(heap_t* heap) {
  if (MI_UNLIKELY(os_lock_acquire(&heap->pages_lock))) relink_pages_locked(heap);
}

void heap_page_add(heap_t* heap, page_t* page) {
  if (heap_is_main(heap)) return;
  pages_lock(heap);
  if (!page_is_linked(heap, page)) link_page(heap, page);
  os_lock_release(&heap->pages_lock);
}

// The heap whose page it is, its list locked; NULL: a main heap, which has no list. The heap may be deleted meanwhile:
// then the page is its main heap's.
static heap_t* pages_lock_of(const page_t* page) {
  for (;;) {
    heap_t* heap = atomic_get_acquire(&page->heap);
    if (heap_is_main(heap)) return NULL;
    pages_lock(heap);
    if (atomic_get_acquire(&page->heap) == heap) return heap;
    os_lock_release(&heap->pages_lock);
  }
}

void heap_add_page_in_hand(const theap_t* theap) {
  page_t* page = arena_page_in_hand(&theap->thread->hands);
  if (page == NULL || page_owner_theap(atomic_get_acquire(&page->owner)) != theap) return;
  heap_t* heap = pages_lock_of(page);
  if (heap == NULL) return;
  if (!page_is_linked(heap, page)) link_page(heap, page);
  os_lock_release(&heap->pages_lock);
}

static void unlink_page_locked(heap_t* heap, page_t* page) {
  page_t *next = page->heap_next, *previous = page->heap_previous;
  for (size_t i = 0; i < HEAP_WALKS; i++)
    if (heap->walks[i].next == page) heap->walks[i].next = next;
  if (previous != NULL && previous->heap_next == page) previous->heap_next = next;
  if (next != NULL && next->heap_previous == page) next->heap_previous = previous;
  if (heap->pages == page) heap->pages = next;
  page->heap_next = page->heap_previous = NULL;
}

page_t* heap_walk(heap_t* heap, heap_walk_t** walk, bool is_over) {
  heap_walk_t* at = *walk;
  pages_lock(heap);
  for (size_t i = 0; i < HEAP_WALKS && at == NULL; i++) {
    if (heap->walks[i].is_taken) continue;
    at = *walk = &heap->walks[i];
    at->next = heap->pages;
  }
  page_t* page = at == NULL || is_over ? NULL : at->next;
  if (at != NULL) {
    at->is_taken = page != NULL;
    at->next = page != NULL ? page->heap_next : NULL;
  }
  os_lock_release(&heap->pages_lock);
  return page;
}

// All of its blocks are free.
static void count_page(heap_t* heap, const page_t* page) {
  if (page->bin == BIN_HUGE) {
    atomic_add_relaxed(&heap->freed[BIN_HUGE], 1);
    atomic_add_relaxed(&heap->huge_freed_bytes, (int64_t)page->block_size);
  } else {
    atomic_add_relaxed(&heap->allocated[page->bin], (int64_t)page->allocated);
    atomic_add_relaxed(&heap->freed[page->bin], (int64_t)page->freed);
  }
}

void heap_page_remove(page_t* page, bool is_counted) {
  heap_t* heap = pages_lock_of(page);
  if (heap == NULL) {
    if (!is_counted) count_page(atomic_get_acquire(&page->heap), page);
    return;
  }
  // As long as a page is in its list, the heap's counts stay where they are.
  if (!is_counted) count_page(heap, page);
  unlink_page_locked(heap, page);
  atomic_set_release(&page->heap, heap->subproc->main); // not to be found for a list that is made anew
  os_lock_release(&heap->pages_lock);
}

// ---- making -----------------------------------------------------------------------------------------------

heap_t* heap_new(subproc_t* subproc, arena_t* arena) {
  os_lock_acquire(&spares_lock);
  heap_t* heap = spare_heaps;
  if (heap != NULL) spare_heaps = heap->next;
  os_lock_release(&spares_lock);
  bool is_fresh = heap == NULL;
  if (is_fresh && (heap = (heap_t*)sysmem_metadata(sizeof(heap_t))) == NULL) return NULL;
  heap_init(heap, subproc, arena);
  if (is_fresh) publish_heap(heap);
  heaps_add(heap);
  return heap;
}

static int64_t count_take(int64_t* count) {
  return atomic_get_relaxed(count) == 0 ? 0 : atomic_swap_acq_rel(count, 0);
}

static void count_move(int64_t* count, int64_t* to) {
  int64_t amount = count_take(count);
  if (amount != 0) atomic_add_relaxed(to, amount);
}

static void counts_zero(heap_t* heap) {
  for (unsigned bin = 0; bin < BIN_COUNT; bin++) {
    count_take(&heap->allocated[bin]);
    count_take(&heap->freed[bin]);
  }
  count_take(&heap->huge_allocated_bytes);
  count_take(&heap->huge_freed_bytes);
}

// What was counted goes to `to`, so that the sub-process's sums stay as they are.
static void counts_move(heap_t* heap, heap_t* to) {
  for (unsigned bin = 0; bin < BIN_COUNT; bin++) {
    count_move(&heap->allocated[bin], &to->allocated[bin]);
    count_move(&heap->freed[bin], &to->freed[bin]);
  }
  count_move(&heap->huge_allocated_bytes, &to->huge_allocated_bytes);
  count_move(&heap->huge_freed_bytes, &to->huge_freed_bytes);
}

static void record_give(heap_t* heap) {
  page_lists_forget(heap);
  stats_decrease(&stats_process.heaps, 1);
  heap->arena = NULL;
  atomic_set_release(&heap->state, (uint32_t)HEAP_FREE);
  os_lock_acquire(&spares_lock);
  heap->next = spare_heaps;
  spare_heaps = heap;
  os_lock_release(&spares_lock);
}

// ---- ending -----------------------------------------------------------------------------------------------

// Each ending can be gone through again from its beginning: that is done if a thread is killed on the way.

static bool begin_end(heap_t* heap, uint32_t state) {
  if (heap == NULL || heap_is_main(heap)) return false;
  uint32_t live = HEAP_LIVE;
  atomic_set_release(&heap->ender, os_thread_id()); // first: who finds the heap half ended asks for it
  return atomic_cas_acq_rel(&heap->state, &live, state);
}

static void end_by_delete(heap_t* heap) {
  heap_t* to = heap->subproc->main;
  heaps_remove(heap);
  theaps_move(heap, to);
  for (;;) {
    // A page at a time, under both of its locks: who frees its last block finds it in one heap or in the
    // other.
    pages_lock(heap);
    page_t* page = heap->pages;
    if (page != NULL) {
      unlink_page_locked(
          heap, page); // first: moved, it may go with its last block, and its record be another heap's
      page_move(page, to);
    }
    os_lock_release(&heap->pages_lock);
    if (page == NULL) break;
    // Which may have become worth adopting, or empty, between the two.
    if (page_is_abandoned(atomic_get_seq_cst(&page->owner))) page_look_at_abandoned(NULL, page);
  }
  counts_move(heap, to);
  record_give(heap);
}

// A page of the heap that is nobody else's from here on; NULL when there is none any more. Nobody uses the
// heap, but full collections look at all pages, and give empty ones back.
static page_t* seize_page(heap_t* heap) {
  for (unsigned yields = 0;; yields++) {
    pages_lock(heap);
    page_t* page = heap->pages;
    bool is_ours = page == NULL || page_seize(page);
    bool is_lost =
        !is_ours && yields > SEIZE_YIELDS; // who looks at it was killed: nobody will have it any more
    if (page != NULL && (is_ours || is_lost)) unlink_page_locked(heap, page);
    os_lock_release(&heap->pages_lock);
    if (is_ours) return page;
    if (is_lost) yields = 0;
    os_yield();
  }
}

static void release_page(page_t* page, arena_hands_t* hands) {
  bool is_interior = (atomic_get_relaxed(&page->owner) & PAGE_OWNER_INTERIOR) != 0;
  if (page->bin == BIN_HUGE && is_interior)
    page_map_mark_inside(page, page->slice_count, false); // wherever the block starts
  guarded_page_free(page);
  arena_page_free(page, hands);
}

static void end_by_destroy(heap_t* heap) {
  heaps_remove(heap);
  theaps_destroy(heap);
  page_t* page;
  while ((page = seize_page(heap)) != NULL) {
    int64_t blocks = (int64_t)(page->allocated - page->is_kept);
    if (page->bin == BIN_HUGE) {
      atomic_add_relaxed(&heap->freed[BIN_HUGE], 1);
      atomic_add_relaxed(&heap->huge_freed_bytes, (int64_t)page->block_size);
      stats_decrease(&stats_process.huge_bytes, page->block_size);
    } else {
      atomic_add_relaxed(&heap->allocated[page->bin], blocks);
      atomic_add_relaxed(&heap->freed[page->bin], blocks);
    }
    stats_decrease(&stats_process.pages, 1);
    theap_t* current = theap_current();
    release_page(page, current == NULL ? NULL : &current->thread->hands);
  }
  counts_move(heap, heap->subproc->main);
  record_give(heap);
}

bool heap_delete(heap_t* heap) {
  if (!begin_end(heap, HEAP_DELETING)) return false;
  end_by_delete(heap);
  return true;
}

bool heap_destroy(heap_t* heap) {
  if (!begin_end(heap, HEAP_DYING)) return false;
  end_by_destroy(heap);
  return true;
}

void heaps_end_left(void) {
  for (heap_t* heap = atomic_get_acquire(&all_heaps); heap != NULL; heap = heap->all_next) {
    uint32_t state = atomic_get_acquire(&heap->state), ender = atomic_get_acquire(&heap->ender);
    if ((state != HEAP_DYING && state != HEAP_DELETING) ||
        atomic_get_acquire(&atomic_get_relaxed(&heap->subproc)->state) != HEAP_LIVE)
      continue;
    if (ender == os_thread_id() || !os_thread_is_dead(ender) ||
        !atomic_cas_acq_rel(&heap->ender, &ender, os_thread_id()))
      continue;
    // What it had taken out of the lists, and not dealt with, is still the heap's by its own word.
    theaps_relink(heap);
    pages_lock(heap);
    relink_pages_locked(heap);
    os_lock_release(&heap->pages_lock);
    if (state == HEAP_DYING) {
      end_by_destroy(heap);
    } else {
      end_by_delete(heap);
    }
  }
}

// ---- questions --------------------------------------------------------------------------------------------

bool heap_is_valid(const heap_t* heap) {
  for (const heap_t* at = atomic_get_acquire(heaps_alike(heap)); at != NULL; at = at->alike_next)
    if (at == heap) return atomic_get_acquire(&at->state) == HEAP_LIVE;
  return false;
}

heap_t* heap_of(const void* p) {
  page_t* page = arena_find_page(p);
  return page == NULL || atomic_get_acquire(&page->owner) == 0 ? NULL : atomic_get_acquire(&page->heap);
}

bool subproc_visit_heaps(const subproc_t* subproc, bool (*visit)(heap_t* heap, void* arg), void* arg) {
  for (heap_t* heap = atomic_get_acquire(&all_heaps); heap != NULL; heap = heap->all_next) {
    bool is_its = subproc == NULL || atomic_get_relaxed(&heap->subproc) == subproc;
    if (is_its && atomic_get_acquire(&heap->state) == HEAP_LIVE && !visit(heap, arg)) return false;
  }
  return true;
}

// ---- sub-processes ----------------------------------------------------------------------------------------

subproc_t* subproc_new(void) {
  subproc_main();
  os_lock_acquire(&spares_lock);
  subproc_t* subproc = spare_subprocs;
  if (subproc != NULL) spare_subprocs = subproc->spare;
  os_lock_release(&spares_lock);
  bool is_fresh = subproc == NULL;
  if (is_fresh && (subproc = (subproc_t*)sysmem_metadata(sizeof(subproc_t))) == NULL) return NULL;
  arena_set_init(&subproc->arenas);
  heap_t* heap = heap_new(subproc, NULL);
  atomic_set_relaxed(&subproc->main, heap);
  if (is_fresh) atomic_push(&all_subprocs, subproc, next);
  if (heap == NULL) {
    os_lock_acquire(&spares_lock);
    subproc->spare = spare_subprocs;
    spare_subprocs = subproc;
    os_lock_release(&spares_lock);
    return NULL;
  }
  atomic_set_release(&subproc->state, (uint32_t)HEAP_LIVE);
  return subproc;
}

// A page that goes with its sub-process.
static bool forget_page(page_t* page, void* arg) {
  MI_UNUSED(arg);
  stats_decrease(&stats_process.pages, 1);
  if (page->bin == BIN_HUGE && !single_is_kept(atomic_get_relaxed(&page->owner)))
    stats_decrease(&stats_process.huge_bytes, page->block_size);
  guarded_page_free(page); // the memory may be the program's
  return true;
}

bool subproc_destroy(subproc_t* subproc) {
  if (subproc == NULL || subproc == subproc_main()) return false;
  if (atomic_get_acquire(&subproc->threads) > 0) thread_reap(NULL, SIZE_MAX); // killed ones go
  if (atomic_get_acquire(&subproc->threads) > 0) return false;
  uint32_t live = HEAP_LIVE;
  if (!atomic_cas_acq_rel(&subproc->state, &live, (uint32_t)HEAP_DYING)) return false;
  arena_set_close(
      &subproc->arenas); // the timer, collections and questions of other threads may be looking at it
  thread_late_forget(subproc);
  heap_t* main = subproc->main;
  for (heap_t* heap = atomic_get_acquire(&all_heaps); heap != NULL; heap = heap->all_next)
    if (atomic_get_relaxed(&heap->subproc) == subproc && heap != main) heap_destroy(heap);
  theaps_destroy(main);
  heaps_remove(main);
  theaps_forget_counts(main);
  arena_visit_pages(&subproc->arenas, &forget_page, NULL);
  arena_release_all(&subproc->arenas);
  counts_zero(main);
  record_give(main);
  atomic_set_relaxed(&subproc->main, (heap_t*)NULL);
  atomic_set_release(&subproc->state, (uint32_t)HEAP_FREE);
  os_lock_acquire(&spares_lock);
  subproc->spare = spare_subprocs;
  spare_subprocs = subproc;
  os_lock_release(&spares_lock);
  return true;
}

void heap_release_all(void) {
  for (subproc_t* subproc = all_subprocs; subproc != NULL; subproc = subproc->next)
    arena_release_all(&subproc->arenas);
  arena_forget_records();
  mem_zero(&main_subproc, sizeof(main_subproc));
  mem_zero(&main_heap, sizeof(main_heap));
  all_heaps = NULL;
  mem_zero(heaps_by_address, sizeof(heaps_by_address));
  all_subprocs = NULL;
  spare_heaps = NULL;
  spare_subprocs = NULL;
  spares_lock.owner = 0;
  main_state = 0;
}
