// Statistics: the counters' arithmetic, and that reports say what happened. With --json the program prints
// its statistics as JSON, for check_stats_json.py.
#include "support/check.h"
#include "support/child.h"

#include "core/pages/block.h"
#include "core/report/options.h"
#include "core/stats/stats_print.h"
#include "mimalloc-stats.h"

#include <stdlib.h>

static int64_t difference(const stats_snapshot_t* before, const stats_snapshot_t* after, size_t size,
                          bool freed) {
  unsigned bin = size_class_bin(block_size_for(size));
  return freed ? after->blocks.freed[bin] - before->blocks.freed[bin]
               : after->blocks.allocated[bin] - before->blocks.allocated[bin];
}

// ---- counters ---------------------------------------------------------------------------------------------

static void test_level(void** state) {
  MI_UNUSED(state);
  stats_level_t level = {0};
  stats_increase(&level, 10);
  stats_increase(&level, 5);
  stats_decrease(&level, 12);
  stats_increase(&level, 4);
  assert_int_equal(level.total, 19);
  assert_int_equal(level.peak, 15);
  assert_int_equal(level.current, 7);
}

static void test_blocks(void** state) {
  MI_UNUSED(state);
  static const size_t sizes[] = {1, 8, 16, 100, 1000, 9000, 30000, 60000};
  enum { SIZES = sizeof(sizes) / sizeof(sizes[0]), EACH = 50 };
  static void* blocks[SIZES][EACH];
  static stats_snapshot_t before, full, after;
  mi_free(mi_malloc(1)); // the allocator itself is set up
  stats_snapshot(&before);
  int64_t bytes = 0;
  for (int s = 0; s < SIZES; s++) {
    for (int i = 0; i < EACH; i++) {
      blocks[s][i] = mi_malloc(sizes[s]);
      assert_non_null(blocks[s][i]);
    }
    bytes += (int64_t)(EACH * (mi_good_size(sizes[s]) + BLOCK_TAIL));
  }
  stats_snapshot(&full);
  for (int s = 2; s < SIZES; s++) { // the first two share a bin
    assert_int_equal(difference(&before, &full, sizes[s], false), EACH);
    assert_int_equal(difference(&before, &full, sizes[s], true), 0);
  }
  assert_int_equal(full.allocations - before.allocations, SIZES * EACH);
  assert_int_equal(full.frees - before.frees, 0);
  assert_int_equal(full.bytes_in_use - before.bytes_in_use, bytes);
  assert_int_equal(full.bytes_allocated - before.bytes_allocated, bytes);
  assert_true(full.process.pages.current > before.process.pages.current);
  assert_true(full.process.committed.current - before.process.committed.current > 0);
  assert_true(full.process.committed.peak >= full.process.committed.current);
  assert_true(full.os_calls >= before.os_calls && full.os_calls > 0);

  for (int s = 0; s < SIZES; s++) {
    for (int i = 0; i < EACH; i++) mi_free(blocks[s][i]);
  }
  stats_snapshot(&after);
  assert_int_equal(after.allocations - before.allocations, SIZES * EACH);
  assert_int_equal(after.frees - before.frees, SIZES * EACH);
  assert_int_equal(after.bytes_in_use, before.bytes_in_use);
}

static void test_huge(void** state) {
  MI_UNUSED(state);
  static stats_snapshot_t before, full, after;
  stats_snapshot(&before);
  void* block = mi_malloc(5 * MI_MIB);
  assert_non_null(block);
  stats_snapshot(&full);
  mi_free(block);
  stats_snapshot(&after);
  assert_int_equal(full.allocations - before.allocations, 1);
  assert_int_equal(full.blocks.allocated[BIN_HUGE] - before.blocks.allocated[BIN_HUGE], 1);
  assert_in_range(full.process.huge_bytes.current - before.process.huge_bytes.current, 5 * MI_MIB,
                  6 * MI_MIB);
  assert_int_equal(full.bytes_in_use, before.bytes_in_use); // counted apart
  assert_int_equal(after.frees - before.frees, 1);
  assert_int_equal(after.process.huge_bytes.current, before.process.huge_bytes.current);
}

