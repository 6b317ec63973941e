#include "core/heaps/theap.h"

#include "core/heaps/abandoned.h"
#include "core/heaps/guarded.h"
#include "core/heaps/idle.h"
#include "core/heaps/ring.h"
#include "core/heaps/single.h"
#include "core/heaps/theap_life.h"
#include "core/heaps/theap_pages.h"
#include "core/heaps/thread.h"
#include "core/pages/block.h"
#include "core/report/counters.h"
#include "core/report/hooks.h"
#include "core/report/message.h"
#include "core/report/options.h"
#include "base/memory.h"

#define SWEEP_PAGES    16   // pages looked at per tick
#define OTHERS_SHARE   16   // of a page: when others freed it, they free the rest as well, most likely
#define OOM_COLLECT_MS 1000 // a failed allocation collects everything at most so often

// ---- slow path of malloc --------------------------------------------------------------------------------

static void theap_tick(theap_t* theap) {
  if (theap->kept_slices > 0) theap_drop_kept(theap);
  singles_tick(theap);
  theap->heartbeat++;
  theap_flush_levels(theap);
  if (MI_SECURE) racks_tick(theap);
  // Pages deep in a queue see their remote frees late: a few of them are looked at each time, so that
  // generic_collect slow calls look at all of some hundreds.
  long sweep_calls = option_get(option_generic_collect);
  if (sweep_calls > 0) theap_sweep(theap, sweep_calls < THEAP_TICK_CALLS ? SIZE_MAX : SWEEP_PAGES);
  if (thread_is_late(theap->thread)) return;
  theaps_tidy(theap->thread, theap);
  if (MI_UNLIKELY(theap->thread->watch == 0)) atomic_set_relaxed(&theap->thread->watch, os_thread_watch());
  // The callback may allocate: not while the late theap's lock is held. It guards itself against recursion.
  hooks_deferred_free(false, theap->heartbeat);
  arena_purge(&theap->heap->subproc->arenas, false, &theap->thread->hands);
}

// Can a block be taken from the page, perhaps after its remote frees were taken in or more memory was
// committed?
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
    if (page->extended < page->reserved)
      return NULL; // no memory to commit: abandoned, it would be listed and come again
    // What seemed to be room a killed thread has lost.
    if (page_used(page) < page->reserved) atomic_set_relaxed(&page->reserved, (uint16_t)page_used(page));
    page_set_full(theap, page);
  }
}

// All empty pages that are kept.
static void give_up_kept(theap_t* theap) {
  singles_give_up(theap);
  for (unsigned bin = 1; bin < BIN_HUGE; bin++) {
    page_t* page = theap->bins[bin].first;
    if (page == NULL || !page->is_kept || page_used(page) != 0) continue;
    page_unkeep(theap, page);
    queue_remove(theap, page);
    page_retire(theap, page);
  }
}

