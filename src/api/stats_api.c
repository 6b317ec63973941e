// Statistics in the layout of mimalloc 3.4.3, as JSON (stats_json.c), and printed: of the process, of a
// sub-process, of a heap, of a thread.
//
// Blocks and pages are summed for what is asked for. Everything else is counted for the process: the main
// sub-process has it, other ones have what can be seen of them now, and heaps and threads have none of it.
#include "mimalloc-stats.h"

#include "api/api_types.h"
#include "api/stats_json.h"
#include "base/format.h"
#include "base/memory.h"
#include "core/stats/stats_print.h"

// ---- bins -------------------------------------------------------------------------------------------------
// Upstream's bins hold 1..8 words, then four sizes per doubling. Ours are finer above 1 KiB, so each of our
// classes is counted in the bin where a block of its size would go upstream, sometimes two in one.

#define WORD sizeof(void*)

static unsigned bin_of_size(size_t size) {
  size_t words = (size + WORD - 1) / WORD;
  if (words <= 8) return words == 0 ? 1 : (unsigned)words;
  unsigned high = bits_highest(words - 1);
  return high * 4 + (unsigned)(((words - 1) >> (high - 2)) & 3) - 3;
}

static size_t size_of_bin(size_t bin) {
  if (bin <= 8) return (bin == 0 ? 1 : bin) * WORD;
  size_t step = bin - 9;
  return ((5 + step % 4) << (step / 4 + 1)) * WORD;
}

size_t mi_stats_get_bin_size(size_t bin) {
  if (bin > MI_BIN_HUGE) return 0;
  return bin == MI_BIN_HUGE ? LARGE_SIZE_MAX + WORD : size_of_bin(bin);
}

// ---- filling the structure --------------------------------------------------------------------------------

static mi_stat_count_t count_of(const stats_level_t* level) {
  return (mi_stat_count_t){.total = level->total, .peak = level->peak, .current = level->current};
}

// Peaks of single bins aren't known: they repeat what is there now.
static void add_level(mi_stat_count_t* level, int64_t total, int64_t current) {
  level->total += total;
  level->peak += current;
  level->current += current;
}

static void fill_process(mi_stats_t* stats, const stats_process_t* process) {
  stats->pages = count_of(&process->pages);
  stats->reserved = count_of(&process->reserved);
  stats->committed = count_of(&process->committed);
  stats->reset.total = process->reset_bytes;
  stats->purged.total = process->purged_bytes;
  stats->threads = count_of(&process->threads);
  stats->mmap_calls.total = process->reserve_calls;
  stats->commit_calls.total = process->commit_calls;
  stats->reset_calls.total = process->reset_calls;
  stats->purge_calls.total = process->decommit_calls;
  stats->arena_count.total = process->arenas;
  stats->pages_extended.total = process->pages_extended;
  stats->pages_retire.total = process->pages_retired;
  stats->page_searches.total = process->page_searches;
  stats->page_searches_count.total = process->page_searches_count;
  stats->theaps = count_of(&process->theaps);
  stats->heaps = count_of(&process->heaps);
  stats->pages_reclaim_on_alloc.total = process->pages_adopted;
  stats->pages_reclaim_on_free.total = process->pages_reclaimed;
}

static void add_blocks(mi_stats_t* stats, const stats_blocks_t* blocks) {
  int64_t total = 0, current = 0;
  for (unsigned bin = 1; bin < BIN_COUNT; bin++) {
    unsigned slot = bin == BIN_HUGE ? MI_BIN_HUGE : bin_of_size(size_class_size(bin));
    int64_t in_use = blocks->allocated[bin] - blocks->freed[bin];
    int64_t pages = bin == BIN_HUGE ? in_use : blocks->pages[bin]; // a huge block has a page to itself
    add_level(&stats->malloc_bins[slot], blocks->allocated[bin], in_use);
    add_level(&stats->page_bins[slot], pages, pages);
    if (bin == BIN_HUGE) continue;
    int64_t size = (int64_t)size_class_size(bin);
    total += blocks->allocated[bin] * size;
    current += in_use * size;
    stats->malloc_normal_count.total += blocks->allocated[bin];
  }
  stats->malloc_huge_count.total += blocks->allocated[BIN_HUGE];
  add_level(&stats->malloc_normal, total, current);
  add_level(&stats->malloc_huge, blocks->huge_allocated_bytes,
            blocks->huge_allocated_bytes - blocks->huge_freed_bytes);
  add_level(&stats->page_committed, blocks->page_bytes, blocks->page_bytes);
}

