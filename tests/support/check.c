#include "support/check.h"

#include <stdlib.h>

enum {
  CASES_MAX = 256,
  LIST_ERROR = 99
}; // Meson takes exit code 99 for an error, also where a failure is expected

// Is `name` one of the comma-separated names?
static bool list_has(const char* list, const char* name) {
  size_t length = strlen(name);
  for (const char* at = list; at != NULL; at = strchr(at, ',') == NULL ? NULL : strchr(at, ',') + 1) {
    if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == 0)) return true;
  }
  return false;
}

static size_t list_length(const char* list) {
  size_t length = *list != 0;
  for (; *list != 0; list++) length += *list == ',';
  return length;
}

int check_run_cases(const char* group, const struct CMUnitTest* cases, size_t count) {
  const char* only = getenv("MI_TEST_ONLY");
  const char* skip = getenv("MI_TEST_SKIP");
  struct CMUnitTest kept[CASES_MAX];
  size_t kept_count = 0, met = 0;
  if (count > CASES_MAX) {
    fprintf(stderr, "more than %d cases: make CASES_MAX in check.c larger\n", CASES_MAX);
    return LIST_ERROR;
  }
  for (size_t i = 0; i < count; i++) {
    bool in_only = only != NULL && list_has(only, cases[i].name);
    bool in_skip = skip != NULL && list_has(skip, cases[i].name);
    met += (in_only ? 1u : 0u) + (in_skip ? 1u : 0u);
    if ((only == NULL || in_only) && !in_skip) kept[kept_count++] = cases[i];
  }
  size_t named = (only == NULL ? 0 : list_length(only)) + (skip == NULL ? 0 : list_length(skip));
  if (met != named) {
    fprintf(stderr, "MI_TEST_ONLY or MI_TEST_SKIP names a case that this program does not have\n");
    return LIST_ERROR;
  }
  setvbuf(stdout, NULL, _IONBF, 0); // keeps what was printed before a crash; Windows knows no line buffering
  return _cmocka_run_group_tests(group, kept, kept_count, NULL, NULL);
}
