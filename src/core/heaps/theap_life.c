#include "core/heaps/theap_life.h"

#include "core/heaps/abandoned.h"
#include "core/heaps/guarded.h"
#include "core/heaps/record_stack.h"
#include "core/heaps/ring.h"
#include "core/heaps/theap_pages.h"
#include "core/heaps/thread.h"
#include "core/memory/sysmem.h"
#include "core/report/counters.h"
#include "base/memory.h"

theap_t theap_none = {.small = {[0 ... SMALL_WORDS] = (page_t*)(uintptr_t)&page_none},
                      .racks.by_words = {[0 ... RACK_SIZES - 1] = RACK_NONE},
                      .racks.by_bin = {[0 ... RACK_ANY_BIN - 1] = RACK_NONE}};

// Theaps of the thread's own that are looked at before those of the heap.
#define OWN_LOOKS 64

static theap_t* all_theaps; // push only, so that anyone may walk it
static uint64_t spares;
static os_lock_t counts_lock; // over counters that a spare record still has of a main heap

theap_t* theap_first(void) { return atomic_get_acquire(&all_theaps); }

static theap_t* record_take(void) {
  theap_t* theap = (theap_t*)record_pop(&spares, offsetof(theap_t, list_next));
  if (theap != NULL) return theap;
  theap = (theap_t*)sysmem_metadata(sizeof(theap_t));
  if (theap == NULL) return NULL;
  theap_forget_pages(theap);
  atomic_push(&all_theaps, theap, all_next);
  return theap;
}

static void record_give(theap_t* theap) {
  atomic_set_release(&theap->heap, (heap_t*)NULL);
  atomic_set_release(&theap->thread, (struct thread_s*)NULL);
  atomic_set_release(&theap->state, (uint32_t)THEAP_SPARE);
  record_push(&spares, theap, (void**)&theap->list_next);
}

// ---- counters ---------------------------------------------------------------------------------------------

static void counts_flush(theap_t* theap) {
  heap_t* heap = theap->counts_of;
  theap_counts_t* counts = &theap->counts;
  theap_flush_levels(theap);
  if (heap != NULL) {
    for (unsigned bin = 1; bin < BIN_COUNT; bin++) {
      if (counts->allocated[bin] != 0) atomic_add_relaxed(&heap->allocated[bin], counts->allocated[bin]);
      if (counts->freed[bin] != 0) atomic_add_relaxed(&heap->freed[bin], counts->freed[bin]);
    }
    atomic_add_relaxed(&heap->huge_allocated_bytes, counts->huge_allocated_bytes);
    atomic_add_relaxed(&heap->huge_freed_bytes, counts->huge_freed_bytes);
    stats_count(&stats_process.pages_extended, counts->extended);
    stats_count(&stats_process.pages_retired, counts->retired);
    stats_count(&stats_process.page_searches, counts->search_steps);
    stats_count(&stats_process.page_searches_count, counts->searches);
    stats_count(&stats_process.pages_adopted, counts->adopted);
    stats_count(&stats_process.pages_reclaimed, counts->reclaimed);
    stats_count(&stats_process.remote_frees, counts->remote_frees);
  }
  mem_zero(counts, sizeof(*counts));
  theap->huge_flushed = theap->pages_flushed = 0;
  atomic_set_relaxed(&theap->counts_of, (heap_t*)NULL);
}

void theaps_forget_counts(heap_t* heap) {
  os_lock_acquire(&counts_lock); // a record may be used again at the same time
  for (theap_t* theap = theap_first(); theap != NULL; theap = theap->all_next)
    if (atomic_get_relaxed(&theap->counts_of) == heap) counts_flush(theap);
  os_lock_release(&counts_lock);
}

// ---- the heap's list --------------------------------------------------------------------------------------
// All theaps but those which are their thread's main one: of these there are as many as threads, and nobody
// asks for them.

// As for pages: see heap.c.
static bool theap_is_linked(const heap_t* heap, const theap_t* theap) {
  return theap->heap_previous != NULL ? theap->heap_previous->heap_next == theap : heap->theaps == theap;
}

static void link_locked(heap_t* heap, theap_t* theap) {
  theap->heap_previous = NULL;
  theap->heap_next = heap->theaps;
  if (heap->theaps != NULL) heap->theaps->heap_previous = theap;
  heap->theaps = theap;
}

