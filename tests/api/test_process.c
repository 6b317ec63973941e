// What concerns the process: statistics, messages and their callbacks, options from the environment, foreign pointers.
#include "api_check.h"
#include "support/child.h"
#include "support/test_thread.h"

#include <mimalloc-stats.h>

#include <errno.h>
#include <stdlib.h>

enum { CHILD_LIMIT_MS = 30000 };

// ---- children: what each does, and how it must end ------------------------------------------------------------------

static void write_out(const char* message, void* arg) {
  (void)arg;
  fputs(message, stdout);
  fflush(stdout);
}

static int child_main(const char* mode) {
  if (strcmp(mode, "nothing") == 0) return 40;
  if (strcmp(mode, "some") == 0) {
    for (size_t i = 0; i < 1000; i++) mi_free(mi_malloc(i));
    return 41;
  }
  if (strcmp(mode, "listens") == 0 || strcmp(mode, "listens-by-hand") == 0) {
    static char arg;
    mi_register_output(write_out, &arg);
    mi_free(mi_malloc(100));
    if (strcmp(mode, "listens-by-hand") == 0) mi_process_done();
    return 44;
  }
  if (strcmp(mode, "too-large") == 0) {
    for (int i = 0; i < 3; i++) {
      if (mi_malloc(api_opaque(SIZE_MAX)) != NULL) return 1;
      if (mi_calloc(api_opaque(SIZE_MAX / 2), 3) != NULL) return 2;
      if (mi_malloc_aligned(100, api_opaque(24)) != NULL) return 3;
    }
    return 42;
  }
  if (strcmp(mode, "foreign") == 0) { // release builds only: a debug build ends here
    static long in_data[4] = {1, 2, 3, 4};
    long on_stack[4] = {5, 6, 7, 8};
    char* from_crt = malloc(100);
    strcpy(from_crt, "from the C runtime");
    mi_free(api_opaque_pointer(on_stack));
    mi_free(api_opaque_pointer(&on_stack[1]));
    mi_free(api_opaque_pointer(in_data));
    mi_free(api_opaque_pointer(from_crt));
    mi_free(api_opaque_pointer((void*)(uintptr_t)8));
    mi_free(api_opaque_pointer((void*)(UINTPTR_MAX - 7)));
    if (mi_usable_size(api_opaque_pointer(from_crt)) != 0) return 1;
    if (mi_realloc(api_opaque_pointer(from_crt), 200) != NULL) return 2;
    if (mi_expand(api_opaque_pointer(from_crt), 10) != NULL) return 3;
    if (on_stack[0] != 5 || on_stack[1] != 6 || in_data[0] != 1 ||
        strcmp(from_crt, "from the C runtime") != 0)
      return 4;
    free(from_crt);
    void* p = mi_malloc(100); // all goes on
    if (p == NULL) return 5;
    mi_free(p);
    return 43;
  }
  return 98;
}

// After each case that runs children, however it ended.
static int clear_environment(void** state) {
  (void)state;
  static const char* const names[] = {"SHOW_STATS",  "SHOW_ERRORS", "VERBOSE",
                                      "PURGE_DELAY", "MAX_ERRORS",  "MAX_WARNINGS"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    char name[64];
    snprintf(name, sizeof(name), "MIMALLOC_%s", names[i]);
    child_set_environment(name, NULL);
  }
  return 0;
}

static void run_self(const char* mode, unsigned expected_code, child_result_t* result) {
  char self[CHILD_PATH_MAX];
  child_self(self);
  assert_true(child_run((const char*[]){self, mode, NULL}, CHILD_LIMIT_MS, result));
  if (result->exit_code != expected_code) child_print(result);
  assert_int_equal(result->exit_code, expected_code);
}

static size_t count_of(const char* text, const char* part) {
  size_t count = 0;
  for (const char* at = text; (at = strstr(at, part)) != NULL; at++) count++;
  return count;
}

static void test_silence(void** state) {
  (void)state;
  static child_result_t result;
  run_self("nothing", 40, &result);
  assert_string_equal(result.error, "");
  run_self("some", 41, &result);
  assert_string_equal(result.error, "");
  assert_string_equal(result.output, "");
}

