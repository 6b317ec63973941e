// What is written into blocks, and how it is checked.
//
//   free block     link to the next one | mark "free" (from 16 bytes on, secure and checking builds)
//                  or, while a secure build's thread keeps it (heaps/rack.h): its code, and zeros at both ends
//   block in use   the program's ... | tail: a canary of 8 bytes at its end (secure and checking builds)
//
// In a secure build (MI_SECURE, also part of checking builds) a link is the next block's index in its page,
// encrypted, and a code of
// 32 bits that depends on keys of the process, the block's address and the index: a link that was
// overwritten, in part or wholly, copied from another block, or never written, is found with a probability of
// 1 - 2^-32 before it is followed. Mark and canary are keyed by the block's address, too. No address is in
// any of them.
//
// In all builds block_index tells whether an address is a block's start.
#ifndef CORE_PAGES_BLOCK_H
#define CORE_PAGES_BLOCK_H

#include "core/pages/page.h"

#define BLOCK_TAIL (MI_SECURE ? (size_t)8 : (size_t)0) // bytes of a block that the program doesn't get

// The size of the block for `size` bytes of the program's. Secure builds have no blocks of 8 bytes: a mark
// wants room.
MI_INLINE size_t block_size_for(size_t size) {
  return MI_SECURE && size == 0 ? 1 + BLOCK_TAIL : size + BLOCK_TAIL;
}

// Secure builds zero so much of a freed block's begin and end; all of it when it is no larger than both, or when
// the environment asks for that (block_zeroes_all; set by block_init). That is where programs keep what they would
// least like to be read later, and nearly all of what zeroing blocks of a few hundred bytes costs is the rest.
#define BLOCK_ZEROED_BEGIN 128
#define BLOCK_ZEROED_END   64
extern bool block_zeroes_all;

extern uint64_t block_keys[4];
extern uint32_t block_reciprocals[BIN_COUNT]; // 2^32 / size, rounded up

// Keys and tables. Idempotent, any thread; page_init sees to it.
void block_init(void);

// What checking builds fill blocks with.
#define FILL_FRESH 0xD0
#define FILL_FREED 0xDF

#define BLOCK_NONE UINT32_MAX

// The index of the block that starts at `p`, BLOCK_NONE when none starts there. Not for huge pages.
MI_INLINE uint32_t block_index(const page_t* page, const void* p) {
  uint64_t offset = (uint64_t)((const uint8_t*)p - page->start);
  // Exact for multiples of the size: the reciprocal is too large by less than 1, offsets are below 2^22.
  uint32_t index = (uint32_t)(offset * block_reciprocals[page->bin] >> 32);
  return index * page->block_size == offset && index < page->extended ? index : BLOCK_NONE;
}

// ---- keyed codes ------------------------------------------------------------------------------------------

// The two halves of a product, folded: not invertible without the keys that went into it.
MI_INLINE uint64_t block_mix(uint64_t a, uint64_t b) {
#if MI_64BIT
  unsigned __int128 product = (unsigned __int128)a * b;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
  uint64_t x = (uint64_t)(uint32_t)a * (uint32_t)(b >> 32), y = (uint64_t)(uint32_t)(a >> 32) * (uint32_t)b;
  uint64_t z = (uint64_t)(uint32_t)a * (uint32_t)b, w = (uint64_t)(uint32_t)(a >> 32) * (uint32_t)(b >> 32);
  return (x ^ (y >> 7 | y << 57)) + (z ^ (w >> 29 | w << 35));
#endif
}

MI_INLINE uint64_t block_pad(const block_t* block) {
  return block_mix((uint64_t)(uintptr_t)block ^ block_keys[0], block_keys[1]);
}

MI_INLINE uint64_t block_link(uint64_t pad, uint32_t index) {
  uint32_t code =
      (uint32_t)(block_mix(pad ^ block_keys[2], ((uint64_t)index << 32 | index) ^ block_keys[3]) >> 16);
  return (uint64_t)code << 32 | ((uint32_t)pad ^ index);
}

MI_INLINE uint64_t block_mark(uint64_t pad) { return ~pad; }  // of a free block
MI_INLINE uint64_t block_canary(uint64_t pad) { return pad; } // of a block in use

MI_INLINE uint64_t* block_words(const block_t* block) { return (uint64_t*)(uintptr_t)block; }

MI_INLINE bool block_has_mark(const page_t* page) { return page->block_size >= 16; }

// ---- misuse
// ------------------------------------------------------------------------------------------------

typedef enum misuse_e {
  MISUSE_LINK,     // a free block was written to, or its list is forged
  MISUSE_OVERFLOW, // written behind the end of a block
  MISUSE_DOUBLE_FREE,
  MISUSE_INSIDE,   // freed or resized: not a block's start
  MISUSE_NOT_BLOCK // no block was ever there
} misuse_t;

// Reports it: once per process in release builds, unless errors are shown; a secure or checking build ends
// the process then, if no error function is registered.
void block_report(misuse_t misuse, const page_t* page, const void* p, const char* function);

// Checking builds: a free block holds what it was filled with, or that is reported. Link, mark and tail are looked at elsewhere.
void block_check_freed(const page_t* page, const block_t* block);

// ---- links
// -------------------------------------------------------------------------------------------------

MI_INLINE void block_set_next_by(const page_t* page, block_t* block, uint64_t pad, const block_t* next) {
  uint32_t index = next == NULL ? 0 : (uint32_t)((size_t)((const uint8_t*)next - page->start) / 8) + 1;
  block_words(block)[0] = block_link(pad, index);
  if (block_has_mark(page)) block_words(block)[1] = block_mark(pad);
}

