// The options: order and defaults as promised, and every way to set one. Options are read once, so a case
// that wants one read again makes it unread by hand. This file is long because the interface's table stands in it a second
// time.
#include "support/check.h"
#include "support/child.h"
#include "support/test_thread.h"

#include "core/report/options.h"
#include "mimalloc.h"

#include <ctype.h>

#define GIB_IN_KIB (1024 * 1024)

// What the documentation of the interface says, written down a second time: the order, and the default in the
// option's unit ('K': KiB).
static const struct {
  const char* name;
  long default_value;
  char kind; // ' ' plain, 'K' KiB, 'B' bytes, 'd' deprecated
} promised[] = {
    {"show_errors", 0, ' '},
    {"show_stats", 0, ' '},
    {"verbose", 0, ' '},
    {"eager_commit", 1, 'd'},
    {"arena_eager_commit", 2, ' '},
    {"purge_decommits", 1, ' '},
    {"allow_large_os_pages", 0, ' '},
    {"reserve_huge_os_pages", 0, ' '},
    {"reserve_huge_os_pages_at", -1, ' '},
    {"reserve_os_memory", 0, 'K'},
    {"segment_cache", 0, 'd'},
    {"page_reset", 0, 'd'},
    {"abandoned_page_purge", 0, 'd'},
    {"segment_reset", 0, 'd'},
    {"eager_commit_delay", 1, 'd'},
    {"purge_delay", 1000, ' '},
    {"use_numa_nodes", 0, ' '},
    {"disallow_os_alloc", 0, ' '},
    {"os_tag", 100, ' '},
    {"max_errors", 32, ' '},
    {"max_warnings", 32, ' '},
    {"max_segment_reclaim", 10, 'd'},
    {"destroy_on_exit", 0, ' '},
    {"arena_reserve", sizeof(void*) == 8 ? GIB_IN_KIB : GIB_IN_KIB / 8, 'K'},
    {"arena_purge_mult", 1, ' '},
    {"purge_extend_delay", 1, 'd'},
    {"disallow_arena_alloc", 0, ' '},
    {"retry_on_oom", 400, ' '},
    {"visit_abandoned", 0, ' '},
    {"guarded_min", 0, 'B'},
    {"guarded_max", 1024 * 1024 * 1024, 'B'},
    {"guarded_precise", 0, ' '},
    {"guarded_sample_rate", 0, ' '},
    {"guarded_sample_seed", 0, ' '},
    {"generic_collect", 10000, ' '},
    {"page_reclaim_on_free", 0, ' '},
    {"page_full_retain", 2, ' '},
    {"page_max_candidates", 4, ' '},
    {"max_vabits", 0, ' '},
    {"pagemap_commit", 0, ' '},
    {"page_commit_on_demand", 0, ' '},
    {"page_max_reclaim", -1, ' '},
    {"page_cross_thread_max_reclaim", 32, ' '},
    {"allow_thp", 1, ' '},
    {"minimal_purge_size", 0, 'K'},
    {"arena_max_object_size", sizeof(void*) == 8 ? 2 * GIB_IN_KIB : GIB_IN_KIB / 4, 'K'},
    {"arena_is_numa_local", 0, ' '},
};
enum { PROMISED = sizeof(promised) / sizeof(promised[0]) };

// ---- what is said -----------------------------------------------------------------------------------------

static char said[16 * 1024];

static void hear(const char* text, void* arg) {
  assert_ptr_equal(arg, said);
  strncat(said, text, sizeof(said) - strlen(said) - 1);
}

static void forget(void) { said[0] = 0; }

// Reads the option from an environment that has `variable` set to `value` (NULL: not set).
static long read_with(option_t option, const char* variable, const char* value) {
  child_set_environment(variable, value);
  option_values[option] = OPTION_UNREAD;
  long result = option_get(option);
  assert_int_not_equal(option_values[option], OPTION_UNREAD); // from now on one load
  child_set_environment(variable, NULL);
  assert_int_equal(option_get(option), result); // read once
  return result;
}

