#include "core/heaps/abandoned.h"

#include "core/heaps/theap_pages.h"
#include "core/heaps/thread.h"
#include "core/report/counters.h"
#include "core/report/options.h"

// ---- lists ------------------------------------------------------------------------------------------------

static void list_add_locked(page_list_t* list, page_t* page) {
  atomic_set_relaxed(&page->is_listed, (uint8_t)1);
  page->next = NULL;
  page->previous = list->last;
  if (list->last != NULL) {
    list->last->next = page;
  } else {
    atomic_set_relaxed(&list->first, page);
  }
  list->last = page;
  list->count++;
}

static void list_take_locked(page_list_t* list, page_t* page) {
  if (page->previous != NULL) {
    page->previous->next = page->next;
  } else {
    atomic_set_relaxed(&list->first, page->next);
  }
  if (page->next != NULL) {
    page->next->previous = page->previous;
  } else {
    list->last = page->previous;
  }
  page->next = page->previous = NULL;
  list->count--;
  atomic_set_release(&page->is_listed, (uint8_t)0); // last: its owner may put it into a queue now
}

typedef struct rebuild_s {
  heap_t* heap;
  unsigned bin;
} rebuild_t;

static bool rebuild_with(page_t* page, void* arg) {
  const rebuild_t* rebuild = (const rebuild_t*)arg;
  uintptr_t owner = atomic_get_acquire(&page->owner);
  if (atomic_get_acquire(&page->heap) != rebuild->heap || page->bin != rebuild->bin ||
      (owner & PAGE_OWNER_SINGLE) != 0)
    return true;
  atomic_set_relaxed(&page->is_listed, (uint8_t)0);
  if (!page_is_abandoned(owner)) return true;
  // Set under the lock alone: if it is, by the dead one.
  if ((owner & PAGE_OWNER_LISTING) == 0 &&
      !atomic_cas_acq_rel(&page->owner, &owner, owner | PAGE_OWNER_LISTING))
    return true;
  list_add_locked(&rebuild->heap->abandoned[rebuild->bin], page);
  atomic_swap_seq_cst(&page->owner, owner & ~(uintptr_t)PAGE_OWNER_LISTING);
  return true;
}

static page_list_t* list_lock(heap_t* heap, unsigned bin) {
  page_list_t* list = &heap->abandoned[bin];
  if (MI_UNLIKELY(os_lock_acquire(&list->lock))) { // from a dead thread: made anew from the pages themselves
    list->first = list->last = NULL;
    list->count = 0;
    arena_visit_pages(&heap->subproc->arenas, &rebuild_with, &(rebuild_t){heap, bin});
  }
  return list;
}

// The list that the page belongs to, locked; its heap may change meanwhile.
static page_list_t* list_lock_of(page_t* page) {
  for (;;) {
    heap_t* heap = atomic_get_acquire(&page->heap);
    page_list_t* list = list_lock(heap, page->bin);
    if (atomic_get_acquire(&page->heap) == heap) return list;
    os_lock_release(&list->lock);
  }
}

// While it is put into the list nobody may take the page: its links are the list's then, the queue's
// afterwards.
static void page_list(page_t* page) {
  unsigned bin = atomic_get_relaxed(&page->bin);
  heap_t* heap = atomic_get_seq_cst(&page->heap);
  page_list_t* list = list_lock(heap, bin);
  // Only now is it sure what the page is: it may have been taken, freed or moved since.
  uintptr_t owner = atomic_get_acquire(&page->owner);
  if (atomic_get_acquire(&page->heap) == heap && atomic_get_relaxed(&page->bin) == bin &&
      !atomic_get_relaxed(&page->is_listed) && page_is_abandoned(owner) &&
      atomic_cas_acq_rel(&page->owner, &owner, owner | PAGE_OWNER_LISTING)) {
    list_add_locked(list, page);
    atomic_swap_seq_cst(&page->owner, owner); // then the caller looks again: see page_look_at_abandoned
  }
  os_lock_release(&list->lock);
}

