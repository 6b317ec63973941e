// Thread records: acquired, given back, found dead and reaped; the late record; full collections.
#include "core/heaps/thread.h"
#include "core/heaps/single.h"

#include "core/heaps/abandoned.h"
#include "core/heaps/guarded.h"
#include "core/heaps/idle.h"
#include "core/heaps/record_stack.h"
#include "core/heaps/theap_life.h"
#include "core/heaps/theap_pages.h"
#include "core/memory/sysmem.h"
#include "core/report/counters.h"
#include "core/report/message.h"
#include "base/memory.h"

#define REAP_CHECKS     4  // living threads looked at at once
#define REAP_CREDIT     16 // starts of threads that look again for each dead one found
#define REAP_CREDIT_MAX 256
#define RECENT_COUNT    1024

static thread_t* all_threads; // push only
static size_t thread_count;   // of all_threads
static uint64_t spares;
static thread_t late_thread;
static os_lock_t late_lock;
static uint32_t acquisitions;          // numbers them
static int32_t reap_credit;            // starts of threads that are to look for dead ones
static thread_t* reap_cursor;          // goes round all records; type-stable, so a lost update costs nothing
static thread_t* recent[RECENT_COUNT]; // the last record that a thread with such an id acquired: a hint

thread_t* thread_first(void) { return atomic_get_acquire(&all_threads); }

static void publish(thread_t* thread) {
  atomic_push(&all_threads, thread, all_next);
  atomic_add_relaxed(&thread_count, 1);
}

// ---- life -------------------------------------------------------------------------------------------------

// A thread with this id begins: whoever else has a record under the same id is dead.
static void note_id(thread_t* thread, uint32_t id) {
  thread_t** place = &recent[id % RECENT_COUNT];
  thread_t* other = atomic_get_relaxed(place);
  if (other != NULL && other != thread) {
    uint64_t holder = atomic_get_acquire(&other->holder);
    if (thread_holder_kind(holder) == THREAD_OWNED && thread_holder_id(holder) == id)
      atomic_set_release(&other->is_superseded, 1u);
  }
  atomic_set_relaxed(place, thread);
}

thread_t* thread_acquire(subproc_t* subproc) {
  uint32_t number = atomic_add_relaxed(&acquisitions, 1) + 1, id = os_thread_id();
  thread_t* thread = (thread_t*)record_pop(&spares, offsetof(thread_t, list_next));
  bool is_fresh = thread == NULL;
  if (is_fresh) {
    thread = (thread_t*)sysmem_metadata(sizeof(thread_t));
    if (thread == NULL) return NULL;
  }
  thread->subproc = subproc;
  atomic_set_relaxed(&thread->is_superseded, 0u);
  atomic_set_release(&thread->holder, THREAD_HOLDER(THREAD_OWNED, id, number));
  if (is_fresh) {
    publish(thread);
    if (atomic_get_relaxed(&reap_credit) <= 0) atomic_set_relaxed(&reap_credit, 1);
  }
  note_id(thread, id);
  theap_t* theap = theap_make(thread, subproc->main);
  if (theap == NULL) {
    atomic_set_release(&thread->holder, THREAD_HOLDER(THREAD_SPARE, 0, 0));
    record_push(&spares, thread, (void**)&thread->list_next);
    return NULL;
  }
  atomic_add_relaxed(&subproc->threads, 1);
  stats_increase(&stats_process.theaps, 1);
  stats_increase(&stats_process.threads, 1);
  return thread;
}

static void unwatch(thread_t* thread) {
  uint64_t watch = atomic_swap_acq_rel(&thread->watch, 0);
  if (watch != 0) os_thread_unwatch(watch);
}

static void record_give(thread_t* thread, bool was_owned) {
  unwatch(thread); // not before: who finds a theap of a thread that is just ending asks whether that lives
  thread->theaps = thread->main = thread->chosen = NULL;
  if (was_owned) {
    atomic_sub_relaxed(&thread->subproc->threads, 1);
    stats_decrease(&stats_process.theaps, 1);
    stats_decrease(&stats_process.threads, 1);
  }
  atomic_set_release(&thread->holder, THREAD_HOLDER(THREAD_SPARE, 0, 0));
  record_push(&spares, thread, (void**)&thread->list_next);
}

