// Bundles: freed blocks of a page whose memory has gone back to the system while the page stays its owner's.
//
// A page that a thread allocates from is that thread's alone, asleep or not. But what others freed of it lies in the remote
// list, and that is anybody's who takes it. So who wants the memory takes the list, writes down in one of its blocks, as bits,
// which blocks it held, and puts that one back in place of all. The system pages that nothing but such blocks lie in are
// reset: they hold nothing any more, no links either. The owner finds the bundle when it takes its remote list, and makes
// links of the bits again; only then the memory is had anew.
//
// Not in secure builds, whose freed blocks hold marks that are looked at when they are handed out.
#ifndef CORE_PAGES_BUNDLE_H
#define CORE_PAGES_BUNDLE_H

#include "core/pages/page.h"

// The link of a block that is a bundle has its lowest bit set.
#define BUNDLE_BIT ((uintptr_t)1)

// A page of any thread's, of a heap that is never destroyed. False when it isn't worth it: then nothing has changed.
// Meanwhile its remote list is empty: see core/heaps/idle.h.
bool bundle_remote(page_t* page, const struct heap_s* heap);

// `count` blocks from `first` on, bundles among them, all of them the caller's: linked again, in the order of their
// addresses. NULL when the list is damaged.
block_t* bundle_open(const page_t* page, block_t* first, uint32_t count);

// Adds the blocks of a list to `bits`, one for each of the page. Returns its last block; NULL when it is damaged, and some of
// them are missing.
block_t* bundle_read(const page_t* page, block_t* first, uint32_t count, uint64_t* bits);

// Words for a bit per block of the page with the most of them.
#define BUNDLE_WORDS (SLICE_SIZE / 8 / 64)

#endif