static void test_reset(void** state) {
  MI_UNUSED(state);
  static stats_snapshot_t snapshot;
  void* kept[10];
  for (int i = 0; i < 10; i++) kept[i] = mi_malloc(3000);
  void* kept_huge = mi_malloc(2 * MI_MIB);
  for (int i = 0; i < 100; i++) mi_free(mi_malloc(3000));
  mi_free(mi_malloc(8 * MI_MIB));
  static stats_snapshot_t before;
  stats_snapshot(&before);

  mi_stats_reset();
  stats_snapshot(&snapshot);
  unsigned bin = size_class_bin(block_size_for(3000));
  // What exists counts as if allocated now, what is gone never was.
  assert_int_equal(snapshot.blocks.allocated[bin], before.blocks.allocated[bin] - before.blocks.freed[bin]);
  assert_int_equal(snapshot.blocks.freed[bin], 0);
  assert_int_equal(snapshot.frees, 0);
  assert_int_equal(snapshot.bytes_in_use, before.bytes_in_use);
  assert_int_equal(snapshot.process.committed.current, before.process.committed.current);
  assert_int_equal(snapshot.process.committed.peak, snapshot.process.committed.current);
  assert_int_equal(snapshot.process.committed.total, snapshot.process.committed.current);
  assert_int_equal(snapshot.process.huge_bytes.peak, before.process.huge_bytes.current);
  assert_int_equal(snapshot.blocks.allocated[BIN_HUGE], 1);
  assert_int_equal(snapshot.blocks.pages[BIN_HUGE], 1);
  assert_int_equal(snapshot.os_calls, 0);
  assert_int_equal(snapshot.process.threads.total, snapshot.process.threads.current);

  for (int i = 0; i < 10; i++) mi_free(kept[i]);
  mi_free(kept_huge);
  mi_free(mi_malloc(3000));
  stats_snapshot(&snapshot);
  assert_int_equal(snapshot.blocks.freed[bin], 11);
  assert_int_equal(snapshot.blocks.freed[BIN_HUGE], 1);
  assert_int_equal(snapshot.allocations - snapshot.frees,
                   (before.allocations - before.frees) - 11); // nothing was lost on the way
}

// ---- the structure of the interface -----------------------------------------------------------------------

static void test_bins(void** state) {
  MI_UNUSED(state);
  size_t word = sizeof(void*);
  assert_int_equal(mi_stats_get_bin_size(1), word);
  assert_int_equal(mi_stats_get_bin_size(8), 8 * word);
  assert_int_equal(mi_stats_get_bin_size(9), 10 * word);
  assert_int_equal(mi_stats_get_bin_size(12), 16 * word);
  assert_int_equal(mi_stats_get_bin_size(13), 20 * word);
  assert_int_equal(mi_stats_get_bin_size(72), 524288 * word);
  assert_true(mi_stats_get_bin_size(MI_BIN_HUGE) > LARGE_SIZE_MAX);
  assert_int_equal(mi_stats_get_bin_size(MI_BIN_HUGE + 1), 0);
  for (unsigned bin = 2; bin < MI_BIN_HUGE; bin++) {
    assert_true(mi_stats_get_bin_size(bin) > mi_stats_get_bin_size(bin - 1));
  }
}

