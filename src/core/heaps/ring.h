// Delayed reuse in secure builds, of blocks that no rack takes: a freed block takes the place of another one, at random, in a small
// ring of the thread's, and that one goes on its way. Only blocks of main heaps, which are never destroyed under the ring.
#ifndef CORE_HEAPS_RING_H
#define CORE_HEAPS_RING_H

#include "core/heaps/theap.h"

// True: the block stays in the ring. Owner only, as all but the last.
bool ring_take(theap_t* theap, const page_t* page, block_t* block);

// All of them are freed now.
void ring_flush(theap_t* theap);

// Adds them to what was freed, by bin: their pages don't know of it yet. Any thread: about.
void ring_count(const theap_t* theap, int64_t* freed);

#endif
