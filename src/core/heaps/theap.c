#include "core/heaps/theap.h"

#include "core/heaps/abandoned.h"
#include "core/heaps/guarded.h"
#include "core/heaps/theap_pages.h"
#include "core/heaps/thread.h"
#include "core/report/counters.h"
#include "core/report/hooks.h"
#include "core/report/message.h"
#include "core/report/options.h"
#include "base/memory.h"

// What debug builds fill blocks with.
#define FILL_FRESH 0xD0
#define FILL_FREED 0xDF

#define TICK_CALLS        64   // slow calls between two looks at kept pages, purges and the deferred free callback
#define SWEEP_PAGES       16   // pages looked at per tick
#define OOM_COLLECT_MS    1000 // a failed allocation collects everything at most so often

// ---- slow path of malloc --------------------------------------------------------------------------------

static void theap_tick(theap_t* theap) {
  if (theap->kept_slices > 0) theap_drop_kept(theap);
  theap->heartbeat++;
  theap_flush_levels(theap);
  // Pages deep in a queue see their remote frees late: a few of them are looked at each time, so that generic_collect slow
  // calls look at all of some hundreds.
  long sweep_calls = option_get(option_generic_collect);
  if (sweep_calls > 0) theap_sweep(theap, sweep_calls < TICK_CALLS ? SIZE_MAX : SWEEP_PAGES);
  if (thread_is_late(theap->thread)) return;
  if (MI_UNLIKELY(theap->thread->birth == 0)) theap->thread->birth = os_thread_birth(os_thread_id());
  // The callback may allocate: not while the late theap's lock is held. It guards itself against recursion.
  hooks_deferred_free(false, theap->heartbeat);
  arena_purge(&theap->heap->subproc->arenas, false, &theap->thread->hands);
}

// Can a block be taken from the page, perhaps after its remote frees were taken in or more memory was committed?
static bool page_has_room(theap_t* theap, page_t* page) {
  if (page->free != NULL) return true;
  uint32_t freed = page_collect_remote(page);
  theap->counts.remote_frees += freed;
  if (freed > 0) return page->free != NULL;
  if (page->extended >= page->reserved) return false;
  return !page_wants_commit(page) || page_commit_more(theap, page);
}

// A page of the queue with a free block or room to extend. Pages without leave the queue on the way.
static page_t* queue_find(theap_t* theap, unsigned bin) {
  page_t* page;
  theap->counts.searches++;
  while ((page = theap->bins[bin].first) != NULL) {
    theap->counts.search_steps++;
    if (page_has_room(theap, page)) return page;
    if (page->extended < page->reserved) return NULL; // no memory to commit
    page_set_full(theap, page);
  }
  return NULL;
}

static page_t* page_adopted(theap_t* theap, unsigned bin) {
  // The late theap leaves pages to threads that last: what it had, only late allocations would get.
  if (thread_is_late(theap->thread)) return NULL;
  for (;;) {
    page_t* page = page_adopt(theap, bin);
    if (page == NULL) return NULL;
    queue_push(theap, page);
    if (page_has_room(theap, page)) return page;
    if (page->extended < page->reserved) return NULL; // no memory to commit: abandoned, it would be listed and come again
    // What seemed to be room a killed thread has lost.
    if (page_used(page) < page->reserved) page->reserved = (uint32_t)page_used(page);
    page_set_full(theap, page);
  }
}

// Out of memory: what other theaps keep, abandoned pages and dead threads may help. Not again and again.
static void collect_for_memory(theap_t* theap) {
  static uint32_t last;
  uint32_t now = os_clock_ms() | 1, before = atomic_get_relaxed(&last);
  if (before != 0 && now - before < OOM_COLLECT_MS) {
    theap_collect(theap, true);
    return;
  }
  atomic_set_relaxed(&last, now);
  thread_collect(theap->thread, true);
}

static page_t* theap_find_page(theap_t* theap, unsigned bin) {
  page_t* page = queue_find(theap, bin);
  if (page != NULL) return page;
  if ((page = page_adopted(theap, bin)) != NULL) return page;
  if ((page = page_fresh(theap, bin)) != NULL) return page;
  collect_for_memory(theap);
  if ((page = queue_find(theap, bin)) != NULL) return page;
  if ((page = page_adopted(theap, bin)) != NULL) return page;
  return page_fresh(theap, bin);
}