void page_unlist(page_t* page) {
  if (atomic_get_acquire(&page->is_listed) == 0) return;
  page_list_t* list = list_lock_of(page);
  if (page->is_listed) list_take_locked(list, page);
  os_lock_release(&list->lock);
}

void page_move(page_t* page, heap_t* to) {
  page_list_t* list = list_lock_of(page);
  bool was_listed = page->is_listed;
  if (was_listed) list_take_locked(list, page);
  // Then the caller reads the remote list. Who frees writes that and reads the heap: one of the two lists the page.
  (void)atomic_swap_seq_cst(&page->heap, to);
  os_lock_release(&list->lock);
  if (was_listed) page_list(page); // and the caller looks at it
}

bool page_seize(page_t* page) {
  page_list_t* list = list_lock_of(page); // then nobody is just listing it
  if (page->is_listed) list_take_locked(list, page);
  uintptr_t owner = atomic_get_acquire(&page->owner);
  bool is_ours = false;
  while (owner != 0 && (owner & PAGE_OWNER_CLAIMED) == 0 && !is_ours) {
    uintptr_t kept = owner & (PAGE_OWNER_INTERIOR | PAGE_OWNER_SINGLE);
    // A thread that was killed while it made the page may still have it in its hands.
    thread_t* thread = atomic_get_acquire(&page_owner_theap(owner)->thread);
    if (thread != NULL) arena_page_strike_out(page, &thread->hands);
    is_ours = atomic_cas_acq_rel(&page->owner, &owner,
                                 (uintptr_t)&theap_none | kept); // of no thread, dead ones neither
  }
  os_lock_release(&list->lock);
  return is_ours;
}

void page_lists_forget(heap_t* heap) {
  for (unsigned bin = 0; bin < BIN_COUNT; bin++) {
    page_list_t* list = &heap->abandoned[bin];
    if (atomic_get_relaxed(&list->first) == NULL && atomic_get_relaxed(&list->lock.owner) == 0) continue;
    os_lock_acquire(&list->lock); // a late look at a page that was the heap's may have it
    atomic_set_relaxed(&list->first, (page_t*)NULL);
    list->last = NULL;
    list->count = 0;
    os_lock_release(&list->lock);
  }
}

// ---- owning -----------------------------------------------------------------------------------------------

static bool claim_as(page_t* page, uintptr_t theap) {
  uintptr_t owner = atomic_get_relaxed(&page->owner);
  return page_is_abandoned(owner) && (owner & PAGE_OWNER_LISTING) == 0 &&
         atomic_cas_acq_rel(&page->owner, &owner, theap | (owner & PAGE_OWNER_INTERIOR));
}

bool page_claim(theap_t* theap, page_t* page) { return claim_as(page, (uintptr_t)theap); }
bool page_claim_for_look(theap_t* theap, page_t* page) {
  return claim_as(page, (uintptr_t)theap | PAGE_OWNER_CLAIMED);
}

// The theap that had it last stays remembered.
static void let_go(page_t* page, uintptr_t before) {
  uintptr_t interior = atomic_get_relaxed(&page->owner) & PAGE_OWNER_INTERIOR;
  atomic_swap_seq_cst(&page->owner,
                      (before & ~(uintptr_t)PAGE_OWNER_FLAGS) | PAGE_OWNER_ABANDONED | interior);
}

void page_abandon_again(theap_t* theap, page_t* page, uintptr_t owner) {
  let_go(page, owner);
  page_look_at_abandoned(theap, page);
}

void page_retire(theap_t* theap, page_t* page) {
  page_unlist(page);
  bool is_counted = theap != NULL && atomic_get_relaxed(&theap->counts_of) == atomic_get_acquire(&page->heap);
  if (is_counted) {
    theap->counts.allocated[page->bin] += (int64_t)page->allocated;
    theap->counts.freed[page->bin] += (int64_t)page->freed;
    theap->counts.pages_gone++;
    theap->counts.retired++;
  } else {
    stats_decrease(&stats_process.pages, 1);
    stats_count(&stats_process.pages_retired, 1);
  }
  heap_page_remove(page, is_counted);
  arena_page_free(page, theap != NULL ? &theap->thread->hands : NULL);
}

