// Guarded blocks: a child that goes one byte beyond ends at that byte, and what isn't guarded is as ever.
#include "api_check.h"
#include "support/child.h"
#include "support/test_thread.h"

#include <mimalloc-stats.h>

#include <stdlib.h>

enum { CHILD_LIMIT_MS = 60000, FINE = 40, NO_FAULT = 41 };

static volatile char* beyond;

static void overrun(void* arg) {
  (void)arg;
  char* p = api_opaque_pointer(mi_malloc(128));
  memset(p, 1, 128);
  beyond = p + mi_usable_size(p);
  *beyond = 1;
}

static int child_main(const char* mode) {
  if (strcmp(mode, "precise") == 0) { // any size: the byte behind it, and before that nothing
    for (size_t size = 1; size < 3000; size += 37) {
      char* p = mi_malloc(size);
      memset(p, 1, size);
      p = mi_realloc(p, size + 50);
      memset(p, 1, size + 50);
      mi_free(p);
    }
    char* p = api_opaque_pointer(mi_malloc(101));
    memset(p, 1, 101);
    beyond = p + 101;
    *beyond = 1;
    return NO_FAULT;
  }
  if (strcmp(mode, "overrun") == 0) {
    overrun(NULL);
    return NO_FAULT;
  }
  if (strcmp(mode, "other-thread") == 0) {
    test_thread_t thread;
    test_thread_start(&thread, overrun, NULL);
    test_thread_join(&thread);
    return NO_FAULT;
  }
  if (strcmp(mode, "theap") == 0) {
    mi_heap_t* heap = mi_heap_new();
    mi_theap_t* theap = mi_heap_theap(heap);
    mi_theap_guarded_set_size_bound(theap, 100, 200);
    mi_theap_guarded_set_sample_rate(theap, 1, 1);
    char* small = mi_heap_malloc(heap, 64); // below the bounds
    small[mi_usable_size(small) - 1] = 1;
    char* p = api_opaque_pointer(mi_heap_malloc(heap, 128));
    beyond = p + mi_usable_size(p);
    *beyond = 1;
    return NO_FAULT;
  }
  if (strcmp(mode, "outside-bounds") == 0) { // nothing of this is guarded: blocks lie side by side
    mi_stats_t_decl(stats);
    for (size_t i = 0; i < 1000; i++) memset(mi_malloc(64), 1, 64);
    if (!mi_stats_get(&stats)) return 1;
    return stats.committed.current < 20 << 20 ? FINE : 2;
  }
  if (strcmp(mode, "use") == 0) { // all that programs do with blocks, on guarded ones
    static char* blocks[200];
    for (size_t round = 0; round < 5; round++) {
      for (size_t i = 0; i < 200; i++) {
        size_t size = 1 + i * 97;
        blocks[i] = i % 3 == 0   ? mi_malloc(size)
                    : i % 3 == 1 ? mi_zalloc(size)
                                 : mi_malloc_aligned(size, (size_t)1 << i % 17);
        if (blocks[i] == NULL || mi_usable_size(blocks[i]) < size) return 1;
        if (i % 3 == 1 && pattern_nonzero(blocks[i], size) != SIZE_MAX) return 2;
        if (i % 3 == 2 && (uintptr_t)blocks[i] % ((size_t)1 << i % 17) != 0) return 3;
        pattern_fill(blocks[i], size, i);
      }
      for (size_t i = 0; i < 200; i++) {
        size_t size = 1 + i * 97;
        blocks[i] = mi_realloc(blocks[i], size * 2);
        if (blocks[i] == NULL || pattern_mismatch(blocks[i], size, i) != SIZE_MAX) return 4;
        if (mi_heap_of(blocks[i]) != mi_heap_main() || mi_heap_of(blocks[i] + size) != mi_heap_main())
          return 5;
      }
      for (size_t i = 0; i < 200; i++) mi_free(blocks[i]);
      mi_collect(true);
    }
    return FINE;
  }
  return 98;
}

static int clear_environment(void** state) {
  (void)state;
  static const char* const names[] = {"SAMPLE_RATE", "SAMPLE_SEED", "PRECISE", "MIN", "MAX"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    char name[64];
    snprintf(name, sizeof(name), "MIMALLOC_GUARDED_%s", names[i]);
    child_set_environment(name, NULL);
  }
  return 0;
}

static void run_self(const char* mode, child_result_t* result) {
  char self[CHILD_PATH_MAX];
  child_self(self);
  assert_true(child_run((const char*[]){self, mode, NULL}, CHILD_LIMIT_MS, result));
}

static void assert_faults(const char* mode) {
  static child_result_t result;
  run_self(mode, &result);
  if (!child_faulted(&result)) child_print(&result);
  assert_true(child_faulted(&result));
}

static void assert_ends(const char* mode, unsigned code) {
  static child_result_t result;
  run_self(mode, &result);
  if (result.exit_code != code || child_faulted(&result)) child_print(&result);
  assert_int_equal(result.exit_code, code);
}

static void test_overrun(void** state) {
  (void)state;
  child_set_environment("MIMALLOC_GUARDED_SAMPLE_RATE", "1");
  assert_faults("overrun");
  assert_faults("other-thread");
}

static void test_precise(void** state) {
  (void)state;
  child_set_environment("MIMALLOC_GUARDED_SAMPLE_RATE", "1");
  child_set_environment("MIMALLOC_GUARDED_PRECISE", "1");
  assert_faults("precise");
}

static void test_of_one_theap(void** state) {
  (void)state;
  assert_faults("theap");
}

static void test_bounds(void** state) {
  (void)state;
  child_set_environment("MIMALLOC_GUARDED_SAMPLE_RATE", "1");
  child_set_environment("MIMALLOC_GUARDED_MIN", "100");
  child_set_environment("MIMALLOC_GUARDED_MAX", "1K");
  assert_ends("outside-bounds", FINE);
  assert_faults("overrun"); // 128 is within
  child_set_environment("MIMALLOC_GUARDED_MAX", "120");
  child_set_environment("MIMALLOC_GUARDED_MIN", "1");
  assert_ends("overrun", NO_FAULT); // 128 is beyond
}

static void test_use(void** state) {
  (void)state;
  child_set_environment("MIMALLOC_GUARDED_SAMPLE_RATE", "1");
  assert_ends("use", FINE);
  child_set_environment("MIMALLOC_GUARDED_PRECISE", "1");
  assert_ends("use", FINE);
  child_set_environment("MIMALLOC_GUARDED_SAMPLE_RATE", "7");
  assert_ends("use", FINE);
}

static void test_off(void** state) {
  (void)state;
  assert_ends("overrun", NO_FAULT); // one byte behind a block in the middle of a page
}

int main(int argc, char** argv) {
  if (argc > 1) return child_main(argv[1]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(test_overrun, clear_environment),
      cmocka_unit_test_teardown(test_precise, clear_environment),
      cmocka_unit_test_teardown(test_of_one_theap, clear_environment),
      cmocka_unit_test_teardown(test_bounds, clear_environment),
      cmocka_unit_test_teardown(test_use, clear_environment),
      cmocka_unit_test_teardown(test_off, clear_environment),
  };
  return check_run(tests);
}