static void* theap_allocate_huge(theap_t* theap, size_t size, size_t alignment, bool* is_zero) {
  if (size > PTRDIFF_MAX || alignment > PTRDIFF_MAX) return NULL;
  size_t slice_count = bits_divide_up(size, SLICE_SIZE);
  arena_source_t source = theap_source(theap);
  page_t* page = arena_page_allocate(&source, slice_count, slice_count, alignment);
  if (page == NULL) {
    // No way to find more than we have (arena_page_allocate has purged already).
    if (size > (size_t)atomic_get_relaxed(&stats_process.committed.current)) return NULL;
    collect_for_memory(theap);
    page = arena_page_allocate(&source, slice_count, slice_count, alignment);
    if (page == NULL) return NULL;
  }
  *is_zero = page->is_zero;
  page_init(page, BIN_HUGE, slice_count * SLICE_SIZE, (uintptr_t)theap | PAGE_OWNER_SINGLE, theap->heap);
  heap_page_add(theap->heap, page);
  arena_page_made(&theap->thread->hands);
  page->allocated = 1;
  theap->counts.allocated[BIN_HUGE]++;
  theap->counts.huge_allocated_bytes += (int64_t)page->block_size;
  theap->counts.pages_made++;
  return page->start;
}

// Of the calling thread, which may have no theap.
static arena_hands_t* hands_of(theap_t* theap) { return theap != NULL ? &theap->thread->hands : NULL; }

static void huge_free(theap_t* theap, page_t* page) {
  // Whoever takes the owner away frees it; a second free of the same block finds nobody's page.
  if (!arena_page_take(page, hands_of(theap))) return;
  int64_t size = (int64_t)page->block_size;
  heap_t* heap = page->heap;
  if (theap != NULL && theap->counts_of == heap) {
    theap->counts.freed[BIN_HUGE]++;
    theap->counts.huge_freed_bytes += size;
    theap->counts.pages_gone++;
  } else {
    atomic_add_relaxed(&heap->freed[BIN_HUGE], 1);
    atomic_add_relaxed(&heap->huge_freed_bytes, size);
    stats_decrease(&stats_process.huge_bytes, (size_t)size);
    stats_decrease(&stats_process.pages, 1);
  }
  guarded_page_free(page);
  heap_page_remove(page);
  arena_page_free(page, hands_of(theap));
}

void* theap_allocate(theap_t* theap, size_t size, bool* is_zero) {
  if (MI_UNLIKELY(++theap->slow_calls >= TICK_CALLS)) {
    theap->slow_calls = 0;
    theap_tick(theap);
  }
  if (MI_UNLIKELY(theap->guard_rate != 0)) {
    void* guarded = guarded_allocate(theap, size, is_zero);
    if (guarded != NULL) return guarded;
  }
  if (MI_UNLIKELY(size > LARGE_SIZE_MAX)) return theap_allocate_huge(theap, size, 1, is_zero);
  unsigned bin = size_class_bin(size);
  page_t* page = theap->bins[bin].first;
  if (page == NULL || page->free == NULL) {
    page = theap_find_page(theap, bin);
    if (page == NULL) return NULL;
  }
  if (page->free == NULL) theap->counts.extended++;
  block_t* block = page_take(page, is_zero);
  if (MI_DEBUG && block != NULL && !*is_zero) mem_fill(block, FILL_FRESH, page->block_size);
  return block;
}

// theap_allocate for what is aligned by its size. A guarded block stands against its guard page instead: where it isn't
// aligned then, it isn't guarded.
static void* allocate_by_size(theap_t* theap, size_t size, size_t alignment, bool* is_zero) {
  void* p = theap_allocate(theap, size, is_zero);
  if (MI_LIKELY(((uintptr_t)p & (alignment - 1)) == 0)) return p;
  theap_free(theap, p);
  size_t left = theap->guard_left;
  theap->guard_left = SIZE_MAX;
  p = theap_allocate(theap, size, is_zero);
  theap->guard_left = left;
  return p;
}

