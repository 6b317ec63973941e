#include "stacks.h"

#include "base/atomics.h"
#include "base/memory.h"
#include "store.h"

#define BUCKETS (64 * 1024u)
#define UNIT    8u // a stack's number is its place in the store, in these, plus 1

static store_t store;
static uint32_t* buckets;

bool stacks_start(size_t memory) {
  buckets = os_reserve_and_commit(BUCKETS * sizeof(uint32_t));
  return buckets != NULL && store_open(&store, memory);
}

stack_t* stacks_at(uint32_t number) { return (stack_t*)(store.base + (size_t)(number - 1) * UNIT); }

static uint32_t hash_of(const frame_t* frames, size_t count) {
  uint64_t hash = count;
  for (size_t i = 0; i < count; i++) hash = hash * 0x9E3779B97F4A7C15u + frames[i];
  hash = (hash ^ hash >> 32) * 0x9E3779B97F4A7C15u;
  return (uint32_t)(hash >> 32);
}

static bool equals(const stack_t* stack, uint32_t hash, const frame_t* frames, size_t count) {
  if (stack->hash != hash || stack->count != count) return false;
  for (size_t i = 0; i < count; i++) {
    if (stack->frames[i] != frames[i]) return false;
  }
  return true;
}

// From `number` on, up to but without `end`.
static uint32_t find(uint32_t number, uint32_t end, uint32_t hash, const frame_t* frames, size_t count) {
  for (; number != end; number = stacks_at(number)->next) {
    if (equals(stacks_at(number), hash, frames, count)) return number;
  }
  return 0;
}

uint32_t stacks_add(const frame_t* frames, size_t count) {
  uint32_t hash = hash_of(frames, count), *bucket = &buckets[hash % BUCKETS];
  uint32_t first = atomic_get_acquire(bucket), found = find(first, 0, hash, frames, count);
  if (found != 0) return found;
  stack_t* stack = store_take(&store, sizeof(stack_t) + count * sizeof(frame_t));
  if (stack == NULL) return 0;
  stack->hash = hash;
  mem_copy(stack->frames, frames, count * sizeof(frame_t));
  stack->count = (uint32_t)count;
  uint32_t number = (uint32_t)((size_t)((uint8_t*)stack - store.base) / UNIT) + 1;
  for (;;) {
    stack->next = first;
    uint32_t seen = first;
    if (atomic_cas_acq_rel(bucket, &first, number)) return number;
    found =
        find(first, seen, hash, frames, count); // another thread may have added the same; ours is then lost
    if (found != 0) return found;
  }
}

uint32_t stacks_next(uint32_t number) {
  uint32_t bucket = 0;
  if (number != 0) {
    const stack_t* stack = stacks_at(number);
    if (stack->next != 0) return stack->next;
    bucket = stack->hash % BUCKETS + 1;
  }
  for (; bucket < BUCKETS; bucket++) {
    if (buckets[bucket] != 0) return buckets[bucket];
  }
  return 0;
}