void theap_collect_for_memory(theap_t* theap) {
  static uint32_t last;
  uint32_t now = os_clock_ms() | 1, before = atomic_get_relaxed(&last);
  if (before != 0 && now - before < OOM_COLLECT_MS) {
    give_up_kept(theap);
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
  theap_collect_for_memory(theap);
  if ((page = queue_find(theap, bin)) != NULL) return page;
  if ((page = page_adopted(theap, bin)) != NULL) return page;
  return page_fresh(theap, bin);
}

// The rack of the bin is empty: it is filled from `page`, and others if need be. Inline: nobody calls it in other
// builds, where an unoptimised one would ask for what it calls.
MI_INLINE void* rack_from_pages(theap_t* theap, unsigned bin, page_t* page) {
  block_t* block;
  while ((block = rack_take_from(&theap->racks, theap->racks.by_bin[bin], page)) == NULL)
    if ((page = theap_find_page(theap, bin)) == NULL) return NULL;
  return block;
}

// Not for BIN_HUGE.
static void* allocate_from_bin(theap_t* theap, unsigned bin, bool* is_zero) {
  *is_zero = false;
  rack_t* rack = MI_SECURE ? theap->racks.by_bin[bin] : NULL;
  if (MI_SECURE && rack != RACK_NONE) {
    block_t* block = rack_take(rack);
    if (MI_LIKELY(block != NULL)) return block;
    if (rack->top > rack->bottom && (block = rack_take_from(&theap->racks, rack, NULL)) != NULL) return block;
  }
  page_t* page = theap->bins[bin].first;
  if (page == NULL || page->free == NULL) {
    page = theap_find_page(theap, bin);
    if (page == NULL) return NULL;
  }
  if (page->free == NULL) theap->counts.extended++;
  if (MI_SECURE && rack != RACK_NONE) return rack_from_pages(theap, bin, page);
  if (MI_DEBUG && MI_SECURE && page->free != NULL) block_check_freed(page, page->free);
  block_t* block = page_take(page, is_zero);
  if (MI_DEBUG && block != NULL && !*is_zero) mem_fill(block, FILL_FRESH, page->block_size - BLOCK_TAIL);
  return block;
}

// What every allocation of the slow path does first.
static void count_call(theap_t* theap) {
  if (MI_LIKELY(++theap->slow_calls < THEAP_TICK_CALLS)) return;
  theap->slow_calls = 0;
  theap_tick(theap);
}

void* theap_allocate(theap_t* theap, size_t size, bool* is_zero) {
  count_call(theap);
  if (MI_UNLIKELY(theap->guard_rate != 0)) {
    void* guarded = guarded_allocate(theap, size, 1, is_zero);
    if (guarded != NULL) return guarded;
  }
  if (MI_UNLIKELY(size > LARGE_SIZE_MAX - BLOCK_TAIL)) return single_allocate(theap, size, 1, is_zero);
  return allocate_from_bin(theap, size_class_bin(block_size_for(size)), is_zero);
}

void* theap_allocate_aligned(theap_t* theap, size_t size, size_t alignment, size_t offset, bool* is_zero) {
  if (size > PTRDIFF_MAX || alignment > PTRDIFF_MAX) return NULL;
  if ((offset & (alignment - 1)) == 0) {
    // Pages start at multiples of SLICE_SIZE, so every block of a bin whose size is a multiple of the
    // alignment is aligned: nothing to search, nothing to remember. Powers of two always are such bins.
    bool is_natural = alignment <= 8 || (alignment == 16 && size > 8 - BLOCK_TAIL);
    if (is_natural && theap->guard_rate == 0) return theap_allocate(theap, size, is_zero);
    count_call(theap);
    if (MI_UNLIKELY(theap->guard_rate != 0)) {
      void* guarded = guarded_allocate(theap, size, alignment, is_zero);
      if (guarded != NULL) return guarded;
    }
    if (alignment <= SLICE_SIZE && size <= LARGE_SIZE_MAX - BLOCK_TAIL) {
      unsigned bin = size_class_bin(bits_align_up(block_size_for(size), alignment));
      while (bin < BIN_HUGE && (size_class_size(bin) & (alignment - 1)) != 0) bin++;
      if (bin < BIN_HUGE) return allocate_from_bin(theap, bin, is_zero);
    }
    return single_allocate(theap, size == 0 ? 1 : size, alignment, is_zero);
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
  if (page->bin == BIN_HUGE && !page_map_cover(p, 1)) { // perhaps a region further
    theap_free(theap, block);
    return NULL;
  }
  owner_set_flag(page, PAGE_OWNER_INTERIOR);
  if (page->bin == BIN_HUGE) {
    page_map_mark_pointer(page, p, true);
    page->free = (block_t*)p; // what the program has
  }
  return p;
}

// ---- slow path of free ----------------------------------------------------------------------------------

// Not in use: its tail was struck out, or, should that have been written over, it still bears link and mark.
static bool is_freed(const page_t* page, const block_t* block) {
  block_t* next;
  return *block_tail(page, block) == 0 || block_get_next(page, block, &next);
}

// Is `p` what the program was given of a block in use? Else that is reported, and the free has no effect.
static bool check_free(const page_t* page, const void* p, const block_t* block, uintptr_t owner) {
  if ((owner & PAGE_OWNER_SINGLE) != 0) {                   // a second free of it finds no page
    const block_t* whole = atomic_get_relaxed(&page->free); // others may free it at this moment
    if (MI_LIKELY(p == whole)) return true;
    block_report(whole == NULL ? MISUSE_DOUBLE_FREE : MISUSE_INSIDE, page, p, "free");
    return false;
  }
  uint32_t index = block_index(page, block);
  if (MI_UNLIKELY(index == BLOCK_NONE)) {
    bool is_inside = (size_t)((const uint8_t*)p - page->start) < (size_t)page->extended * page->block_size;
    block_report(is_inside ? MISUSE_INSIDE : MISUSE_NOT_BLOCK, page, p, "free");
    return false;
  }
  if (!MI_SECURE) return true;
  if (MI_LIKELY(block_tail_is_whole(page, block))) return true;
  block_report(is_freed(page, block) ? MISUSE_DOUBLE_FREE : MISUSE_OVERFLOW, page,
               is_freed(page, block) ? p : block, "free");
  return false;
}

// From here on the block must not be taken for one in use. Its link and mark follow.
static void retire_contents(const page_t* page, block_t* block) {
  if (page->bin == BIN_HUGE) return; // its memory goes back at once
  if (MI_DEBUG) {
    mem_fill(block, FILL_FREED, page->block_size);
  } else if (block_zeroes_all || page->block_size <= BLOCK_ZEROED_BEGIN + BLOCK_ZEROED_END) {
    mem_zero(block, page->block_size);
  } else {
    mem_zero(block, BLOCK_ZEROED_BEGIN);
    mem_zero((uint8_t*)block + page->block_size - BLOCK_ZEROED_END, BLOCK_ZEROED_END);
  }
  if (MI_SECURE) *block_tail(page, block) = 0;
}

// The page is the calling thread's, by this theap of it.
static void free_own(theap_t* theap, page_t* page, block_run_t run) {
  uint64_t freed = page->freed + run.count;
  if (MI_UNLIKELY(freed > page->allocated - page->is_kept || run.first == page->free)) {
    block_report(MISUSE_DOUBLE_FREE, page, run.first, "free");
    return;
  }
  block_set_next(page, run.last, page->free);
  block_list_grows(page, run.first, freed);
  if (page_used(page) == 0) page_emptied(theap, page);
}

static bool within(option_t option, uint32_t count) {
  long limit = option_get(option);
  return limit < 0 || (long)count < limit;
}

// Others free blocks of it, too. Then a theap that has another page of the class leaves it to all: what a thread holds on to
// while it sleeps is one page a class, not every page that it freed a block of.
static bool is_others_as_well(const page_t* page) {
  return page_remote_count(page) * OTHERS_SHARE >= page->reserved;
}

// The theap that takes an abandoned page over when a block of it is freed: the one that filled it, if that is one of the
// calling thread's; with page_reclaim_on_free=1 any page of the heap. NULL: the page stays nobody's.
static theap_t* reclaiming_theap(theap_t* theap, const page_t* page, uintptr_t owner) {
  long reclaim = option_get(option_page_reclaim_on_free);
  if (theap == NULL || reclaim < 0) return NULL;
  theap_t* last = page_owner_theap(owner);
  heap_t* heap = atomic_get_relaxed(&page->heap);
  const thread_t* its = atomic_get_relaxed(
      &last->thread); // which may end meanwhile, another's theap by now: then it isn't ours
  if ((last == theap || its == theap->thread) && atomic_get_relaxed(&last->heap) == heap && its != NULL) {
    uint32_t count = last->bins[page->bin].count;
    return (count == 0 || !is_others_as_well(page)) && within(option_page_max_reclaim, count) ? last : NULL;
  }
  if (reclaim != 1 || theap->heap != heap) return NULL;
  return within(option_page_cross_thread_max_reclaim, theap->bins[page->bin].count) ? theap : NULL;
}

// Nobody's page may have become empty, or worth adopting.
MI_INLINE void look_if_abandoned(theap_t* theap, page_t* page) {
  if (page_is_abandoned(atomic_get_seq_cst(&page->owner))) page_look_at_abandoned(theap, page);
}

// To the remote list.
static MI_NOINLINE free_result_t free_remote_block(theap_t* theap, page_t* page, block_t* block) {
  uint32_t pending = page_free_remote(page, block);
  if (page_is_abandoned(atomic_get_seq_cst(&page->owner))) {
    page_look_at_abandoned(theap, page);
  } else if (MI_UNLIKELY(pending == atomic_get_relaxed(&page->reserved) / 2u)) {
    idle_wanted(page); // its owner may be asleep
  }
  return FREE_DONE;
}

static void free_remote(theap_t* theap, page_t* page, block_run_t run) {
  if (!MI_SECURE) {
    free_remote_block(theap, page, run.first);
    return;
  }
  page_free_remote_run(page, run);
  look_if_abandoned(theap, page);
}

static void free_abandoned(theap_t* theap, page_t* page, block_run_t run, uintptr_t owner) {
  theap_t* taker = reclaiming_theap(theap, page, owner);
  if (taker == NULL || !page_claim(taker, page)) {
    free_remote(theap, page, run);
    return;
  }
  taker->counts.reclaimed++;
  page_set_own(taker, page);
  free_own(taker, page, run);
}

static void release_run(theap_t* theap, page_t* page, block_run_t run, uintptr_t owner) {
  if (page_is_abandoned(owner)) {
    free_abandoned(theap, page, run, owner);
    return;
  }
  theap_t* of = page_owner_theap(owner);
  if (theap != NULL && (of == theap || atomic_get_relaxed(&of->thread) == theap->thread) &&
      (owner & PAGE_OWNER_CLAIMED) == 0) {
    free_own(of, page, run);
  } else {
    free_remote(theap, page, run);
  }
}

#if MI_SECURE
void theap_release_run(theap_t* theap, page_t* page, block_run_t run) {
  release_run(theap, page, run, atomic_get_acquire(&page->owner));
}
#endif

// Whosever page it is: what this thread frees it allocates again.
MI_INLINE bool rack_takes(theap_t* theap, const page_t* page, void* p, uintptr_t owner) {
  if (theap == NULL || (owner & (PAGE_OWNER_SINGLE | PAGE_OWNER_INTERIOR)) != 0) return false;
  racks_t* racks = &theap->racks;
  if (!racks->is_attached || atomic_get_relaxed(&page->heap) != atomic_get_relaxed(&theap->heap))
    return false;
  rack_t* rack = racks->by_bin[page->bin];
  if (rack == RACK_NONE || block_index(page, p) == BLOCK_NONE || !rack_accept(theap, racks, rack, p))
    return false;
  if (block_zeroes_all) rack_zero_middle(p, rack->tail);
  return true;
}

static MI_NOINLINE free_result_t free_any(theap_t* theap, void* p) {
  if (p == NULL) return FREE_DONE;
  page_t* page = page_map_page(p);
  if (page == NULL) return FREE_NOT_OURS;
  uintptr_t owner = atomic_get_acquire(&page->owner);
  if (MI_UNLIKELY(owner == 0)) return FREE_NOT_OURS; // freed twice, and its page went with the first free
  if (MI_SECURE && rack_takes(theap, page, p, owner)) return FREE_DONE;
  bool is_interior = (owner & PAGE_OWNER_INTERIOR) != 0;
  block_t* block = (owner & PAGE_OWNER_SINGLE) != 0 ? (block_t*)page->start
                   : MI_UNLIKELY(is_interior)       ? page_block_of(page, p)
                                                    : (block_t*)p;
  if (MI_UNLIKELY(!check_free(page, p, block, owner))) return FREE_DONE;
  if (MI_SECURE || MI_DEBUG) retire_contents(page, block);
  if (MI_UNLIKELY((owner & PAGE_OWNER_SINGLE) != 0)) {
    if (is_interior) page_map_mark_pointer(page, p, false);
    single_free(theap, page);
  } else if (!MI_SECURE || !ring_take(theap, page, block)) {
    release_run(theap, page, (block_run_t){block, block, 1}, owner);
  }
  return FREE_DONE;
}

static MI_NOINLINE free_result_t free_nobodys(theap_t* theap, page_t* page, block_t* block) {
  if (option_get(option_page_reclaim_on_free) == 1) return free_any(theap, block);
  return free_remote_block(theap, page, block);
}

// The same of a secure build, in a thread without a theap.
static MI_NOINLINE free_result_t free_checked_remote(page_t* page, block_t* block) {
  size_t tail = page->block_size - 8;
  uint64_t pad = block_pad(block);
  if (*rack_word(block, tail) != pad || block_zeroes_all) return free_any(NULL, block);
  rack_zeros_t zeros = rack_zeros(tail);
  rack_mark(block, tail, pad, &zeros);
  block_free_remote_by(page, (block_run_t){block, block, 1}, pad);
  look_if_abandoned(NULL, page);
  return FREE_DONE;
}

// Another thread's block, or nobody's, or that of another heap of this thread's, at the start of an ordinary page's: what
// most frees that come here are. They go without what the others need, and each way from here is a jump: what a function
// with calls saves and restores would cost them more than their own work.
free_result_t theap_free(theap_t* theap, void* p) {
  if (MI_DEBUG || (MI_SECURE && theap != NULL)) return free_any(theap, p); // they do more: racks, ring
  uintptr_t table = page_map_table(p);
  if (table == 0) return free_any(theap, p);
  page_t* page = page_map_record_in(table, p);
  uintptr_t owner = atomic_get_acquire(&page->owner);
  uintptr_t kind = owner & (PAGE_OWNER_SINGLE | PAGE_OWNER_INTERIOR);
  if (kind == PAGE_OWNER_SINGLE && p == atomic_get_relaxed(&page->free)) return single_free(theap, page);
  bool is_plain = owner != 0 && kind == 0;
  if (!is_plain || !page_is_others_block(page, p)) return free_any(theap, p);
  block_t* block = (block_t*)p;
  if (MI_SECURE) return free_checked_remote(page, block);
  if (theap == NULL) return free_remote_block(theap, page, block);
  if (atomic_get_relaxed(&page_owner_theap(owner)->thread) ==
      theap->thread) { // of another heap than the default one
    bool is_owned = (owner & PAGE_OWNER_FLAGS) == 0;
    return is_owned && block_put(page, block) ? FREE_DONE : free_any(theap, p);
  }
  return page_is_abandoned(owner) ? free_nobodys(theap, page, block) : free_remote_block(theap, page, block);
}

// ---- sizes ----------------------------------------------------------------------------------------------

size_t theap_usable_size(const void* p) {
  page_t* page = page_map_page(p);
  if (page == NULL) return 0;
  uintptr_t owner = atomic_get_relaxed(&page->owner);
  if (MI_LIKELY((owner & (PAGE_OWNER_SINGLE | PAGE_OWNER_INTERIOR)) == 0)) {
    if (MI_UNLIKELY(block_index(page, p) == BLOCK_NONE)) return 0;
    if (MI_SECURE && MI_UNLIKELY(is_freed(page, (const block_t*)p))) return 0;
    return page->block_size - BLOCK_TAIL;
  }
  if ((owner & PAGE_OWNER_SINGLE) != 0)
    return p != atomic_get_relaxed(&page->free)
               ? 0
               : page->block_size - (size_t)((const uint8_t*)p - page->start);
  const block_t* block = page_block_of(page, p);
  return page->block_size - BLOCK_TAIL - (size_t)((const uint8_t*)p - (const uint8_t*)block);
}

void theap_collect(theap_t* theap, bool force) {
  if (MI_SECURE) ring_flush(theap);
  if (MI_SECURE) racks_flush(theap);
  theap_sweep(theap, SIZE_MAX);
  if (force) {
    give_up_kept(theap);
  } else {
    singles_give_up(theap);
  }
  theap_flush_levels(theap);
}
