// What happens to the pages of a theap: which list they are in, when they come and go, and the mailbox through which
// other threads bring them back to their owner. Owner only unless it says otherwise. For core/theap*.c alone.
#ifndef CORE_HEAPS_THEAP_PAGES_H
#define CORE_HEAPS_THEAP_PAGES_H

#include "core/heaps/theap.h"

void list_append(page_queue_t* list, page_t* page);
void list_push(page_queue_t* list, page_t* page);
void list_remove(page_queue_t* list, page_t* page);

// The direct table for small sizes follows the first page of each queue.
void queue_first_changed(theap_t* theap, unsigned bin);
void queue_append(theap_t* theap, page_t* page);
void queue_remove(theap_t* theap, page_t* page);

MI_INLINE void owner_set_flag(page_t* page, uintptr_t flag) {
  atomic_set_relaxed(&page->owner, atomic_get_relaxed(&page->owner) | flag);
}
MI_INLINE void owner_clear_flag(page_t* page, uintptr_t flag) {
  atomic_set_relaxed(&page->owner, atomic_get_relaxed(&page->owner) & ~flag);
}
MI_INLINE bool page_is_full(const page_t* page) {
  return (atomic_get_relaxed(&page->owner) & PAGE_OWNER_FULL) != 0;
}

// The page is in use again, or leaves its queue: it isn't kept any more.
void page_unkeep(theap_t* theap, page_t* page);

// The last used block of a page was freed. The only page of a queue is kept for a while, others go back to the arena.
void page_emptied(theap_t* theap, page_t* page);

// Takes a page without room off its queue. False when remote frees just came in: it has room then.
bool page_set_full(theap_t* theap, page_t* page);

// The page has free blocks again: back to the end of its queue, so that the current page goes on first.
void page_set_unfull(theap_t* theap, page_t* page);

// Takes in a full page's remote frees and puts it where it belongs then. False when there were none.
bool page_refresh_full(theap_t* theap, page_t* page);

// A new page at the front of its queue; NULL when out of memory.
page_t* page_fresh(theap_t* theap, unsigned bin);

// Puts a page into its owner's mailbox. Any thread that has just set PAGE_REMOTE_MAIL: mail_next is its to write.
void mailbox_push(page_t* page);

// Looks at the pages that other threads reported. Returns whether any page came back to a queue.
bool mailbox_drain(theap_t* theap);

// Gives pages back that were kept long enough.
void theap_drop_kept(theap_t* theap);

// Takes in remote frees of all pages and gives empty pages back.
void theap_sweep(theap_t* theap);

// Takes an orphan's pages over, if there is an orphan.
bool theap_absorb_one(theap_t* theap);

#endif