// A block of each size class is counted in the smallest bin that holds its size.
static void test_bin_of_each_class(void** state) {
  MI_UNUSED(state);
  static mi_stats_t before, after;
  for (unsigned index = MI_SECURE ? 2 : 1; index < BIN_HUGE; index++) {
    size_t size = size_class_size(index);
    before.size = after.size = sizeof(mi_stats_t);
    before.version = after.version = MI_STAT_VERSION;
    assert_true(mi_stats_get(&before));
    void* block = mi_malloc(size - BLOCK_TAIL);
    assert_true(mi_stats_get(&after));
    unsigned changed = 0;
    for (unsigned bin = 0; bin <= MI_BIN_HUGE; bin++) {
      if (after.malloc_bins[bin].total == before.malloc_bins[bin].total) continue;
      changed++;
      assert_int_equal(after.malloc_bins[bin].total - before.malloc_bins[bin].total, 1);
      assert_int_equal(after.malloc_bins[bin].current - before.malloc_bins[bin].current, 1);
      assert_true(mi_stats_get_bin_size(bin) >= size && (bin == 1 || mi_stats_get_bin_size(bin - 1) < size));
      assert_true(after.page_bins[bin].current >= 1);
    }
    assert_int_equal(changed, 1);
    assert_int_equal(after.malloc_normal.current - before.malloc_normal.current, size);
    assert_int_equal(after.malloc_normal_count.total - before.malloc_normal_count.total, 1);
    mi_free(block);
  }
}

static void test_get(void** state) {
  MI_UNUSED(state);
  void* huge = mi_malloc(3 * MI_MIB);
  mi_stats_t_decl(stats);
  assert_int_equal(stats.pages.current, 0);
  assert_true(mi_stats_get(&stats));
  assert_int_equal(stats.size, sizeof(mi_stats_t));
  assert_int_equal(stats.version, 5);
  assert_true(stats.committed.current > 0 && stats.reserved.current >= stats.committed.current);
  assert_true(stats.malloc_huge.current >= (int64_t)(3 * MI_MIB));
  assert_int_equal(stats.malloc_bins[MI_BIN_HUGE].current, 1);
  assert_int_equal(stats.page_bins[MI_BIN_HUGE].current, 1);
  assert_true(stats.theaps.current >= 1 && stats.threads.total >= 1);
  mi_free(huge);

  // Another layout is refused and not written to.
  stats.version = 6;
  stats.pages.total = 4711;
  assert_false(mi_stats_get(&stats));
  assert_int_equal(stats.pages.total, 4711);
  stats.version = 5;
  stats.size = sizeof(stats) - 8;
  assert_false(mi_stats_get(&stats));
  assert_int_equal(stats.pages.total, 4711);
  assert_false(mi_stats_get(NULL));
}

// What programs of the 2.4 line pass: 57 numbers up to the reserved fields, no chunk_bins.
typedef struct older_stats_s {
  size_t size, version;
  int64_t numbers[55 + 4 + 4 * 3 + 4];
  mi_stat_count_t malloc_bins[74], page_bins[74];
  int64_t behind;
} older_stats_t;

static void test_get_older(void** state) {
  MI_UNUSED(state);
  void* blocks[7];
  for (int i = 0; i < 7; i++) blocks[i] = mi_malloc(2560);
  mi_stats_t_decl(stats);
  older_stats_t older;
  memset(&older, 0xA5, sizeof(older));
  older.size = offsetof(older_stats_t, behind);
  older.version = 4;
  assert_true(mi_stats_get(&stats));
  assert_true(mi_stats_get((mi_stats_t*)(void*)&older));
  assert_int_equal(older.version, 4);
  assert_memory_equal(older.numbers, &stats.pages, 55 * sizeof(int64_t));
  assert_memory_equal(&older.numbers[55], &stats.pages_reclaim_on_alloc,
                      4 * sizeof(int64_t)); // and the three behind it
  for (int i = 59; i < 75; i++) assert_int_equal(older.numbers[i], 0);
  assert_memory_equal(older.malloc_bins, stats.malloc_bins, sizeof(older.malloc_bins));
  assert_memory_equal(older.page_bins, stats.page_bins, sizeof(older.page_bins));
  assert_int_equal(older.behind, (int64_t)0xA5A5A5A5A5A5A5A5u); // and not a byte more
  for (int i = 0; i < 7; i++) mi_free(blocks[i]);
}

// ---- JSON (its contents: check_stats_json.py) -------------------------------------------------------------

