// The blocks that live, by address. Many small locks, each held for a few stores; what they guard can be read
// at any moment without them, because a thread may have been killed while it held one.
#ifndef DLL_RECORD_BLOCKS_H
#define DLL_RECORD_BLOCKS_H

#include "base/atomics.h"

typedef struct block_record_s {
  uintptr_t address;
  size_t size;    // as asked for
  uintptr_t heap; // address of the heap that it ends with; 0: none
  uint32_t stack; // its number
  uint32_t thread;
  uint32_t sequence; // the how manieth allocation, modulo 2^32
  uint32_t next;     // in the bucket
} block_record_t;

// `bucket_count`: a power of two, 256 at least.
bool blocks_start(size_t memory, size_t bucket_count);

#define BLOCKS_NEIGHBOURS 256u // buckets for what lies in one page

extern uint32_t* blocks_buckets; // numbers of the first record
extern unsigned blocks_bucket_bits;

// Blocks that lie side by side have buckets side by side (and a lock in common), as they are used together: that spares the
// processor's caches. Which buckets those are depends on all bits of the page's address.
MI_INLINE uint32_t blocks_bucket_of(uintptr_t address) {
  uint32_t page = (uint32_t)(((uint64_t)(address >> 12) * 0x9E3779B97F4A7C15u) >> (64 - blocks_bucket_bits));
  return page ^ ((uint32_t)(address >> 4) & (BLOCKS_NEIGHBOURS - 1));
}

// False: nothing is known of the block. Its owner added it before it could be freed.
MI_INLINE bool blocks_may_have(uintptr_t address) {
  return atomic_get_relaxed(&blocks_buckets[blocks_bucket_of(address)]) != 0;
}

// That address will be added soon.
void blocks_expect(uintptr_t address);

// Takes the place of what was known of that address. False when there is no memory left.
bool blocks_add(const block_record_t* record);

// False when nothing is known of it. `record` may be NULL.
bool blocks_remove(uintptr_t address, block_record_t* record);

// Changes the size of one that stays where it is.
void blocks_resize(uintptr_t address, size_t size);

// Forgets all blocks of that heap; or, unless `is_destroyed`, that they end with it.
void blocks_end_heap(uintptr_t heap, bool is_destroyed);

// Visits all without locks: for the end of the process, or a picture that need not be exact.
void blocks_visit(void (*visit)(void* context, const block_record_t* record), void* context);

#endif
