// Pages: runs of slices that hold blocks of one size class, and their records.
//
// Vocabulary
//   slice   64 KiB of address space, 64 KiB-aligned: what arenas hand out
//   page    1, 8 or 64 slices with blocks of one size class; or as many as needed for one huge block
//   block   what the program gets; a free block holds the link to the next one
//   record  page_t. Records lie outside the memory they describe, in tables indexed by address
//   (core/pages/page_map.h): one
//           record per slice, so the record of a small page is found from a block's address with one table
//           load, and the records of neighbouring pages never share a cache set by alignment as page headers
//           would.
//   owner   the theap (per-thread heap) that may use the page's free list; anybody else pushes to `remote`
//
// Records are type-stable: their memory is never given back (before unload), so a late look at a record that
// was freed and reused meanwhile reads a valid, if different, record.
#ifndef CORE_PAGES_PAGE_H
#define CORE_PAGES_PAGE_H

#include "base/atomics.h"
#include "core/pages/size_class.h"

#define SLICE_SHIFT           16
#define SLICE_SIZE            ((size_t)1 << SLICE_SHIFT)

#define PAGE_SMALL_BLOCK_MAX  (8 * MI_KIB)  // blocks up to this size live in pages of one slice
#define PAGE_MEDIUM_BLOCK_MAX (64 * MI_KIB) // up to this in pages of 8 slices; larger ones in pages of 64
#define PAGE_MEDIUM_SLICES    8
#define PAGE_LARGE_SLICES     64

typedef struct block_s {
  struct block_s* next;
} block_t;

struct theap_s;
struct arena_s;

// Low bits of page_t.owner. A page with any of them set never equals a bare theap pointer, so the fast path
// of free needs one comparison to know that the page is its own, has nothing special, and isn't full.
#define PAGE_OWNER_FULL     1u // no free block; not in its bin's queue
#define PAGE_OWNER_INTERIOR 2u // blocks may have been handed out at an offset (aligned-at allocation)
#define PAGE_OWNER_SINGLE   4u // one huge block; freed directly by whoever frees it
#define PAGE_OWNER_FLAGS    7u

// page_t.remote, one 64-bit word so that a push and its bookkeeping are a single compare-and-swap:
//   bits 0..7   flags
//   bits 8..31  number of blocks in the list: the owner takes a list over without walking it
//   bits 32..63 first block of the list, as (offset in page / 8) + 1; 0 when empty
#define PAGE_REMOTE_FULL      1u // the owner wants to be told of the next push
#define PAGE_REMOTE_MAIL      2u // the page is in some theap's mailbox
#define PAGE_REMOTE_FLAGS     0xFFu
#define PAGE_REMOTE_COUNT_ONE 0x100u

typedef struct MI_ALIGNED(64) page_s {
  // First cache line: all that the owner's malloc and free touch.
  uintptr_t owner;    // theap | flags; 0 when no page starts at this slice. Written by the owner, read by all
  block_t* free;      // free blocks, last freed first
  uint64_t allocated; // blocks ever taken from this page (+1 while `is_kept`: never looks empty then)
  uint64_t freed;     // blocks ever returned to `free`; equal to `allocated`: the page is empty
  uint8_t* start;     // first block
  size_t block_size;  // bytes
  uint32_t extended;  // blocks that were linked or handed out at least once; the rest is untouched memory
  uint32_t reserved;  // blocks that fit
  uint32_t back;      // for a slice inside a page: how many slices before this one the page starts
  uint8_t bin;
  uint8_t is_zero;    // untouched memory of this page reads as zero
  uint8_t is_kept;    // empty but kept: the last page of its bin's queue
  uint8_t keep_ticks; // ticks until a kept page that is still empty goes back to its arena
#if !MI_64BIT
  uint32_t padding[4];
#endif
  // Second cache line: other threads and slow paths.
  uint64_t remote;
  struct page_s* mail_next; // link in a mailbox, valid while PAGE_REMOTE_MAIL is set
  struct page_s* next;      // links in a bin's queue or the full list of the owner
  struct page_s* previous;
  struct arena_s* arena; // where the slices came from; NULL: a reservation of its own
  size_t slice_count;
  void* os_base; // arena == NULL: the reservation
  size_t os_size;
#if !MI_64BIT
  uint32_t padding2[7];
#endif
} page_t;

_Static_assert(sizeof(page_t) == 128, "page_map.h computes record addresses with a shift");

#define PAGE_RECORD_SHIFT 7

// Stands in for "no page": its free list is always empty and it is never written.
extern const page_t page_none;

MI_INLINE struct theap_s* page_owner_theap(uintptr_t owner) {
  return (struct theap_s*)(owner & ~(uintptr_t)PAGE_OWNER_FLAGS);
}

MI_INLINE size_t page_slices_for(size_t block_size) {
  return block_size <= PAGE_SMALL_BLOCK_MAX    ? 1
         : block_size <= PAGE_MEDIUM_BLOCK_MAX ? PAGE_MEDIUM_SLICES
                                               : PAGE_LARGE_SLICES;
}

// Blocks in use, those in the remote list included. Owner only.
MI_INLINE uint64_t page_used(const page_t* page) { return page->allocated - page->freed - page->is_kept; }

// The start of the block that `p` points into.
MI_INLINE block_t* page_block_of(const page_t* page, const void* p) {
  size_t offset = (size_t)((const uint8_t*)p - page->start);
  return (block_t*)(page->start + offset / page->block_size * page->block_size);
}

// Prepares a record whose slices were just allocated for blocks of `bin`.
void page_init(page_t* page, unsigned bin, size_t block_size, uintptr_t owner);

// Takes a block from a page that has a free one or untouched room; NULL otherwise. *is_zero: the block's
// memory is known to be zero. Owner only.
block_t* page_take(page_t* page, bool* is_zero);

// Moves the remote list to the free list. Returns whether the page has a free block then. Owner only.
bool page_collect_remote(page_t* page);

// Gives a block back from a thread that doesn't own the page. Returns true when the page must be put into its
// owner's mailbox by the caller (see theap_notify).
bool page_free_remote(page_t* page, block_t* block);

// Asks for notice of the next remote free. False, and nothing done, when there are remote frees already.
// Owner only.
bool page_request_notice(page_t* page);

// Debug builds: is the block in the page's free list? Owner only.
bool page_block_is_free(const page_t* page, const block_t* block);

#endif
