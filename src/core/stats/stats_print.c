#include "core/stats/stats_print.h"

#include "base/format.h"
#include "core/report/options.h"
#include "os/os.h"

// Where a report goes, to keep the lines below short.
typedef struct report_s {
  message_output_t* output;
  void* arg;
} report_t;

static void print_row(const report_t* report, const char* size, int64_t allocated, int64_t freed,
                      int64_t bytes, int64_t pages) {
  char text[FORMAT_SIZE_CAPACITY];
  message_print_to(report->output, report->arg, "  %10s %14lld %14lld %12lld %12s %8lld\n", size,
                   (long long)allocated, (long long)freed, (long long)(allocated - freed),
                   format_size(text, bytes), (long long)pages);
}

static void print_blocks(const report_t* report, const stats_snapshot_t* snapshot) {
  const stats_blocks_t* blocks = &snapshot->blocks;
  message_print_to(report->output, report->arg, "  %10s %14s %14s %12s %12s %8s\n", "block size", "allocated",
                   "freed", "in use", "bytes in use", "pages");
  int64_t pages = 0;
  for (unsigned bin = 1; bin < BIN_HUGE; bin++) {
    pages += blocks->pages[bin];
    if (blocks->allocated[bin] == 0 && blocks->pages[bin] == 0) continue;
    char size[FORMAT_SIZE_CAPACITY];
    int64_t bytes = (int64_t)size_class_size(bin);
    print_row(report, format_size(size, bytes), blocks->allocated[bin], blocks->freed[bin],
              (blocks->allocated[bin] - blocks->freed[bin]) * bytes, blocks->pages[bin]);
  }
  int64_t huge_allocated = blocks->allocated[BIN_HUGE], huge_freed = blocks->freed[BIN_HUGE];
  if (huge_allocated != 0) {
    // Each huge block has a page to itself.
    print_row(report, "larger", huge_allocated, huge_freed, snapshot->process.huge_bytes.current,
              huge_allocated - huge_freed);
  }
  print_row(report, "all", snapshot->allocations, snapshot->frees,
            snapshot->bytes_in_use + snapshot->process.huge_bytes.current,
            pages + huge_allocated - huge_freed);
}

static void print_bytes_level(const report_t* report, const char* name, const stats_level_t* level) {
  char current[FORMAT_SIZE_CAPACITY], peak[FORMAT_SIZE_CAPACITY], total[FORMAT_SIZE_CAPACITY];
  message_print_to(report->output, report->arg, "  %-18s %12s %12s %12s\n", name,
                   format_size(current, level->current), format_size(peak, level->peak),
                   format_size(total, level->total));
}

static void print_level(const report_t* report, const char* name, const stats_level_t* level) {
  message_print_to(report->output, report->arg, "  %-18s %12lld %12lld %12lld\n", name,
                   (long long)level->current, (long long)level->peak, (long long)level->total);
}

static void print_levels(const report_t* report, const stats_process_t* process) {
  message_print_to(report->output, report->arg, "  %-18s %12s %12s %12s\n", "", "now", "peak", "total");
  print_bytes_level(report, "address space", &process->reserved);
  print_bytes_level(report, "committed memory", &process->committed);
  print_bytes_level(report, "larger blocks", &process->huge_bytes);
  print_level(report, "pages", &process->pages);
  print_level(report, "threads", &process->threads);
  print_level(report, "heaps of threads", &process->theaps);
  print_level(report, "heaps", &process->heaps);
}

static void print_counters(const report_t* report, const stats_snapshot_t* snapshot) {
  const stats_process_t* process = &snapshot->process;
  char reset[FORMAT_SIZE_CAPACITY], purged[FORMAT_SIZE_CAPACITY];
  message_print_to(report->output, report->arg,
                   "  system calls: %lld reserve, %lld commit, %lld decommit, %lld reset, %lld release\n",
                   (long long)process->reserve_calls, (long long)process->commit_calls,
                   (long long)process->decommit_calls, (long long)process->reset_calls,
                   (long long)process->release_calls);
  message_print_to(report->output, report->arg, "  memory: %lld arenas, %s decommitted, %s reset\n",
                   (long long)process->arenas, format_size(purged, process->purged_bytes),
                   format_size(reset, process->reset_bytes));
  message_print_to(report->output, report->arg,
                   "  pages: %lld extended, %lld retired, %lld looked at in %lld searches, %lld adopted, "
                   "%lld taken back\n",
                   (long long)process->pages_extended, (long long)process->pages_retired,
                   (long long)process->page_searches, (long long)process->page_searches_count,
                   (long long)process->pages_adopted, (long long)process->pages_reclaimed);
  message_print_to(report->output, report->arg,
                   "  threads: %lld reaped, %lld blocks freed by another thread, %lld late allocations, "
                   "%lld frees of foreign pointers\n",
                   (long long)process->threads_reaped, (long long)process->remote_frees,
                   (long long)process->late_allocations, (long long)process->foreign_frees);
}

void stats_process_usage(os_process_usage_t* usage) {
  os_init(); // this may be the first call of all
  os_process_usage(usage);
  if (usage->current_commit == 0) {
    usage->current_commit = (size_t)atomic_get_relaxed(&stats_process.committed.current);
    usage->peak_commit = (size_t)atomic_get_relaxed(&stats_process.committed.peak);
  }
  // Linux brings its peak up to date now and then only.
  if (usage->peak_rss < usage->current_rss) usage->peak_rss = usage->current_rss;
  if (usage->peak_commit < usage->current_commit) usage->peak_commit = usage->current_commit;
}

void stats_print_process(message_output_t* output, void* arg) {
  os_process_usage_t usage;
  stats_process_usage(&usage);
  char rss[FORMAT_SIZE_CAPACITY], peak_rss[FORMAT_SIZE_CAPACITY], commit[FORMAT_SIZE_CAPACITY];
  message_print_to(output, arg, "  process: %llu ms elapsed, %llu ms user, %llu ms system, %zu page faults\n",
                   (unsigned long long)usage.elapsed_ms, (unsigned long long)usage.user_ms,
                   (unsigned long long)usage.system_ms, usage.page_faults);
  message_print_to(output, arg, "  process: %s resident, %s at most, %s committed at most\n",
                   format_size(rss, (int64_t)usage.current_rss),
                   format_size(peak_rss, (int64_t)usage.peak_rss),
                   format_size(commit, (int64_t)usage.peak_commit));
}

void stats_print(message_output_t* output, void* arg, bool with_process) {
  stats_snapshot_t snapshot;
  stats_snapshot(&snapshot);
  report_t report = {output, arg};
  message_print_to(output, arg, "mimalloc: statistics\n");
  print_blocks(&report, &snapshot);
  print_levels(&report, &snapshot.process);
  print_counters(&report, &snapshot);
  if (with_process) stats_print_process(output, arg);
  message_print_to(output, arg,
                   "mimalloc: summary: allocations=%lld frees=%lld threads=%lld heaps=%lld committed=%lld "
                   "peak_committed=%lld os_calls=%lld\n",
                   (long long)snapshot.allocations, (long long)snapshot.frees,
                   (long long)snapshot.process.threads.total, (long long)snapshot.process.theaps.current,
                   (long long)snapshot.process.committed.current, (long long)snapshot.process.committed.peak,
                   (long long)snapshot.os_calls);
}

void stats_print_at_exit(void) {
  if (!option_is_enabled(option_show_stats)) return;
  stats_print(NULL, NULL, false);
}