static void test_json_buffers(void** state) {
  MI_UNUSED(state);
  static char buffer[64 * 1024];
  mi_stats_t_decl(stats);
  assert_true(mi_stats_get(&stats));
  char* text = mi_stats_as_json(&stats, 0, NULL);
  assert_non_null(text);
  size_t length = strlen(text);
  assert_in_range(length, 1000, 32 * 1024);
  mi_free(text);

  assert_ptr_equal(mi_stats_as_json(&stats, sizeof(buffer), buffer), buffer);
  assert_int_equal(buffer[strlen(buffer) - 1], '\n');
  // Too small: cut, terminated, and nothing is written behind the end.
  static const char beginning[] = "{\n  \"stat_version\": 5,\n  \"mimalloc_version\": 30403,\n";
  for (size_t size = 1; size < sizeof(beginning); size++) {
    memset(buffer, 'x', sizeof(buffer));
    assert_ptr_equal(mi_stats_as_json(&stats, size, buffer), buffer);
    assert_int_equal(strlen(buffer), size - 1);
    assert_memory_equal(buffer, beginning, size - 1);
    assert_int_equal(buffer[size], 'x');
  }
  memset(buffer, 'x', sizeof(buffer));
  assert_ptr_equal(mi_stats_get_json(length / 2, buffer), buffer);
  assert_int_equal(strlen(buffer), length / 2 - 1);
  assert_int_equal(buffer[length / 2], 'x');

  stats.version = 4;
  assert_null(mi_stats_as_json(&stats, sizeof(buffer), buffer));
  assert_null(mi_stats_as_json(NULL, sizeof(buffer), buffer));
}

// ---- the report -------------------------------------------------------------------------------------------

static char heard[32 * 1024];
static void hear(const char* text, void* arg) {
  assert_ptr_equal(arg, heard);
  strncat(heard, text, sizeof(heard) - strlen(heard) - 1);
}

// The line for programs, exactly.
static bool parse_summary(const char* text, long long numbers[7]) {
  const char* line = strstr(text, "\nmimalloc: summary: ");
  int end = -1;
  if (line == NULL) return false;
  int count =
      sscanf(line + 1,
             "mimalloc: summary: allocations=%lld frees=%lld threads=%lld heaps=%lld committed=%lld "
             "peak_committed=%lld os_calls=%lld%n",
             &numbers[0], &numbers[1], &numbers[2], &numbers[3], &numbers[4], &numbers[5], &numbers[6], &end);
  return count == 7 && end >= 0 && line[1 + end] == '\n' && line[2 + end] == 0; // the last line
}

static void test_print(void** state) {
  MI_UNUSED(state);
  static stats_snapshot_t snapshot;
  void* blocks[20];
  for (int i = 0; i < 20; i++) blocks[i] = mi_malloc(1792 - BLOCK_TAIL);
  void* huge = mi_malloc(2 * MI_MIB);
  stats_snapshot(&snapshot);
  heard[0] = 0;
  mi_stats_print_out(hear, heard);
  assert_non_null(strstr(heard, "\n     1.7 KiB ")); // the row of 1792 bytes
  assert_non_null(strstr(heard, "\n      larger "));
  assert_non_null(strstr(heard, "process: "));
  long long numbers[7];
  assert_true(parse_summary(heard, numbers));
  assert_int_equal(numbers[0], snapshot.allocations);
  assert_int_equal(numbers[1], snapshot.frees);
  assert_int_equal(numbers[2], snapshot.process.threads.total);
  assert_int_equal(numbers[3], snapshot.process.theaps.current);
  assert_int_equal(numbers[4], snapshot.process.committed.current);
  assert_int_equal(numbers[5], snapshot.process.committed.peak);
  assert_int_equal(numbers[6], snapshot.os_calls);
  for (int i = 0; i < 20; i++) mi_free(blocks[i]);
  mi_free(huge);

  heard[0] = 0;
  mi_thread_stats_print_out(hear, heard);
  assert_non_null(strstr(heard, "the calling thread in heap"));
  assert_non_null(strstr(heard, "\n     1.7 KiB "));
}