static void variable_of(char* variable, const char* name) {
  strcpy(variable, "MIMALLOC_");
  for (size_t i = 0; i <= strlen(name); i++) variable[9 + i] = (char)toupper((unsigned char)name[i]);
}

static int set_up(void** state) {
  MI_UNUSED(state);
  message_register_output(hear, said);
  forget();
  return 0;
}

// Leaves every option at its default, as far as one can see.
static int tear_down(void** state) {
  MI_UNUSED(state);
  for (unsigned i = 0; i < OPTION_COUNT; i++) option_values[i] = OPTION_UNREAD;
  return 0;
}

// ---- cases ------------------------------------------------------------------------------------------------

static void test_order_and_defaults(void** state) {
  MI_UNUSED(state);
  assert_int_equal(OPTION_COUNT, PROMISED);
  assert_int_equal(_mi_option_last, PROMISED);
  options_init();
  for (unsigned i = 0; i < PROMISED; i++) {
    assert_string_equal(option_name((option_t)i), promised[i].name);
    assert_int_equal(option_get((option_t)i), promised[i].default_value);
    assert_int_equal(mi_option_get((mi_option_t)i), promised[i].default_value);
    assert_false(option_is_set((option_t)i));
  }
  assert_string_equal(said, "");
}

static void test_outside(void** state) {
  MI_UNUSED(state);
  const mi_option_t numbers[] = {_mi_option_last, (mi_option_t)1000, (mi_option_t)-1};
  for (unsigned i = 0; i < 3; i++) {
    mi_option_set(numbers[i], 5);
    mi_option_set_default(numbers[i], 5);
    assert_int_equal(mi_option_get(numbers[i]), 0);
    assert_int_equal(mi_option_get_size(numbers[i]), 0);
    assert_false(mi_option_is_enabled(numbers[i]));
  }
}

static void test_each_variable(void** state) {
  MI_UNUSED(state);
  for (unsigned i = 0; i < PROMISED; i++) {
    if (i == option_verbose || i == option_show_errors) continue; // they change what is said: below
    char variable[64];
    variable_of(variable, promised[i].name);
    bool is_kib = promised[i].kind == 'K';
    assert_int_equal(read_with((option_t)i, variable, is_kib ? "7K" : "7"), 7);
    assert_true(option_is_set((option_t)i));
    for (char* c = variable; *c != 0; c++) *c = (char)tolower((unsigned char)*c);
    assert_int_equal(read_with((option_t)i, variable, is_kib ? "8K" : "8"), 8);
  }
  assert_int_equal(read_with(option_verbose, "MIMALLOC_VERBOSE", "2"), 2);
  assert_int_equal(read_with(option_show_errors, "MIMALLOC_SHOW_ERRORS", "1"), 1);
  assert_string_equal(said, "");
}

static void test_booleans(void** state) {
  MI_UNUSED(state);
  static const char* const on[] = {"", "1", "true", "TRUE", "True", "yes", "on", "ON", " on ", "\t1 "};
  static const char* const off[] = {"0", "false", "no", "off", "Off", " 0"};
  for (unsigned i = 0; i < sizeof(on) / sizeof(on[0]); i++) {
#if defined(_WIN32)
    if (on[i][0] == 0) continue; // setting a variable to nothing unsets it there
#endif
    assert_int_equal(read_with(option_disallow_os_alloc, "MIMALLOC_DISALLOW_OS_ALLOC", on[i]), 1);
  }
  for (unsigned i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
    assert_int_equal(read_with(option_allow_thp, "MIMALLOC_ALLOW_THP", off[i]), 0);
  }
  assert_int_equal(read_with(option_purge_delay, "MIMALLOC_PURGE_DELAY", "off"), 0); // any option
}