void* theap_allocate_aligned(theap_t* theap, size_t size, size_t alignment, size_t offset, bool* is_zero) {
  if (size > PTRDIFF_MAX || alignment > PTRDIFF_MAX) return NULL;
  if (offset % alignment == 0) {
    // Pages start at multiples of SLICE_SIZE, so every block of a bin whose size is a multiple of the
    // alignment is aligned: nothing to search, nothing to remember. Powers of two always are such bins.
    if (alignment <= 8 || (alignment == 16 && size > 8)) return allocate_by_size(theap, size, alignment, is_zero);
    if (alignment <= SLICE_SIZE && size <= LARGE_SIZE_MAX) {
      unsigned bin = size_class_bin(size < alignment ? alignment : size);
      while (bin < BIN_HUGE && size_class_size(bin) % alignment != 0) bin++;
      if (bin < BIN_HUGE) return allocate_by_size(theap, size_class_size(bin), alignment, is_zero);
    }
    return theap_allocate_huge(theap, size == 0 ? 1 : size, alignment, is_zero);
  }
  // Aligned at an offset: allocate more and hand out an address inside the block.
  if (size > PTRDIFF_MAX - alignment) return NULL;
  size_t larger = size + alignment - 1;
  uint8_t* block = (uint8_t*)theap_allocate(theap, larger, is_zero);
  if (block == NULL) return NULL;
  size_t misaligned = ((uintptr_t)block + offset) & (alignment - 1);
  if (misaligned == 0) return block;
  uint8_t* p = block + (alignment - misaligned);
  page_t* page = page_map_page(block);
  owner_set_flag(page, PAGE_OWNER_INTERIOR);
  if (page->bin == BIN_HUGE) page_map_mark_pointer(page, p, true);
  return p;
}

// ---- slow path of free ----------------------------------------------------------------------------------

// ---- checks of debug builds ---------------------------------------------------------------------------------

// The second word of a freed block says so. Blocks of 8 bytes have none: for them the free list is searched.
MI_INLINE uintptr_t freed_mark(const block_t* block) { return bits_mix((uintptr_t)block) | 1; }
MI_INLINE bool has_mark(const page_t* page) { return page->block_size >= 2 * sizeof(uintptr_t); }

// Reports a free of what isn't a block in use; false then.
static bool debug_check_free(theap_t* theap, const page_t* page, const void* p, const block_t* block,
                             bool is_interior) {
  size_t offset = (size_t)((const uint8_t*)block - page->start);
  if (page->bin != BIN_HUGE && offset >= page->block_size * page->extended) {
    message_error(MESSAGE_EINVAL, "free of invalid pointer %p: not allocated by mimalloc", p);
    return false;
  }
  if ((const void*)block != p && !is_interior) {
    message_error(MESSAGE_EINVAL, "free of invalid pointer %p: inside a block, not at its start", p);
    return false;
  }
  // A second free of a huge block finds no page; its memory may hold old marks.
  if (page->bin == BIN_HUGE) return true;
  bool is_free = has_mark(page) ? ((const uintptr_t*)block)[1] == freed_mark(block)
                                : page_owner_theap(page->owner) == theap && page_block_is_free(page, block);
  if (is_free) message_error(MESSAGE_EAGAIN, "double free of block %p (size %zu)", p, page->block_size);
  return !is_free;
}

static void debug_fill_freed(const page_t* page, block_t* block) {
  if (page->bin == BIN_HUGE) return; // its memory goes back at once
  mem_fill(block, FILL_FREED, page->block_size);
  if (has_mark(page)) ((uintptr_t*)block)[1] = freed_mark(block);
}

// The page is the calling thread's, by this theap of it.
static void free_own(theap_t* theap, page_t* page, block_t* block) {
  uint64_t freed = page->freed + 1;
  if (MI_UNLIKELY(freed > page->allocated - page->is_kept)) {
    message_error(MESSAGE_EAGAIN, "double free of block %p (size %zu)", (void*)block, page->block_size);
    return;
  }
  block->next = page->free;
  atomic_compiler_fence(); // in this order: see block_free_fast
  page->free = block;
  atomic_compiler_fence();
  page->freed = freed;
  if (page_used(page) == 0) page_emptied(theap, page);
}

static bool within(option_t option, uint32_t count) {
  long limit = option_get(option);
  return limit < 0 || (long)count < limit;
}

// The theap that takes an abandoned page over when a block of it is freed: the one that filled it, if that is one of the
// calling thread's; with page_reclaim_on_free=1 any page of the heap. NULL: the page stays nobody's.
static theap_t* reclaiming_theap(theap_t* theap, const page_t* page, uintptr_t owner) {
  long reclaim = option_get(option_page_reclaim_on_free);
  if (theap == NULL || reclaim < 0) return NULL;
  theap_t* last = page_owner_theap(owner);
  heap_t* heap = atomic_get_relaxed(&page->heap);
  if ((last == theap || last->thread == theap->thread) && last->heap == heap && last->thread != NULL)
    return within(option_page_max_reclaim, last->bins[page->bin].count) ? last : NULL;
  if (reclaim != 1 || theap->heap != heap) return NULL;
  return within(option_page_cross_thread_max_reclaim, theap->bins[page->bin].count) ? theap : NULL;
}

