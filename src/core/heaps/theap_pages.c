#include "core/heaps/theap_pages.h"
#include "core/arenas/arena.h"
#include "core/report/counters.h"

#define KEEP_TICKS      4  // ticks of the owner that an empty page is kept
#define KEEP_SLICES_MAX 80 // 5 MiB: one large page and a few small ones, however many sizes the thread used

// ---- queues ---------------------------------------------------------------------------------------------

void queue_first_changed(theap_t* theap, unsigned bin) {
  if (size_class_size(bin) > SMALL_SIZE_MAX) return;
  page_t* first = theap->bins[bin].first;
  if (first == NULL) first = (page_t*)(uintptr_t)&page_none;
  size_t from = bin == 1 ? 0 : size_class_size(bin - 1) / 8 + 1;
  for (size_t i = from; i <= size_class_size(bin) / 8; i++) theap->small[i] = first;
}

void list_append(page_queue_t* list, page_t* page) {
  page->next = NULL;
  page->previous = list->last;
  if (list->last != NULL) {
    list->last->next = page;
  } else {
    list->first = page;
  }
  list->last = page;
}

void list_push(page_queue_t* list, page_t* page) {
  page->previous = NULL;
  page->next = list->first;
  if (list->first != NULL) {
    list->first->previous = page;
  } else {
    list->last = page;
  }
  list->first = page;
}

void list_remove(page_queue_t* list, page_t* page) {
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

void queue_remove(theap_t* theap, page_t* page) {
  page_queue_t* queue = &theap->bins[page->bin];
  bool was_first = queue->first == page;
  list_remove(queue, page);
  if (was_first) queue_first_changed(theap, page->bin);
}

void queue_append(theap_t* theap, page_t* page) {
  page_queue_t* queue = &theap->bins[page->bin];
  list_append(queue, page);
  if (queue->first == page) queue_first_changed(theap, page->bin);
}

// ---- pages come and go ----------------------------------------------------------------------------------

void page_unkeep(theap_t* theap, page_t* page) {
  if (!page->is_kept) return;
  page->is_kept = 0;
  atomic_compiler_fence(); // killed here, the page never looks empty; the other way round it would too early
  page->allocated--;
  theap->kept_slices -= (uint32_t)page->slice_count;
}

// Gives an empty page that is in no list back to its arena.
static void page_drop(theap_t* theap, page_t* page) {
  page_unkeep(theap, page);
  theap->allocated[page->bin] += (int64_t)page->allocated;
  theap->freed[page->bin] += (int64_t)page->freed;
  stats_count(&stats_process.pages_retired, 1);
  arena_page_free(page, &theap->hands);
}

void page_emptied(theap_t* theap, page_t* page) {
  if (page_is_full(page)) {
    list_remove(&theap->full, page);
    page_drop(theap, page);
    return;
  }
  page_queue_t* queue = &theap->bins[page->bin];
  bool is_only = queue->first == page && queue->last == page;
  if (is_only && (page->is_kept || theap->kept_slices + page->slice_count <= KEEP_SLICES_MAX)) {
    if (!page->is_kept) {
      page->allocated++; // never looks empty to the fast path of free
      atomic_compiler_fence();
      page->is_kept = 1;
      page->keep_ticks = KEEP_TICKS;
      theap->kept_slices += (uint32_t)page->slice_count;
    }
    return;
  }
  queue_remove(theap, page);
  page_drop(theap, page);
}

bool page_set_full(theap_t* theap, page_t* page) {
  page_unkeep(theap, page);
  if (!page_request_notice(page)) return false;
  queue_remove(theap, page);
  owner_set_flag(page, PAGE_OWNER_FULL);
  list_push(&theap->full, page);
  return true;
}

void page_set_unfull(theap_t* theap, page_t* page) {
  list_remove(&theap->full, page);
  owner_clear_flag(page, PAGE_OWNER_FULL);
  atomic_and_acq_rel(&page->remote, ~(uint64_t)PAGE_REMOTE_FULL);
  queue_append(theap, page);
}

bool page_refresh_full(theap_t* theap, page_t* page) {
  if (!page_collect_remote(page)) return false;
  if (page_used(page) == 0) {
    page_emptied(theap, page);
  } else {
    page_set_unfull(theap, page);
  }
  return true;
}

page_t* page_fresh(theap_t* theap, unsigned bin) {
  size_t size = size_class_size(bin);
  page_t* page = arena_page_allocate(page_slices_for(size), 1, &theap->hands);
  if (page == NULL) return NULL;
  page_init(page, bin, size, (uintptr_t)theap);
  arena_page_made(&theap->hands);
  list_push(&theap->bins[bin], page);
  queue_first_changed(theap, bin);
  return page;
}

// ---- mailbox --------------------------------------------------------------------------------------------

// The caller has just set PAGE_REMOTE_MAIL: the page's mail_next is ours.
void mailbox_push(page_t* page) {
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

bool mailbox_drain(theap_t* theap) {
  if (atomic_get_relaxed(&theap->mailbox) == NULL) return false;
  page_t* page = atomic_swap_acq_rel(&theap->mailbox, NULL);
  bool found = false;
  while (page != NULL) {
    page_t* next = page->mail_next;
    atomic_and_acq_rel(&page->remote, ~(uint64_t)PAGE_REMOTE_MAIL);
    theap_t* owner = page_owner_theap(atomic_get_acquire(&page->owner));
    if (owner == theap) {
      if (page_is_full(page) && page_refresh_full(theap, page)) found = true;
    } else if (owner != NULL) { // it moved to another theap while the notice was on its way: forward
      uint64_t before = atomic_or_acq_rel(&page->remote, (uint64_t)PAGE_REMOTE_MAIL);
      if ((before & PAGE_REMOTE_MAIL) == 0) mailbox_push(page);
    }
    page = next;
  }
  return found;
}

void theap_drop_kept(theap_t* theap) {
  for (unsigned bin = 1; bin < BIN_HUGE && theap->kept_slices > 0; bin++) {
    for (page_t* page = theap->bins[bin].first; page != NULL;) {
      page_t* next = page->next;
      if (page->is_kept && page_used(page) == 0 && --page->keep_ticks == 0) {
        queue_remove(theap, page);
        page_drop(theap, page);
      } else if (page->is_kept && page_used(page) != 0) {
        page_unkeep(theap, page); // in use again; the next time it empties it is kept anew
      }
      page = next;
    }
  }
}

void theap_sweep(theap_t* theap) {
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
    page_refresh_full(theap, page);
    page = next;
  }
}
