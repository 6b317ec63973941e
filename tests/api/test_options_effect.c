// Each option does what mimalloc.h says, or the header says that it has no effect: a list with an entry for every option,
// and the test fails for one without. Children measure with the option at one value and at another; both results have to
// be within their bounds.
// This file is long because there is a case for each of some forty options.
#include "api_check.h"
#include "support/child.h"
#include "support/test_thread.h"

#include <mimalloc-stats.h>

#include <stdlib.h>
#include <time.h>

#define KIB(n) ((size_t)(n) << 10)
#define MIB(n) ((size_t)(n) << 20)
enum { CHILD_LIMIT_MS = 120000 };
#define MANY INT64_MAX

// ---- what children measure ----------------------------------------------------------------------------------------

static mi_stats_t stats_now(void) {
  mi_stats_t_decl(stats);
  if (!mi_stats_get(&stats)) exit(90);
  return stats;
}

static char heard[256 * 1024];
static void hear(const char* message, void* arg) {
  (void)arg;
  strncat(heard, message, sizeof(heard) - strlen(heard) - 1);
}

static int64_t lines_with(const char* part) {
  int64_t count = 0;
  for (const char* at = heard; (at = strstr(at, part)) != NULL; at++) count++;
  return count;
}

static void fill_and_free_in(mi_heap_t* heap, size_t size, size_t count) {
  static char* blocks[4096];
  for (size_t i = 0; i < count; i++) memset(blocks[i] = mi_heap_malloc(heap, size), 1, size);
  for (size_t i = 0; i < count; i++) mi_free(blocks[i]);
}
static void fill_and_free(size_t size, size_t count) { fill_and_free_in(mi_heap_main(), size, count); }

static int64_t committed_by_little(void) {
  for (size_t size = 16; size <= KIB(256); size *= 2) {
    char* p = mi_malloc(size);
    p[0] = 1;
  }
  return stats_now().committed.current;
}

// For the first small block: its page, or a good deal ahead? Less a table of the page map, 2 MiB, that comes along where
// the arena isn't in one GiB.
static int64_t committed_of_page(void) {
  char* p = mi_malloc(MIB(1));
  int64_t before = stats_now().committed.current;
  p[0] = 1;
  for (int i = 0; i < 5000; i++)
    ((char*)mi_malloc(16))[0] = 1; // more than a page: a first one is begun in any case
  int64_t growth = stats_now().committed.current - before;
  return growth >= (int64_t)MIB(2) ? growth - (int64_t)MIB(2) : growth;
}

static int64_t reserved_by_little(void) {
  mi_free(mi_malloc(100));
  return stats_now().reserved.current;
}

static int64_t resets(void) {
  fill_and_free(KIB(100), 100);
  mi_collect(true);
  return stats_now().reset_calls.total;
}

static int64_t purged_by_collect(void) {
  fill_and_free(KIB(100), 100);
  mi_collect(true);
  return stats_now().purged.total;
}

static int64_t purged_at_once(void) {
  fill_and_free_in(mi_heap_new(), KIB(100),
                   100); // those of the main heap wait for their reuse in secure builds
  return stats_now().purged.total;
}

