// Pages that nobody owns: abandoned by a theap that filled them or that ended. For core/heaps alone.
//
//   abandon   owner word gets the flag -> look: empty? back to the arena; enough free blocks? into the heap's list
//   free      push to the remote list -> the flag is set? -> look, as above
//   adopt     first pages of the heap's list, the fullest of a few -> owner word
//
// The owner word and the remote word are a pair: who abandons writes the first and reads the second, who
// frees writes the second and reads the first, all sequentially consistent. So one of the two sees that the
// page is empty; if both do, the compare-and-swap of the owner word lets one of them act.
#ifndef CORE_HEAPS_ABANDONED_H
#define CORE_HEAPS_ABANDONED_H

#include "core/heaps/theap.h"

// A page is listed when at least this part of its blocks is free: so much is gained by each adoption.
#define LISTED_FREE_SHARE 8

// Of functions that read what others may be writing, for a guess: under ThreadSanitizer they stay functions of their own, and
// read it themselves, for tests/tsan-suppressions.txt.
#if defined(__SANITIZE_THREAD__) && defined(__clang__)
#define GLANCE_INLINE MI_NOINLINE
#elif defined(__SANITIZE_THREAD__)
#define GLANCE_INLINE __attribute__((noipa))
#else
#define GLANCE_INLINE inline
#endif

// `page` is the caller's and in no queue; from here on it is nobody's, or back in its arena. `theap`: any of
// the calling thread's, or NULL.
void page_abandon(theap_t* theap, page_t* page);

// A block was pushed to the remote list of a page that was seen abandoned after that.
void page_look_at_abandoned(theap_t* theap, page_t* page);

// Takes an abandoned page for `theap`, whose heap must be the page's. False when somebody else was faster.
bool page_claim(theap_t* theap, page_t* page);

// Takes it for a moment, to look inside, and lets go of it again; `owner` is what its owner word was before.
bool page_claim_for_look(theap_t* theap, page_t* page);
void page_abandon_again(theap_t* theap, page_t* page, uintptr_t owner);

// Out of its heap's list, if it is there. By who owns the page.
void page_unlist(page_t* page);

// A listed page of the theap's heap and the class, now the theap's, in no queue; NULL when there is none.
page_t* page_adopt(theap_t* theap, unsigned bin);

// An empty page that is the caller's, and in no queue, goes back to its arena.
void page_retire(theap_t* theap, page_t* page);

// A page of a heap that is destroyed: from here on it is the caller's, to be freed, and in no list. False:
// somebody looks into it at the moment, and may be giving it back.
bool page_seize(page_t* page);

// The heap ends: its lists are emptied.
void page_lists_forget(heap_t* heap);

// The page changes its heap (see heap_delete): into the other's list if it was in the old one's.
void page_move(page_t* page, heap_t* to);

#endif