static void test_show_stats(void** state) {
  (void)state;
  static child_result_t result;
  child_set_environment("MIMALLOC_SHOW_STATS", "1");
  run_self("some", 41, &result);
  if (strstr(result.error, "address space") == NULL || strstr(result.error, "committed memory") == NULL ||
      strstr(result.error, "threads") == NULL) {
    child_print(&result);
    fail_msg("the statistics at exit lack something");
  }
  assert_int_equal(count_of(result.error, "committed memory"), 1); // once
  child_set_environment("MIMALLOC_SHOW_STATS", "0");
  run_self("some", 41, &result);
  assert_string_equal(result.error, "");
  // No boolean: a warning that names the variable, and the default stays.
  child_set_environment("MIMALLOC_SHOW_STATS", "maybe");
  child_set_environment("MIMALLOC_SHOW_ERRORS", "1");
  run_self("some", 41, &result);
  assert_null(strstr(result.error, "committed memory"));
  assert_int_equal(count_of(result.error, "MIMALLOC_SHOW_STATS"), 1);
}

// Where the report goes when the program listens: to it, but not under the loader lock, where DllMain is at exit.
static void test_report_is_heard(void** state) {
  (void)state;
  static child_result_t result;
  bool is_dll = strcmp(mi_thread_exit_mechanism(), "DllMain") == 0; // first: it reads the environment
  child_set_environment("MIMALLOC_SHOW_STATS", "1");
  run_self("listens-by-hand", 44, &result);
  assert_int_equal(count_of(result.output, "mimalloc: summary:"), 1);
  assert_int_equal(count_of(result.error, "mimalloc: summary:"), 0);
  run_self("listens", 44, &result);
  assert_int_equal(count_of(result.output, "mimalloc: summary:"), is_dll ? 0 : 1);
  assert_int_equal(count_of(result.error, "mimalloc: summary:"), is_dll ? 1 : 0);
}

static void test_verbose(void** state) {
  (void)state;
  static child_result_t result;
  child_set_environment("MIMALLOC_VERBOSE", "1");
  child_set_environment("MIMALLOC_PURGE_DELAY", "1234");
  run_self("some", 41, &result);
  if (strstr(result.error, "mimalloc: ") == NULL || strstr(result.error, "purge_delay") == NULL ||
      strstr(result.error, "1234") == NULL) {
    child_print(&result);
    fail_msg("MIMALLOC_VERBOSE says too little");
  }
}

static void test_show_errors(void** state) {
  (void)state;
  static child_result_t result;
  child_set_environment("MIMALLOC_SHOW_ERRORS", "1");
  child_set_environment("MIMALLOC_MAX_ERRORS", "100");
  run_self("too-large", 42, &result);
  if (count_of(result.error, "mimalloc: ") != 9) child_print(&result);
  assert_int_equal(count_of(result.error, "mimalloc: "), 9);
  assert_int_equal(count_of(result.error, "too large"), 6);
  assert_int_equal(count_of(result.error, "24"), 3);
  child_set_environment("MIMALLOC_MAX_ERRORS", "2");
  child_set_environment("MIMALLOC_MAX_WARNINGS", "2");
  run_self("too-large", 42, &result);
  assert_true(count_of(result.error, "mimalloc: ") < 9);
  assert_true(count_of(result.error, "mimalloc: ") > 0);
}

#if !TEST_DEBUG_CHECKS
static void test_too_large_is_silent(void** state) {
  (void)state;
  static child_result_t result;
  run_self("too-large", 42, &result);
  assert_string_equal(result.error, "");
}

static void test_foreign(void** state) {
  (void)state;
  static child_result_t result;
  if (TEST_SECURE) { // the first one ends the process
    char self[CHILD_PATH_MAX];
    child_self(self);
    assert_true(child_run((const char*[]){self, "foreign", NULL}, CHILD_LIMIT_MS, &result));
    assert_true(child_aborted(&result));
  } else {
    run_self("foreign", 43, &result);
  }
  if (count_of(result.error, "mimalloc: ") != 1) child_print(&result);
  assert_int_equal(count_of(result.error, "\n"), 1);
  assert_int_equal(count_of(result.error, "mimalloc: error: free of invalid pointer "), 1);
  assert_int_equal(count_of(result.error, "not allocated by mimalloc"), 1);
}
#endif