static void test_sizes(void** state) {
  MI_UNUSED(state);
  static const struct {
    const char* text;
    long kib;
  } cases[] = {
      {"1", 1},      {"1024", 1},  {"1025", 2},   {"67108864", 65536}, {"64K", 64},        {"64k", 64},
      {"64KiB", 64}, {"2M", 2048}, {"2mb", 2048}, {"1G", 1048576},     {"1T", 1073741824}, {"0", 0},
  };
  for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    assert_int_equal(read_with(option_arena_reserve, "MIMALLOC_ARENA_RESERVE", cases[i].text), cases[i].kib);
    size_t expected = (size_t)cases[i].kib > PTRDIFF_MAX / 1024 ? PTRDIFF_MAX : (size_t)cases[i].kib * 1024;
    assert_int_equal(option_get_size(option_arena_reserve), expected);
  }
  // More than the type holds: as much as possible.
  assert_int_equal(read_with(option_arena_reserve, "MIMALLOC_ARENA_RESERVE", "9223372036854775807T"),
                   INT64_MAX / 1024 + 1 > LONG_MAX ? LONG_MAX : (long)(INT64_MAX / 1024 + 1));
  assert_true(option_get_size(option_arena_reserve) <= PTRDIFF_MAX);
  // Kept in bytes.
  assert_int_equal(read_with(option_guarded_min, "MIMALLOC_GUARDED_MIN", "3K"), 3072);
  assert_int_equal(option_get_size(option_guarded_min), 3072);
  assert_string_equal(said, "");
}

static void test_clamped_values(void** state) {
  MI_UNUSED(state);
  static const struct {
    option_t option;
    const char *variable, *value;
    long expected;
  } cases[] = {
      {option_purge_delay, "MIMALLOC_PURGE_DELAY", "99999999999999999999", LONG_MAX},
      {option_purge_delay, "MIMALLOC_PURGE_DELAY", "-99999999999999999999", LONG_MIN + 1},
      {option_purge_delay, "MIMALLOC_PURGE_DELAY", "-9223372036854775808", LONG_MIN + 1},
      {option_arena_reserve, "MIMALLOC_ARENA_RESERVE", "-1", 0},
      {option_arena_reserve, "MIMALLOC_ARENA_RESERVE", "-5G", 0},
      {option_arena_reserve, "MIMALLOC_ARENA_RESERVE", "-99999999999999999999", 0},
      {option_arena_reserve, "MIMALLOC_ARENA_RESERVE", "99999999999999999999", LONG_MAX},
      {option_arena_reserve, "MIMALLOC_ARENA_RESERVE", "99999999999999999999MiB", LONG_MAX},
      {option_guarded_max, "MIMALLOC_GUARDED_MAX", "99999999T", LONG_MAX},
  };
  option_values[option_show_errors] = 1;
  for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    assert_int_equal(read_with(cases[i].option, cases[i].variable, cases[i].value), cases[i].expected);
    assert_string_equal(said, "");
  }
}

static void test_empty_values(void** state) {
  MI_UNUSED(state);
  static const char* const empty[] = {"", " ", "\t "}; // on Windows the first one unsets it
  for (unsigned i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
    assert_int_equal(read_with(option_reserve_os_memory, "MIMALLOC_RESERVE_OS_MEMORY", empty[i]), 0);
    assert_int_equal(read_with(option_guarded_max, "MIMALLOC_GUARDED_MAX", empty[i]),
                     promised[option_guarded_max].default_value);
    assert_int_equal(read_with(option_purge_delay, "MIMALLOC_PURGE_DELAY", empty[i]),
                     promised[option_purge_delay].default_value);
    assert_int_equal(read_with(option_minimal_purge_size, "MIMALLOC_MINIMAL_PURGE_SIZE", empty[i]), 0);
    assert_false(option_is_set(option_minimal_purge_size));
  }
  assert_string_equal(said, "");
}

