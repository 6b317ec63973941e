#include "core/stats/stats.h"

#include "core/stats/stats_print.h"
#include "base/memory.h"
#include "core/heaps/idle.h"
#include "core/heaps/ring.h"
#include "core/heaps/theap.h"
#include "os/os.h"

typedef struct sum_s {
  stats_blocks_t* blocks;
  const heap_t* heap;
  const subproc_t* subproc;
  const theap_t* theap;
} sum_t;

static bool is_of(const sum_t* sum, const heap_t* heap) {
  return heap != NULL && (sum->heap == NULL || heap == sum->heap) &&
         (sum->subproc == NULL || heap->subproc == sum->subproc);
}

static bool add_page_counts(page_t* page, void* arg) {
  const sum_t* sum = (const sum_t*)arg;
  stats_blocks_t* blocks = sum->blocks;
  uintptr_t owner = atomic_get_acquire(&page->owner);
  if (!is_of(sum, atomic_get_acquire(&page->heap))) return true;
  if (sum->theap != NULL && page_owner_theap(owner) != sum->theap) return true;
  unsigned bin = page->bin;
  blocks->pages[bin]++;
  blocks->page_bytes += (int64_t)(page->slice_count * SLICE_SIZE);
  if (bin == BIN_HUGE) return true; // counted when it was made
  blocks->allocated[bin] += (int64_t)(page->allocated - page->is_kept);
  blocks->freed[bin] += (int64_t)(page->freed + page_remote_count(page));
  return true;
}

static void add_counts(stats_blocks_t* blocks, const int64_t* allocated, const int64_t* freed,
                       int64_t huge_allocated, int64_t huge_freed) {
  for (unsigned bin = 1; bin < BIN_COUNT; bin++) {
    blocks->allocated[bin] += atomic_get_relaxed(&allocated[bin]);
    blocks->freed[bin] += atomic_get_relaxed(&freed[bin]);
  }
  blocks->huge_allocated_bytes += huge_allocated;
  blocks->huge_freed_bytes += huge_freed;
}

static bool add_heap_counts(heap_t* heap, void* arg) {
  const sum_t* sum = (const sum_t*)arg;
  if (is_of(sum, heap))
    add_counts(sum->blocks, heap->allocated, heap->freed, heap->huge_allocated_bytes, heap->huge_freed_bytes);
  return true;
}

static void collect_blocks_of(stats_blocks_t* blocks, heap_t* heap, const subproc_t* subproc,
                              const theap_t* theap) {
  sum_t sum = {blocks, heap, subproc, theap};
  for (const theap_t* at = theap_first(); at != NULL; at = at->all_next) {
    if (!is_of(&sum, at->counts_of) || (theap != NULL && at != theap)) continue;
    add_counts(blocks, at->counts.allocated, at->counts.freed, at->counts.huge_allocated_bytes,
               at->counts.huge_freed_bytes);
    if (MI_SECURE) racks_count(at, blocks->allocated, blocks->freed);
    if (MI_SECURE) ring_count(at, blocks->freed);
  }
  if (heap == NULL && theap == NULL) subproc_visit_heaps(subproc, &add_heap_counts, &sum);
  if (heap != NULL) {
    if (theap == NULL) add_heap_counts(heap, &sum);
    heap_visit_pages(heap, &add_page_counts, &sum);
    return;
  }
  for (subproc_t* in = subproc_first(); in != NULL; in = in->next) {
    if (atomic_get_acquire(&in->state) != HEAP_LIVE || (subproc != NULL && in != subproc)) continue;
    arena_visit_pages(&in->arenas, &add_page_counts, &sum);
  }
}

void stats_collect_blocks_of(stats_blocks_t* blocks, heap_t* heap, const subproc_t* subproc,
                             const theap_t* theap) {
  mem_zero(blocks, sizeof(*blocks));
  idle_pause(); // what is in a remote list is counted
  collect_blocks_of(blocks, heap, subproc, theap);
  idle_resume();
}

// Counters of the slow paths: what theaps that are gone left in `process`, and what those have that are
// there.
static void add_theap_counters(stats_process_t* process) {
  int64_t pages = 0, huge = 0;
  for (const theap_t* theap = theap_first(); theap != NULL; theap = theap->all_next) {
    const theap_counts_t* counts = &theap->counts;
    process->pages_extended += atomic_get_relaxed(&counts->extended);
    process->pages_retired += atomic_get_relaxed(&counts->retired);
    process->page_searches += atomic_get_relaxed(&counts->search_steps);
    process->page_searches_count += atomic_get_relaxed(&counts->searches);
    process->pages_adopted += atomic_get_relaxed(&counts->adopted);
    process->pages_reclaimed += atomic_get_relaxed(&counts->reclaimed);
    process->remote_frees += atomic_get_relaxed(&counts->remote_frees);
    pages += counts->pages_made - counts->pages_gone - theap->pages_flushed;
    huge += counts->huge_allocated_bytes - counts->huge_freed_bytes - theap->huge_flushed;
  }
  process->pages.current += pages;
  process->huge_bytes.current += huge;
  if (pages > 0) process->pages.total += pages;
  if (huge > 0) process->huge_bytes.total += huge;
  if (process->pages.peak < process->pages.current) process->pages.peak = process->pages.current;
  if (process->huge_bytes.peak < process->huge_bytes.current)
    process->huge_bytes.peak = process->huge_bytes.current;
}

void stats_collect_blocks(stats_blocks_t* blocks) { stats_collect_blocks_of(blocks, NULL, NULL, NULL); }

// stats_process_t as the row of numbers that it is: first the levels, then the counters.
#define STATS_WORDS  (sizeof(stats_process_t) / sizeof(int64_t))
#define STATS_LEVELS (offsetof(stats_process_t, reset_bytes) / sizeof(stats_level_t))
_Static_assert(sizeof(stats_level_t) == 3 * sizeof(int64_t), "levels are three numbers");
_Static_assert(offsetof(stats_process_t, reset_bytes) == STATS_LEVELS * sizeof(stats_level_t),
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
  add_theap_counters(process);
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
  int64_t* gone = (int64_t*)&baseline.process;
  for (size_t i = 0; i < STATS_WORDS; i++) atomic_set_relaxed(&gone[i], ((int64_t*)&now)[i]);
  os_lock_release(&baseline.lock);
}