// ---- statistics -----------------------------------------------------------------------------------------------------

static size_t bin_of(size_t size) {
  for (size_t bin = 1; bin < MI_BIN_HUGE; bin++) {
    if (mi_stats_get_bin_size(bin) >= size) return bin;
  }
  fail_msg("no bin of %zu bytes", size);
  return 0;
}

static void test_stats_count_exactly(void** state) {
  (void)state;
  enum { BLOCKS = 5000 };
  static void* blocks[BLOCKS];
  const size_t sizes[] = {8, 48, 1024, 20480};
  for (size_t k = 0; k < 4; k++) {
    size_t size = mi_good_size(sizes[k]) + API_TAIL, bin = bin_of(size);
    mi_stats_t_decl(before);
    mi_stats_t_decl(full);
    mi_stats_t_decl(after);
    assert_true(mi_stats_get(&before));
    for (size_t i = 0; i < BLOCKS; i++) {
      blocks[i] = mi_malloc(sizes[k]);
      assert_non_null(blocks[i]);
    }
    assert_true(mi_stats_get(&full));
    assert_int_equal(full.malloc_bins[bin].current - before.malloc_bins[bin].current, BLOCKS);
    assert_int_equal(full.malloc_bins[bin].total - before.malloc_bins[bin].total, BLOCKS);
    assert_int_equal(full.malloc_normal_count.total - before.malloc_normal_count.total, BLOCKS);
    assert_int_equal(full.malloc_normal.current - before.malloc_normal.current, BLOCKS * size);
    assert_true(full.committed.current >= (int64_t)(BLOCKS * sizes[k]));
    assert_true(full.reserved.current >= full.committed.current);
    for (size_t i = 0; i < BLOCKS; i++) mi_free(blocks[i]);
    mi_collect(true);
    assert_true(mi_stats_get(&after));
    assert_int_equal(after.malloc_bins[bin].current, before.malloc_bins[bin].current);
    assert_int_equal(after.malloc_bins[bin].total, full.malloc_bins[bin].total);
    assert_true(after.pages.current <= full.pages.current);
  }
}

static void test_stats_huge(void** state) {
  (void)state;
  const int64_t size = 10 << 20;
  mi_stats_t_decl(before);
  mi_stats_t_decl(with);
  mi_stats_t_decl(after);
  assert_true(mi_stats_get(&before));
  void* p = mi_malloc((size_t)size);
  assert_non_null(p);
  assert_true(mi_stats_get(&with));
  mi_free(p);
  assert_true(mi_stats_get(&after));
  assert_int_equal(with.malloc_huge_count.total - before.malloc_huge_count.total, 1);
  assert_true(with.malloc_huge.current - before.malloc_huge.current >= size);
  assert_true(with.malloc_huge.current - before.malloc_huge.current < size + (1 << 20));
  assert_int_equal(after.malloc_huge.current, before.malloc_huge.current);
}

static void use_and_end(void* arg) {
  void* p = mi_malloc(100);
  *(bool*)arg = p != NULL;
  mi_free(p);
}

static void test_stats_threads(void** state) {
  (void)state;
  mi_free(mi_malloc(1));
  mi_stats_t_decl(before);
  assert_true(mi_stats_get(&before));
  assert_true(before.threads.current >= 1);
  for (int i = 0; i < 10; i++) {
    test_thread_t thread;
    bool ok = false;
    test_thread_start(&thread, use_and_end, &ok);
    test_thread_join(&thread);
    assert_true(ok);
  }
  mi_stats_t_decl(after);
  assert_true(mi_stats_get(&after));
  assert_int_equal(after.threads.total - before.threads.total, 10);
  assert_int_equal(after.threads.current, before.threads.current);
}

