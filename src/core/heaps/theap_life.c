// Where theaps come from and where they go: acquiring, giving back, absorbing, reaping; the late theap; sums over all.
#include "core/heaps/theap.h"
#include "core/arenas/arena.h"
#include "core/report/message.h"
#include "core/report/counters.h"
#include "core/memory/sysmem.h"
#include "core/heaps/theap_pages.h"
#include "base/memory.h"

#define REAP_CHECKS     4  // owners looked at at once
#define REAP_CREDIT     16 // starts of threads that look again for each dead owner found
#define REAP_CREDIT_MAX 256

static theap_t* all_theaps; // push only, so that anyone may walk it (theap_first)
static theap_t late_theap;
static os_lock_t late_lock;
static size_t theap_count;    // of all_theaps
static uint32_t acquisitions; // numbers them
static int32_t reap_credit;   // starts of threads that are to look for dead owners
static theap_t* reap_cursor;  // goes round all theaps; type-stable, so a lost update costs nothing

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

// Takes a theap off the list and gives it `holder`; NULL when there is none.
static theap_t* theap_list_take(uint64_t* list, uint64_t holder) {
  uint64_t word = atomic_get_acquire(list);
  for (;;) {
    theap_t* theap = list_top(word);
    if (theap == NULL) return NULL;
    // The record may be popped by another thread meanwhile: its memory stays valid, and the count makes the
    // swap fail.
    theap_t* next = atomic_get_relaxed(&theap->list_next);
    uint64_t before = atomic_get_acquire(&theap->holder); // from when it was in the list
    if (!atomic_cas_weak_acq_rel(list, &word, list_word(word, next))) continue;
    if (atomic_cas_acq_rel(&theap->holder, &before, holder)) return theap;
    word = atomic_get_acquire(list); // it was taken for a stray just now: the next one
  }
}

theap_t* theap_first(void) { return atomic_get_acquire(&all_theaps); }

static void theap_init(theap_t* theap) {
  for (size_t i = 0; i <= SMALL_WORDS; i++) theap->small[i] = (page_t*)(uintptr_t)&page_none;
}

static void theap_publish(theap_t* theap) {
  theap_t* first = atomic_get_relaxed(&all_theaps);
  do {
    theap->all_next = first;
  } while (!atomic_cas_weak_release(&all_theaps, &first, theap));
  atomic_add_relaxed(&theap_count, 1);
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
  atomic_set_release(&orphan->holder, THEAP_HOLDER(THEAP_SPARE, 0, 0));
  theap_list_push(&spares, orphan);
}

// While a thread moves the pages of a theap that it took, the record says so: should it be killed meanwhile, the theap is
// reaped once more.
static uint64_t holder_taken(const theap_t* theap) {
  return THEAP_HOLDER(THEAP_TAKEN, os_thread_id(), theap_holder_number(theap->holder));
}

bool theap_absorb_one(theap_t* theap) {
  if (list_top(atomic_get_relaxed(&orphans)) == NULL) return false; // nearly always
  theap_t* orphan = theap_list_take(&orphans, holder_taken(theap));
  if (orphan == NULL) return false;
  stats_decrease(&stats_process.theaps_orphaned, 1);
  theap_absorb(theap, orphan);
  return true;
}

// ---- reaping --------------------------------------------------------------------------------------------
// A theap whose owner was killed may be in the middle of anything, so its lists can't be trusted. Its pages can: each
// store to a page record leaves it valid (see the fences where they are written), at worst with a block or a page lost. So the
// pages are found by walking the arenas, and the theap's own lists are thrown away.

typedef struct salvage_s {
  theap_t* from;
  theap_t* to;
  int64_t moved;
} salvage_t;

static bool salvage_page(page_t* page, void* arg) {
  salvage_t* salvage = (salvage_t*)arg;
  uintptr_t owner = atomic_get_acquire(&page->owner);
  if (page_owner_theap(owner) != salvage->from || (owner & PAGE_OWNER_SINGLE) != 0) return true;
  if (page->is_kept) {
    page->is_kept = 0;
    page->allocated--;
  }
  atomic_and_acq_rel(&page->remote, ~(uint64_t)PAGE_REMOTE_FULL);
  atomic_set_release(&page->owner, (uintptr_t)salvage->to | (owner & PAGE_OWNER_INTERIOR));
  queue_append(salvage->to, page);
  salvage->moved++;
  page_collect_remote(page);
  if (page_used(page) == 0) page_emptied(salvage->to, page);
  return true;
}

