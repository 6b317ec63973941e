// How processes end while eight threads are in the middle of our code: test_exit MODE [COUNT] runs
// exit_program COUNT times, or as often as MI_TEST_COUNT says.
#include "support/check.h"
#include "support/child.h"

#include <stdlib.h>

enum { LIMIT_MS = 60000 };
static const char* mode;
static size_t many = 32;

typedef struct way_s {
  const char* name;
  bool runs_c_exit; // atexit functions and destructors
  bool runs_dlls;   // DLL_PROCESS_DETACH
} way_t;
static const way_t ways[] = {{"return", true, true},
                             {"exit", true, true},
                             {"exit-on-thread", true, true},
                             {"ExitProcess", false, true},
                             {"ExitProcess-on-thread", false, true},
                             {"ExitProcess-on-bare-thread", false, true},
                             {"abort", false, true},
                             {"TerminateProcess", false, false}};
enum { WAYS = sizeof(ways) / sizeof(ways[0]) };

static size_t count_of(const char* text, const char* part) {
  size_t count = 0;
  for (const char* at = text; (at = strstr(at, part)) != NULL; at++) count++;
  return count;
}

static void run_once(const way_t* way, unsigned code, bool with_stats, bool without_index) {
  static child_result_t result;
  char name[64], program[CHILD_PATH_MAX], text[16], expected[128] = "";
  snprintf(name, sizeof(name), "modes_exit_program-%s", mode);
  child_sibling(name, program);
  snprintf(text, sizeof(text), "%u", code);
  child_set_environment("MIMALLOC_SHOW_STATS", with_stats ? "1" : NULL);
  assert_true(child_run((const char*[]){program, way->name, text, without_index ? "no-index" : NULL, NULL},
                        LIMIT_MS, &result));
  bool aborts = strcmp(way->name, "abort") == 0; // msvcrt says something then
  if (aborts) code = 3;
  if (way->runs_c_exit) strcat(expected, "atexit function\nstatic destructor\n");
  if (way->runs_dlls) strcat(expected, "other DLL detached\n");
  // FLS tells only the threads that have a heap of their own, besides the first that allocated.
  bool is_bare = strcmp(way->name, "ExitProcess-on-bare-thread") == 0 ||
                 (without_index && strcmp(way->name, "ExitProcess-on-thread") == 0);
  bool is_reported = with_stats && way->runs_dlls && !(strstr(mode, "fls") != NULL && is_bare);
  bool is_good = !result.timed_out && result.exit_code == code && strcmp(result.output, expected) == 0 &&
                 count_of(result.error, "committed memory") == (is_reported ? 1 : 0) &&
                 (with_stats || aborts || result.error[0] == 0);
  if (is_good) return;
  child_print(&result);
  fail_msg("%s, %s, code %u%s%s", mode, way->name, code, with_stats ? ", with statistics" : "",
           without_index ? ", without an index" : "");
}

static void test_exit_under_fire(void** state) {
  (void)state;
  bool is_dll = strcmp(mode, "dll") == 0; // has its index before the program can take all of them
  for (size_t i = 0; i < many; i++) {
    run_once(&ways[i % WAYS], 60 + (unsigned)(i % 100), i / WAYS % 2 == 1, !is_dll && i / WAYS % 3 == 2);
    if (many >= 100 && (i + 1) % 100 == 0) printf("%s: %zu of %zu exits\n", mode, i + 1, many);
  }
}

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: %s MODE [COUNT]\n", argv[0]);
    return 99;
  }
  mode = argv[1];
  if (argc > 2) many = (size_t)atoi(argv[2]);
  if (getenv("MI_TEST_COUNT") != NULL) many = (size_t)atoi(getenv("MI_TEST_COUNT"));
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_exit_under_fire)};
  return check_run(tests);
}