void thread_give_back(thread_t* thread) {
  // The main one last: what the others count and hold goes by the thread's hands, which anybody finds.
  for (theap_t* theap = thread->theaps; theap != NULL;) {
    theap_t* next = theap->thread_next;
    if (theap != thread->main) theap_end(theap);
    theap = next;
  }
  if (thread->main != NULL) theap_end(thread->main);
  record_give(thread, true);
}

MI_NOINLINE theap_t* thread_find_theap(const thread_t* thread, heap_t* heap) {
  if (heap == thread->subproc->main && thread->main != NULL) return thread->main;
  theap_t* theap = thread->chosen == NULL ? NULL : theap_cached(thread->chosen, heap);
  return theap != NULL ? theap : theap_find(thread, heap);
}

theap_t* thread_theap(thread_t* thread, heap_t* heap) {
  theap_t* theap = thread_find_theap(thread, heap);
  if (theap == NULL) theap = theap_make(thread, heap);
  if (theap != NULL) theap_remember(thread, theap, heap);
  return theap;
}

bool thread_choose(thread_t* thread, theap_t* theap) {
  if (!os_slot_set(theap)) return false;
  theap_take_cache(thread, theap);
  return true;
}

// ---- reaping ----------------------------------------------------------------------------------------------
// A theap whose thread was killed may be in the middle of anything, so its lists can't be trusted. Its pages
// can: each store to a page record leaves it valid (see the fences where they are written), at worst with a
// block or a page lost. So the pages are found by walking the arenas, and the theap's own lists are thrown
// away.
//
// All that are found dead at a time are dealt with together, by one walk over theaps and pages: their records have the same
// holder then.

typedef struct salvage_s {
  uint64_t holder; // of the dead ones' records
  theap_t* by;     // any of the living thread's, or NULL
} salvage_t;

static bool is_of_dead(const theap_t* theap, const salvage_t* salvage) {
  const thread_t* thread = atomic_get_acquire(&theap->thread);
  return thread != NULL && atomic_get_acquire(&thread->holder) == salvage->holder;
}

static bool salvage_page(page_t* page, void* arg) {
  salvage_t* salvage = (salvage_t*)arg;
  uintptr_t owner = atomic_get_acquire(&page->owner);
  if ((owner & PAGE_OWNER_ABANDONED) != 0) return true;
  theap_t* theap = page_owner_theap(owner);
  if (theap == NULL || !is_of_dead(theap, salvage) || atomic_get_acquire(&theap->state) != THEAP_ENDING)
    return true;
  if ((owner & PAGE_OWNER_SINGLE) != 0) {
    if (single_is_kept(owner)) single_salvage(salvage->by, page);
    return true;
  }
  if (page->is_kept) {
    page->is_kept = 0;
    page->allocated--;
  }
  if ((owner & PAGE_OWNER_CLAIMED) != 0)
    atomic_set_release(&page->owner, owner & ~(uintptr_t)PAGE_OWNER_CLAIMED);
  page_collect_remote(page);
  page_abandon(salvage->by, page);
  return true;
}

bool thread_is_dead(const thread_t* thread) {
  uint64_t holder = atomic_get_acquire(&thread->holder);
  uint32_t id = thread_holder_id(holder);
  if (thread_holder_kind(holder) == THREAD_TAKEN)
    return os_thread_is_dead(id); // who gives back what the dead one left
  if (thread_holder_kind(holder) != THREAD_OWNED) return false;
  if (atomic_get_acquire(&thread->is_superseded) != 0) return true;
  if (os_thread_is_dead(id)) return true;
  uint64_t watch = atomic_get_relaxed(&thread->watch);
  return watch != 0 && os_thread_is_another(id, watch);
}