static bool count_heap(heap_t* heap, void* arg) {
  MI_UNUSED(heap);
  (*(int64_t*)arg)++;
  return true;
}

static void add_arena(arena_t* arena, void* arg) {
  mi_stats_t* stats = (mi_stats_t*)arg;
  add_level(&stats->reserved, (int64_t)(arena->slice_count * SLICE_SIZE),
            (int64_t)(arena->slice_count * SLICE_SIZE));
  int64_t committed = (int64_t)arena_usage(arena).committed;
  add_level(&stats->committed, committed, committed);
  stats->arena_count.total++;
}

// What is asked for: a theap, or a heap, or a sub-process with its heaps' blocks or without.
typedef struct scope_s {
  subproc_t* subproc;
  heap_t* heap;
  theap_t* theap;
  bool with_blocks;
} scope_t;

static void fill(mi_stats_t* stats, const scope_t* scope) {
  mem_zero(stats, sizeof(*stats));
  mi_stats_header_init(stats);
  bool is_process = scope->subproc == subproc_main();
  if (is_process) {
    stats_snapshot_t snapshot;
    stats_snapshot(&snapshot);
    fill_process(stats, &snapshot.process);
    if (scope->with_blocks) add_blocks(stats, &snapshot.blocks);
    stats->malloc_huge.peak = scope->with_blocks ? snapshot.process.huge_bytes.peak : 0;
  } else {
    if (scope->subproc != NULL) {
      arena_visit(&scope->subproc->arenas, &add_arena, stats);
      int64_t threads = atomic_get_relaxed(&scope->subproc->threads);
      add_level(&stats->threads, threads, threads);
      int64_t heaps = 0;
      subproc_visit_heaps(scope->subproc, &count_heap, &heaps);
      add_level(&stats->heaps, heaps, heaps);
    }
    if (scope->with_blocks) {
      stats_blocks_t blocks;
      stats_collect_blocks_of(&blocks, scope->heap, scope->subproc, scope->theap);
      add_blocks(stats, &blocks);
      int64_t pages = 0;
      for (unsigned bin = 1; bin < BIN_COUNT; bin++) pages += blocks.pages[bin];
      add_level(&stats->pages, pages, pages);
    }
  }
}

static scope_t scope_of_subproc(subproc_t* subproc) {
  return (scope_t){.subproc = subproc, .with_blocks = true};
}

static scope_t scope_of_current(void) {
  runtime_process_attach(); // may well be the first call into the library
  return scope_of_subproc(runtime_subproc());
}

static scope_t scope_of_heap(mi_heap_t* heap) {
  return (scope_t){.heap = heap_from(heap), .with_blocks = true};
}

// The structure of the 2.4 line, whose DLL ours may replace: without heaps, theaps, heaps_delete_wait and
// chunk_bins.
typedef struct stats_v4_s {
  size_t size, version;
  MI_ALIGNED(8) int64_t common[(offsetof(mi_stats_t, heaps) - offsetof(mi_stats_t, pages)) / sizeof(int64_t)];
  int64_t reclaims[4]; // pages_reclaim_on_alloc and the three after it
  mi_stat_count_t reserved_counts[4];
  mi_stat_counter_t reserved_counters[4];
  mi_stat_count_t malloc_bins[MI_BIN_HUGE + 1];
  mi_stat_count_t page_bins[MI_BIN_HUGE + 1];
} stats_v4_t;

