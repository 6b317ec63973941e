// Counters. Three kinds, by cost:
// 1. Block counts: free on the hot path, because a page's own counters `allocated` and `freed` decide when it
// is empty
//    (core/pages/page.h); core/stats sums them when somebody asks.
// 2. Events of the slow path: atomic, in `stats_process` below.
// 3. Calls to the operating system: atomic, counted by core/memory/sysmem.c.
#ifndef CORE_REPORT_COUNTERS_H
#define CORE_REPORT_COUNTERS_H

#include "base/atomics.h"

typedef struct stats_level_s { // an amount that goes up and down
  int64_t total;               // all increases
  int64_t peak;
  int64_t current;
} stats_level_t;

typedef struct stats_process_s {
  stats_level_t pages;      // pages in use
  stats_level_t reserved;   // bytes of address space
  stats_level_t committed;  // bytes
  stats_level_t threads;    // threads that have or had a heap of their own
  stats_level_t theaps;     // per-thread heap records that a living thread owns
  stats_level_t heaps;      // first-class heaps, main ones included
  stats_level_t huge_bytes; // bytes in blocks that have a page to themselves
  int64_t reset_bytes, purged_bytes;
  int64_t reserve_calls, commit_calls, decommit_calls, reset_calls, release_calls; // operating system calls
  int64_t arenas;
  int64_t pages_extended, pages_retired, page_searches, page_searches_count;
  int64_t threads_reaped;   // given back for threads that died without doing so
  int64_t pages_adopted;    // abandoned pages that a theap took over
  int64_t pages_reclaimed;  // abandoned pages that the theap which filled them took back
  int64_t remote_frees;     // blocks freed by another thread than their owner, as seen when collected
  int64_t late_allocations; // served by the shared late heap
  int64_t foreign_frees;    // pointers that weren't ours
} stats_process_t;

extern stats_process_t stats_process;

static inline void stats_count(int64_t* counter, int64_t amount) { atomic_add_relaxed(counter, amount); }

static inline void stats_increase(stats_level_t* level, size_t amount) {
  int64_t now = atomic_add_relaxed(&level->current, (int64_t)amount) + (int64_t)amount;
  atomic_add_relaxed(&level->total, (int64_t)amount);
  int64_t peak = atomic_get_relaxed(&level->peak);
  while (now > peak &&
         !__atomic_compare_exchange_n(&level->peak, &peak, now, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
}
// By an amount of either sign; falls don't count in the total.
static inline void stats_change(stats_level_t* level, int64_t amount) {
  if (amount >= 0) {
    stats_increase(level, (size_t)amount);
  } else {
    atomic_add_relaxed(&level->current, amount);
  }
}
static inline void stats_decrease(stats_level_t* level, size_t amount) {
  atomic_sub_relaxed(&level->current, (int64_t)amount);
}
// All pages and heaps are gone at once.
static inline void stats_forget_blocks(void) {
  stats_process.pages.current = stats_process.huge_bytes.current = stats_process.heaps.current = 0;
}

#endif
