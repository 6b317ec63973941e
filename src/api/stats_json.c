// Statistics as JSON, in the form of mimalloc 3.4.3.
#include "api/stats_json.h"

#include <stdarg.h>

#include "base/format.h"
#include "base/memory.h"
#include "core/pages/page.h"

// Counts the characters of the whole text and writes those that fit, always terminated.
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
  size_t room = json->length + 1 < json->capacity ? json->capacity - json->length - 1 : 0;
  size_t fits = length < room ? length : room;
  if (fits > 0) {
    mem_copy(json->buffer + json->length, line, fits);
    json->buffer[json->length + fits] = 0;
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
  if (!stats_are_current(stats)) return NULL;
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
  json.buffer[0] = 0; // there may be room for nothing else
  json_write(&json, stats, &process);
  return json.buffer; // cut where the buffer ends, as programs that look at its beginning expect
}
