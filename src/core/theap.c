// This file is long because the slow paths of malloc and free, and what moves pages between theaps, share the
// queue operations, which nobody else may call.
#include "core/theap.h"
#include "core/arena.h"
#include "core/hooks.h"
#include "core/message.h"
#include "core/options.h"
#include "core/stats.h"
#include "core/sysmem.h"
#include "base/memory.h"

#define TICK_CALLS 64 // slow calls between two looks at kept pages, purges and the deferred free callback
#define KEEP_TICKS 4  // ticks that an empty page is kept

static theap_t* all_theaps; // push only, so that anyone may walk it
static theap_t late_theap;
static os_lock_t late_lock;

// ---- queues ---------------------------------------------------------------------------------------------

// The direct table for small sizes follows the first page of each queue.
static void queue_first_changed(theap_t* theap, unsigned bin) {
  if (size_class_size(bin) > SMALL_SIZE_MAX) return;
  page_t* first = theap->bins[bin].first;
  if (first == NULL) first = (page_t*)(uintptr_t)&page_none;
  size_t from = bin == 1 ? 0 : size_class_size(bin - 1) / 8 + 1;
  for (size_t i = from; i <= size_class_size(bin) / 8; i++) theap->small[i] = first;
}

static void list_append(page_queue_t* list, page_t* page) {
  page->next = NULL;
  page->previous = list->last;
  if (list->last != NULL) {
    list->last->next = page;
  } else {
    list->first = page;
  }
  list->last = page;
}

static void list_push(page_queue_t* list, page_t* page) {
  page->previous = NULL;
  page->next = list->first;
  if (list->first != NULL) {
    list->first->previous = page;
  } else {
    list->last = page;
  }
  list->first = page;
}

static void list_remove(page_queue_t* list, page_t* page) {
  if (page->previous != NULL) {
    page->previous->next = page->next;
  } else {
    list->first = page->next;
  }
  if (page->next != NULL) {
    page->next->previous = page->previous;
  } else {
    list->last = page->previous;
  }
  page->next = page->previous = NULL;
}

static void queue_remove(theap_t* theap, page_t* page) {
  page_queue_t* queue = &theap->bins[page->bin];
  bool was_first = queue->first == page;
  list_remove(queue, page);
  if (was_first) queue_first_changed(theap, page->bin);
}

static void queue_append(theap_t* theap, page_t* page) {
  page_queue_t* queue = &theap->bins[page->bin];
  list_append(queue, page);
  if (queue->first == page) queue_first_changed(theap, page->bin);
}

MI_INLINE void owner_set_flag(page_t* page, uintptr_t flag) {
  atomic_set_relaxed(&page->owner, atomic_get_relaxed(&page->owner) | flag);
}
MI_INLINE void owner_clear_flag(page_t* page, uintptr_t flag) {
  atomic_set_relaxed(&page->owner, atomic_get_relaxed(&page->owner) & ~flag);
}
MI_INLINE bool page_is_full(const page_t* page) {
  return (atomic_get_relaxed(&page->owner) & PAGE_OWNER_FULL) != 0;
}

// ---- pages come and go ----------------------------------------------------------------------------------

static void page_unkeep(theap_t* theap, page_t* page) {
  if (!page->is_kept) return;
  page->is_kept = 0;
  page->allocated--;
  theap->kept_count--;
}

// Gives an empty page that is in no list back to its arena.
static void page_drop(theap_t* theap, page_t* page) {
  page_unkeep(theap, page);
  theap->allocated[page->bin] += (int64_t)page->allocated;
  theap->freed[page->bin] += (int64_t)page->freed;
  stats_count(&stats_process.pages_retired, 1);
  arena_page_free(page);
}

// The last used block of a page was freed. The only page of a queue is kept for a while.
static void page_emptied(theap_t* theap, page_t* page) {
  if (page_is_full(page)) {
    list_remove(&theap->full, page);
    page_drop(theap, page);
    return;
  }
  page_queue_t* queue = &theap->bins[page->bin];
  if (queue->first == page && queue->last == page) {
    if (!page->is_kept) {
      page->is_kept = 1;
      page->keep_ticks = KEEP_TICKS;
      page->allocated++; // never looks empty to the fast path of free
      theap->kept_count++;
    }
    return;
  }
  queue_remove(theap, page);
  page_drop(theap, page);
}