static void test_bad_values(void** state) {
  MI_UNUSED(state);
  static const struct {
    option_t option;
    const char *variable, *value;
  } cases[] = {
      {option_show_stats, "MIMALLOC_SHOW_STATS", "maybe"},
      {option_purge_delay, "MIMALLOC_PURGE_DELAY", "10s"},
      {option_purge_delay, "MIMALLOC_PURGE_DELAY", "1.5"},
      {option_purge_delay, "MIMALLOC_PURGE_DELAY", "10K"}, // not a size
      {option_purge_delay, "MIMALLOC_PURGE_DELAY", "99999999999999999999s"},
      {option_arena_reserve, "MIMALLOC_ARENA_RESERVE", "1X"},
      {option_arena_reserve, "MIMALLOC_ARENA_RESERVE", "-1X"},
      {option_arena_reserve, "MIMALLOC_ARENA_RESERVE", "-"},
      {option_arena_reserve, "MIMALLOC_ARENA_RESERVE", "99999999999999999999 M"},
      {option_arena_reserve, "MIMALLOC_ARENA_RESERVE", "a lot"},
  };
  for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    // Nobody asked for warnings: the default stays, silently.
    option_values[option_show_errors] = option_values[option_verbose] = 0;
    forget();
    assert_int_equal(read_with(cases[i].option, cases[i].variable, cases[i].value),
                     promised[cases[i].option].default_value);
    assert_string_equal(said, "");
    // The warning names the variable, the value and what would have been right.
    option_values[option_show_errors] = 1;
    assert_int_equal(read_with(cases[i].option, cases[i].variable, cases[i].value),
                     promised[cases[i].option].default_value);
    assert_memory_equal(said, "mimalloc: warning: environment variable ", 40);
    assert_non_null(strstr(said, cases[i].variable));
    assert_non_null(strstr(said, cases[i].value));
    assert_non_null(strstr(said, "the default stays"));
  }
}

static void test_bad_values_of_what_shows_them(void** state) {
  MI_UNUSED(state);
  option_values[option_show_errors] = option_values[option_verbose] = 0;
  assert_int_equal(read_with(option_verbose, "MIMALLOC_VERBOSE", "loud"), 0);
  assert_non_null(strstr(said, "MIMALLOC_VERBOSE has the value \"loud\""));
  forget();
  assert_int_equal(read_with(option_show_errors, "MIMALLOC_SHOW_ERRORS", "yess"), 0);
  assert_non_null(strstr(said, "MIMALLOC_SHOW_ERRORS has the value \"yess\""));
}

static void test_older_names(void** state) {
  MI_UNUSED(state);
  static const struct {
    option_t option;
    const char *older, *variable;
  } cases[] = {
      {option_allow_large_os_pages, "MIMALLOC_LARGE_OS_PAGES", "MIMALLOC_ALLOW_LARGE_OS_PAGES"},
      {option_arena_eager_commit, "MIMALLOC_EAGER_REGION_COMMIT", "MIMALLOC_ARENA_EAGER_COMMIT"},
      {option_purge_decommits, "MIMALLOC_RESET_DECOMMITS", "MIMALLOC_PURGE_DECOMMITS"},
      {option_purge_delay, "MIMALLOC_RESET_DELAY", "MIMALLOC_PURGE_DELAY"},
      {option_disallow_os_alloc, "MIMALLOC_LIMIT_OS_ALLOC", "MIMALLOC_DISALLOW_OS_ALLOC"},
      {option_page_reclaim_on_free, "MIMALLOC_ABANDONED_RECLAIM_ON_FREE", "MIMALLOC_PAGE_RECLAIM_ON_FREE"},
  };
  for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    option_values[option_show_errors] = 0;
    assert_int_equal(read_with(cases[i].option, cases[i].older, "23"), 23);
    option_values[option_show_errors] = 1;
    forget();
    assert_int_equal(read_with(cases[i].option, cases[i].older, "24"), 24);
    assert_non_null(strstr(said, cases[i].older));
    assert_non_null(strstr(said, "older name"));
    // The name of today wins.
    forget();
    child_set_environment(cases[i].variable, "25");
    assert_int_equal(read_with(cases[i].option, cases[i].older, "26"), 25);
    child_set_environment(cases[i].variable, NULL);
    assert_string_equal(said, "");
  }
}

