// Sums over all theaps and pages.
#ifndef CORE_STATS_STATS_H
#define CORE_STATS_STATS_H

#include "core/pages/size_class.h"
#include "core/report/counters.h"

// Blocks by size class, summed over living pages and what was accumulated from pages that are gone.
// Exact when no other thread allocates meanwhile. `bins[BIN_HUGE]` holds blocks with a page of their own.
typedef struct stats_blocks_s {
  int64_t allocated[BIN_COUNT]; // blocks ever allocated
  int64_t freed[BIN_COUNT];     // blocks freed (those that wait in remote lists count as freed)
  int64_t pages[BIN_COUNT];     // pages in use now
  int64_t page_bytes;           // and the bytes in them
  int64_t huge_allocated_bytes, huge_freed_bytes;
} stats_blocks_t;

// Any thread.
void stats_collect_blocks(stats_blocks_t* blocks);

// The same for a part: of one heap, one sub-process, or one theap (the pages that it has or filled); NULL: no
// matter which.
struct heap_s;
struct subproc_s;
struct theap_s;
void stats_collect_blocks_of(stats_blocks_t* blocks, struct heap_s* heap, const struct subproc_s* subproc,
                             const struct theap_s* theap);

#endif