static void unlink_locked(heap_t* heap, theap_t* theap) {
  theap_t *next = theap->heap_next, *previous = theap->heap_previous;
  if (previous != NULL && previous->heap_next == theap) previous->heap_next = next;
  if (next != NULL && next->heap_previous == theap) next->heap_previous = previous;
  if (heap->theaps == theap) heap->theaps = next;
  theap->heap_next = theap->heap_previous = NULL;
}

static bool is_listed(const theap_t* theap) { return theap->thread == NULL || theap->thread->main != theap; }

static void relink_locked(heap_t* heap) {
  heap->theaps = NULL;
  for (theap_t* theap = theap_first(); theap != NULL; theap = theap->all_next) {
    uint32_t state = atomic_get_acquire(&theap->state);
    bool is_in_use = state == THEAP_OWNED || state == THEAP_ENDING;
    if (is_in_use && atomic_get_acquire(&theap->heap) == heap && is_listed(theap)) link_locked(heap, theap);
  }
}

static void theaps_lock(heap_t* heap) {
  if (MI_UNLIKELY(os_lock_acquire(&heap->theaps_lock))) relink_locked(heap);
}

static void heap_unlink(theap_t* theap) {
  for (;;) { // the heap may be deleted meanwhile: then it is another's
    heap_t* heap = atomic_get_acquire(&theap->heap);
    if (heap == NULL) return; // destroyed, or out of the list already and its thread was killed since
    theaps_lock(heap);
    bool is_its = atomic_get_acquire(&theap->heap) == heap;
    if (is_its) {
      unlink_locked(heap, theap);
      atomic_set_release(&theap->heap, (heap_t*)NULL); // not to be found for a list that is made anew
    }
    os_lock_release(&heap->theaps_lock);
    if (is_its) return;
  }
}

// The thread is the calling one, or the late one (its lock held).
theap_t* theap_find(const thread_t* thread, heap_t* heap) {
  // Its own list needs no lock and is mostly short; else the heap's may be.
  theap_t* its = thread->theaps;
  for (unsigned seen = 0; seen < OWN_LOOKS; seen++, its = its->thread_next)
    if (its == NULL || atomic_get_acquire(&its->heap) == heap) return its;
  theaps_lock(heap);
  theap_t* theap = heap->theaps;
  while (theap != NULL && theap->thread != thread) theap = theap->heap_next;
  os_lock_release(&heap->theaps_lock);
  return theap;
}

// ---- the thread's list ------------------------------------------------------------------------------------

static void thread_link(thread_t* thread, theap_t* theap) {
  theap->thread_previous = NULL;
  theap->thread_next = thread->theaps;
  if (thread->theaps != NULL) thread->theaps->thread_previous = theap;
  thread->theaps = theap;
}

static void cache_clear(theap_t* theap) {
  for (size_t i = 0; i < THEAP_CACHE_SIZE; i++) theap->cache[i] = &theap_none;
}

void theap_take_cache(thread_t* thread, theap_t* theap) {
  theap_t* before = thread->chosen;
  if (before == theap) return;
  thread->chosen = theap;
  if (before == NULL) return;
  if (theap != NULL) mem_copy(theap->cache, before->cache, sizeof(theap->cache));
  cache_clear(before);
}

void theap_remember(const thread_t* thread, theap_t* theap, const heap_t* heap) {
  if (thread->chosen != NULL) thread->chosen->cache[heap->cache_index] = theap;
}

static void thread_unlink(thread_t* thread, theap_t* theap) {
  if (theap->thread_previous != NULL) theap->thread_previous->thread_next = theap->thread_next;
  if (theap->thread_next != NULL) theap->thread_next->thread_previous = theap->thread_previous;
  if (thread->theaps == theap) thread->theaps = theap->thread_next;
  theap->thread_next = theap->thread_previous = NULL;
  if (thread->chosen == theap) theap_take_cache(thread, thread->main == theap ? NULL : thread->main);
  if (thread->chosen == NULL) return;
  for (size_t i = 0; i < THEAP_CACHE_SIZE; i++)
    if (thread->chosen->cache[i] == theap) thread->chosen->cache[i] = &theap_none;
}