// Between the page's loss of its owner and its end (huge_free) only the hand tells that it is guarded, or in
// a heap's list. And only the hand tells of a page that isn't yet in such a list, though it has its owner.
static void end_page_in_hand(const thread_t* dead) {
  page_t* page = arena_page_in_hand(&dead->hands);
  if (page == NULL || page->heap == NULL) return;
  uintptr_t owner = atomic_get_acquire(&page->owner);
  if (owner == 0) {
    guarded_page_free(page);
    heap_page_remove(page, true); // perhaps it was
    return;
  }
  theap_t* theap = page_owner_theap(owner);
  if (theap != NULL && theap->thread == dead && atomic_get_acquire(&theap->state) == THEAP_ENDING)
    heap_add_page_in_hand(theap);
}

// `dead`: linked by list_next.
static void salvage_all(thread_t* dead, theap_t* by) {
  salvage_t salvage = {dead->holder, by};
  for (theap_t* theap = theap_first(); theap != NULL; theap = theap->all_next)
    if (is_of_dead(theap, &salvage)) theap_begin_salvage(theap);
  for (thread_t* at = dead; at != NULL; at = at->list_next) {
    end_page_in_hand(at);
    arena_give_back(&at->hands);
  }
  for (subproc_t* subproc = subproc_first(); subproc != NULL; subproc = subproc->next)
    arena_visit_pages(&subproc->arenas, &salvage_page, &salvage);
  for (theap_t* theap = theap_first(); theap != NULL; theap = theap->all_next) {
    if (!is_of_dead(theap, &salvage)) continue;
    uint32_t state = THEAP_DESTROYING;
    if (atomic_cas_acq_rel(&theap->state, &state, (uint32_t)THEAP_LET_GO))
      continue; // the other gives it back
    if (state == THEAP_ENDING || state == THEAP_DESTROYED) theap_end_salvage(theap);
  }
}

size_t thread_reap(thread_t* self, size_t checks) {
  size_t reaped = 0;
  thread_t* dead = NULL;
  thread_t* candidate = atomic_get_acquire(&reap_cursor);
  size_t count = atomic_get_relaxed(&thread_count);
  uint64_t taken =
      THREAD_HOLDER(THREAD_TAKEN, os_thread_id(), self == NULL ? 0 : thread_holder_number(self->holder));
  for (size_t seen = 0; checks > 0 && seen < count; seen++) {
    if (candidate == NULL) candidate = atomic_get_acquire(&all_threads);
    if (candidate == NULL) break;
    uint64_t holder = atomic_get_acquire(&candidate->holder);
    unsigned kind = thread_holder_kind(holder);
    if (candidate != self && (kind == THREAD_OWNED || kind == THREAD_TAKEN)) {
      bool is_dead =
          kind == THREAD_OWNED ? thread_is_dead(candidate) : os_thread_is_dead(thread_holder_id(holder));
      if (!is_dead) checks--; // while there are dead ones, the walk goes on: more of them cost hardly more
      // The swap succeeds only if it is still the same ownership that was found dead.
      if (is_dead && atomic_cas_acq_rel(&candidate->holder, &holder, taken)) {
        if (kind == THREAD_OWNED) candidate->was_owned = true;
        candidate->list_next = dead;
        dead = candidate;
        reaped++;
      }
    }
    candidate = candidate->all_next;
  }
  atomic_set_release(&reap_cursor, candidate);
  if (dead == NULL) return 0;
  salvage_all(dead, self == NULL ? NULL : self->main);
  stats_count(&stats_process.threads_reaped, (int64_t)reaped);
  while (dead != NULL) {
    thread_t* next = dead->list_next;
    bool was_owned = dead->was_owned;
    dead->was_owned = false; // first: counted once at most, whoever dies
    record_give(dead, was_owned);
    dead = next;
  }
  return reaped;
}

// Asking whether a thread is alive costs system calls, which the start of a thread should not pay for. So
// threads are only looked at when there are more than ever, perhaps because some were killed, and then, as
// long as dead ones are found, at the start of every thread: that keeps up with any number of kills.
void thread_reap_some(thread_t* thread) {
  if (atomic_get_relaxed(&reap_credit) <= 0) return;
  size_t reaped = thread_reap(thread, REAP_CHECKS);
  int32_t credit = atomic_get_relaxed(&reap_credit);
  int32_t next = credit - 1 + (int32_t)reaped * REAP_CREDIT;
  atomic_set_relaxed(&reap_credit, next < 0 ? 0 : next > REAP_CREDIT_MAX ? REAP_CREDIT_MAX : next);
}