// Takes a page without room off its queue. False when remote frees just came in: it has room then.
static bool page_set_full(theap_t* theap, page_t* page) {
  page_unkeep(theap, page);
  if (!page_request_notice(page)) return false;
  queue_remove(theap, page);
  owner_set_flag(page, PAGE_OWNER_FULL);
  list_push(&theap->full, page);
  return true;
}

// The page has free blocks again: back to the end of its queue, so that the current page goes on first.
static void page_set_unfull(theap_t* theap, page_t* page) {
  list_remove(&theap->full, page);
  owner_clear_flag(page, PAGE_OWNER_FULL);
  atomic_and_acq_rel(&page->remote, ~(uint64_t)PAGE_REMOTE_FULL);
  queue_append(theap, page);
}

static page_t* page_fresh(theap_t* theap, unsigned bin) {
  size_t size = size_class_size(bin);
  page_t* page = arena_page_allocate(page_slices_for(size), 1);
  if (page == NULL) return NULL;
  page_init(page, bin, size, (uintptr_t)theap);
  list_push(&theap->bins[bin], page);
  queue_first_changed(theap, bin);
  return page;
}

// ---- mailbox --------------------------------------------------------------------------------------------

// The caller has just set PAGE_REMOTE_MAIL: the page's mail_next is ours.
static void mailbox_push(page_t* page) {
  theap_t* theap = page_owner_theap(atomic_get_acquire(&page->owner));
  if (theap ==
      NULL) { // the page was given back meanwhile; its record must not look as if it were in a mailbox
    atomic_and_acq_rel(&page->remote, ~(uint64_t)PAGE_REMOTE_MAIL);
    return;
  }
  page_t* first = atomic_get_relaxed(&theap->mailbox);
  do {
    page->mail_next = first;
  } while (!atomic_cas_weak_release(&theap->mailbox, &first, page));
}

// Looks at the pages that other threads reported. Returns whether any page came back to a queue.
static bool mailbox_drain(theap_t* theap) {
  if (atomic_get_relaxed(&theap->mailbox) == NULL) return false;
  page_t* page = atomic_swap_acq_rel(&theap->mailbox, NULL);
  bool found = false;
  while (page != NULL) {
    page_t* next = page->mail_next;
    atomic_and_acq_rel(&page->remote, ~(uint64_t)PAGE_REMOTE_MAIL);
    theap_t* owner = page_owner_theap(atomic_get_acquire(&page->owner));
    if (owner == theap) {
      if (page_is_full(page) && page_collect_remote(page)) {
        if (page_used(page) == 0) {
          page_emptied(theap, page);
        } else {
          page_set_unfull(theap, page);
        }
        found = true;
      }
    } else if (owner != NULL) { // it moved to another theap while the notice was on its way: forward
      uint64_t before = atomic_or_acq_rel(&page->remote, (uint64_t)PAGE_REMOTE_MAIL);
      if ((before & PAGE_REMOTE_MAIL) == 0) mailbox_push(page);
    }
    page = next;
  }
  return found;
}

// ---- lists of orphans and spares: stacks with a change count against ABA --------------------------------

// Records are 64-byte aligned, so an address needs 41 of the 64 bits on x64 (26 on x86); the rest counts
// changes.
#define LIST_ADDRESS_SHIFT 6
#if MI_64BIT
#define LIST_ADDRESS_BITS 41
#else
#define LIST_ADDRESS_BITS 26
#endif
#define LIST_ADDRESS_MASK (((uint64_t)1 << LIST_ADDRESS_BITS) - 1)

static uint64_t orphans, spares;

MI_INLINE theap_t* list_top(uint64_t word) {
  return (theap_t*)(uintptr_t)((word & LIST_ADDRESS_MASK) << LIST_ADDRESS_SHIFT);
}
MI_INLINE uint64_t list_word(uint64_t before, const theap_t* theap) {
  uint64_t changes = (before >> LIST_ADDRESS_BITS) + 1;
  return changes << LIST_ADDRESS_BITS | (uint64_t)(uintptr_t)theap >> LIST_ADDRESS_SHIFT;
}

static void theap_list_push(uint64_t* list, theap_t* theap) {
  uint64_t word = atomic_get_relaxed(list);
  do {
    atomic_set_relaxed(&theap->list_next, list_top(word));
  } while (!atomic_cas_weak_acq_rel(list, &word, list_word(word, theap)));
}

