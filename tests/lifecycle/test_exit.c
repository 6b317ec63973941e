// How processes end: with threads in the middle of our code, and with a DLL that calls us after our detach.
#include "support/check.h"
#include "support/child.h"

#include <stdlib.h>

enum { LIMIT_MS = 60000 };
#ifndef EXIT_PROGRAM
#error "Meson defines EXIT_PROGRAM"
#endif

static child_result_t result;

static void run_beside(const char* name, const char* argument, const char* code) {
  char program[CHILD_PATH_MAX];
  child_sibling(name, program);
  assert_true(child_run((const char*[]){program, argument, code, NULL}, LIMIT_MS, &result));
  if (result.timed_out || result.exit_code != (unsigned)atoi(code)) child_print(&result);
  assert_false(result.timed_out);
  assert_int_equal(result.exit_code, atoi(code));
}

static void test_exit_under_fire(void** state) {
  (void)state;
  static const char* const ways[] = {"return", "exit", "ExitProcess", "thread"};
  for (size_t run = 0; run < 20; run++) {
    char code[16];
    snprintf(code, sizeof(code), "%zu", 60 + run);
    run_beside(EXIT_PROGRAM, ways[run % 4], code);
    assert_string_equal(result.error, "");
  }
  run_beside(EXIT_PROGRAM, "TerminateProcess", "59");
}

static size_t count_of(const char* text, const char* part) {
  size_t count = 0;
  for (const char* at = text; (at = strstr(at, part)) != NULL; at++) count++;
  return count;
}

static int clear_environment(void** state) {
  (void)state;
  child_set_environment("MIMALLOC_SHOW_STATS", NULL);
  child_set_environment("MIMALLOC_DISABLE_IDLE_PURGE", NULL);
  return 0;
}

static void test_stats_under_fire(void** state) {
  (void)state;
  static const char* const ways[] = {"return", "ExitProcess", "thread"};
  child_set_environment("MIMALLOC_SHOW_STATS", "1");
  for (size_t run = 0; run < 6; run++) {
    if (EXIT_IS_STATIC && run % 3 != 0) continue; // a static library is told of the end by atexit alone
    run_beside(EXIT_PROGRAM, ways[run % 3], "44");
    if (count_of(result.error, "committed memory") != 1) child_print(&result);
    assert_int_equal(count_of(result.error, "committed memory"), 1);
  }
  child_set_environment("MIMALLOC_SHOW_STATS", NULL);
  run_beside(EXIT_PROGRAM, "return", "45");
  assert_string_equal(result.error, "");
}

#if !EXIT_IS_STATIC
static void test_early_and_late_calls(void** state) {
  (void)state;
  child_set_environment("MIMALLOC_DISABLE_IDLE_PURGE", "1"); // its timer is one thread more, or not
  run_beside("early_program", "0", "70");
  assert_string_equal(result.output,
                      "early: process detach (exit), 50 thread attaches, 50 thread detaches, 0 errors\n");
  run_beside("early_program", "400", "71");
  assert_string_equal(result.output,
                      "early: process detach (exit), 450 thread attaches, 450 thread detaches, 0 errors\n");
  assert_string_equal(result.error, "");
}
#endif

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_exit_under_fire),
    cmocka_unit_test_teardown(test_stats_under_fire, clear_environment),
#if !EXIT_IS_STATIC
    cmocka_unit_test(test_early_and_late_calls),
#endif
  };
  return check_run(tests);
}