// ---- at exit, in a child: printed when asked for, whoever listens, and only then --------------------------

static int child_exit(void) {
  static char nobody_hears[1024];
  mi_register_output(hear, nobody_hears); // hear() would notice the wrong argument
  for (int i = 0; i < 123; i++) {
    void* volatile block = mi_malloc(200);
    mi_free(block);
  }
  void* volatile left = mi_malloc(100);
  (void)left;
  message_hold_callbacks(); // as runtime_process_exit does
  stats_print_at_exit();
  return 42;
}

static void test_at_exit(void** state) {
  MI_UNUSED(state);
  static child_result_t result;
  char self[CHILD_PATH_MAX];
  child_self(self);
  const char* arguments[] = {self, "--exit", NULL};
  assert_true(child_run(arguments, 20000, &result));
  assert_int_equal(result.exit_code, 42);
  assert_string_equal(result.error, "");

  child_set_environment("MIMALLOC_SHOW_STATS", "1");
  assert_true(child_run(arguments, 20000, &result));
  child_set_environment("MIMALLOC_SHOW_STATS", NULL);
  if (result.exit_code != 42) child_print(&result);
  assert_int_equal(result.exit_code, 42);
  // Printed once by us; the life cycle may have printed it again at the end of the process.
  char* second = strstr(result.error + 1, "mimalloc: statistics");
  if (second != NULL) *second = 0;
  long long numbers[7];
  assert_true(parse_summary(result.error, numbers));
  assert_int_equal(numbers[0], 124);
  assert_int_equal(numbers[1], 123);
  assert_int_equal(numbers[2], 1);
  assert_int_equal(numbers[3], 1);
  assert_true(numbers[4] > 0 && numbers[5] >= numbers[4] && numbers[6] > 0);
  assert_null(strstr(result.error, "process: ")); // the system isn't asked any more
}

static void test_process_info(void** state) {
  MI_UNUSED(state);
  size_t elapsed = 1 << 30, user = 0, system = 0, rss = 0, peak_rss = 0, commit = 0, peak_commit = 0,
         faults = 0;
  mi_process_info(&elapsed, &user, &system, &rss, &peak_rss, &commit, &peak_commit, &faults);
  assert_true(elapsed < 3600 * 1000);
  assert_true(rss > 0 && peak_rss >= rss);
  assert_true(commit > 0 && peak_commit >= commit);
  mi_process_info(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
  heard[0] = 0;
  mi_process_info_print_out(hear, heard);
  assert_non_null(strstr(heard, "ms elapsed"));
}

static int print_json(void) {
  void* volatile keep[100];
  for (int i = 0; i < 100; i++) keep[i] = mi_malloc((size_t)i * 37);
  void* volatile huge = mi_malloc(4 * MI_MIB);
  for (int i = 0; i < 50; i++) mi_free(keep[i]);
  char* text = mi_stats_get_json(0, NULL);
  if (text == NULL) return 1;
  fputs(text, stdout);
  mi_free(text);
  mi_free(huge);
  return 0;
}

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "--json") == 0) return print_json();
  if (argc == 2 && strcmp(argv[1], "--exit") == 0) return child_exit();
  child_set_environment("MIMALLOC_SHOW_STATS", NULL);
  child_set_environment("MIMALLOC_VERBOSE", NULL);
  const struct CMUnitTest stats_tests[] = {
      cmocka_unit_test(test_level),
      cmocka_unit_test(test_blocks),
      cmocka_unit_test(test_huge),
      cmocka_unit_test(test_bins),
      cmocka_unit_test(test_bin_of_each_class),
      cmocka_unit_test(test_get),
      cmocka_unit_test(test_get_older),
      cmocka_unit_test(test_json_buffers),
      cmocka_unit_test(test_print),
      cmocka_unit_test(test_reset),
      cmocka_unit_test(test_at_exit),
      cmocka_unit_test(test_process_info),
  };
  return check_run(stats_tests);
}