// Purged while the program goes on, within some time? With the factor 1 the delay is 20 ms; with 1000 it isn't over before
// 10 s at least, half of it, and the test looks only 300 ms long.
static int64_t purged_in_time(void) {
  int64_t limit = mi_option_get(mi_option_arena_purge_mult) > 1 ? 300 : 60000;
  size_t begin = 0, now = 0;
  fill_and_free(64, 100); // nothing is committed later, which would purge before its time
  fill_and_free(KIB(100), 100);
  mi_process_info(&begin, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
  do {
    fill_and_free(64, 100);
    mi_collect(false);
    if (stats_now().purged.total > 0) return 1;
    mi_process_info(&now, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
  } while ((int64_t)(now - begin) < limit);
  return 0;
}

static int64_t large_pages(void) { // used, or asked for in vain
  mi_register_output(hear, NULL);
  mi_free(mi_malloc(100));
  mi_arenas_print();
  return lines_with("large pages");
}

static int64_t huge_pages_at(void) { // the node that is asked for, or 2 where they are granted
  mi_register_output(hear, NULL);
  mi_free(mi_malloc(100));
  mi_arenas_print();
  if (strstr(heard, ", large pages") != NULL) return 2;
  return strstr(heard, "(NUMA node 1)") != NULL ? 1 : strstr(heard, "(NUMA node -1)") != NULL ? -1 : 0;
}

static int64_t node_of_heap(void) { // in the second one of two arenas, those of node 0 and 1?
  mi_arena_id_t ids[2];
  for (int node = 0; node < 2; node++) {
    size_t alignment = mi_arena_min_alignment();
    static char* kept[2];
    char* memory = kept[node] = malloc(MIB(8) + alignment);
    memory += (alignment - (uintptr_t)memory % alignment) % alignment;
    if (!mi_manage_os_memory_ex(memory, MIB(8), true, true, false, node, false, &ids[node])) return -1;
  }
  mi_option_set(mi_option_use_numa_nodes, strtol(getenv("MI_TEST_NODES"), NULL, 10));
  mi_heap_t* heap = mi_heap_new();
  mi_heap_set_numa_affinity(heap, 1);
  void* p = mi_heap_malloc(heap, MIB(1));
  return mi_arena_contains(ids[1], p) ? 1 : mi_arena_contains(ids[0], p) ? 0 : -2;
}

static int64_t mib_to_be_had(void) {
  int64_t count = 0;
  while (count < 300) {
    char* p = mi_malloc(MIB(1));
    if (p == NULL) break;
    p[0] = 1;
    count++;
  }
  return count;
}

static int64_t errors_said(void) {
  mi_register_output(hear, NULL);
  for (int i = 0; i < 60; i++) {
    if (mi_malloc(api_opaque(SIZE_MAX)) != NULL) return -1;
  }
  return lines_with("error: ");
}

static int64_t warnings_said(void) {
  mi_register_output(hear, NULL);
  for (int i = 0; i < 60; i++) {
    if (mi_malloc_aligned(100, 24) != NULL) return -1;
  }
  return lines_with("warning: ");
}

static int64_t said_at_all(void) {
  mi_register_output(hear, NULL);
  mi_thread_init();
  return (int64_t)strlen(heard);
}

static int64_t said_at_the_end(void) {
  mi_register_output(hear, NULL);
  mi_free(mi_malloc(100));
  mi_process_done();
  return lines_with("mimalloc: summary: ");
}

static int64_t stays_after_the_end(void) {
  void* p = mi_malloc(100);
  mi_process_done();
  return mi_any_heap_contains(p);
}

static int64_t outside_of_arenas(void) {
  char* p = mi_malloc(MIB(24));
  p[0] = 1;
  mi_register_output(hear, NULL);
  mi_arenas_print();
  const char* outside = strstr(heard, " arenas; ");
  return outside != NULL && strtol(outside + 9, NULL, 10) > 0;
}

static void leave_some(void* heap) {
  for (size_t i = 0; i < 50; i++) memset(mi_heap_malloc(heap, 100), 1, 100);
}

static bool visit_all(const mi_heap_t* heap, const mi_heap_area_t* area, void* block, size_t size,
                      void* arg) {
  (void)heap;
  (void)area;
  (void)size;
  *(int64_t*)arg += block != NULL;
  return true;
}

static int64_t abandoned_visited(void) {
  mi_heap_t* heap = mi_heap_new();
  test_thread_t thread;
  test_thread_start(&thread, leave_some, heap);
  test_thread_join(&thread);
  int64_t count = 0;
  mi_heap_visit_abandoned_blocks(heap, true, visit_all, &count);
  return count;
}

// Guarded blocks have a page to themselves, as huge ones do.
static int64_t guarded_of_100(void) {
  int64_t before = stats_now().malloc_huge_count.total;
  for (size_t i = 0; i < 100; i++) memset(mi_malloc(128), 1, 128);
  return stats_now().malloc_huge_count.total - before;
}

static int64_t first_guarded(void) {
  mi_heap_t* heap = mi_heap_new(); // a theap that begins with the first block
  for (int64_t i = 1; i <= 100; i++) {
    int64_t before = stats_now().malloc_huge_count.total;
    memset(mi_heap_malloc(heap, 128), 1, 128);
    if (stats_now().malloc_huge_count.total != before) return i;
  }
  return 0;
}

static int64_t bytes_to_guard_page(void) {
  char* p = mi_malloc(101);
  return (int64_t)((4096 - (uintptr_t)(p + 101) % 4096) % 4096);
}

// ---- pages ----------------------------------------------------------------------------------------------------------

enum { CLASS = 1024, PER_PAGE = 64, PAGES = 24 };
static char* page_blocks[PAGES * PER_PAGE];

// Full pages of one class. `frees`: one block of each is freed, on this thread or on another one with a theap. In secure
// builds the main heap's go back to their pages with the thread's end: for what is seen before that, another heap.
static mi_heap_t* heap_of_pages;
static void fill_pages(bool until_end) {
  heap_of_pages = TEST_SECURE && !until_end ? mi_heap_new() : mi_heap_main();
  size_t size = CLASS - API_TAIL;
  for (size_t i = 0; i < PAGES * PER_PAGE; i++)
    memset(page_blocks[i] = mi_heap_malloc(heap_of_pages, size), 1, size);
}

static void free_one_of_each(void* arg) {
  (void)arg;
  mi_free(mi_heap_malloc(heap_of_pages, CLASS - API_TAIL));
  for (size_t i = 0; i < PAGES; i++) mi_free(page_blocks[i * PER_PAGE + PER_PAGE / 2]);
}

static int64_t reclaimed_on_free(void) {
  fill_pages(false);
  int64_t before = stats_now().pages_reclaim_on_free.total;
  free_one_of_each(NULL);
  return stats_now().pages_reclaim_on_free.total - before;
}

static int64_t reclaimed_by_another(void) {
  fill_pages(true);
  int64_t before = stats_now().pages_reclaim_on_free.total;
  test_thread_t thread;
  test_thread_start(&thread, free_one_of_each, NULL);
  test_thread_join(&thread);
  return stats_now().pages_reclaim_on_free.total - before;
}

static void fill_two_pages(void* arg) {
  mi_heap_t* heap = arg;
  for (size_t i = 0; i < 2 * PER_PAGE; i++) memset(page_blocks[i] = mi_heap_malloc(heap, CLASS), 1, CLASS);
}

// Of two abandoned pages, is the fuller one taken, or the first one?
static int64_t takes_the_fuller(void) {
  mi_heap_t* heap = mi_heap_new();
  test_thread_t thread;
  test_thread_start(&thread, fill_two_pages, heap);
  test_thread_join(&thread);
  uintptr_t page = (uintptr_t)page_blocks[PER_PAGE] >> 16;
  if ((uintptr_t)page_blocks[0] >> 16 == page) return -1;
  for (size_t i = 0; i < PER_PAGE / 2; i++) mi_free(page_blocks[i]);
  for (size_t i = 0; i < PER_PAGE / 4; i++) mi_free(page_blocks[PER_PAGE + i]);
  return (uintptr_t)mi_heap_malloc(heap, CLASS) >> 16 == page;
}

static void free_the_rest(void* arg) {
  (void)arg;
  for (size_t i = 0; i < PAGES * PER_PAGE; i++) {
    if (i % PER_PAGE != PER_PAGE / 2) mi_free(page_blocks[i]);
  }
}

// Pages that others emptied, while this thread is busy with another class: how many are left?
static int64_t pages_after_sweeps(void) {
  fill_pages(false);
  free_one_of_each(NULL); // the pages are this thread's again
  test_thread_t thread;
  test_thread_start(&thread, free_the_rest, NULL);
  test_thread_join(&thread);
  static char* others[30];
  for (size_t round = 0; round < 3000; round++) {
    for (size_t i = 0; i < 30; i++) others[i] = mi_heap_malloc(heap_of_pages, KIB(40));
    for (size_t i = 0; i < 30; i++) mi_free(others[i]);
  }
  mi_stats_t stats = stats_now();
  for (size_t bin = 0; bin < MI_BIN_HUGE; bin++) {
    if (mi_stats_get_bin_size(bin) == CLASS) return stats.page_bins[bin].current;
  }
  return -1;
}

// Every other 64 KiB: purged, or too little at a time to be worth it?
static int64_t purged_piecemeal(void) {
  enum { PIECES = 200 };
  static char* blocks[PIECES];
  for (size_t i = 0; i < PIECES; i++) memset(blocks[i] = mi_malloc(KIB(600)), 1, KIB(600));
  for (size_t i = 0; i < PIECES; i += 2) mi_free(blocks[i]);
  size_t begin = 0, now = 0;
  mi_process_info(&begin, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
  do { // not by force, which takes all
    fill_and_free(64, 100);
    mi_collect(false);
    if (stats_now().purged.total > 0) return 1;
    mi_process_info(&now, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
  } while (now - begin < (mi_option_get(mi_option_minimal_purge_size) != 0 ? 500 : 60000));
  return 0;
}

// ---- the list -------------------------------------------------------------------------------------------------------

typedef struct effect_s {
  mi_option_t option;
  const char* without; // value of the option, NULL: not set; or, where `none` says so, nothing
  const char* with;
  int64_t (*measure)(void);
  int64_t without_min, without_max, with_min, with_max;
  const char* others; // "NAME=VALUE NAME=VALUE": options for both
} effect_t;

#define NAME_OF(name) mi_option_##name
static const effect_t effects[] = {
    {NAME_OF(show_errors), NULL, "1", warnings_said, 0, 0, 10, MANY, NULL}, // debug builds show errors anyway
    {NAME_OF(show_stats), NULL, "1", said_at_the_end, 0, 0, 1, 1, NULL},
    {NAME_OF(verbose), NULL, "1", said_at_all, 0, 0, 20, MANY, NULL},
    // (with 32 bits, the arena lies where it comes to lie, and begins with the first multiple of 4 MiB there)
    {NAME_OF(arena_eager_commit), NULL, "1", committed_by_little, 1, MIB(16),
     MIB(sizeof(void*) == 4 ? 60 : 64), MANY, "ARENA_RESERVE=64M"},
    {NAME_OF(purge_decommits), "1", "0", resets, 0, 0, 1, MANY, NULL},
    {NAME_OF(allow_large_os_pages), NULL, "1", large_pages, 0, 0, 1, MANY, "VERBOSE=1"},
    {NAME_OF(reserve_huge_os_pages), NULL, "1", large_pages, 0, 0, 1, MANY, "SHOW_ERRORS=1"},
    {NAME_OF(reserve_huge_os_pages_at), NULL, "1", huge_pages_at, -1, 2, 1, 2,
     "SHOW_ERRORS=1 RESERVE_HUGE_OS_PAGES=1"},
    {NAME_OF(reserve_os_memory), NULL, "48M", reserved_by_little, MIB(100), MANY, MIB(48), MIB(80), NULL},
    {NAME_OF(purge_delay), "0", "-1", purged_by_collect, 1, MANY, 0, 0, NULL},
    {NAME_OF(purge_delay), "5000", "0", purged_at_once, 0, 0, MIB(1), MANY, NULL},
    {NAME_OF(use_numa_nodes), "0", "0", node_of_heap, 1, 1, 1, 1, "NODES=0"},
    {NAME_OF(use_numa_nodes), "0", "0", node_of_heap, 0, 0, 0, 0, "NODES=1"},
    {NAME_OF(disallow_os_alloc), NULL, "1", mib_to_be_had, 300, 300, 20, 80, "RESERVE_OS_MEMORY=64M"},
    {NAME_OF(max_errors), NULL, "5", errors_said, 10, MANY, 5, 6, "SHOW_ERRORS=1"},
    {NAME_OF(max_warnings), NULL, "5", warnings_said, 10, MANY, 5, 6, "SHOW_ERRORS=1"},
    {NAME_OF(destroy_on_exit), NULL, "1", stays_after_the_end, 1, 1, 0, 0, NULL},
    {NAME_OF(arena_reserve), NULL, "32M", reserved_by_little, MIB(100), MANY, MIB(16), MIB(64), NULL},
    {NAME_OF(arena_purge_mult), NULL, "1000", purged_in_time, 1, 1, 0, 0, "PURGE_DELAY=20"},
    {NAME_OF(disallow_arena_alloc), NULL, "1", reserved_by_little, MIB(100), MANY, 1, MIB(90), NULL},
    {NAME_OF(visit_abandoned), NULL, "1", abandoned_visited, 0, 0, 50, 50, NULL},
    {NAME_OF(guarded_min), NULL, "200", guarded_of_100, 100, 100, 0, 0, "GUARDED_SAMPLE_RATE=1"},
    {NAME_OF(guarded_max), NULL, "100", guarded_of_100, 100, 100, 0, 0, "GUARDED_SAMPLE_RATE=1"},
    {NAME_OF(guarded_precise), NULL, "1", bytes_to_guard_page, 1, 15, 0, 0, "GUARDED_SAMPLE_RATE=1"},
    {NAME_OF(guarded_sample_rate), NULL, "10", guarded_of_100, 0, 0, 10, 10, NULL},
    {NAME_OF(guarded_sample_seed), "3", "7", first_guarded, 4, 4, 8, 8, "GUARDED_SAMPLE_RATE=20"},
    {NAME_OF(generic_collect), NULL, "0", pages_after_sweeps, 0, PAGES / 2, PAGES, MANY, NULL},
    {NAME_OF(page_reclaim_on_free), NULL, "-1", reclaimed_on_free, PAGES - 2, PAGES, 0, 0, NULL},
    {NAME_OF(page_max_candidates), NULL, "1", takes_the_fuller, 1, 1, 0, 0, NULL},
    {NAME_OF(page_commit_on_demand), "0", "1", committed_of_page, KIB(500), MANY, 1, KIB(128), NULL},
    {NAME_OF(page_max_reclaim), NULL, "3", reclaimed_on_free, PAGES - 2, PAGES, 1, 5, NULL},
    {NAME_OF(page_cross_thread_max_reclaim), NULL, "3", reclaimed_by_another, PAGES - 2, PAGES, 1, 5,
     "PAGE_RECLAIM_ON_FREE=1"},
    {NAME_OF(minimal_purge_size), NULL, "1M", purged_piecemeal, 1, 1, 0, 0, "PURGE_DELAY=20"},
    {NAME_OF(arena_max_object_size), NULL, "8M", outside_of_arenas, 0, 0, 1, 1, NULL},
};

// Options without effect; mimalloc.h says so of each, and why.
static const mi_option_t without_effect[] = {
    NAME_OF(deprecated_eager_commit),
    NAME_OF(deprecated_segment_cache),
    NAME_OF(deprecated_page_reset),
    NAME_OF(deprecated_abandoned_page_purge),
    NAME_OF(deprecated_segment_reset),
    NAME_OF(deprecated_eager_commit_delay),
    NAME_OF(os_tag),
    NAME_OF(deprecated_max_segment_reclaim),
    NAME_OF(deprecated_purge_extend_delay),
    NAME_OF(page_full_retain),
    NAME_OF(max_vabits),
    NAME_OF(pagemap_commit),
    NAME_OF(allow_thp),
    NAME_OF(arena_is_numa_local),
    // Has one on Windows alone, where commits may fail for a while. Neither Linux nor Wine refuses them so: unit-sysmem shows
    // it with refused calls (test_asks_again).
    NAME_OF(retry_on_oom),
};

enum {
  EFFECTS = sizeof(effects) / sizeof(effects[0]),
  NONE = sizeof(without_effect) / sizeof(without_effect[0])
};

// ---- running --------------------------------------------------------------------------------------------------------

// Names of environment variables, as the library prints them.
static char option_names[_mi_option_last][64];

static void read_option_names(void) {
  heard[0] = 0;
  mi_options_print_out(hear, NULL);
  size_t count = 0;
  for (const char* at = heard; (at = strstr(at, "option '")) != NULL && count < _mi_option_last; count++) {
    at += 8;
    size_t length = strcspn(at, "'");
    for (size_t i = 0; i < length && i + 1 < sizeof(option_names[0]); i++)
      option_names[count][i] = (char)(at[i] >= 'a' && at[i] <= 'z' ? at[i] - 'a' + 'A' : at[i]);
  }
  assert_int_equal(count, _mi_option_last);
}

static void set_variable(const char* name, const char* value) {
  char variable[96];
  snprintf(variable, sizeof(variable), "MIMALLOC_%s", name);
  child_set_environment(variable, value);
}

static void set_others(const char* others, bool on) {
  char copy[256];
  snprintf(copy, sizeof(copy), "%s", others == NULL ? "" : others);
  for (char* word = strtok(copy, " "); word != NULL; word = strtok(NULL, " ")) {
    char* value = strchr(word, '=');
    *value = 0;
    if (strcmp(word, "NODES") == 0) {
      child_set_environment("MI_TEST_NODES", on ? value + 1 : NULL);
    } else {
      set_variable(word, on ? value + 1 : NULL);
    }
  }
}

static int64_t run(size_t index, const char* value) {
  static child_result_t result;
  const effect_t* effect = &effects[index];
  char self[CHILD_PATH_MAX], number[16];
  child_self(self);
  snprintf(number, sizeof(number), "%lu", (unsigned long)index);
  set_others(effect->others, true);
  set_variable(option_names[effect->option], value);
  bool ok = child_run((const char*[]){self, number, NULL}, CHILD_LIMIT_MS, &result);
  set_variable(option_names[effect->option], NULL);
  set_others(effect->others, false);
  assert_true(ok);
  const char* text = strstr(result.output, "measured ");
  if (text == NULL || result.exit_code != 0) child_print(&result);
  assert_non_null(text);
  return strtoll(text + 9, NULL, 10);
}

static void test_effects(void** state) {
  (void)state;
  read_option_names();
  size_t failed = 0;
  for (size_t i = 0; i < EFFECTS; i++) {
    const effect_t* effect = &effects[i];
    int64_t without = run(i, effect->without), with = run(i, effect->with);
    bool ok = without >= effect->without_min && without <= effect->without_max && with >= effect->with_min &&
              with <= effect->with_max;
    if (ok) continue;
    failed++;
    print_error("%s: %lld with %s (%lld to %lld were expected), %lld with %s (%lld to %lld)\n",
                option_names[effect->option], (long long)without,
                effect->without == NULL ? "the default" : effect->without, (long long)effect->without_min,
                (long long)effect->without_max, (long long)with, effect->with, (long long)effect->with_min,
                (long long)effect->with_max);
  }
  assert_int_equal(failed, 0);
}

static void test_every_option_is_listed(void** state) {
  (void)state;
  size_t missing = 0;
  read_option_names();
  for (int option = 0; option < _mi_option_last; option++) {
    bool has_effect = false, has_none = false;
    for (size_t i = 0; i < EFFECTS; i++) has_effect = has_effect || (int)effects[i].option == option;
    for (size_t i = 0; i < NONE; i++) has_none = has_none || (int)without_effect[i] == option;
    if (has_effect != has_none) continue;
    missing++;
    print_error("%s is in %s\n", option_names[option],
                has_none ? "both lists" : "no list: no test shows its effect");
  }
  assert_int_equal(missing, 0);
}

// The header's comment of an option without effect says so, and no other's does.
static void test_header_tells(void** state) {
  (void)state;
  static char header[256 * 1024];
  FILE* file = fopen(TEST_HEADER, "rb");
  if (file == NULL) fail_msg("%s can't be read", TEST_HEADER);
  size_t length = fread(header, 1, sizeof(header) - 1, file);
  fclose(file);
  header[length] = 0;
  const char* at = strstr(header, "typedef enum mi_option_e {");
  assert_non_null(at);
  for (int option = 0; option < _mi_option_last; option++) {
    at = strstr(at + 1, "  mi_option_");
    assert_non_null(at);
    char line[256];
    snprintf(line, sizeof(line), "%.*s", (int)strcspn(at, "\n"), at);
    bool has_none = false;
    for (size_t i = 0; i < NONE; i++) has_none = has_none || (int)without_effect[i] == option;
    if (option == mi_option_retry_on_oom) continue; // see above
    if ((strstr(line, "no effect") != NULL) != has_none)
      fail_msg("option %d: the header says \"%s\"", option, line);
  }
}

// Memory that was reserved for it serves a process that may not ask the system; without any the option has to wait.
static int alone_main(void) { return mi_malloc(100) == NULL ? 1 : 42; }

static void test_disallow_os_alloc_alone(void** state) {
  (void)state;
  static child_result_t result;
  char self[CHILD_PATH_MAX];
  child_self(self);
  set_variable("DISALLOW_OS_ALLOC", "1");
  set_variable("SHOW_ERRORS", "1");
  assert_true(child_run((const char*[]){self, "alone", NULL}, CHILD_LIMIT_MS, &result));
  set_variable("DISALLOW_OS_ALLOC", NULL);
  set_variable("SHOW_ERRORS", NULL);
  assert_int_equal(result.exit_code, 42);
  assert_non_null(strstr(result.error, "disallow_os_alloc"));
}

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "alone") == 0) return alone_main();
  if (argc > 1) {
    size_t index = strtoul(argv[1], NULL, 10);
    if (index >= EFFECTS) return 98;
    int64_t measured = effects[index].measure();
    mi_register_output(NULL, NULL);
    printf("measured %lld\n", (long long)measured);
    return 0;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_option_is_listed),
      cmocka_unit_test(test_header_tells),
      cmocka_unit_test(test_effects),
      cmocka_unit_test(test_disallow_os_alloc_alone),
  };
  return check_run(tests);
}