// Of a page that is nobody's, or was a moment ago: the numbers may be those of its next owner, and torn
// apart. So nothing is decided by them but whether it is worth to take the page, or a lock, and look again.
typedef struct glance_s {
  uint64_t used, available;
  uint32_t reserved;
} glance_t;

static GLANCE_INLINE glance_t page_glance(const page_t* page, uint32_t pending) {
  uint64_t used = page_used(page);
  return (glance_t){used, page_available_of(page, used, pending), page->reserved};
}

void page_look_at_abandoned(theap_t* theap, page_t* page) {
  for (;;) {
    uint32_t pending = atomic_get_seq_cst(&page->remote) & PAGE_REMOTE_COUNT;
    glance_t seen = page_glance(page, pending);
    if (pending < seen.used) {
      if (seen.available == 0 || seen.available * LISTED_FREE_SHARE < seen.reserved ||
          atomic_get_relaxed(&page->is_listed))
        return;
      page_list(page);
      if (!page_is_abandoned(atomic_get_seq_cst(&page->owner))) return;
      if (!atomic_get_relaxed(&page->is_listed))
        return; // somebody else had it for a moment, and will have looked
      continue; // who freed its last block meanwhile could not take it
    }
    // All blocks are free, it seems. Only who owns the page can be sure.
    uintptr_t before = atomic_get_relaxed(&page->owner);
    if (!page_claim_for_look(theap != NULL ? theap : &theap_none, page)) return;
    page_collect_remote(page);
    if (page_used(page) == 0) {
      page_retire(theap, page);
      return;
    }
    let_go(page, before);
  }
}

void page_abandon(theap_t* theap, page_t* page) {
  atomic_swap_seq_cst(&page->owner, atomic_get_relaxed(&page->owner) | PAGE_OWNER_ABANDONED);
  page_look_at_abandoned(theap, page);
}

page_t* page_adopt(theap_t* theap, unsigned bin) {
  heap_t* heap = theap->heap;
  if (atomic_get_relaxed(&heap->abandoned[bin].first) == NULL) return NULL;
  long candidates = option_get_clamp(option_page_max_candidates, 1, 64);
  page_list_t* list = list_lock(heap, bin);
  page_t* best = NULL;
  uint64_t best_available = 0;
  for (page_t* page = list->first; page != NULL && candidates > 0;) {
    page_t* next = page->next;
    uintptr_t owner = atomic_get_acquire(&page->owner);
    if (!page_is_abandoned(owner)) {
      // Its last owner took it back: the list didn't matter. Who only looks into it lets go of it as it was, listed.
      if ((owner & PAGE_OWNER_CLAIMED) == 0) list_take_locked(list, page);
    } else {
      uint64_t available = page_glance(page, page_remote_count(page)).available;
      if (best == NULL || available < best_available) { // the fullest: emptier ones may yet become empty
        best = page;
        best_available = available;
      }
      candidates--;
    }
    page = next;
  }
  if (best != NULL) {
    if (page_claim(theap, best)) {
      list_take_locked(list, best);
    } else {
      best = NULL;
    }
  }
  os_lock_release(&list->lock);
  if (best == NULL) return NULL;
  theap->counts.adopted++;
  theap->counts.remote_frees += page_collect_remote(best);
  return best;
}

static bool look_at(page_t* page, void* arg) {
  uintptr_t owner = atomic_get_seq_cst(&page->owner);
  if (page_is_abandoned(owner) && (owner & PAGE_OWNER_SINGLE) == 0)
    page_look_at_abandoned((theap_t*)arg, page);
  return true;
}

void subproc_collect_abandoned(subproc_t* subproc, theap_t* theap) {
  arena_visit_pages(&subproc->arenas, &look_at, theap);
}

void heap_collect_abandoned(heap_t* heap, theap_t* theap) { heap_visit_pages(heap, &look_at, theap); }
