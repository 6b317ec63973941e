// Where theaps come from and where they go: acquiring, giving back, absorbing, reaping; the late theap; sums over all.
#include "core/theap.h"
#include "core/arena.h"
#include "core/stats.h"
#include "core/sysmem.h"
#include "core/theap_pages.h"
#include "base/memory.h"

static theap_t* all_theaps; // push only, so that anyone may walk it
static theap_t late_theap;
static os_lock_t late_lock;

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

// ---- absorbing ------------------------------------------------------------------------------------------

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
    page_refresh_full(theap, page);
  }
  mailbox_drain(orphan); // forwards to us
  stats_count(&stats_process.pages_absorbed, moved);
  atomic_set_release(&orphan->state, (uint32_t)THEAP_SPARE);
  theap_list_push(&spares, orphan);
}

bool theap_absorb_one(theap_t* theap) {
  if (list_top(atomic_get_relaxed(&orphans)) == NULL) return false;
  theap_t* orphan = theap_list_pop(&orphans);
  if (orphan == NULL) return false;
  stats_decrease(&stats_process.theaps_orphaned, 1);
  theap_absorb(theap, orphan);
  return true;
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

// ---- collect --------------------------------------------------------------------------------------------

void theap_collect(theap_t* theap, bool force) {
  if (force) {
    while (theap_absorb_one(theap)) {}
  }
  theap_sweep(theap);
  arena_purge(force);
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
