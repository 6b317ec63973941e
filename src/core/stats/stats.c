#include "core/stats/stats.h"

#include "core/stats/stats_print.h"
#include "base/memory.h"
#include "core/heaps/theap.h"
#include "os/os.h"

static bool add_page_counts(page_t* page, void* arg) {
  stats_blocks_t* blocks = (stats_blocks_t*)arg;
  unsigned bin = page->bin;
  blocks->pages[bin]++;
  blocks->page_bytes += (int64_t)(page->slice_count * SLICE_SIZE);
  if (bin == BIN_HUGE) return true; // counted in stats_process
  blocks->allocated[bin] += (int64_t)(page->allocated - page->is_kept);
  blocks->freed[bin] += (int64_t)(page->freed + ((uint32_t)atomic_get_relaxed(&page->remote) >> 8));
  return true;
}

void stats_collect_blocks(stats_blocks_t* blocks) {
  mem_zero(blocks, sizeof(*blocks));
  int64_t extended = 0, searches = 0, search_steps = 0;
  for (theap_t* theap = theap_first(); theap != NULL; theap = theap->all_next) {
    extended += atomic_get_relaxed(&theap->extended);
    searches += atomic_get_relaxed(&theap->searches);
    search_steps += atomic_get_relaxed(&theap->search_steps);
    for (unsigned bin = 1; bin < BIN_HUGE; bin++) {
      blocks->allocated[bin] += atomic_get_relaxed(&theap->allocated[bin]);
      blocks->freed[bin] += atomic_get_relaxed(&theap->freed[bin]);
    }
  }
  atomic_set_relaxed(&stats_process.pages_extended, extended);
  atomic_set_relaxed(&stats_process.page_searches_count, searches);
  atomic_set_relaxed(&stats_process.page_searches, search_steps);
  arena_visit_pages(&add_page_counts, blocks);
  blocks->page_bytes += (int64_t)arena_outside_bytes();
  blocks->allocated[BIN_HUGE] = atomic_get_relaxed(&stats_process.huge_count);
  blocks->freed[BIN_HUGE] = atomic_get_relaxed(&stats_process.huge_freed);
}

// stats_process_t as the row of numbers that it is: first the levels, then the counters.
#define STATS_WORDS  (sizeof(stats_process_t) / sizeof(int64_t))
#define STATS_LEVELS (offsetof(stats_process_t, huge_count) / sizeof(stats_level_t))
_Static_assert(sizeof(stats_level_t) == 3 * sizeof(int64_t), "levels are three numbers");
_Static_assert(offsetof(stats_process_t, huge_count) == STATS_LEVELS * sizeof(stats_level_t),
               "levels come first");

// What a reset took away: of a level and of blocks as many as were gone then, of a counter its value.
static struct {
  os_lock_t lock;
  stats_process_t process;
  int64_t freed[BIN_COUNT];
} baseline;

static void read_process(stats_process_t* process) {
  const int64_t* from = (const int64_t*)&stats_process;
  int64_t* to = (int64_t*)process;
  for (size_t i = 0; i < STATS_WORDS; i++) to[i] = atomic_get_relaxed(&from[i]);
}

void stats_snapshot(stats_snapshot_t* snapshot) {
  stats_process_t* process = &snapshot->process;
  stats_blocks_t* blocks = &snapshot->blocks;
  stats_collect_blocks(blocks);
  read_process(process);

  const int64_t* gone = (const int64_t*)&baseline.process;
  for (size_t i = 0; i < STATS_WORDS; i++) ((int64_t*)process)[i] -= atomic_get_relaxed(&gone[i]);

  snapshot->allocations = snapshot->frees = snapshot->bytes_allocated = snapshot->bytes_in_use = 0;
  for (unsigned bin = 1; bin < BIN_COUNT; bin++) {
    int64_t freed_before = atomic_get_relaxed(&baseline.freed[bin]);
    blocks->allocated[bin] -= freed_before;
    blocks->freed[bin] -= freed_before;
    snapshot->allocations += blocks->allocated[bin];
    snapshot->frees += blocks->freed[bin];
    if (bin == BIN_HUGE) continue;
    int64_t size = (int64_t)size_class_size(bin);
    snapshot->bytes_allocated += blocks->allocated[bin] * size;
    snapshot->bytes_in_use += (blocks->allocated[bin] - blocks->freed[bin]) * size;
  }
  snapshot->os_calls = process->reserve_calls + process->commit_calls + process->decommit_calls +
                       process->reset_calls + process->release_calls;
}

void stats_reset(void) {
  os_lock_acquire(&baseline.lock);
  stats_blocks_t blocks;
  stats_collect_blocks(&blocks);
  for (unsigned bin = 0; bin < BIN_COUNT; bin++) atomic_set_relaxed(&baseline.freed[bin], blocks.freed[bin]);

  stats_process_t now;
  read_process(&now);
  stats_level_t* levels = (stats_level_t*)&stats_process;
  stats_level_t* now_levels = (stats_level_t*)&now;
  for (size_t i = 0; i < STATS_LEVELS; i++) {
    atomic_set_relaxed(&levels[i].peak, now_levels[i].current);
    now_levels[i].total -= now_levels[i].current;
    now_levels[i].peak = now_levels[i].current = 0;
  }
  now.huge_count = now.huge_freed; // as for the other blocks
  int64_t* gone = (int64_t*)&baseline.process;
  for (size_t i = 0; i < STATS_WORDS; i++) atomic_set_relaxed(&gone[i], ((int64_t*)&now)[i]);
  os_lock_release(&baseline.lock);
}
