// Memory that sleeping threads hold on to: pages that they allocate from are theirs alone, but blocks of them that others
// freed aren't, and what lies under these goes back to the system (core/pages/bundle.h). Of the main heap of the main
// sub-process, which is never destroyed under a page that is looked at.
#ifndef CORE_HEAPS_IDLE_H
#define CORE_HEAPS_IDLE_H

#include "core/heaps/theap.h"

// Remembers how far each thread has come. One thread at a time.
void idle_note(void);

// Gives back what lies under freed blocks in pages of theaps that have done nothing since idle_note; with `all`, of all theaps.
// `theap`: any of the calling thread's, or NULL. Any thread with `all`, one at a time without. False: there is more to do than
// one call may do, which another one goes on with.
bool idle_give_back(theap_t* theap, bool all);

// Set, such a call returns after the page that it is at.
extern uint32_t idle_is_to_stop;

// Another thread freed so many blocks of the page that its owner may be asleep: somebody should look after a while.
MI_INLINE void idle_wanted(const page_t* page) {
  void (*wanted)(size_t slice_count) = atomic_get_acquire(&arena_purge_wanted);
  if (!MI_SECURE) wanted(atomic_get_relaxed(&page->slice_count));
}

// Between the two nobody has a page's remote list in his hands, and counts that include it are right. They nest. Any thread.
void idle_pause(void);
void idle_resume(void);

#endif
