// Pages: runs of slices that hold blocks of one size class, and their records.
//
// Vocabulary
//   slice   64 KiB of address space, 64 KiB-aligned: what arenas hand out
//   page    1, 4 or 64 slices with blocks of one size class; or as many as needed for one huge block
//   block   what the program gets; a free block holds the link to the next one
//   record  page_t. Records lie outside the memory they describe, in tables indexed by address
//   (core/pages/page_map.h): one
//           record per slice, so the record of a small page is found from a block's address with one table
//           load, and the records of neighbouring pages never share a cache set by alignment as page headers
//           would.
//   owner   the theap (per-thread heap) that may use the page's private fields; anybody else pushes to `remote`
//   abandoned  nobody owns it: it is full, or its thread ended. Who swaps the flag away owns it
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
#define PAGE_MEDIUM_BLOCK_MAX (64 * MI_KIB) // up to this in pages of 4 slices; larger ones in pages of 64
#define PAGE_MEDIUM_SLICES    4
#define PAGE_LARGE_SLICES     64
#define PAGE_PART_SIZE        (16 * MI_KIB) // what a page of one slice may begin with

typedef struct block_s {
  struct block_s* next;
} block_t;

struct theap_s;
struct heap_s;
struct arena_s;
struct outside_s;

// Low bits of page_t.owner. A page with any of them set never equals a bare theap pointer, so the fast path
// of free needs one comparison to know that the page is its own and has nothing special.
#define PAGE_OWNER_ABANDONED 1u // nobody's; the theap in the word had it last, and may have it back first
#define PAGE_OWNER_INTERIOR  2u // blocks may have been handed out at an offset (aligned-at allocation)
#define PAGE_OWNER_SINGLE    4u // one huge block; freed directly by whoever frees it
#define PAGE_OWNER_CLAIMED   8u // taken for a moment, to see whether it is empty; not in the theap's queue
#define PAGE_OWNER_LISTING                                                                                   \
  16u // abandoned, and just being put into its heap's list: nobody may take it until that is done
#define PAGE_OWNER_FLAGS 31u

// page_t.remote: blocks freed by others than the owner. One 64-bit word so that a push and its bookkeeping
// are a single compare-and-swap:
//   bits 0..30  number of blocks in the list
//   bit  31     blocks of it may stand for others (core/pages/bundle.h); stays when the word is counted up
//   bits 32..63 first block of the list, as (offset in page / 8) + 1; 0 when empty
#define PAGE_REMOTE_BUNDLED 0x80000000u
#define PAGE_REMOTE_COUNT   0x7FFFFFFFu
typedef struct MI_ALIGNED(64) page_s {
  // First cache line: who looks at the page from outside, and frees a block of it. The owner's malloc doesn't touch
  // it, so that another thread's frees don't wait for it, nor it for them.
  uintptr_t owner;   // theap | flags; 0 when no page starts at this slice. Written by the owner, read by all
  uint64_t remote;   // see above
  uint8_t* start;    // first block
  size_t block_size; // bytes
  struct heap_s* heap; // changes when the heap is deleted: under the locks of its lists
  uint32_t inverse;    // 2^32 / block_size, rounded up, and what a block's product with it stays below: see
  uint32_t limit;      // page_is_block
  uint32_t back;       // for a slice inside a page: how many slices before this one the page starts
  uint32_t slice_count;
  uint16_t extended; // blocks that were linked or handed out at least once; the rest is untouched memory
  uint16_t reserved; // blocks that fit
  uint8_t
      committed_slices; // pages of up to 64 slices: so many are committed, from the first on; 0: PAGE_PART_SIZE
  uint8_t
      is_listed; // in its heap's list of abandoned pages; guarded by the list's lock, steady while it is owned
  uint8_t bin;
  uint8_t is_outside : 1;
  uint8_t is_zero : 1;    // untouched memory of this page reads as zero
  uint8_t is_kept : 1;    // empty but kept: the only page of its bin's queue
  uint8_t keep_ticks : 3; // ticks until a kept page that is still empty goes back to its arena
#if !MI_64BIT
  uint32_t padding[3];
#endif
  // Second cache line: all that the owner's malloc touches, most of what its free does, and links.
  block_t* free;       // free blocks, last freed first
  uint64_t allocated;  // blocks ever taken from this page (+1 while `is_kept`: never looks empty then)
  uint64_t freed;      // blocks ever returned to `free`; equal to `allocated`: the page is empty
  struct page_s* next; // links in a bin's queue of the owner, or in the heap's list of abandoned pages
  struct page_s* previous;
  struct page_s* heap_next; // links in the list of all pages of the heap
  struct page_s* heap_previous;
  union {
    struct arena_s* arena;     // where the slices came from
    struct outside_s* outside; // is_outside: reservations of its own
  };
} page_t;

_Static_assert(offsetof(page_t, free) == 64, "first cache line");
_Static_assert(sizeof(page_t) == 128, "page_map.h computes record addresses with a shift");

