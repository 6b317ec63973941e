// What happens to the pages of a theap: its queues, when pages come and go. Owner only. For core/heaps alone.
#ifndef CORE_HEAPS_THEAP_PAGES_H
#define CORE_HEAPS_THEAP_PAGES_H

#include "core/heaps/theap.h"

// The direct table for small sizes follows the first page of each queue.
void queue_first_changed(theap_t* theap, unsigned bin);
void queue_push(theap_t* theap, page_t* page);
void queue_append(theap_t* theap, page_t* page);
void queue_remove(theap_t* theap, page_t* page);

MI_INLINE void owner_set_flag(page_t* page, uintptr_t flag) {
  atomic_set_relaxed(&page->owner, atomic_get_relaxed(&page->owner) | flag);
}

// The page is in use again, or leaves its queue: it isn't kept any more.
void page_unkeep(theap_t* theap, page_t* page);

// The last used block of a page in a queue was freed. The only page of a queue is kept for a while, others go
// back to the arena.
void page_emptied(theap_t* theap, page_t* page);

// A page without room leaves its queue; from here on it is nobody's.
void page_set_full(theap_t* theap, page_t* page);

// An abandoned page that has just become the theap's goes into its queue. It may be empty by now.
void page_set_own(theap_t* theap, page_t* page);

// A new page at the front of its queue; NULL when out of memory.
page_t* page_fresh(theap_t* theap, unsigned bin);

// More of the page's slices get memory behind them. False when out of memory.
bool page_commit_more(theap_t* theap, page_t* page);

// Gives pages back that were kept long enough.
void theap_drop_kept(theap_t* theap);

// Looks at `budget` pages of the queues at most, going on where the last call ended: those that others have emptied
// go back, those whose blocks others free are left to them. SIZE_MAX: at all, and what others freed of pages that
// stay is taken in.
void theap_sweep(theap_t* theap, size_t budget);

// Free blocks of its pages, where there are many, go to the remote lists, where memory under them can be given back
// (core/heaps/idle.h). The main theap's of a thread.
void theap_offer_free(theap_t* theap);

// All pages leave: empty ones to their arenas, the others are abandoned.
void theap_abandon_all(theap_t* theap);

// Lists are made empty, whatever they held.
void theap_forget_pages(theap_t* theap);

// Where new pages of the theap come from.
arena_source_t theap_source(theap_t* theap);

// Out of memory: what other theaps keep, abandoned pages and dead threads may help. Not again and again.
void theap_collect_for_memory(theap_t* theap);

// Brings the process's levels up to date with the theap's counters.
void theap_flush_levels(theap_t* theap);

#endif
