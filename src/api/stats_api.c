// Statistics in the layout of mimalloc 3.4.3, and as JSON.
#include "mimalloc-stats.h"

#include <stdarg.h>

#include "base/format.h"
#include "base/memory.h"
#include "core/pages/page.h"
#include "core/stats/stats_print.h"

// ---- bins -------------------------------------------------------------------------------------------------
// Upstream's bins hold 1..8 words, then four sizes per doubling. Ours are finer above 1 KiB, so each of our classes is
// counted in the bin where a block of its size would go upstream, sometimes two in one.

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

static void fill(mi_stats_t* stats) {
  stats_snapshot_t snapshot;
  stats_snapshot(&snapshot);
  const stats_process_t* process = &snapshot.process;
  mem_zero(stats, sizeof(*stats));
  stats->size = sizeof(*stats);
  stats->version = MI_STAT_VERSION;

  stats->pages = count_of(&process->pages);
  stats->reserved = count_of(&process->reserved);
  stats->committed = count_of(&process->committed);
  stats->reset.total = process->reset_bytes;
  stats->purged.total = process->purged_bytes;
  stats->threads = count_of(&process->threads);
  stats->malloc_normal.total = snapshot.bytes_allocated;
  stats->malloc_normal.peak = stats->malloc_normal.current = snapshot.bytes_in_use;
  stats->malloc_huge = count_of(&process->huge_bytes);
  stats->mmap_calls.total = process->reserve_calls;
  stats->commit_calls.total = process->commit_calls;
  stats->reset_calls.total = process->reset_calls;
  stats->purge_calls.total = process->decommit_calls;
  stats->arena_count.total = process->arenas;
  stats->malloc_huge_count.total = snapshot.blocks.allocated[BIN_HUGE];
  stats->malloc_normal_count.total = snapshot.allocations - snapshot.blocks.allocated[BIN_HUGE];
  stats->pages_extended.total = process->pages_extended;
  stats->pages_retire.total = process->pages_retired;
  stats->page_searches.total = process->page_searches;
  stats->page_searches_count.total = process->page_searches_count;
  stats->theaps = count_of(&process->theaps);
  stats->pages_reclaim_on_alloc.total = process->pages_adopted;

  for (unsigned bin = 1; bin < BIN_COUNT; bin++) {
    unsigned slot = bin == BIN_HUGE ? MI_BIN_HUGE : bin_of_size(size_class_size(bin));
    int64_t in_use = snapshot.blocks.allocated[bin] - snapshot.blocks.freed[bin];
    int64_t pages =
        bin == BIN_HUGE ? in_use : snapshot.blocks.pages[bin]; // a huge block has a page to itself
    add_level(&stats->malloc_bins[slot], snapshot.blocks.allocated[bin], in_use);
    add_level(&stats->page_bins[slot], pages, pages);
  }
  add_level(&stats->page_committed, snapshot.blocks.page_bytes, snapshot.blocks.page_bytes);
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

static void fill_v4(stats_v4_t* old) {
  mi_stats_t stats;
  fill(&stats);
  mem_zero(old, sizeof(*old));
  old->size = sizeof(*old);
  old->version = 4;
  const char* from = (const char*)&stats;
  mem_copy(old->common, from + offsetof(mi_stats_t, pages), sizeof(old->common));
  mem_copy(old->reclaims, from + offsetof(mi_stats_t, pages_reclaim_on_alloc), sizeof(old->reclaims));
  mem_copy(old->malloc_bins, stats.malloc_bins, sizeof(old->malloc_bins));
  mem_copy(old->page_bins, stats.page_bins, sizeof(old->page_bins));
}

static bool is_current(const mi_stats_t* stats) {
  return stats != NULL && stats->size == sizeof(mi_stats_t) && stats->version == MI_STAT_VERSION;
}

bool mi_stats_get(mi_stats_t* stats) {
  if (is_current(stats)) {
    fill(stats);
  } else if (stats != NULL && stats->size == sizeof(stats_v4_t) && stats->version == 4) {
    fill_v4((stats_v4_t*)(void*)stats);
  } else {
    return false;
  }
  return true;
}

// ---- JSON -------------------------------------------------------------------------------------------------

// Counts the characters of the whole text and writes those that fit.
typedef struct json_s {
  char* buffer; // may be NULL, with capacity 0
  size_t capacity;
  size_t length;
} json_t;

static void json_print(json_t* json, const char* format, ...) MI_PRINTF(2, 3);
static void json_print(json_t* json, const char* format, ...) {
  char line[192]; // the longest has five 20-digit numbers
  va_list args;
  va_start(args, format);
  size_t length = format_vprint(line, sizeof(line), format, args);
  va_end(args);
  if (json->length + length < json->capacity) {
    mem_copy(json->buffer + json->length, line, length);
    json->buffer[json->length + length] = 0;
  }
  json->length += length;
}

typedef struct process_info_s {
  size_t elapsed, user, system, rss, rss_peak, commit, commit_peak, faults;
} process_info_t;

static void json_print_count(json_t* json, const char* name, const mi_stat_count_t* count) {
  json_print(json, "  \"%s\": { \"total\": %lld, \"peak\": %lld, \"current\": %lld },\n", name,
             (long long)count->total, (long long)count->peak, (long long)count->current);
}

static void json_print_bins(json_t* json, const char* name, const mi_stat_count_t* bins) {
  json_print(json, "  \"%s\": [\n", name);
  for (unsigned bin = 0; bin <= MI_BIN_HUGE; bin++) {
    size_t block_size = mi_stats_get_bin_size(bin);
    size_t page_size = block_size > LARGE_SIZE_MAX ? 0 : page_slices_for(block_size) * SLICE_SIZE;
    json_print(json,
               "    { \"total\": %lld, \"peak\": %lld, \"current\": %lld, \"block_size\": %zu, "
               "\"page_size\": %zu }%s\n",
               (long long)bins[bin].total, (long long)bins[bin].peak, (long long)bins[bin].current,
               block_size, page_size, bin == MI_BIN_HUGE ? "" : ",");
  }
  json_print(json, "  ],\n");
}

static void json_write(json_t* json, const mi_stats_t* stats, const process_info_t* process) {
  json_print(json, "{\n  \"stat_version\": %d,\n  \"mimalloc_version\": %d,\n", MI_STAT_VERSION,
             MI_MALLOC_VERSION);
  json_print(
      json,
      "  \"process\": {\n    \"elapsed_msecs\": %zu,\n    \"user_msecs\": %zu,\n    \"system_msecs\": %zu,\n"
      "    \"page_faults\": %zu,\n",
      process->elapsed, process->user, process->system, process->faults);
  json_print(json, "    \"rss_current\": %zu,\n    \"rss_peak\": %zu,\n", process->rss, process->rss_peak);
  json_print(json, "    \"commit_current\": %zu,\n    \"commit_peak\": %zu\n  },\n", process->commit,
             process->commit_peak);

#define MI_STAT_COUNT(name)   json_print_count(json, #name, &stats->name);
#define MI_STAT_COUNTER(name) json_print(json, "  \"%s\": %lld,\n", #name, (long long)stats->name.total);
  MI_STAT_FIELDS()
#undef MI_STAT_COUNT
#undef MI_STAT_COUNTER

  json_print_bins(json, "malloc_bins", stats->malloc_bins);
  json_print_bins(json, "page_bins", stats->page_bins);
  json_print(json, "  \"chunk_bins\": [\n");
  static const char* const chunk_names[MI_CBIN_COUNT] = {"S", "X", "M", "L", "H", " "};
  for (unsigned i = 0; i < MI_CBIN_COUNT; i++) {
    const mi_stat_count_t* count = &stats->chunk_bins[i];
    json_print(json, "    { \"total\": %lld, \"peak\": %lld, \"current\": %lld, \"bin\": \"%s\" }%s\n",
               (long long)count->total, (long long)count->peak, (long long)count->current, chunk_names[i],
               i == MI_CBIN_COUNT - 1 ? "" : ",");
  }
  json_print(json, "  ]\n}\n");
}

char* mi_stats_as_json(mi_stats_t* stats, size_t buf_size, char* buf) {
  if (!is_current(stats)) return NULL;
  process_info_t process;
  mi_process_info(&process.elapsed, &process.user, &process.system, &process.rss, &process.rss_peak,
                  &process.commit, &process.commit_peak, &process.faults);
  json_t json = {buf, buf_size, 0};
  bool is_new = buf == NULL || buf_size == 0;
  if (is_new) {
    json = (json_t){NULL, 0, 0};
    json_write(&json, stats, &process);
    json = (json_t){(char*)mi_malloc(json.length + 1), json.length + 1, 0};
    if (json.buffer == NULL) return NULL;
  }
  json_write(&json, stats, &process);
  if (json.length < json.capacity) return json.buffer;
  buf[0] = 0; // a piece of JSON is worse than none
  return NULL;
}

char* mi_stats_get_json(size_t buf_size, char* buf) {
  mi_stats_t stats;
  fill(&stats);
  return mi_stats_as_json(&stats, buf_size, buf);
}

// ---- printing ---------------------------------------------------------------------------------------------

void mi_stats_print_out(mi_output_fun* out, void* arg) { stats_print(out, arg, true); }
void mi_thread_stats_print_out(mi_output_fun* out, void* arg) { mi_stats_print_out(out, arg); }
void mi_stats_print(void* out) {
  (void)out;
  mi_stats_print_out(NULL, NULL);
}

void mi_stats_reset(void) { stats_reset(); }
void mi_stats_merge(void) {}