// ---- the late record
// ----------------------------------------------------------------------------------------

static bool is_late_made(void) { return thread_holder_kind(late_thread.holder) == THREAD_LATE; }

static void late_lock_take(void) {
  bool is_taken_over = os_lock_acquire(&late_lock);
  message_hold_callbacks_here(); // what a callback allocates might come here, too
  if (!is_taken_over || !is_late_made()) return;
  salvage_all(&late_thread, NULL);
  late_thread.theaps = late_thread.main = late_thread.chosen = NULL;
}

thread_t* thread_late_enter(subproc_t* subproc) {
  MI_UNUSED(subproc);
  late_lock_take();
  if (!is_late_made()) {
    late_thread.subproc = subproc_main();
    late_thread.holder = THREAD_HOLDER(THREAD_LATE, 0, 0);
  }
  stats_count(&stats_process.late_allocations, 1);
  return &late_thread;
}

void thread_late_leave(void) {
  message_release_callbacks_here();
  os_lock_release(&late_lock);
}

void thread_late_forget(subproc_t* subproc) {
  late_lock_take();
  for (theap_t* theap = late_thread.theaps; theap != NULL;) {
    theap_t* next = theap->thread_next;
    heap_t* heap = theap->heap;
    if (heap != NULL && heap->subproc == subproc) theap_end(theap);
    theap = next;
  }
  thread_late_leave();
}

// ---- collect ----------------------------------------------------------------------------------------------

// Others may destroy a heap meanwhile: they wait for a theap that seems to end, as long as its thread lives.
static void collect_theaps(thread_t* thread, bool force) {
  for (theap_t* theap = thread->theaps; theap != NULL; theap = theap->thread_next) {
    uint32_t owned = THEAP_OWNED;
    if (!atomic_cas_acq_rel(&theap->state, &owned, (uint32_t)THEAP_ENDING)) continue;
    if (atomic_get_relaxed(&theap->heap) != NULL) theap_collect(theap, force);
    atomic_set_release(&theap->state, (uint32_t)THEAP_OWNED);
  }
}

void thread_collect(thread_t* thread, bool force) {
  if (thread != &late_thread) theaps_tidy(thread, NULL);
  if (!force) {
    collect_theaps(thread, false);
    arena_purge(&thread->subproc->arenas, false, &thread->hands);
    return;
  }
  thread_reap(thread, SIZE_MAX);
  heaps_end_left();
  if (thread != &late_thread) {
    collect_theaps(thread, true);
    late_lock_take();
    if (is_late_made()) collect_theaps(&late_thread, true);
    thread_late_leave();
  }
  theap_t* by = thread == &late_thread ? NULL : thread->main;
  for (subproc_t* subproc = subproc_first(); subproc != NULL; subproc = subproc->next) {
    if (atomic_get_acquire(&subproc->state) != HEAP_LIVE) continue;
    arena_visit_t visit;
    if (!arena_set_enter(&subproc->arenas, &visit)) continue;
    subproc_collect_abandoned(subproc, by);
    arena_purge(&subproc->arenas, true, &thread->hands);
    arena_set_leave(&visit);
  }
}

void thread_trim(thread_t* thread) {
  bool is_late = thread == &late_thread;
  if (!is_late) theap_offer_free(thread->main);
  idle_give_back(is_late ? NULL : thread->main, true);
}

void thread_reset_all(void) {
  for (thread_t* at = thread_first(); at != NULL; at = at->all_next) unwatch(at);
  atomic_set_release(&all_threads, (thread_t*)NULL);
  thread_count = 0;
  spares = 0;
  reap_cursor = NULL;
  reap_credit = 0;
  mem_zero(recent, sizeof(recent));
  mem_zero(&late_thread, sizeof(late_thread));
  late_lock.owner = 0;
  theaps_forget_all();
  heap_release_all();
}
