// What becomes of mi_new in a program whose C++ code isn't compiled with our headers, when memory runs out: programs
// with each C++ runtime, run as children.
#include "support/check.h"

#include <stdlib.h>

#include "support/child.h"

enum { LIMIT_MS = 60000 };
static const bool is_64 = sizeof(void*) == 8;

static child_result_t result;

static void run(const char* program, const char* mode, const char* dll) {
  char path[CHILD_PATH_MAX];
  child_sibling(program, path);
  assert_true(child_run((const char*[]){path, mode, dll, NULL}, LIMIT_MS, &result));
  assert_false(result.timed_out);
}

static void says(const char* text) {
  bool good = result.exit_code == 0 && strcmp(result.output, text) == 0;
  if (!good) child_print(&result);
  assert_string_equal(result.output, text);
  assert_int_equal(result.exit_code, 0);
}

// A message, and the end.
static void last_resort(void) {
  if (!child_aborted(&result)) child_print(&result);
  assert_true(child_aborted(&result));
  assert_non_null(strstr(result.error, "out of memory in operator new"));
}

static void shared_libstdcxx(void** state) {
  (void)state;
  run("dll-cxx-shared", NULL, NULL);
  if (is_64) {
    says("ok\n");
  } else {
    last_resort(); // MinGW's exceptions don't find their way through our functions there
  }
}

static void linked_into_the_program(void** state) {
  (void)state;
  run("dll-cxx-static", NULL, NULL); // mimalloc and libstdc++ both
  if (is_64) {
    says("ok\n");
  } else {
    last_resort();
  }
}

static void a_runtime_that_is_inside_of_the_program(void** state) {
  (void)state;
  run("dll-cxx-inside", NULL, NULL);
  last_resort();
}

static void no_runtime(void** state) {
  (void)state;
  run("dll-cxx-standin", "none", NULL);
  last_resort();
}

static void gnu_standin(void** state) {
  (void)state;
  run("dll-cxx-standin", "gnu", "standin-gnu.dll");
  if (is_64) {
    says("gnu 3\n");
  } else {
    last_resort();
  }
}

static void microsoft_standin(void** state) {
  (void)state;
  run("dll-cxx-standin-imports", "none", NULL);
  says("microsoft-standin 0\n"); // the runtime that would keep its handler isn't there
  run("dll-cxx-standin-imports", "crt", NULL);
  says("microsoft-standin 4\n");
}

// Wine's own, or Windows'. (Wine's UCRT keeps no new-handler.)
static void microsoft(void** state) {
  (void)state;
  run("dll-cxx-standin", "microsoft", NULL);
  says("microsoft 0\n");
}

static void the_runtime_that_the_caller_imports_from(void** state) {
  (void)state;
  run("dll-cxx-standin-imports", "gnu", "standin-gnu.dll"); // which isn't asked for its handler either
  says("microsoft-standin 0\n");
  run("dll-cxx-standin-imports", "microsoft", NULL);
  says("microsoft-standin 0\n");
}

int main(void) {
  const struct CMUnitTest cases[] = {
      cmocka_unit_test(shared_libstdcxx),
      cmocka_unit_test(linked_into_the_program),
      cmocka_unit_test(a_runtime_that_is_inside_of_the_program),
      cmocka_unit_test(no_runtime),
      cmocka_unit_test(gnu_standin),
      cmocka_unit_test(microsoft_standin),
      cmocka_unit_test(microsoft),
      cmocka_unit_test(the_runtime_that_the_caller_imports_from),
  };
  return check_run(cases);
}