static theap_t* theap_list_pop(uint64_t* list) {
  uint64_t word = atomic_get_acquire(list);
  for (;;) {
    theap_t* theap = list_top(word);
    if (theap == NULL) return NULL;
    // The record may be popped by another thread meanwhile: its memory stays valid, and the count makes the
    // swap fail.
    theap_t* next = atomic_get_relaxed(&theap->list_next);
    if (atomic_cas_weak_acq_rel(list, &word, list_word(word, next))) return theap;
  }
}

// ---- slow path of malloc --------------------------------------------------------------------------------

// Moves the pages of an orphan that we hold into `theap`.
static void theap_absorb(theap_t* theap, theap_t* orphan) {
  int64_t moved = 0;
  for (unsigned bin = 1; bin < BIN_HUGE; bin++) {
    while (orphan->bins[bin].first != NULL) {
      page_t* page = orphan->bins[bin].first;
      list_remove(&orphan->bins[bin], page);
      page_unkeep(orphan, page);
      atomic_set_release(&page->owner, (uintptr_t)theap | (page->owner & PAGE_OWNER_FLAGS));
      queue_append(theap, page);
      moved++;
      page_collect_remote(page);
      if (page_used(page) == 0) page_emptied(theap, page);
    }
    queue_first_changed(orphan, bin);
  }
  while (orphan->full.first != NULL) {
    page_t* page = orphan->full.first;
    list_remove(&orphan->full, page);
    atomic_set_release(&page->owner, (uintptr_t)theap | (page->owner & PAGE_OWNER_FLAGS));
    list_push(&theap->full, page);
    moved++;
    // A notice may be on its way to the orphan's mailbox: look for ourselves.
    if (page_collect_remote(page)) {
      if (page_used(page) == 0) {
        page_emptied(theap, page);
      } else {
        page_set_unfull(theap, page);
      }
    }
  }
  mailbox_drain(orphan); // forwards to us
  stats_count(&stats_process.pages_absorbed, moved);
  atomic_set_release(&orphan->state, (uint32_t)THEAP_SPARE);
  theap_list_push(&spares, orphan);
}

static bool theap_absorb_one(theap_t* theap) {
  if (list_top(atomic_get_relaxed(&orphans)) == NULL) return false;
  theap_t* orphan = theap_list_pop(&orphans);
  if (orphan == NULL) return false;
  stats_decrease(&stats_process.theaps_orphaned, 1);
  theap_absorb(theap, orphan);
  return true;
}

// Pages that were kept long enough go back.
static void theap_drop_kept(theap_t* theap, bool all) {
  for (unsigned bin = 1; bin < BIN_HUGE && theap->kept_count > 0; bin++) {
    for (page_t* page = theap->bins[bin].first; page != NULL;) {
      page_t* next = page->next;
      if (page->is_kept && page_used(page) == 0 && (all || --page->keep_ticks == 0)) {
        queue_remove(theap, page);
        page_drop(theap, page);
      } else if (page->is_kept && page_used(page) != 0) {
        page_unkeep(theap, page); // in use again; the next time it empties it is kept anew
      }
      page = next;
    }
  }
}

// Takes in remote frees of all pages and gives empty pages back.
static void theap_sweep(theap_t* theap) {
  mailbox_drain(theap);
  for (unsigned bin = 1; bin < BIN_HUGE; bin++) {
    for (page_t* page = theap->bins[bin].first; page != NULL;) {
      page_t* next = page->next;
      page_collect_remote(page);
      if (page_used(page) == 0) {
        queue_remove(theap, page);
        page_drop(theap, page);
      }
      page = next;
    }
  }
  for (page_t* page = theap->full.first; page != NULL;) {
    page_t* next = page->next;
    if (page_collect_remote(page)) {
      if (page_used(page) == 0) {
        page_emptied(theap, page);
      } else {
        page_set_unfull(theap, page);
      }
    }
    page = next;
  }
}

