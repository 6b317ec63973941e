#include "core/memory/sysmem.h"
#include "base/bits.h"
#include "core/report/counters.h"
#include "core/report/options.h"

#define RETRY_MS 20 // between two attempts to commit

// The page map and the stacks of records rely on addresses of 47 bits, which is what systems give unless
// asked for more.
static bool is_mappable(const void* p, size_t size) {
  return !MI_64BIT || ((uint64_t)(uintptr_t)p + size - 1) >> 47 == 0;
}

void* sysmem_reserve(size_t size) { return sysmem_reserve_at(NULL, size); }

void* sysmem_reserve_at(void* address, size_t size) {
  stats_count(&stats_process.reserve_calls, 1);
  void* p = address == NULL ? os_reserve(size) : os_reserve_at(address, size);
  if (p != NULL && !is_mappable(p, size)) {
    os_release(p, size);
    p = NULL;
  }
  if (p != NULL) stats_increase(&stats_process.reserved, size);
  return p;
}

// A commit was refused. True: it is worth another attempt, after a while, until option retry_on_oom's time is
// over.
static bool is_to_be_tried_again(uint32_t begin) {
  long limit = option_get_clamp(option_retry_on_oom, 0, 1 << 20);
  return os_clock_ms() - begin < (uint32_t)limit && os_wait_for_memory(RETRY_MS);
}

void* sysmem_reserve_and_commit(size_t size) {
  uint32_t begin = os_clock_ms();
  void* p;
  do {
    stats_count(&stats_process.reserve_calls, 1);
    p = os_reserve_and_commit(size);
  } while (MI_UNLIKELY(p == NULL) && is_to_be_tried_again(begin));
  if (p != NULL) {
    stats_increase(&stats_process.reserved, size);
    stats_increase(&stats_process.committed, size);
  }
  return p;
}

void* sysmem_reserve_large(size_t size, int numa_node) {
  stats_count(&stats_process.reserve_calls, 1);
  void* p = os_reserve_large(size, numa_node);
  if (p != NULL) {
    stats_increase(&stats_process.reserved, size);
    stats_increase(&stats_process.committed, size);
  }
  return p;
}

bool sysmem_commit(void* start, size_t size, size_t fresh_size) {
  stats_count(&stats_process.commit_calls, 1);
  if (MI_UNLIKELY(!os_commit(start, size))) {
    uint32_t begin = os_clock_ms();
    do {
      if (!is_to_be_tried_again(begin)) return false;
      stats_count(&stats_process.commit_calls, 1);
    } while (!os_commit(start, size));
  }
  stats_increase(&stats_process.committed, fresh_size);
  return true;
}

bool sysmem_decommit(void* start, size_t size, size_t committed_size) {
  stats_count(&stats_process.decommit_calls, 1);
  if (!os_decommit(start, size)) return false;
  stats_count(&stats_process.purged_bytes, (int64_t)committed_size);
  stats_decrease(&stats_process.committed, committed_size);
  return true;
}

bool sysmem_reset(void* start, size_t size) {
  stats_count(&stats_process.reset_calls, 1);
  if (!os_reset(start, size)) return false;
  stats_count(&stats_process.reset_bytes, (int64_t)size);
  return true;
}

void sysmem_release(void* base, size_t size, size_t committed_size) {
  stats_count(&stats_process.release_calls, 1);
  if (!os_release(base, size)) return; // stays reserved, and stays counted
  stats_decrease(&stats_process.reserved, size);
  stats_decrease(&stats_process.committed, committed_size);
}

void* sysmem_reserve_aligned(size_t size, size_t alignment, void** base, size_t* reserved_size) {
  *base = sysmem_reserve(size);
  *reserved_size = size;
  if (*base == NULL || bits_is_aligned(*base, alignment)) return *base;
  sysmem_release(*base, size, 0);
  if (size > PTRDIFF_MAX - alignment) return NULL;

  // Too large a reservation tells where an aligned one would fit; another thread may take the place between
  // the two calls, and Windows can't release a part of a reservation, so as a last resort the whole of it is
  // kept.
  for (int attempt = 0;; attempt++) {
    size_t larger = size + alignment;
    void* probe = sysmem_reserve(larger);
    if (probe == NULL) return NULL;
    void* aligned = (void*)bits_align_up((uintptr_t)probe, alignment);
    if (attempt == 3) {
      *base = probe;
      *reserved_size = larger;
      return aligned;
    }
    sysmem_release(probe, larger, 0);
    *base = sysmem_reserve_at(aligned, size);
    if (*base != NULL) return *base;
  }
}

// ---- metadata: chunks of 64 KiB, filled from the front, linked for the unload ---------------------------

typedef struct metadata_chunk_s {
  struct metadata_chunk_s* next;
  size_t used; // bytes, this header included
  size_t size;
} metadata_chunk_t;

#define METADATA_HEADER MI_CACHE_LINE
_Static_assert(sizeof(metadata_chunk_t) <= METADATA_HEADER, "the header is a cache line");

static os_lock_t metadata_lock;
static metadata_chunk_t* metadata_chunks; // the first one is being filled

static void* metadata_take_locked(size_t size) {
  metadata_chunk_t* chunk = metadata_chunks;
  if (chunk == NULL || chunk->size - chunk->used < size) return NULL;
  chunk->used += size; // first: who dies on the way loses it
  return (uint8_t*)chunk + chunk->used - size;
}

void* sysmem_metadata(size_t size) {
  size = bits_align_up(size, MI_CACHE_LINE);
  os_lock_acquire(&metadata_lock);
  void* p = metadata_take_locked(size);
  os_lock_release(&metadata_lock);
  if (p != NULL) return p;
  // The lock isn't held across the call to the system, which may come back to us (somebody's hook). Two
  // threads may make a chunk each: both are used.
  size_t chunk_size = bits_align_up(size + METADATA_HEADER, OS_GRANULARITY);
  metadata_chunk_t* chunk = (metadata_chunk_t*)sysmem_reserve_and_commit(chunk_size);
  if (chunk == NULL) return NULL;
  chunk->size = chunk_size;
  chunk->used = METADATA_HEADER + size;
  p = (uint8_t*)chunk + METADATA_HEADER;
  os_lock_acquire(&metadata_lock);
  metadata_chunk_t* first = metadata_chunks;
  if (first != NULL &&
      first->size - first->used > chunk->size - chunk->used) { // keep on filling the emptier one
    chunk->next = first->next;
    first->next = chunk;
  } else {
    chunk->next = first;
    metadata_chunks = chunk;
  }
  os_lock_release(&metadata_lock);
  return p;
}

void sysmem_release_metadata(void) {
  metadata_chunk_t* chunk = metadata_chunks;
  metadata_chunks = NULL;
  while (chunk != NULL) {
    metadata_chunk_t* next = chunk->next;
    sysmem_release(chunk, chunk->size, chunk->size);
    chunk = next;
  }
}
