// Runs programs that know nothing of mimalloc (program.c, program_cxx.cpp) with mimalloc.dll in them: each
// prints what it has checked. Then what the DLL says of itself with MIMALLOC_VERBOSE=1.
#include "support/check.h"

#include "support/child.h"
#include "support/runtime.h"

enum { LIMIT_MS = 60000 };

static child_result_t result;

static unsigned count_of(const char* text, const char* part) {
  unsigned count = 0;
  for (const char* at = strstr(text, part); at != NULL; at = strstr(at + 1, part)) count++;
  return count;
}

// Runs the program, which must do as many checks as promised, all of them well.
static void run(const char* program, const char* mode, const char* dll, const char* const* more,
                unsigned checks) {
  char path[CHILD_PATH_MAX];
  const char* arguments[CHILD_ARGUMENTS_MAX] = {path};
  size_t count = 1;
  child_sibling(program, path);
  if (mode != NULL) arguments[count++] = mode;
  if (dll != NULL) arguments[count++] = dll;
  for (; more != NULL && *more != NULL; more++) arguments[count++] = *more;
  assert_true(child_run(arguments, LIMIT_MS, &result));
  bool good = !result.timed_out && result.exit_code == 0 && strstr(result.output, "not ok") == NULL &&
              count_of(result.output, "ok ") == checks;
  if (!good) child_print(&result);
  assert_false(result.timed_out);
  assert_int_equal(result.exit_code, 0);
  assert_null(strstr(result.output, "not ok"));
  assert_int_equal(count_of(result.output, "ok "), checks);
}

// Nothing was said that nobody asked for.
static void assert_quiet(void) {
  if (result.error[0] != 0) fail_msg("unexpected on standard error: %s", result.error);
}

// In front of each case: what the last one set, even if it failed in the middle.
static int plain_environment(void** state) {
  (void)state;
  child_set_environment("MIMALLOC_VERBOSE", NULL);
  child_set_environment("MIMALLOC_DISABLE_REDIRECT", NULL);
  return 0;
}

// The line of the table that tells of a runtime.
static const char* row(const char* runtime, unsigned* inline_count, unsigned* import_count,
                       unsigned* left_count) {
  char start[64];
  snprintf(start, sizeof(start), "mimalloc: redirect: %s ", runtime);
  const char* line = strstr(result.error, start);
  if (line == NULL) fail_msg("the table has no row for %s:\n%s", runtime, result.error);
  assert_int_equal(count_of(result.error, start), 1);
  if (sscanf(line + strlen(start), "%u %u %u", inline_count, import_count, left_count) != 3)
    fail_msg("the row of %s has no numbers:\n%s", runtime, result.error);
  return line;
}

static bool line_has(const char* line, const char* part) {
  const char* found = strstr(line, part);
  return found != NULL && found < strchr(line, '\n');
}

// ---- programs -------------------------------------------------------------------------------------------

// A compiler for the UCRT makes no programs for msvcrt.
#if TEST_IS_UCRT
#define OWN_PROGRAM "redirect-program-ucrt"
static const char* const programs[] = {OWN_PROGRAM};
#else
#define OWN_PROGRAM "redirect-program-msvcrt"
static const char* const programs[] = {OWN_PROGRAM, "redirect-program-ucrt"};
#endif
enum { PROGRAM_COUNT = sizeof(programs) / sizeof(programs[0]) };

enum { CHECKS_NEW_MSVCRT = 9, CHECKS_NEW_UCRT = 8, CHECKS_OLD = 6 };

#if !TEST_IS_UCRT
static void early_msvcrt(void** state) {
  (void)state;
  run("redirect-early-msvcrt", "early", NULL, NULL, CHECKS_NEW_MSVCRT);
}

static void late_msvcrt(void** state) {
  (void)state;
  for (int i = 0; i < 5; i++) // as late_ucrt
    run("redirect-program-msvcrt", "late", "mimalloc.dll", NULL, CHECKS_OLD + CHECKS_NEW_MSVCRT);
}
#endif

static void early_ucrt(void** state) {
  (void)state;
  run("redirect-early-ucrt", "early", NULL, NULL, CHECKS_NEW_UCRT);
}

static void threads_of_dlls_that_came_first(void** state) {
  (void)state;
  run("redirect-started", NULL, NULL, NULL, 1);
}