static void theap_tick(theap_t* theap) {
  if (theap->kept_count > 0) theap_drop_kept(theap, false);
  theap->heartbeat++;
  // Pages deep in a queue see their remote frees late: look at all of them every generic_collect slow calls.
  long sweep_ticks = option_get(option_generic_collect) / TICK_CALLS;
  if (sweep_ticks > 0 && theap->heartbeat % (uint64_t)sweep_ticks == 0) theap_sweep(theap);
  if (!theap->is_in_callback) {
    theap->is_in_callback = true;
    hooks_deferred_free(false, theap->heartbeat);
    theap->is_in_callback = false;
  }
  arena_purge(false);
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
  if (theap_absorb_one(theap) && (page = queue_find(theap, bin)) != NULL) return page;
  page = page_fresh(theap, bin);
  if (page != NULL) return page;
  // Out of memory: what other bins keep, and other threads' orphans, may help.
  theap_collect(theap, true);
  page = queue_find(theap, bin);
  return page != NULL ? page : page_fresh(theap, bin);
}

static void* theap_allocate_huge(theap_t* theap, size_t size, size_t alignment, bool* is_zero) {
  size_t slice_count = bits_divide_up(size, SLICE_SIZE);
  page_t* page = arena_page_allocate(slice_count, alignment);
  if (page == NULL) {
    theap_collect(theap, true);
    page = arena_page_allocate(slice_count, alignment);
    if (page == NULL) return NULL;
  }
  *is_zero = page->is_zero;
  page_init(page, BIN_HUGE, slice_count * SLICE_SIZE, (uintptr_t)theap | PAGE_OWNER_SINGLE);
  page->allocated = 1;
  stats_increase(&stats_process.huge_bytes, page->block_size);
  stats_count(&stats_process.huge_count, 1);
  return page->start;
}