static void fill_v4(stats_v4_t* old, const scope_t* scope) {
  mi_stats_t stats;
  fill(&stats, scope);
  mem_zero(old, sizeof(*old));
  old->size = sizeof(*old);
  old->version = 4;
  const char* from = (const char*)&stats;
  mem_copy(old->common, from + offsetof(mi_stats_t, pages), sizeof(old->common));
  mem_copy(old->reclaims, from + offsetof(mi_stats_t, pages_reclaim_on_alloc), sizeof(old->reclaims));
  mem_copy(old->malloc_bins, stats.malloc_bins, sizeof(old->malloc_bins));
  mem_copy(old->page_bins, stats.page_bins, sizeof(old->page_bins));
}

static bool get(mi_stats_t* stats, const scope_t* scope) {
  if (stats_are_current(stats)) {
    fill(stats, scope);
  } else if (stats != NULL && stats->size == sizeof(stats_v4_t) && stats->version == 4) {
    fill_v4((stats_v4_t*)(void*)stats, scope);
  } else {
    return false;
  }
  return true;
}

static char* get_json(size_t buf_size, char* buf, const scope_t* scope) {
  mi_stats_t stats;
  fill(&stats, scope);
  return mi_stats_as_json(&stats, buf_size, buf);
}

// ---- printing ---------------------------------------------------------------------------------------------
// The process's own table is core/stats/stats_print.c's; this is the shorter one of its parts.

typedef struct sink_s {
  mi_output_fun* out;
  void* arg;
} sink_t;

static void print_bin(const sink_t* sink, const char* size, const mi_stat_count_t* blocks, int64_t bytes,
                      int64_t pages) {
  char text[FORMAT_SIZE_CAPACITY];
  message_print_to(sink->out, sink->arg, "  %10s %14lld %14lld %12lld %12s %8lld\n", size,
                   (long long)blocks->total, (long long)(blocks->total - blocks->current),
                   (long long)blocks->current, format_size(text, bytes), (long long)pages);
}

static void print_part(const sink_t* sink, const char* title, const void* identity, const scope_t* scope) {
  mi_stats_t stats;
  fill(&stats, scope);
  message_print_to(sink->out, sink->arg, "mimalloc: statistics of %s %p\n", title, identity);
  message_print_to(sink->out, sink->arg, "  %10s %14s %14s %12s %12s %8s\n", "block size", "allocated",
                   "freed", "in use", "bytes in use", "pages");
  mi_stat_count_t all = {0, 0, 0};
  int64_t pages = 0;
  for (unsigned bin = 1; bin <= MI_BIN_HUGE; bin++) {
    const mi_stat_count_t* blocks = &stats.malloc_bins[bin];
    if (blocks->total == 0 && stats.page_bins[bin].current == 0) continue;
    all.total += blocks->total;
    all.current += blocks->current;
    pages += stats.page_bins[bin].current;
    char size[FORMAT_SIZE_CAPACITY];
    int64_t bytes = (int64_t)mi_stats_get_bin_size(bin);
    print_bin(sink, bin == MI_BIN_HUGE ? "larger" : format_size(size, bytes), blocks,
              bin == MI_BIN_HUGE ? stats.malloc_huge.current : blocks->current * bytes,
              stats.page_bins[bin].current);
  }
  print_bin(sink, "all", &all, stats.malloc_normal.current + stats.malloc_huge.current, pages);
  if (scope->subproc == NULL) return;
  char reserved[FORMAT_SIZE_CAPACITY], committed[FORMAT_SIZE_CAPACITY];
  message_print_to(
      sink->out, sink->arg, "  %lld heaps, %lld threads, %lld arenas: %s reserved, %s committed\n",
      (long long)stats.heaps.current, (long long)stats.threads.current, (long long)stats.arena_count.total,
      format_size(reserved, stats.reserved.current), format_size(committed, stats.committed.current));
}

static bool print_heap(heap_t* heap, void* arg) {
  scope_t scope = scope_of_heap(heap_to(heap));
  print_part((const sink_t*)arg, heap_is_main(heap) ? "the main heap" : "heap", (void*)heap, &scope);
  return true;
}