// Ends theaps whose heaps others destroyed, of which the record is left; and those whose heaps others deleted: they are theaps of
// the main heap now, where the thread has another one, and would hold their pages, and be in the way, until the thread ends. But
// of the latter not the thread's default, and not the one that is being allocated from: that waits for the next time.
void theaps_tidy(thread_t* thread, const theap_t* in_use) {
  if (MI_LIKELY(atomic_get_relaxed(&thread->is_untidy) == 0) || thread->main == NULL) return;
  atomic_swap_acq_rel(&thread->is_untidy, 0u);
  for (theap_t* theap = thread->theaps; theap != NULL;) {
    theap_t* next = theap->thread_next;
    bool is_destroyed = atomic_get_acquire(&theap->state) == THEAP_DESTROYED,
         is_default = theap == os_slot_get();
    bool is_needed = theap == thread->main || theap == thread->chosen || is_default;
    bool is_moved = !is_needed && atomic_get_acquire(&theap->heap) == thread->subproc->main;
    if ((is_destroyed || is_moved) && theap == in_use) {
      atomic_set_release(&thread->is_untidy, 1u);
    } else if (is_destroyed || is_moved) {
      if (is_default) thread_choose(thread, thread->main);
      theap_end(theap);
    }
    theap = next;
  }
}

// ---- life -------------------------------------------------------------------------------------------------

theap_t* theap_make(thread_t* thread, heap_t* heap) {
  theaps_tidy(thread, NULL);
  theap_t* theap = record_take();
  if (theap == NULL) return NULL;
  if (atomic_get_relaxed(&theap->counts_of) != heap) {
    os_lock_acquire(&counts_lock);
    counts_flush(theap);
    atomic_set_relaxed(&theap->counts_of, heap);
    os_lock_release(&counts_lock);
  }
  atomic_set_release(&theap->thread, thread);
  atomic_set_release(&theap->heap, heap);
  atomic_set_release(&theap->state, (uint32_t)THEAP_OWNED);
  theap->has_ring = MI_SECURE && heap_is_main(heap) && !thread_is_late(thread);
  cache_clear(theap);
  guarded_init(theap);
  if (MI_SECURE) (theap->has_ring && !MI_DEBUG ? racks_attach : racks_detach)(theap);
  thread_link(thread, theap);
  if (heap == thread->subproc->main && thread->main == NULL) {
    thread->main = thread->chosen = theap;
    theap_remember(thread, theap, heap);
  } else {
    theaps_lock(heap);
    if (!theap_is_linked(heap, theap)) link_locked(heap, theap);
    os_lock_release(&heap->theaps_lock);
  }
  return theap;
}

// Its pages are gone; it is still in the heap's list.
static void leave_heap(theap_t* theap) {
  bool was_main = !is_listed(theap);
  if (!was_main) {
    heap_unlink(theap);
    counts_flush(theap);
  } else {
    theap_flush_levels(theap); // the counters stay with the record, for the next thread of the heap
  }
}

void theap_end(theap_t* theap) {
  uint32_t owned = THEAP_OWNED;
  thread_t* thread = theap->thread;
  if (!atomic_cas_acq_rel(&theap->state, &owned, (uint32_t)THEAP_ENDING)) {
    uint32_t destroying = THEAP_DESTROYING;
    bool is_let_go = atomic_cas_acq_rel(&theap->state, &destroying, (uint32_t)THEAP_LET_GO);
    thread_unlink(thread, theap);
    if (!is_let_go && destroying == THEAP_DESTROYED) record_give(theap);
    return;
  }
  if (MI_SECURE) ring_flush(theap);
  if (MI_SECURE) racks_flush(theap);
  theap_abandon_all(theap);
  leave_heap(theap);
  thread_unlink(thread, theap);
  if (thread->main == theap) thread->main = NULL;
  record_give(theap);
}

void theap_begin_salvage(theap_t* theap) {
  uint32_t state = THEAP_OWNED;
  atomic_cas_acq_rel(&theap->state, &state, (uint32_t)THEAP_ENDING);
}