// More than once, since threads are somewhere else each time.
static void late_ucrt(void** state) {
  (void)state;
  for (int i = 0; i < 5; i++)
    run("redirect-program-ucrt", "late", "mimalloc.dll", NULL, CHECKS_OLD + CHECKS_NEW_UCRT);
}

// Many times: the thread that watches must be running just then.
static void imports_change_at_once(void** state) {
  (void)state;
  for (int i = 0; i < 20; i++) run(OWN_PROGRAM, "imports", NULL, NULL, 1);
}

static void nobody_is_inside(void** state) {
  (void)state;
  for (int i = 0; i < 3; i++) run(OWN_PROGRAM, "inside", NULL, NULL, 1);
}

static void nobody_is_inside_of_a_debug_runtime(void** state) {
  (void)state;
  for (int i = 0; i < 3; i++) run(OWN_PROGRAM, "inside-debug", NULL, NULL, 1);
}

static void no_memory_at_all(void** state) {
  (void)state;
  for (size_t i = 0; i < PROGRAM_COUNT; i++) run(programs[i], "exhausted", "mimalloc.dll", NULL, 1);
}

static void two_copies(void** state) {
  (void)state;
  for (size_t i = 0; i < PROGRAM_COUNT; i++) {
    run(programs[i], "twice", "mimalloc.dll", NULL, 1);
    assert_quiet();
  }
}

// Another allocator's jumps stand in front of the runtime's functions, in every form that is in use.
static void runtimes_that_others_redirect_are_left_alone(void** state) {
  (void)state;
  char path[CHILD_PATH_MAX], forms[1024];
  unsigned hooked, imported, left, count = 0;
  child_sibling("redirect-hooked", path);
  assert_true(child_run((const char*[]){path, "--list", NULL}, LIMIT_MS, &result));
  snprintf(forms, sizeof(forms), "%s", result.output);
  child_set_environment("MIMALLOC_VERBOSE", "1");
  for (const char* form = strtok(forms, "\n"); form != NULL; form = strtok(NULL, "\n"), count++) {
    run("redirect-hooked", form, "mimalloc.dll", NULL, 1);
    const char* line = row(TEST_RUNTIME, &hooked, &imported, &left);
    if (strcmp(form, "none") == 0 || strcmp(form, "other-runtime") == 0) {
      assert_true(hooked >= 12 && imported == 0 && left == 0);
    } else {
      assert_true(hooked == 0 && imported == 0 && left >= 12);
      assert_true(line_has(line, "malloc: somebody else has redirected it already"));
    }
  }
  assert_int_equal(count, 10);
}

// No lock of the allocator's may be held across a system call: the nested call would wait for itself.
static void system_calls_that_allocate_are_served(void** state) {
  (void)state;
  run("redirect-nested", "mimalloc.dll", NULL, NULL, 1);
}

static void nobody_waits_for_the_loader(void** state) {
  (void)state;
  for (size_t i = 0; i < PROGRAM_COUNT; i++) run(programs[i], "locked", "mimalloc.dll", NULL, 1);
}

static void cxx_with_shared_libstdcxx(void** state) {
  (void)state;
  run("redirect-cxx", NULL, "mimalloc.dll", NULL, 4);
  assert_quiet();
}

static void fake_runtimes(void** state) {
  (void)state;
  for (size_t i = 0; i < PROGRAM_COUNT; i++) run(programs[i], "fakes", "mimalloc.dll", NULL, 5);
}

static void disabled(void** state) {
  (void)state;
  child_set_environment("MIMALLOC_DISABLE_REDIRECT", "1");
  for (size_t i = 0; i < PROGRAM_COUNT; i++) {
    run(programs[i], "disabled", "mimalloc.dll", NULL, 2);
    assert_quiet();
  }
}

static void wild_pointers_are_told_of_once(void** state) {
  (void)state;
  for (size_t i = 0; i < PROGRAM_COUNT; i++) {
    if (TEST_DEBUG_CHECKS) { // misuse ends the process
      char path[CHILD_PATH_MAX];
      child_sibling(programs[i], path);
      assert_true(child_run((const char*[]){path, "wild", "mimalloc.dll", NULL}, LIMIT_MS, &result));
      assert_true(child_aborted(&result));
    } else {
      run(programs[i], "wild", "mimalloc.dll", NULL, 1);
    }
    assert_int_equal(count_of(result.error, "invalid pointer"), 1);
  }
}