static void huge_free(page_t* page) {
  // Whoever takes the owner away frees it; a second free of the same block finds nobody's page.
  uintptr_t owner = atomic_swap_acq_rel(&page->owner, 0);
  if (owner == 0) return;
  stats_decrease(&stats_process.huge_bytes, page->block_size);
  stats_count(&stats_process.huge_freed, 1);
  arena_page_free(page);
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
  if (MI_DEBUG && block != NULL && !*is_zero) mem_fill(block, 0xD0, page->block_size);
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

// Debug builds: is `p` a block in use? Reports and returns false otherwise.
static bool debug_check_free(theap_t* theap, const page_t* page, const void* p, const block_t* block,
                             bool is_interior) {
  if ((const void*)block != p && !is_interior) {
    message_error(MESSAGE_EINVAL, "free of invalid pointer %p: inside a block, not at its start", p);
    return false;
  }
  if (page_owner_theap(page->owner) == theap && page_block_is_free(page, block)) {
    message_error(MESSAGE_EAGAIN, "double free of block %p (size %zu)", p, page->block_size);
    return false;
  }
  return true;
}

static void free_own(theap_t* theap, page_t* page, block_t* block) {
  uint64_t freed = page->freed + 1;
  if (MI_UNLIKELY(freed > page->allocated - page->is_kept)) {
    message_error(MESSAGE_EAGAIN, "double free of block %p (size %zu)", (void*)block, page->block_size);
    return;
  }
  block->next = page->free;
  page->free = block;
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
    if ((owner & PAGE_OWNER_SINGLE) == 0) mem_fill(block, 0xDF, page->block_size);
  }
  if (MI_UNLIKELY((owner & PAGE_OWNER_SINGLE) != 0)) {
    if (is_interior) page_map_mark_pointer(page, p, false);
    huge_free(page);
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

bool theap_expand(void* p, size_t size) {
  size_t usable = theap_usable_size(p);
  if (size <= usable) return true;
  page_t* page = page_map_page(p);
  if (page == NULL || page->bin != BIN_HUGE || size > PTRDIFF_MAX) return false;
  size_t before = page->block_size;
  size_t needed = size + (size_t)((uint8_t*)p - page->start);
  if (!arena_page_extend(page, bits_divide_up(needed, SLICE_SIZE))) return false;
  page->block_size = page->slice_count * SLICE_SIZE;
  stats_increase(&stats_process.huge_bytes, page->block_size - before);
  return true;
}

// ---- collect --------------------------------------------------------------------------------------------

void theap_collect(theap_t* theap, bool force) {
  if (force) {
    while (theap_absorb_one(theap)) {}
  }
  theap_sweep(theap);
  arena_purge(force);
}

// ---- life -----------------------------------------------------------------------------------------------

static void theap_init(theap_t* theap) {
  for (size_t i = 0; i <= SMALL_WORDS; i++) theap->small[i] = (page_t*)(uintptr_t)&page_none;
}

static void theap_publish(theap_t* theap) {
  theap_t* first = atomic_get_relaxed(&all_theaps);
  do {
    theap->all_next = first;
  } while (!atomic_cas_weak_release(&all_theaps, &first, theap));
}

theap_t* theap_acquire(void) {
  theap_t* theap = theap_list_pop(&orphans);
  if (theap != NULL) {
    stats_decrease(&stats_process.theaps_orphaned, 1);
    stats_count(&stats_process.theaps_adopted, 1);
  } else {
    theap = theap_list_pop(&spares);
    if (theap == NULL) {
      theap = (theap_t*)sysmem_metadata(sizeof(theap_t));
      if (theap == NULL) return NULL;
      theap_init(theap);
      theap_publish(theap);
    }
  }
  theap->thread_id = os_thread_id();
  atomic_set_release(&theap->state, (uint32_t)THEAP_OWNED);
  stats_increase(&stats_process.theaps, 1);
  stats_increase(&stats_process.threads, 1);
  return theap;
}

void theap_give_back(theap_t* theap) {
  theap_sweep(theap);
  bool is_empty = theap->full.first == NULL;
  for (unsigned bin = 1; bin < BIN_HUGE && is_empty; bin++) is_empty = theap->bins[bin].first == NULL;
  stats_decrease(&stats_process.theaps, 1);
  stats_decrease(&stats_process.threads, 1);
  theap->thread_id = 0;
  if (is_empty) {
    atomic_set_release(&theap->state, (uint32_t)THEAP_SPARE);
    theap_list_push(&spares, theap);
  } else {
    atomic_set_release(&theap->state, (uint32_t)THEAP_ORPHAN);
    stats_increase(&stats_process.theaps_orphaned, 1);
    theap_list_push(&orphans, theap);
  }
}

theap_t* theap_late_enter(void) {
  os_lock_acquire(&late_lock);
  if (late_theap.state != THEAP_LATE) {
    theap_init(&late_theap);
    late_theap.state = THEAP_LATE;
    theap_publish(&late_theap);
  }
  stats_count(&stats_process.late_allocations, 1);
  return &late_theap;
}

void theap_late_leave(void) { os_lock_release(&late_lock); }

void theap_reset_all(void) {
  atomic_set_release(&all_theaps, (theap_t*)NULL);
  orphans = spares = 0;
  mem_zero(&late_theap, sizeof(late_theap));
}

// ---- statistics -----------------------------------------------------------------------------------------

static bool add_page_counts(page_t* page, void* arg) {
  stats_blocks_t* blocks = (stats_blocks_t*)arg;
  unsigned bin = page->bin;
  blocks->pages[bin]++;
  if (bin == BIN_HUGE) return true; // counted in stats_process
  blocks->allocated[bin] += (int64_t)(page->allocated - page->is_kept);
  blocks->freed[bin] += (int64_t)(page->freed + ((uint32_t)atomic_get_relaxed(&page->remote) >> 8));
  return true;
}

void theap_collect_stats(stats_blocks_t* blocks) {
  mem_zero(blocks, sizeof(*blocks));
  int64_t extended = 0, searches = 0, search_steps = 0;
  for (theap_t* theap = atomic_get_acquire(&all_theaps); theap != NULL; theap = theap->all_next) {
    extended += atomic_get_relaxed(&theap->extended);
    searches += atomic_get_relaxed(&theap->searches);
    search_steps += atomic_get_relaxed(&theap->search_steps);
    for (unsigned bin = 1; bin < BIN_HUGE; bin++) {
      blocks->allocated[bin] += atomic_get_relaxed(&theap->allocated[bin]);
      blocks->freed[bin] += atomic_get_relaxed(&theap->freed[bin]);
    }
  }
  atomic_set_relaxed(&stats_process.pages_extended, extended);
  atomic_set_relaxed(&stats_process.page_searches_count, searches);
  atomic_set_relaxed(&stats_process.page_searches, search_steps);
  arena_visit_pages(&add_page_counts, blocks);
  blocks->allocated[BIN_HUGE] = atomic_get_relaxed(&stats_process.huge_count);
  blocks->freed[BIN_HUGE] = atomic_get_relaxed(&stats_process.huge_freed);
}