// Out of the heap's list, it is nobody else's; unless somebody who destroys the heap took it out before, who also believed the
// thread dead.
void theap_end_salvage(theap_t* theap) {
  theap_forget_pages(theap);
  if (is_listed(theap)) heap_unlink(theap);
  uint32_t destroying = THEAP_DESTROYING;
  if (atomic_cas_acq_rel(&theap->state, &destroying, (uint32_t)THEAP_LET_GO) || destroying == THEAP_LET_GO)
    return;
  leave_heap(theap);
  theap->thread_next = theap->thread_previous = NULL;
  record_give(theap);
}

void theaps_move(heap_t* heap, heap_t* to) {
  theap_t* current = theap_current();
  thread_t* self = current == NULL ? NULL : current->thread;
  theap_t* own = self == NULL ? NULL : theap_find(self, heap);
  if (own != NULL) {
    if (current == own) thread_choose(self, self->main);
    theap_end(own);
  }
  theaps_lock(heap);
  theap_t* theap;
  while ((theap = heap->theaps) != NULL) {
    heap_add_page_in_hand(theap);
    unlink_locked(heap, theap);
    theaps_lock(to);
    link_locked(to, theap);
    atomic_set_relaxed(&theap->counts_of, to);
    atomic_set_release(&theap->heap, to);
    thread_t* its = theap->thread;
    if (its != NULL) atomic_set_release(&its->is_untidy, 1u); // if it just ends, the next one looks in vain
    os_lock_release(&to->theaps_lock);
  }
  os_lock_release(&heap->theaps_lock);
}

// The theap is out of the heap's list and DESTROYING. Its thread may end at any moment: see theap_end. The thread's record stays
// one, so it may be told even if it is another thread's by then, which looks in vain.
static void destroy_one(theap_t* theap, thread_t* self) {
  thread_t* thread = theap->thread;
  theap_forget_pages(theap);
  counts_flush(theap);
  atomic_set_release(&theap->heap, (heap_t*)NULL);
  if (thread == self) {
    if (os_slot_get() == theap) thread_choose(self, self->main);
    thread_unlink(self, theap);
    record_give(theap);
    return;
  }
  uint32_t destroying = THEAP_DESTROYING;
  if (atomic_cas_acq_rel(&theap->state, &destroying, (uint32_t)THEAP_DESTROYED)) {
    atomic_set_release(&thread->is_untidy, 1u);
  } else if (destroying == THEAP_LET_GO) {
    record_give(theap);
  }
}

void theaps_destroy(heap_t* heap) {
  theap_t* current = theap_current();
  thread_t* self = current == NULL ? NULL : current->thread;
  for (;;) {
    theaps_lock(heap);
    theap_t* theap = heap->theaps;
    while (theap != NULL) {
      uint32_t owned = THEAP_OWNED;
      heap_add_page_in_hand(theap); // before, since who reaps the thread leaves that to who ends the theap
      if (atomic_cas_acq_rel(&theap->state, &owned, (uint32_t)THEAP_DESTROYING)) break;
      // Its thread is giving it back. If that was killed on the way, it is ours.
      if (owned == THEAP_ENDING && theap->thread != NULL && thread_is_dead(theap->thread) &&
          atomic_cas_acq_rel(&theap->state, &owned, (uint32_t)THEAP_DESTROYING))
        break;
      theap = theap->heap_next;
    }
    bool is_last = heap->theaps == NULL;
    if (theap != NULL) unlink_locked(heap, theap);
    os_lock_release(&heap->theaps_lock);
    if (theap != NULL) {
      destroy_one(theap, self);
    } else if (is_last) {
      return;
    } else {
      os_yield(); // it will be out of the list in a moment
    }
  }
}

void theaps_relink(heap_t* heap) {
  theap_t* current = theap_current();
  theaps_lock(heap);
  relink_locked(heap);
  os_lock_release(&heap->theaps_lock);
  for (theap_t* theap = theap_first(); theap != NULL; theap = theap->all_next) {
    if (atomic_get_acquire(&theap->heap) != heap) continue;
    uint32_t state = atomic_get_acquire(&theap->state);
    if (state == THEAP_DESTROYING) {
      destroy_one(theap, current == NULL ? NULL : current->thread);
    } else if (state == THEAP_LET_GO) { // its thread has ended: nobody else knows it any more
      theap_forget_pages(theap);
      counts_flush(theap);
      record_give(theap);
    }
  }
}

void theaps_forget_all(void) {
  all_theaps = NULL;
  counts_lock.owner = 0;
  spares = 0;
}