MI_INLINE void block_set_next(const page_t* page, block_t* block, const block_t* next) {
  if (!MI_SECURE) {
    block->next = (block_t*)(uintptr_t)next;
    return;
  }
  block_set_next_by(page, block, block_pad(block), next);
}

// Is what stands in the block what block_set_next wrote? Then *next is that.
MI_INLINE bool block_get_next_by(const page_t* page, const block_t* block, uint64_t pad, block_t** next) {
  uint64_t link = block_words(block)[0];
  uint32_t index = (uint32_t)link ^ (uint32_t)pad;
  *next = index == 0 ? NULL : (block_t*)(page->start + (size_t)(index - 1) * 8);
  return link == block_link(pad, index) &&
         (!block_has_mark(page) || block_words(block)[1] == block_mark(pad));
}

MI_INLINE bool block_get_next(const page_t* page, const block_t* block, block_t** next) {
  if (MI_SECURE) return block_get_next_by(page, block, block_pad(block), next);
  *next = block->next;
  return true;
}

// The same of a block that is known to be free: reports damage, and ends the list there.
MI_INLINE block_t* block_next(const page_t* page, const block_t* block) {
  block_t* next;
  if (MI_LIKELY(block_get_next(page, block, &next))) return next;
  block_report(MISUSE_LINK, page, block, NULL);
  return NULL;
}

MI_INLINE uint64_t* block_tail(const page_t* page, const block_t* block) {
  return block_words((const block_t*)((const uint8_t*)block + page->block_size - 8));
}

// The first block of the page's free list leaves it. From here on the block is the program's, and nothing of ours stays in
// what that may read. Secure builds: only when it is out of the list, where a thread that was killed in between would
// leave what looks as if somebody had written there.
MI_INLINE void block_hand_out(page_t* page, block_t* block) {
  if (!MI_SECURE) {
    block_t* next = block->next;
    block->next = NULL;
    page->free = next;
    return;
  }
  uint64_t pad = block_pad(block), *words = block_words(block);
  uint32_t index = (uint32_t)words[0] ^ (uint32_t)pad;
  block_t* next = index == 0 ? NULL : (block_t*)(page->start + (size_t)(index - 1) * 8);
  if (MI_UNLIKELY(words[0] != block_link(pad, index) || words[1] != block_mark(pad))) {
    block_report(MISUSE_LINK, page, block, NULL);
    next = NULL; // the rest is lost
  }
  page->free = next;
  atomic_compiler_fence();
  words[0] = words[1] = 0;
  *block_tail(page, block) = block_canary(pad);
}

// page_free_remote_run in secure builds, for who has the last block's pad at hand. The remote word holds an index as
// links do.
MI_INLINE uint32_t block_free_remote_by(page_t* page, block_run_t run, uint64_t pad) {
  uint64_t index = (uint64_t)((uint8_t*)run.first - page->start) / 8 + 1;
  uint64_t word = atomic_get_relaxed(&page->remote), *words = block_words(run.last);
  if (block_has_mark(page)) words[1] = block_mark(pad);
  do {
    words[0] = block_link(pad, (uint32_t)(word >> 32));
  } while (!atomic_cas_weak_seq_cst(&page->remote, &word, index << 32 | (uint32_t)(word + run.count)));
  return (uint32_t)(word + run.count);
}

// The page's list begins with `first` from here on, which leads to what was there before; so many were freed in all. A thread
// may be killed anywhere: the list is whole after each store. The count comes first: blocks that are counted and missing
// from the list come back with their page, while one that is in the list and not counted would keep it from ever being
// empty. Owner only.
MI_INLINE void block_list_grows(page_t* page, block_t* first, uint64_t freed) {
  page->freed = freed;
  atomic_compiler_fence();
  page->free = first;
}

// A block in use becomes the first of the page's free list, in builds whose links are plain. False, and nothing done: it is
// the first already (the second of two frees in a row), or the last one in use. Owner only.
MI_INLINE bool block_put(page_t* page, block_t* block) {
  uint64_t freed = page->freed + 1;
  if (MI_UNLIKELY(freed >= page->allocated)) return false;
  block_t* first = page->free;
  if (MI_UNLIKELY(block == first)) return false;
  block->next = first;
  block_list_grows(page, block, freed);
  return true;
}

// A freed block whose reuse is delayed is in no list: mark and another code stand in it.
MI_INLINE uint64_t block_delayed_code(uint64_t pad) { return pad; }
MI_INLINE void block_set_delayed(const page_t* page, block_t* block, uint64_t pad) {
  block_words(block)[0] = block_delayed_code(pad);
  block_words(block)[1] = block_mark(pad);
  *block_tail(page, block) = 0;
}
MI_INLINE bool block_delayed_is_whole(const page_t* page, const block_t* block, uint64_t pad) {
  const uint64_t* words = block_words(block);
  return words[0] == block_delayed_code(pad) && *block_tail(page, block) == 0 &&
         (page->block_size == 16 || words[1] == block_mark(pad)); // there the mark lies where the tail does
}

// The same for a block that was in no list: its memory is the system's, or a page's that lay there before,
// whose marks may still stand in it.
MI_INLINE void block_hand_out_fresh(const page_t* page, block_t* block) {
  if (!MI_SECURE) return;
  block_words(block)[0] = block_words(block)[1] = 0;
  *block_tail(page, block) = block_canary(block_pad(block));
}

// A block in use ends with its canary, a free one with 0.
MI_INLINE bool block_tail_is_whole(const page_t* page, const block_t* block) {
  return *block_tail(page, block) == block_canary(block_pad(block));
}

#endif