static void test_set(void** state) {
  MI_UNUSED(state);
  mi_option_set(mi_option_os_tag, 77);
  assert_int_equal(mi_option_get(mi_option_os_tag), 77);
  assert_int_equal(option_get(option_os_tag), 77);
  assert_true(option_is_set(option_os_tag));
  mi_option_disable(mi_option_os_tag);
  assert_int_equal(mi_option_get(mi_option_os_tag), 0);
  assert_false(mi_option_is_enabled(mi_option_os_tag));
  mi_option_enable(mi_option_os_tag);
  assert_int_equal(mi_option_get(mi_option_os_tag), 1);
  mi_option_set_enabled(mi_option_os_tag, false);
  assert_int_equal(mi_option_get(mi_option_os_tag), 0);

  // Set before the environment was looked at: the program wins.
  child_set_environment("MIMALLOC_MAX_VABITS", "40");
  mi_option_set(mi_option_max_vabits, 41);
  assert_int_equal(mi_option_get(mi_option_max_vabits), 41);
  child_set_environment("MIMALLOC_MAX_VABITS", NULL);

  // The value that stands for "not read" can't be set.
  mi_option_set(mi_option_max_vabits, LONG_MIN);
  assert_int_equal(mi_option_get(mi_option_max_vabits), LONG_MIN + 1);

  assert_int_equal(mi_option_get_clamp(mi_option_max_vabits, -3, 3), -3);
  mi_option_set(mi_option_max_vabits, 9);
  assert_int_equal(mi_option_get_clamp(mi_option_max_vabits, -3, 3), 3);
  assert_int_equal(mi_option_get_clamp(mi_option_max_vabits, 0, 9), 9);

  mi_option_set(mi_option_minimal_purge_size, 3); // KiB
  assert_int_equal(mi_option_get_size(mi_option_minimal_purge_size), 3072);
  mi_option_set(mi_option_minimal_purge_size, -3);
  assert_int_equal(mi_option_get_size(mi_option_minimal_purge_size), 0);
  mi_option_set(mi_option_minimal_purge_size, LONG_MAX);
  size_t largest = mi_option_get_size(mi_option_minimal_purge_size);
  assert_true(largest <= PTRDIFF_MAX && largest >= (size_t)LONG_MAX / 2);
}

// Only for options that no case before has set: that can't be undone.
static void test_set_default(void** state) {
  MI_UNUSED(state);
  static child_result_t result;
  char self[CHILD_PATH_MAX];
  child_self(self);
  child_set_environment("MIMALLOC_GENERIC_COLLECT", "500");
  child_set_environment("MIMALLOC_PAGE_FULL_RETAIN", "nonsense");
  assert_true(child_run((const char*[]){self, "set-default", NULL}, 20000, &result));
  child_set_environment("MIMALLOC_GENERIC_COLLECT", NULL);
  child_set_environment("MIMALLOC_PAGE_FULL_RETAIN", NULL);
  if (result.exit_code != 42) child_print(&result);
  assert_int_equal(result.exit_code, 42);
}

static int child_set_default(void) {
  mi_option_set_default(mi_option_page_max_candidates, 9); // set by nobody
  if (mi_option_get(mi_option_page_max_candidates) != 9) return 1;
  mi_option_set_default(mi_option_page_max_candidates, 10); // a default can change again
  if (mi_option_get(mi_option_page_max_candidates) != 10) return 2;
  if (option_is_set(option_page_max_candidates)) return 3;
  mi_option_set_default(mi_option_generic_collect, 9); // set by the environment
  if (mi_option_get(mi_option_generic_collect) != 500) return 4;
  mi_option_set(mi_option_os_tag, 5); // set by the program
  mi_option_set_default(mi_option_os_tag, 6);
  if (mi_option_get(mi_option_os_tag) != 5) return 5;
  mi_option_set_default(mi_option_page_full_retain, 7); // the environment's value was no number
  if (mi_option_get(mi_option_page_full_retain) != 7) return 6;
  mi_option_set_enabled_default(mi_option_allow_thp, false);
  if (mi_option_is_enabled(mi_option_allow_thp)) return 7;
  return 42;
}

// Variables that begin like ours and name nothing, in a process that shows warnings and in one that doesn't.
static int child_names(void) {
  mi_free(mi_malloc(1)); // the library's start says it all
  options_init();        // and this no more
  return 42;
}