// Dead for sure: no thread has the id, or one has that acquired another theap later.
static bool owner_is_dead(const theap_t* theap, uint64_t holder) {
  uint32_t id = theap_holder_id(holder);
  if (os_thread_is_dead(id)) return true;
  for (theap_t* other = atomic_get_acquire(&all_theaps); other != NULL; other = other->all_next) {
    uint64_t theirs = atomic_get_acquire(&other->holder);
    if (other != theap && theap_holder_kind(theirs) == THEAP_OWNED && theap_holder_id(theirs) == id &&
        (int32_t)((theap_holder_number(theirs) - theap_holder_number(holder)) << 3) >
            0) // 29-bit numbers may wrap
      return true;
  }
  return false;
}

static void theap_forget_pages(theap_t* theap) {
  theap_init(theap);
  mem_zero(theap->bins, sizeof(theap->bins));
  theap->full = (page_queue_t){NULL, NULL};
  theap->kept_slices = 0;
}

// The same for a theap whose user died, but which stays in use: the late theap.
static void theap_rebuild(theap_t* theap) {
  salvage_t salvage = {.from = theap, .to = theap};
  arena_give_back(&theap->hands);
  theap_forget_pages(theap);
  arena_visit_pages(&salvage_page, &salvage);
  mailbox_drain(theap);
}

static void theap_salvage(theap_t* theap, theap_t* dead, bool was_owned) {
  salvage_t salvage = {.from = dead, .to = theap};
  arena_give_back(&dead->hands);
  arena_visit_pages(&salvage_page, &salvage);
  theap_forget_pages(dead);
  mailbox_drain(dead); // forwards to us
  stats_count(&stats_process.pages_absorbed, salvage.moved);
  stats_count(&stats_process.theaps_reaped, 1);
  if (was_owned) {
    stats_decrease(&stats_process.theaps, 1);
    stats_decrease(&stats_process.threads, 1);
  }
  atomic_set_release(&dead->holder, THEAP_HOLDER(THEAP_SPARE, 0, 0));
  theap_list_push(&spares, dead);
}

size_t theap_reap(theap_t* theap, size_t checks) {
  size_t reaped = 0;
  theap_t* candidate = atomic_get_relaxed(&reap_cursor);
  size_t count = atomic_get_relaxed(&theap_count);
  for (size_t seen = 0; checks > 0 && seen < count; seen++) {
    if (candidate == NULL) candidate = atomic_get_acquire(&all_theaps);
    if (candidate == NULL) break;
    uint64_t holder = atomic_get_acquire(&candidate->holder);
    unsigned kind = theap_holder_kind(holder);
    if (candidate != theap && (kind == THEAP_OWNED || kind == THEAP_TAKEN)) {
      checks--;
      // The swap succeeds only if it is still the same ownership that was found dead.
      if (owner_is_dead(candidate, holder) &&
          atomic_cas_acq_rel(&candidate->holder, &holder, holder_taken(theap))) {
        theap_salvage(theap, candidate, kind == THEAP_OWNED);
        reaped++;
      }
    }
    candidate = candidate->all_next;
  }
  atomic_set_relaxed(&reap_cursor, candidate);
  return reaped;
}

// An orphan whose giver died before it was in the list, or that was popped by a thread that died before it wrote that down.
// The giver being dead, it is in the list by now or never will be: so if the list was emptied since, and the orphan
// still isn't anybody's, it is a stray.
static void theap_reap_strays(theap_t* theap) {
  for (theap_t* other = atomic_get_acquire(&all_theaps); other != NULL; other = other->all_next) {
    uint64_t holder = atomic_get_acquire(&other->holder);
    if (theap_holder_kind(holder) != THEAP_ORPHAN || !owner_is_dead(other, holder)) continue;
    while (theap_absorb_one(theap)) {}
    if (!atomic_cas_acq_rel(&other->holder, &holder, holder_taken(theap))) continue;
    stats_decrease(&stats_process.theaps_orphaned, 1);
    theap_salvage(theap, other, false);
  }
}