static const char* const all_runtimes[] = {
    "msvcr70.dll",  "msvcr71.dll",  "msvcr80.dll",      "msvcr90.dll", "msvcr100.dll",
    "msvcr110.dll", "msvcr120.dll", TEST_OTHER_RUNTIME, "msvcrtd.dll", NULL};

static void every_runtime_of_wine(void** state) {
  (void)state;
  run(OWN_PROGRAM, "load", "mimalloc.dll", all_runtimes, 1);
  assert_quiet();
}

// ---- what it says ---------------------------------------------------------------------------------------

static void the_table_tells_what_was_done(void** state) {
  (void)state;
  unsigned hooked, imported, left;
  child_set_environment("MIMALLOC_VERBOSE", "1");
  run(OWN_PROGRAM, "fakes", "mimalloc.dll", NULL, 5);
  row(TEST_RUNTIME, &hooked, &imported, &left);
  assert_true(hooked >= 12 && imported == 0 && left == 0);
  row("msvcr90d.dll", &hooked, &imported, &left); // seven functions, one _base, three debug forms
  assert_true(hooked == 11 && imported == 0 && left == 0);
  const char* line = row("msvcr100_clr0400.dll", &hooked, &imported, &left);
  assert_true(hooked == 0 && imported == 7 && left == 0);
  assert_true(line_has(line, "malloc: it begins with a loop instruction"));
  assert_non_null(strstr(result.error, "redirect: this DLL stays loaded until the process ends"));
  assert_non_null(
      strstr(result.error, "redirect: modules that come later are told by notifications of the loader"));

  run(OWN_PROGRAM, "load", "mimalloc.dll", all_runtimes, 1);
  for (size_t i = 0; all_runtimes[i] != NULL; i++) {
    row(all_runtimes[i], &hooked, &imported, &left);
    if (hooked < 8 || imported != 0 || left != 0)
      fail_msg("%s: %u inline, %u by imports, %u left", all_runtimes[i], hooked, imported, left);
  }

  run(OWN_PROGRAM, "load", "mimalloc.dll", (const char*[]){"fake-static.dll", NULL}, 1);
  assert_non_null(strstr(result.error, "redirect: fake-static.dll uses heaps but no C runtime DLL"));
  run(OWN_PROGRAM, "load", "mimalloc.dll", (const char*[]){"fake-user.dll", NULL}, 1);
  assert_null(strstr(result.error, "uses heaps but no C runtime DLL"));

  run("redirect-no-crt", NULL, NULL, NULL, 0);
  assert_non_null(strstr(
      result.error, "redirect: redirect-no-crt.exe takes pages from the system and uses no C runtime DLL"));

  child_set_environment("MIMALLOC_DISABLE_REDIRECT", "1");
  run(OWN_PROGRAM, "disabled", "mimalloc.dll", NULL, 2);
  assert_non_null(strstr(result.error, "redirect: disabled by the environment"));
  assert_null(strstr(result.error, TEST_RUNTIME));
}

#define CASE(name) cmocka_unit_test_setup(name, plain_environment)

int main(void) {
  const struct CMUnitTest cases[] = {
#if !TEST_IS_UCRT
    CASE(early_msvcrt),
    CASE(late_msvcrt),
#endif
    CASE(early_ucrt),
    CASE(threads_of_dlls_that_came_first),
    CASE(late_ucrt),
    CASE(imports_change_at_once),
    CASE(nobody_is_inside),
    CASE(nobody_is_inside_of_a_debug_runtime),
    CASE(no_memory_at_all),
    CASE(two_copies),
    CASE(system_calls_that_allocate_are_served),
    CASE(runtimes_that_others_redirect_are_left_alone),
    CASE(nobody_waits_for_the_loader),
    CASE(cxx_with_shared_libstdcxx),
    CASE(fake_runtimes),
    CASE(disabled),
    CASE(wild_pointers_are_told_of_once),
    CASE(every_runtime_of_wine),
    CASE(the_table_tells_what_was_done),
  };
  return check_run(cases);
}