static void test_misspelt_names(void** state) {
  MI_UNUSED(state);
  static const struct {
    const char *variable,
        *meant; // "": no name is near; "-": it is known, and has no effect; NULL: it is known
  } cases[] = {{"MIMALLOC_PURGE_DELY", "MIMALLOC_PURGE_DELAY"},
               {"MIMALLOC_PURGEDELAY", "MIMALLOC_PURGE_DELAY"},
               {"MIMALLOC_SHOW_STAT", "MIMALLOC_SHOW_STATS"},
               {"MIMALLOC_REEST_DELAY", "MIMALLOC_RESET_DELAY"}, // an older name
               {"MIMALLOC_DISABLE_REDIRECTION", "MIMALLOC_DISABLE_REDIRECT"},
               {"MIMALLOC_CAFETERIA", ""},
               {"MIMALLOC_", ""},
               {"MIMALLOC_AN_EXTRAORDINARILY_LONG_NAME_OF_NOTHING_AT_ALL", ""},
               {"MIMALLOC_PURGE_DELAY", NULL},
               {"MIMALLOC_ALLOW_THP", "-"},
               {"MIMALLOC_PAGE_RESET", "-"},
               {"MIMALLOC_ZERO_ON_FREE", MI_SECURE ? NULL : "-"},
               {"MIMALLOC_RESET_DELAY", NULL},
               {"MIMALLOC_DISABLE_REDIRECT", NULL},
               {"MIMALLO_PURGE_DELAY", NULL}}; // not our business
  static child_result_t result;
  char self[CHILD_PATH_MAX];
  child_self(self);
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    for (int shown = 0; shown <= 1; shown++) {
      char expected[256] = "";
      child_set_environment(cases[i].variable, "1");
      child_set_environment("MIMALLOC_SHOW_ERRORS", shown ? "1" : NULL);
      assert_true(child_run((const char*[]){self, "names", NULL}, 20000, &result));
      child_set_environment(cases[i].variable, NULL);
      child_set_environment("MIMALLOC_SHOW_ERRORS", NULL);
      assert_int_equal(result.exit_code, 42);
      if (shown && cases[i].meant != NULL && *cases[i].meant == '-') {
        snprintf(expected, sizeof(expected),
                 "mimalloc: warning: environment variable %s has no effect in this build\n",
                 cases[i].variable);
      } else if (shown && cases[i].meant != NULL) {
        snprintf(expected, sizeof(expected),
                 "mimalloc: warning: environment variable %s has no effect: there is no such option%s%s%s\n",
                 cases[i].variable, *cases[i].meant == 0 ? "" : "; is ", cases[i].meant,
                 *cases[i].meant == 0 ? "" : " meant?");
      }
      // An older name that is used gets a warning of its own.
      if (strcmp(cases[i].variable, "MIMALLOC_RESET_DELAY") == 0)
        assert_true(strstr(result.error, "no effect") == NULL &&
                    (!shown || strstr(result.error, "older name of MIMALLOC_PURGE_DELAY") != NULL));
      else
        assert_string_equal(result.error, expected);
    }
  }
}

static void test_guarded_range(void** state) {
  MI_UNUSED(state);
  mi_option_set(mi_option_guarded_max, 100);
  mi_option_set(mi_option_guarded_min, 200);
  assert_int_equal(mi_option_get(mi_option_guarded_max), 200);
  mi_option_set(mi_option_guarded_max, 50);
  assert_int_equal(mi_option_get(mi_option_guarded_min), 50);
}

static void test_print(void** state) {
  MI_UNUSED(state);
  mi_option_set(mi_option_os_tag, 77);
  forget();
  mi_options_print_out(hear, said);
  assert_memory_equal(said, "mimalloc 3.4.3", 14);
  size_t lines = 0;
  for (const char* c = said; *c != 0; c++) lines += *c == '\n';
  assert_int_equal(lines, PROMISED + 1);
  assert_non_null(strstr(said, "\nmimalloc: option 'show_errors': 0"));
  assert_non_null(strstr(said, "\nmimalloc: option 'os_tag': 77 (set) (no effect)\n"));
  char line[64];
  snprintf(line, sizeof(line), "\nmimalloc: option 'arena_reserve': %ld KiB",
           promised[option_arena_reserve].default_value);
  assert_non_null(strstr(said, line));
  assert_non_null(strstr(said, "(no effect)"));
  forget();
  options_print_set(NULL, NULL); // through the registered function
  assert_non_null(strstr(said, "option 'os_tag': 77 (set) (no effect)\n"));
  for (char* text = strtok(said, "\n"); text != NULL; text = strtok(NULL, "\n")) {
    assert_memory_equal(text, "mimalloc: option '", 18);
    assert_non_null(strstr(text, " (set)"));
  }
}

