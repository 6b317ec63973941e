#include "core/heaps/theap.h"
#include "core/arenas/arena.h"
#include "core/report/hooks.h"
#include "core/report/message.h"
#include "core/report/options.h"
#include "core/report/counters.h"
#include "core/heaps/theap_pages.h"
#include "base/memory.h"

// What debug builds fill blocks with.
#define FILL_FRESH 0xD0
#define FILL_FREED 0xDF

#define TICK_CALLS 64 // slow calls between two looks at kept pages, purges and the deferred free callback

// ---- slow path of malloc --------------------------------------------------------------------------------

static void theap_tick(theap_t* theap) {
  if (theap->kept_slices > 0) theap_drop_kept(theap);
  theap->heartbeat++;
  // Pages deep in a queue see their remote frees late: look at all of them every generic_collect slow calls.
  long sweep_calls = option_get(option_generic_collect);
  if (sweep_calls > 0 && ++theap->sweep_ticks >= bits_divide_up((size_t)sweep_calls, TICK_CALLS)) {
    theap->sweep_ticks = 0;
    theap_sweep(theap);
  } else {
    mailbox_drain(theap);
  }
  // The callback may allocate: not while the late theap's lock is held. It guards itself against recursion.
  if (theap_holder_kind(theap->holder) != THEAP_LATE) hooks_deferred_free(false, theap->heartbeat);
  arena_purge(false, &theap->hands);
}

// A page of the queue with a free block or room to extend. Pages without leave the queue on the way.
static page_t* queue_find(theap_t* theap, unsigned bin) {
  page_t* page = theap->bins[bin].first;
  theap->searches++;
  while (page != NULL) {
    page_t* next = page->next;
    theap->search_steps++;
    if (page->free != NULL || page_collect_remote(page) || page->extended < page->reserved) return page;
    if (!page_set_full(theap, page)) continue; // remote frees came in just now: look again
    page = next;
  }
  return NULL;
}

static page_t* theap_find_page(theap_t* theap, unsigned bin) {
  page_t* page = queue_find(theap, bin);
  if (page != NULL) return page;
  if (mailbox_drain(theap) && (page = queue_find(theap, bin)) != NULL) return page;
  // The late theap leaves orphans to the threads that adopt them: what it had, only late allocations would get.
  bool is_late = theap_holder_kind(theap->holder) == THEAP_LATE;
  if (!is_late && theap_absorb_one(theap) && (page = queue_find(theap, bin)) != NULL) return page;
  page = page_fresh(theap, bin);
  if (page != NULL) return page;
  // Out of memory: what other bins keep, and other threads' orphans, may help.
  theap_collect(theap, true);
  page = queue_find(theap, bin);
  return page != NULL ? page : page_fresh(theap, bin);
}

static void* theap_allocate_huge(theap_t* theap, size_t size, size_t alignment, bool* is_zero) {
  size_t slice_count = bits_divide_up(size, SLICE_SIZE);
  page_t* page = arena_page_allocate(slice_count, alignment, &theap->hands);
  if (page == NULL) {
    // Giving back what we hold may help, unless the request is beyond all of it (a program that probes for the largest
    // possible block must not lose its warm memory at every step).
    if (size > (size_t)atomic_get_relaxed(&stats_process.committed.current)) return NULL;
    theap_collect(theap, true);
    page = arena_page_allocate(slice_count, alignment, &theap->hands);
    if (page == NULL) return NULL;
  }
  *is_zero = page->is_zero;
  page_init(page, BIN_HUGE, slice_count * SLICE_SIZE, (uintptr_t)theap | PAGE_OWNER_SINGLE);
  arena_page_made(&theap->hands);
  page->allocated = 1;
  stats_increase(&stats_process.huge_bytes, page->block_size);
  stats_count(&stats_process.huge_count, 1);
  return page->start;
}

// Of the calling thread, which may have no theap.
static arena_hands_t* hands_of(theap_t* theap) { return theap != NULL ? &theap->hands : NULL; }

static void huge_free(theap_t* theap, page_t* page) {
  // Whoever takes the owner away frees it; a second free of the same block finds nobody's page.
  uintptr_t owner = atomic_swap_acq_rel(&page->owner, 0);
  if (owner == 0) return;
  size_t size = page->block_size;
  arena_page_free(page, hands_of(theap));
  stats_decrease(&stats_process.huge_bytes, size);
  stats_count(&stats_process.huge_freed, 1);
}

void* theap_allocate(theap_t* theap, size_t size, bool* is_zero) {
  if (MI_UNLIKELY(++theap->slow_calls >= TICK_CALLS)) {
    theap->slow_calls = 0;
    theap_tick(theap);
  }
  if (MI_UNLIKELY(size > LARGE_SIZE_MAX)) {
    return size > PTRDIFF_MAX ? NULL : theap_allocate_huge(theap, size, 1, is_zero);
  }
  unsigned bin = size_class_bin(size);
  page_t* page = theap->bins[bin].first;
  if (page == NULL || page->free == NULL) {
    page = theap_find_page(theap, bin);
    if (page == NULL) return NULL;
  }
  if (page->free == NULL) theap->extended++;
  block_t* block = page_take(page, is_zero);
  if (MI_DEBUG && block != NULL && !*is_zero) mem_fill(block, FILL_FRESH, page->block_size);
  return block;
}

void* theap_allocate_aligned(theap_t* theap, size_t size, size_t alignment, size_t offset, bool* is_zero) {
  if (size > PTRDIFF_MAX) return NULL;
  if (offset % alignment == 0) {
    // Pages start at multiples of SLICE_SIZE, so every block of a bin whose size is a multiple of the
    // alignment is aligned: nothing to search, nothing to remember. Powers of two always are such bins.
    if (alignment <= 8 || (alignment == 16 && size > 8)) return theap_allocate(theap, size, is_zero);
    if (alignment <= SLICE_SIZE && size <= LARGE_SIZE_MAX) {
      unsigned bin = size_class_bin(size < alignment ? alignment : size);
      while (bin < BIN_HUGE && size_class_size(bin) % alignment != 0) bin++;
      if (bin < BIN_HUGE) return theap_allocate(theap, size_class_size(bin), is_zero);
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
  if (page_used(page) == 0) {
    page_emptied(theap, page);
  } else if (page_is_full(page)) {
    page_set_unfull(theap, page);
  }
}

free_result_t theap_free(theap_t* theap, void* p) {
  if (p == NULL) return FREE_DONE;
  page_t* page = page_map_page(p);
  if (page == NULL) return FREE_NOT_OURS;
  uintptr_t owner = atomic_get_relaxed(&page->owner);
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
  } else if (theap != NULL && page_owner_theap(owner) == theap) {
    free_own(theap, page, block);
  } else if (page_free_remote(page, block)) {
    mailbox_push(page);
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
  if (page == NULL || page->bin != BIN_HUGE || size > PTRDIFF_MAX) return false;
  size_t before = page->block_size;
  size_t needed = size + (size_t)((uint8_t*)p - page->start);
  if (!arena_page_extend(page, bits_divide_up(needed, SLICE_SIZE), hands_of(theap))) return false;
  page->block_size = page->slice_count * SLICE_SIZE;
  if ((atomic_get_relaxed(&page->owner) & PAGE_OWNER_INTERIOR) != 0) page_map_mark_pointer(page, p, true);
  stats_increase(&stats_process.huge_bytes, page->block_size - before);
  return true;
}
