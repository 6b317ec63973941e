#include "blocks.h"

#include "base/atomics.h"
#include "store.h"

#define SHARDS 64u // locks
#define CHUNK  64u // records that a shard takes from the store at once

typedef struct MI_ALIGNED(MI_CACHE_LINE) shard_s {
  os_lock_t lock;
  uint32_t free;              // first of its unused records
  uint32_t fresh, fresh_left; // and those that never were used
} shard_t;

static shard_t shards[SHARDS];
static store_t store; // record `number` is the one before it

bool blocks_start(size_t memory, size_t bucket_count) {
  blocks_bucket_bits = (unsigned)__builtin_ctzll(bucket_count);
  blocks_buckets = os_reserve_and_commit(bucket_count * sizeof(uint32_t));
  return blocks_buckets != NULL && store_open(&store, memory);
}

static inline block_record_t* at(uint32_t number) { return (block_record_t*)store.base + (number - 1); }

static shard_t* shard_of(uint32_t bucket) { return &shards[bucket / BLOCKS_NEIGHBOURS % SHARDS]; }

void blocks_expect(uintptr_t address) { __builtin_prefetch(&blocks_buckets[blocks_bucket_of(address)], 1); }

static uint32_t take(shard_t* shard) {
  uint32_t number = shard->free;
  if (number != 0) {
    shard->free = at(number)->next;
    return number;
  }
  if (shard->fresh_left == 0) {
    block_record_t* records = store_take(&store, CHUNK * sizeof(block_record_t));
    if (records == NULL) return 0;
    shard->fresh = (uint32_t)(records - (block_record_t*)store.base) + 1;
    shard->fresh_left = CHUNK;
  }
  shard->fresh_left--;
  return shard->fresh++;
}

// The link that leads to the address's record, or to nothing.
static uint32_t* link_to(uint32_t bucket, uintptr_t address) {
  uint32_t* link = &blocks_buckets[bucket];
  while (*link != 0 && at(*link)->address != address) link = &at(*link)->next;
  return link;
}

bool blocks_add(const block_record_t* record) {
  uint32_t bucket = blocks_bucket_of(record->address);
  shard_t* shard = shard_of(bucket);
  os_lock_acquire(&shard->lock);
  uint32_t number = *link_to(bucket, record->address);
  bool is_known = number != 0; // freed by a way that we don't see
  if (!is_known) number = take(shard);
  if (number != 0) {
    block_record_t* kept = at(number); // member by member: quicker than what a compiler makes of it for size
    kept->size = record->size;
    kept->heap = record->heap;
    kept->stack = record->stack;
    kept->thread = record->thread;
    kept->sequence = record->sequence;
    if (!is_known) {
      kept->address = record->address;
      kept->next = blocks_buckets[bucket];
      atomic_set_release(&blocks_buckets[bucket], number); // whole before it can be found
    }
  }
  os_lock_release(&shard->lock);
  return number != 0;
}

static MI_NOINLINE bool remove_from(uint32_t bucket, uintptr_t address, block_record_t* record) {
  shard_t* shard = shard_of(bucket);
  os_lock_acquire(&shard->lock);
  uint32_t* link = link_to(bucket, address);
  uint32_t number = *link;
  if (number != 0) {
    if (record != NULL) *record = *at(number);
    atomic_set_relaxed(link, at(number)->next);
    at(number)->address = 0;
    at(number)->next = shard->free;
    shard->free = number;
  }
  os_lock_release(&shard->lock);
  return number != 0;
}

bool blocks_remove(uintptr_t address, block_record_t* record) {
  return blocks_may_have(address) && remove_from(blocks_bucket_of(address), address, record);
}

void blocks_resize(uintptr_t address, size_t size) {
  uint32_t bucket = blocks_bucket_of(address);
  shard_t* shard = shard_of(bucket);
  os_lock_acquire(&shard->lock);
  uint32_t number = *link_to(bucket, address);
  if (number != 0) at(number)->size = size;
  os_lock_release(&shard->lock);
}

typedef struct ending_s {
  uintptr_t heap;
  bool is_destroyed;
} ending_t;

static void end_block(void* context, const block_record_t* record) {
  const ending_t* ending = context;
  if (record->heap != ending->heap) return;
  if (ending->is_destroyed) {
    blocks_remove(record->address, NULL);
    return;
  }
  uint32_t bucket = blocks_bucket_of(record->address);
  shard_t* shard = shard_of(bucket);
  os_lock_acquire(&shard->lock);
  uint32_t number = *link_to(bucket, record->address);
  if (number != 0 && at(number)->heap == ending->heap) at(number)->heap = 0;
  os_lock_release(&shard->lock);
}

void blocks_end_heap(uintptr_t heap, bool is_destroyed) {
  ending_t ending = {heap, is_destroyed};
  blocks_visit(end_block, &ending);
}

void blocks_visit(void (*visit)(void* context, const block_record_t* record), void* context) {
  for (size_t bucket = 0; bucket < (size_t)1 << blocks_bucket_bits; bucket++) {
    // A list may change under us; one that leads astray must not lead us on for ever.
    uint32_t number = atomic_get_acquire(&blocks_buckets[bucket]);
    for (unsigned steps = 0; number != 0 && steps < 100000; steps++) {
      block_record_t record = *at(number);
      if (record.address != 0 && blocks_bucket_of(record.address) == bucket) visit(context, &record);
      number = record.next;
    }
  }
}