static void test_redirect_switch(void** state) {
  MI_UNUSED(state);
  option_values[option_show_errors] = 1;
  assert_false(options_redirect_is_disabled());
  child_set_environment("MIMALLOC_DISABLE_REDIRECT", "1");
  assert_true(options_redirect_is_disabled());
  child_set_environment("MIMALLOC_DISABLE_REDIRECT", "off");
  assert_false(options_redirect_is_disabled());
  assert_string_equal(said, "");
  child_set_environment("MIMALLOC_DISABLE_REDIRECT", "perhaps");
  assert_false(options_redirect_is_disabled());
  assert_non_null(strstr(said, "MIMALLOC_DISABLE_REDIRECT"));
  child_set_environment("MIMALLOC_DISABLE_REDIRECT", NULL);
}

// ---- many threads read at once ----------------------------------------------------------------------------

enum { READERS = 4, ROUNDS = 200 };
static test_barrier_t start_line, finish_line;
static long seen[READERS];

static void reader(void* arg) {
  for (int round = 0; round < ROUNDS; round++) {
    test_barrier_wait(&start_line);
    seen[(intptr_t)arg] = option_get(option_generic_collect);
    test_barrier_wait(&finish_line);
  }
}

static void test_race(void** state) {
  MI_UNUSED(state);
  test_thread_t threads[READERS];
  test_barrier_init(&start_line, READERS + 1);
  test_barrier_init(&finish_line, READERS + 1);
  option_values[option_show_errors] = 1;
  option_values[option_max_warnings] = -1;
  forget();
  child_set_environment("MIMALLOC_GENERIC_COLLECT", "many"); // so that each reading warns
  for (intptr_t i = 0; i < READERS; i++) test_thread_start(&threads[i], reader, (void*)i);
  size_t warnings = 0;
  for (int round = 0; round < ROUNDS; round++) {
    option_values[option_generic_collect] = OPTION_UNREAD;
    forget();
    test_barrier_wait(&start_line);
    test_barrier_wait(&finish_line);
    for (int i = 0; i < READERS; i++)
      assert_int_equal(seen[i], promised[option_generic_collect].default_value);
    const char* at = said;
    while ((at = strstr(at, "has the value \"many\"")) != NULL) warnings++, at++;
  }
  for (int i = 0; i < READERS; i++) test_thread_join(&threads[i]);
  child_set_environment("MIMALLOC_GENERIC_COLLECT", NULL);
  assert_int_equal(warnings, ROUNDS); // whoever came first, alone, told of it
  test_barrier_done(&start_line);
  test_barrier_done(&finish_line);
}

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "set-default") == 0) return child_set_default();
  if (argc == 2 && strcmp(argv[1], "names") == 0) return child_names();
  // The environment of whoever runs the tests must not decide their result.
  for (unsigned i = 0; i < PROMISED; i++) {
    char variable[64];
    variable_of(variable, promised[i].name);
    child_set_environment(variable, NULL);
  }
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest options_tests[] = {
      CASE(test_empty_values), // before others set what can't be unset
      CASE(test_order_and_defaults),
      CASE(test_outside),
      CASE(test_each_variable),
      CASE(test_booleans),
      CASE(test_sizes),
      CASE(test_clamped_values),
      CASE(test_bad_values),
      CASE(test_bad_values_of_what_shows_them),
      CASE(test_older_names),
      CASE(test_set),
      CASE(test_set_default),
      CASE(test_misspelt_names),
      CASE(test_guarded_range),
      CASE(test_print),
      CASE(test_redirect_switch),
      CASE(test_race),
  };
  return check_run(options_tests);
}