static void test_stats_reads_and_refuses(void** state) {
  (void)state;
  mi_stats_t_decl(stats);
  stats.version = 9999;
  assert_false(mi_stats_get(&stats));
  stats.version = MI_STAT_VERSION;
  stats.size = 8;
  assert_false(mi_stats_get(&stats));
  assert_false(mi_stats_get(api_opaque_pointer(NULL)));

  char* json = mi_stats_get_json(0, NULL);
  assert_non_null(json);
  assert_true(mi_is_in_heap_region(json));
  assert_int_equal(json[0], '{');
  assert_non_null(strstr(json, "\"committed\""));
  long depth = 0;
  size_t quotes = 0;
  for (const char* c = json; *c != 0; c++) {
    depth += *c == '{' || *c == '[' ? 1 : *c == '}' || *c == ']' ? -1 : 0;
    quotes += *c == '"';
    assert_true(depth >= 0);
  }
  assert_int_equal(depth, 0);
  assert_int_equal(quotes % 2, 0);
  static char buffer[65536];
  assert_ptr_equal(mi_stats_get_json(sizeof(buffer), buffer), buffer);
  assert_int_equal(buffer[0], '{');
  char small[20];
  memset(small, 'z', sizeof(small));
  assert_ptr_equal(mi_stats_get_json(10, small), small); // cut
  assert_int_equal(strlen(small), 9);
  assert_int_equal(small[10], 'z'); // nothing beyond
  mi_free(json);
}

static void test_process_info(void** state) {
  (void)state;
  size_t elapsed = 1, user = 2, system = 3, rss = 0, peak_rss = 0, commit = 0, peak_commit = 0, faults = 0;
  mi_process_info(&elapsed, &user, &system, &rss, &peak_rss, &commit, &peak_commit, &faults);
  assert_true(rss > 100 * 1024);
  assert_true(peak_rss >= rss / 2);
  assert_true(commit > 0);
  assert_true(peak_commit >= commit);
  assert_true(elapsed < 3600 * 1000);
  assert_true(user < 3600 * 1000);
  const size_t size = 40 << 20;
  char* p = mi_malloc(size);
  memset(p, 1, size);
  size_t rss_with = 0, commit_with = 0;
  mi_process_info(NULL, NULL, NULL, &rss_with, NULL, &commit_with, NULL, NULL);
  assert_true(rss_with >= rss + size / 2);
  assert_true(commit_with >= commit + size / 2);
  mi_free(p);
}

// ---- callbacks ------------------------------------------------------------------------------------------------------

typedef struct text_s {
  char text[64 * 1024];
  size_t length, calls;
} text_t;

static void take_text(const char* message, void* arg) {
  text_t* text = arg;
  text->calls++;
  size_t length = strlen(message);
  if (text->length + length < sizeof(text->text)) {
    memcpy(text->text + text->length, message, length + 1);
    text->length += length;
  }
  mi_free(mi_malloc(100)); // a callback may allocate
}

static void test_output(void** state) {
  (void)state;
  static text_t text;
  mi_stats_print_out(take_text, &text);
  assert_non_null(strstr(text.text, "committed"));
  assert_int_equal(text.text[text.length - 1], '\n');
  memset(&text, 0, sizeof(text));
  mi_options_print_out(take_text, &text);
  assert_non_null(strstr(text.text, "purge_delay"));
  memset(&text, 0, sizeof(text));
  mi_process_info_print_out(take_text, &text);
  assert_true(text.length > 10);
  memset(&text, 0, sizeof(text));
  mi_register_output(take_text, &text);
  mi_stats_print(NULL);
  mi_options_print();
  mi_register_output(NULL, NULL);
  assert_non_null(strstr(text.text, "committed"));
  assert_non_null(strstr(text.text, "purge_delay"));
}

typedef struct errors_s {
  int last, count;
} errors_t;

static void take_error(int code, void* arg) {
  errors_t* errors = arg;
  errors->last = code;
  errors->count++;
}

static void test_errors(void** state) {
  (void)state;
  static text_t text;
  errors_t errors = {0};
  mi_register_output(take_text, &text); // keeps the expected messages off the terminal
  mi_register_error(take_error, &errors);
  assert_null(mi_malloc(api_opaque(SIZE_MAX)));
  assert_int_equal(errors.count, 1);
  assert_int_equal(errors.last, EOVERFLOW);
  assert_null(mi_calloc(api_opaque(SIZE_MAX / 4), 5));
  assert_int_equal(errors.count, 2);
  int on_stack = 0;
  mi_free(api_opaque_pointer(&on_stack)); // with a callback even a debug build goes on
  assert_int_equal(errors.count, 3);
  assert_int_equal(errors.last, EINVAL);
  mi_register_error(NULL, NULL);
  mi_register_output(NULL, NULL);
}