// To the remote list; nobody's page may have become empty, or worth adopting.
static void free_remote(theap_t* theap, page_t* page, block_t* block) {
  page_free_remote(page, block);
  if (page_is_abandoned(atomic_get_seq_cst(&page->owner))) page_look_at_abandoned(theap, page);
}

static void free_abandoned(theap_t* theap, page_t* page, block_t* block, uintptr_t owner) {
  theap_t* taker = reclaiming_theap(theap, page, owner);
  if (taker == NULL || !page_claim(taker, page)) {
    free_remote(theap, page, block);
    return;
  }
  taker->counts.reclaimed++;
  page_set_own(taker, page);
  free_own(taker, page, block);
}

free_result_t theap_free(theap_t* theap, void* p) {
  if (p == NULL) return FREE_DONE;
  page_t* page = page_map_page(p);
  if (page == NULL) return FREE_NOT_OURS;
  uintptr_t owner = atomic_get_acquire(&page->owner);
  bool is_interior = (owner & PAGE_OWNER_INTERIOR) != 0;
  block_t* block = (owner & PAGE_OWNER_SINGLE) != 0       ? (block_t*)page->start
                   : MI_DEBUG || MI_UNLIKELY(is_interior) ? page_block_of(page, p)
                                                          : (block_t*)p;
  if (MI_DEBUG) {
    if (!debug_check_free(theap, page, p, block, is_interior)) return FREE_DONE;
    debug_fill_freed(page, block);
  }
  if (MI_UNLIKELY((owner & PAGE_OWNER_SINGLE) != 0)) {
    if (is_interior) page_map_mark_pointer(page, p, false);
    huge_free(theap, page);
  } else if (page_is_abandoned(owner)) {
    free_abandoned(theap, page, block, owner);
  } else {
    theap_t* of = page_owner_theap(owner);
    if (theap != NULL && (of == theap || of->thread == theap->thread) && (owner & PAGE_OWNER_CLAIMED) == 0) {
      free_own(of, page, block);
    } else {
      free_remote(theap, page, block);
    }
  }
  return FREE_DONE;
}

// ---- sizes ----------------------------------------------------------------------------------------------

size_t theap_usable_size(const void* p) {
  page_t* page = page_map_page(p);
  if (page == NULL) return 0;
  uintptr_t owner = atomic_get_relaxed(&page->owner);
  if ((owner & PAGE_OWNER_INTERIOR) == 0) return page->block_size;
  const uint8_t* block =
      (const uint8_t*)((owner & PAGE_OWNER_SINGLE) != 0 ? (block_t*)page->start : page_block_of(page, p));
  return page->block_size - (size_t)((const uint8_t*)p - block);
}

bool theap_expand(theap_t* theap, void* p, size_t size) {
  size_t usable = theap_usable_size(p);
  if (size <= usable) return true;
  page_t* page = page_map_page(p);
  if (page == NULL || page->bin != BIN_HUGE || size > PTRDIFF_MAX || guarded_is_page(page)) return false;
  size_t before = page->block_size;
  size_t needed = size + (size_t)((uint8_t*)p - page->start);
  if (!arena_page_extend(page, bits_divide_up(needed, SLICE_SIZE), hands_of(theap))) return false;
  page->block_size = page->slice_count * SLICE_SIZE;
  if ((atomic_get_relaxed(&page->owner) & PAGE_OWNER_INTERIOR) != 0) page_map_mark_pointer(page, p, true);
  int64_t more = (int64_t)(page->block_size - before);
  if (theap != NULL && theap->counts_of == page->heap) {
    theap->counts.huge_allocated_bytes += more;
  } else {
    atomic_add_relaxed(&page->heap->huge_allocated_bytes, more);
    stats_change(&stats_process.huge_bytes, more);
  }
  return true;
}

void theap_collect(theap_t* theap, bool force) {
  theap_sweep(theap, SIZE_MAX);
  if (force) {
    for (unsigned bin = 1; bin < BIN_HUGE; bin++) { // kept ones go as well
      page_t* page = theap->bins[bin].first;
      if (page == NULL || !page->is_kept || page_used(page) != 0) continue;
      page_unkeep(theap, page);
      queue_remove(theap, page);
      page_retire(theap, page);
    }
  }
  theap_flush_levels(theap);
  arena_purge(&theap->heap->subproc->arenas, force, &theap->thread->hands);
}