// ---- life -----------------------------------------------------------------------------------------------

// Asking whether a thread is alive costs system calls, which the start of a thread should not pay for. So owners are only
// looked at when there are more theaps than ever, perhaps because threads were killed, and then, as long as dead ones
// are found, at the start of every thread: that keeps up with any number of kills.
void theap_reap_some(theap_t* theap) {
  if (atomic_get_relaxed(&reap_credit) <= 0) return;
  size_t reaped = theap_reap(theap, REAP_CHECKS);
  int32_t credit = atomic_get_relaxed(&reap_credit);
  int32_t next = credit - 1 + (int32_t)reaped * REAP_CREDIT;
  atomic_set_relaxed(&reap_credit, next < 0 ? 0 : next > REAP_CREDIT_MAX ? REAP_CREDIT_MAX : next);
}

theap_t* theap_acquire(void) {
  uint32_t number = atomic_add_relaxed(&acquisitions, 1) + 1;
  uint64_t holder = THEAP_HOLDER(THEAP_OWNED, os_thread_id(), number);
  theap_t* theap = theap_list_take(&orphans, holder);
  if (theap != NULL) {
    stats_decrease(&stats_process.theaps_orphaned, 1);
    stats_count(&stats_process.theaps_adopted, 1);
  } else if ((theap = theap_list_take(&spares, holder)) == NULL) {
    theap = (theap_t*)sysmem_metadata(sizeof(theap_t));
    if (theap == NULL) return NULL;
    theap_init(theap);
    theap->holder = holder;
    theap_publish(theap);
    if (atomic_get_relaxed(&reap_credit) <= 0) atomic_set_relaxed(&reap_credit, 1);
  }
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
  if (is_empty) {
    atomic_set_release(&theap->holder, THEAP_HOLDER(THEAP_SPARE, 0, 0));
    theap_list_push(&spares, theap);
  } else {
    stats_increase(&stats_process.theaps_orphaned, 1);
    uint64_t holder = theap->holder; // its giver is remembered: see theap_reap_strays
    atomic_set_release(&theap->holder,
                       THEAP_HOLDER(THEAP_ORPHAN, theap_holder_id(holder), theap_holder_number(holder)));
    theap_list_push(&orphans, theap);
  }
}

static void late_lock_take(void) {
  bool is_taken_over = os_lock_acquire(&late_lock);
  message_hold_callbacks_here(); // what a callback allocates might come here, too
  if (is_taken_over && theap_holder_kind(late_theap.holder) == THEAP_LATE) theap_rebuild(&late_theap);
}

theap_t* theap_late_enter(void) {
  late_lock_take();
  if (theap_holder_kind(late_theap.holder) != THEAP_LATE) {
    theap_init(&late_theap);
    late_theap.holder = THEAP_HOLDER(THEAP_LATE, 0, 0);
    theap_publish(&late_theap);
  }
  stats_count(&stats_process.late_allocations, 1);
  return &late_theap;
}

void theap_late_leave(void) {
  message_release_callbacks_here();
  os_lock_release(&late_lock);
}

void theap_reset_all(void) {
  atomic_set_release(&all_theaps, (theap_t*)NULL);
  orphans = spares = 0;
  theap_count = 0;
  reap_cursor = NULL;
  reap_credit = 0;
  mem_zero(&late_theap, sizeof(late_theap));
}

// ---- collect --------------------------------------------------------------------------------------------

void theap_collect(theap_t* theap, bool force) {
  if (force) {
    theap_reap(theap, SIZE_MAX);
    if (theap != &late_theap) {
      while (theap_absorb_one(theap)) {}
      theap_reap_strays(theap);
      late_lock_take();
      if (theap_holder_kind(late_theap.holder) == THEAP_LATE) theap_sweep(&late_theap);
      theap_late_leave();
    }
  }
  theap_sweep(theap);
  arena_purge(force, &theap->hands);
}