typedef struct deferred_s {
  size_t calls, forced;
  unsigned long long heartbeat;
  bool inside, nested, sinking;
} deferred_t;

static void on_deferred(bool force, unsigned long long heartbeat, void* arg) {
  deferred_t* deferred = arg;
  if (deferred->inside) deferred->nested = true;
  deferred->inside = true;
  if (heartbeat < deferred->heartbeat) deferred->sinking = true;
  deferred->heartbeat = heartbeat;
  deferred->calls++;
  deferred->forced += force;
  void* blocks[100];
  for (size_t i = 0; i < 100; i++) blocks[i] = mi_malloc(i * 50);
  for (size_t i = 0; i < 100; i++) mi_free(blocks[i]);
  deferred->inside = false;
}

static void test_deferred_free(void** state) {
  (void)state;
  deferred_t deferred = {0};
  mi_register_deferred_free(on_deferred, &deferred);
  static void* blocks[50000];
  for (size_t i = 0; i < 50000; i++) blocks[i] = mi_malloc(1000);
  for (size_t i = 0; i < 50000; i++) mi_free(blocks[i]);
  mi_collect(true);
  assert_true(deferred.calls > 0);
  assert_true(deferred.forced > 0);
  assert_false(deferred.nested);
  assert_false(deferred.sinking);
  mi_register_deferred_free(NULL, NULL);
  size_t calls = deferred.calls;
  mi_collect(true);
  assert_int_equal(deferred.calls, calls);
}

static void test_options(void** state) {
  (void)state;
  long before = mi_option_get(mi_option_purge_delay);
  mi_option_set(mi_option_purge_delay, 77);
  assert_int_equal(mi_option_get(mi_option_purge_delay), 77);
  assert_int_equal(mi_option_get_clamp(mi_option_purge_delay, 0, 50), 50);
  assert_int_equal(mi_option_get_clamp(mi_option_purge_delay, 100, 200), 100);
  mi_option_set_default(mi_option_purge_delay, 99); // it was set: stays
  assert_int_equal(mi_option_get(mi_option_purge_delay), 77);
  mi_option_set(mi_option_purge_delay, before);
  assert_false(mi_option_is_enabled(mi_option_show_stats));
  mi_option_enable(mi_option_guarded_precise);
  assert_true(mi_option_is_enabled(mi_option_guarded_precise));
  mi_option_disable(mi_option_guarded_precise);
  assert_false(mi_option_is_enabled(mi_option_guarded_precise));
  mi_option_set(mi_option_minimal_purge_size, 3);
  assert_int_equal(mi_option_get_size(mi_option_minimal_purge_size), 3 * 1024);
  mi_option_set(mi_option_minimal_purge_size, 0);
}

static void test_not_redirected(void** state) {
  (void)state;
  assert_false(mi_is_redirected()); // nothing sends this program's malloc to us
}

int main(int argc, char** argv) {
  if (argc > 1) return child_main(argv[1]);
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_teardown(test_silence, clear_environment),
    cmocka_unit_test_teardown(test_show_stats, clear_environment),
    cmocka_unit_test_teardown(test_report_is_heard, clear_environment),
    cmocka_unit_test_teardown(test_verbose, clear_environment),
    cmocka_unit_test_teardown(test_show_errors, clear_environment),
#if !TEST_DEBUG_CHECKS
    cmocka_unit_test_teardown(test_too_large_is_silent, clear_environment),
    cmocka_unit_test_teardown(test_foreign, clear_environment),
#endif
    cmocka_unit_test(test_stats_count_exactly),
    cmocka_unit_test(test_stats_huge),
    cmocka_unit_test(test_stats_threads),
    cmocka_unit_test(test_stats_reads_and_refuses),
    cmocka_unit_test(test_process_info),
    cmocka_unit_test(test_output),
    cmocka_unit_test(test_errors),
    cmocka_unit_test(test_deferred_free),
    cmocka_unit_test(test_options),
    cmocka_unit_test(test_not_redirected),
  };
  return check_run(tests);
}