#define PAGE_RECORD_SHIFT 7

// Stands in for "no page": its free list is always empty and it is never written.
extern const page_t page_none;

// Does a block start at `p`, in the page's first slice, that was handed out at least once? With c = `inverse`, the
// product of a block's offset (its number times the size d) and c is, modulo 2^32, the number times c * d - 2^32,
// which is at most d; so that of a block which was handed out stays below `limit`, and that isn't above c. An offset
// between two blocks adds c or a multiple of it. (Blocks up to a slice, as those of release builds are.)
MI_INLINE bool page_is_block_below(const page_t* page, const void* p, uint32_t limit) {
  return (uint16_t)(uintptr_t)p * page->inverse < limit;
}

// Owner only: a plain load, which compilers make a part of the comparison.
MI_INLINE bool page_is_block(const page_t* page, const void* p) {
  return page_is_block_below(page, p, page->limit);
}

// Any thread. The owner may be raising the limit, but a block that was handed out is below any value of it since.
MI_INLINE bool page_is_others_block(const page_t* page, const void* p) {
  return page_is_block_below(page, p, atomic_get_relaxed(&page->limit));
}

MI_INLINE void page_set_extended(page_t* page, size_t count) {
  page->extended = (uint16_t)count;
  uint64_t limit = (uint64_t)(uint32_t)(page->inverse * (uint32_t)page->block_size) * count;
  atomic_set_relaxed(&page->limit, limit < page->inverse ? (uint32_t)limit : page->inverse);
}

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

MI_INLINE bool page_is_abandoned(uintptr_t owner) { return (owner & PAGE_OWNER_ABANDONED) != 0; }

MI_INLINE block_t* page_remote_first(const page_t* page, uint64_t word) {
  uint64_t index = word >> 32;
  return index == 0 ? NULL : (block_t*)(page->start + (index - 1) * 8);
}

// Blocks that wait in the remote list.
MI_INLINE uint32_t page_remote_count(const page_t* page) {
  return atomic_get_relaxed(&page->remote) & PAGE_REMOTE_COUNT;
}

// Blocks that could be handed out, those in the remote list included.
MI_INLINE uint64_t page_available_of(const page_t* page, uint64_t used, uint32_t pending) {
  uint64_t all = (uint64_t)page->reserved + pending;
  return all > used ? all - used
                    : 0; // a killed thread may have left more blocks counted as used than there are
}
MI_INLINE uint64_t page_available(const page_t* page) {
  return page_available_of(page, page_used(page), page_remote_count(page));
}

// Bytes of a page of a size class that have memory behind them.
MI_INLINE size_t page_committed(const page_t* page) {
  return page->committed_slices == 0 ? PAGE_PART_SIZE : page->committed_slices * SLICE_SIZE;
}

// Untouched blocks of a page of one slice that have memory behind them.
MI_INLINE size_t page_uncut(const page_t* page) {
  size_t end = page->committed_slices == 0 ? PAGE_PART_SIZE / page->block_size : page->reserved;
  return end > page->extended ? end - page->extended : 0; // `reserved` is lowered by what killed threads lost
}

// The next untouched block lies in memory that is not committed yet (see arena_page_commit).
MI_INLINE bool page_wants_commit(const page_t* page) {
  return page->committed_slices < page->slice_count &&
         (page->extended + (size_t)1) * page->block_size > page_committed(page);
}

// Prepares a record whose slices were just allocated for blocks of `bin`.
void page_init(page_t* page, unsigned bin, size_t block_size, uintptr_t owner, struct heap_s* heap);

// Takes a block from a page that has a free one or untouched room in committed memory; NULL otherwise.
// *is_zero: the block's memory is known to be zero. Owner only.
block_t* page_take(page_t* page, bool* is_zero);

// Moves the remote list to the free list; returns how many blocks came. Owner only.
uint32_t page_collect_remote(page_t* page);

// The same of a page that goes back to its arena then, as all other blocks of it are free: they are counted, no more.
uint32_t page_drop_remote(page_t* page);

// Gives a block back from a thread that doesn't own the page. Returns how many blocks wait in the remote list
// now. The caller goes on to look whether the page is abandoned (heaps/abandoned.h).
uint32_t page_free_remote(page_t* page, block_t* block);

// A list that was taken out of the remote word, which was `word` then, before what has come since; or another one of as many
// blocks. Releases that are not secure.
void page_put_back_remote(page_t* page, block_t* first, block_t* last, uint64_t word);

// The remote list can't be trusted.
void page_report_remote(const page_t* page);

// Blocks of a page, linked from the first to the last one, whose own link is still to be set (and mark, if it is the
// only one).
typedef struct block_run_s {
  block_t *first, *last;
  uint32_t count;
} block_run_t;

// Secure builds: the same of several at once.
uint32_t page_free_remote_run(page_t* page, block_run_t run);

#endif