// ---- of the calling thread's sub-process
// --------------------------------------------------------------------

bool mi_stats_get(mi_stats_t* stats) {
  scope_t scope = scope_of_current();
  return get(stats, &scope);
}

char* mi_stats_get_json(size_t buf_size, char* buf) {
  scope_t scope = scope_of_current();
  return get_json(buf_size, buf, &scope);
}

void mi_stats_print_out(mi_output_fun* out, void* arg) {
  scope_t scope = scope_of_current();
  sink_t sink = {out, arg};
  if (scope.subproc == subproc_main()) {
    stats_print(out, arg, true);
  } else {
    print_part(&sink, "sub-process", scope.subproc, &scope);
  }
}

void mi_stats_print(void* out) {
  (void)out;
  mi_stats_print_out(NULL, NULL);
}

void mi_stats_reset(void) { stats_reset(); }
void mi_stats_merge(void) {}

void mi_thread_stats_print_out(mi_output_fun* out, void* arg) {
  sink_t sink = {out, arg};
  theap_t* theap = runtime_theap();
  if (theap == NULL) message_print_to(out, arg, "mimalloc: statistics: the thread has no heap\n");
  for (theap = theap == NULL ? NULL : theap->thread->theaps; theap != NULL; theap = theap->thread_next) {
    if (atomic_get_relaxed(&theap->heap) == NULL) continue; // another thread destroyed it
    scope_t scope = {.theap = theap, .with_blocks = true};
    print_part(&sink, "the calling thread in heap", theap->heap, &scope);
  }
}

// ---- of a heap
// ----------------------------------------------------------------------------------------------

bool mi_heap_stats_get(mi_heap_t* heap, mi_stats_t* stats) {
  scope_t scope = scope_of_heap(heap);
  return heap != NULL && get(stats, &scope);
}

char* mi_heap_stats_get_json(mi_heap_t* heap, size_t buf_size, char* buf) {
  scope_t scope = scope_of_heap(heap);
  return heap == NULL ? NULL : get_json(buf_size, buf, &scope);
}

void mi_heap_stats_print_out(mi_heap_t* heap, mi_output_fun* out, void* arg) {
  sink_t sink = {out, arg};
  if (heap != NULL) print_heap(heap_from(heap), &sink);
}

void mi_heap_stats_merge_to_subproc(mi_heap_t* heap) { MI_UNUSED(heap); }

// ---- of a sub-process
// ---------------------------------------------------------------------------------------

bool mi_subproc_stats_get(mi_subproc_id_t subproc_id, mi_stats_t* stats) {
  scope_t scope = scope_of_subproc(subproc_from(subproc_id));
  return scope.subproc != NULL && get(stats, &scope);
}

bool mi_subproc_stats_get_exclusive(mi_subproc_id_t subproc_id, mi_stats_t* stats) {
  scope_t scope = {.subproc = subproc_from(subproc_id)};
  return scope.subproc != NULL && get(stats, &scope);
}

char* mi_subproc_stats_get_json(mi_subproc_id_t subproc_id, size_t buf_size, char* buf) {
  scope_t scope = scope_of_subproc(subproc_from(subproc_id));
  return scope.subproc == NULL ? NULL : get_json(buf_size, buf, &scope);
}

void mi_subproc_stats_print_out(mi_subproc_id_t subproc_id, mi_output_fun* out, void* arg) {
  scope_t scope = scope_of_subproc(subproc_from(subproc_id));
  sink_t sink = {out, arg};
  if (scope.subproc != NULL) print_part(&sink, "sub-process", scope.subproc, &scope);
}

void mi_subproc_heap_stats_print_out(mi_subproc_id_t subproc_id, mi_output_fun* out, void* arg) {
  mi_subproc_stats_print_out(subproc_id, out, arg);
  sink_t sink = {out, arg};
  if (subproc_from(subproc_id) != NULL) subproc_visit_heaps(subproc_from(subproc_id), &print_heap, &sink);
}
