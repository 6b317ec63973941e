// The tests' own tools: what they can't notice, no test can.
#include "support/check.h"
#include "support/child.h"
#include "support/test_data.h"
#include "support/test_thread.h"

#include <stdlib.h>

static void test_pattern(void** state) {
  (void)state;
  static unsigned char bytes[10001];
  const size_t sizes[] = {0, 1, 7, 8, 9, 63, 127, 128, 129, 136, 4095, 4096, 4170, 9999};
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    size_t size = sizes[i];
    memset(bytes, 0, sizeof(bytes));
    pattern_fill(bytes + 1, size, 77);
    assert_int_equal(bytes[0], 0); // nothing outside
    assert_int_equal(bytes[1 + size], 0);
    assert_int_equal(pattern_mismatch(bytes + 1, size, 77), SIZE_MAX);
    assert_int_equal(pattern_mismatch_sampled(bytes + 1, size, 77), SIZE_MAX);
    for (size_t at = 0; at < size; at += at < 300 ? 1 : 97) { // every wrong byte is found, at its place
      bytes[1 + at] ^= 0x40;
      assert_int_equal(pattern_mismatch(bytes + 1, size, 77), at);
      if (at < 64 || size - at <= 64) assert_int_equal(pattern_mismatch_sampled(bytes + 1, size, 77), at);
      bytes[1 + at] ^= 0x40;
    }
    if (size > 2) {
      assert_true(pattern_mismatch(bytes + 1, size, 78) < 8);
      assert_true(pattern_mismatch(bytes + 2, size - 1, 77) < 8); // shifted
    }
    memset(bytes, 0, sizeof(bytes));
    pattern_fill_sampled(bytes + 1, size, 5);
    assert_int_equal(bytes[0], 0);
    assert_int_equal(bytes[1 + size], 0);
    assert_int_equal(pattern_mismatch_sampled(bytes + 1, size, 5), SIZE_MAX);
  }
  pattern_fill(bytes, 10000, 9);
  bytes[4096 + 3] ^= 1; // a sample in the middle
  assert_int_equal(pattern_mismatch_sampled(bytes, 10000, 9), 4096 + 3);
}

static void test_nonzero(void** state) {
  (void)state;
  static unsigned char bytes[100];
  for (size_t start = 0; start < 9; start++) {
    for (size_t size = 0; start + size <= 60; size++) {
      assert_int_equal(pattern_nonzero(bytes + start, size), SIZE_MAX);
      for (size_t at = 0; at < 60; at++) {
        bytes[at] = 1;
        bool inside = at >= start && at < start + size;
        assert_int_equal(pattern_nonzero(bytes + start, size), inside ? at - start : SIZE_MAX);
        bytes[at] = 0;
      }
    }
  }
}

static void test_random(void** state) {
  (void)state;
  test_random_t a = {1}, b = {1}, c = {2};
  bool differs = false;
  for (size_t i = 0; i < 100; i++) {
    uint64_t x = test_random_next(&a);
    assert_true(x == test_random_next(&b));
    differs = differs || x != test_random_next(&c);
    assert_in_range(test_random_below(&a, 7), 0, 6);
    (void)test_random_below(&b, 7);
  }
  assert_true(differs);
  size_t doublings[18] = {0};
  for (size_t i = 0; i < 10000; i++) {
    size_t size = test_random_size(&a, 8, 1 << 20);
    assert_in_range(size, 8, 1 << 20);
    unsigned doubling = 0;
    while ((size_t)16 << doubling <= size) doubling++;
    doublings[doubling]++;
  }
  for (size_t i = 0; i < 17; i++)
    assert_true(doublings[i] > 300); // 8..16, ..., 512Ki..1Mi are equally likely
}

static size_t passed;
static test_barrier_t barrier;
static test_event_t event;

static void run_passing(void* arg) {
  size_t* seen = arg;
  test_event_wait(&event);
  __atomic_fetch_add(&passed, 1, __ATOMIC_SEQ_CST);
  test_barrier_wait(&barrier);
  *seen = __atomic_load_n(&passed, __ATOMIC_SEQ_CST); // all of them have passed
  test_barrier_wait(&barrier);
}

static void test_waiting(void** state) {
  (void)state;
  enum { THREADS = 5 };
  test_thread_t threads[THREADS];
  size_t seen[THREADS] = {0};
  test_event_init(&event);
  test_barrier_init(&barrier, THREADS);
  for (size_t i = 0; i < THREADS; i++) test_thread_start(&threads[i], run_passing, &seen[i]);
  assert_int_equal(__atomic_load_n(&passed, __ATOMIC_SEQ_CST), 0);
  test_event_set(&event);
  for (size_t i = 0; i < THREADS; i++) test_thread_join(&threads[i]);
  for (size_t i = 0; i < THREADS; i++) assert_int_equal(seen[i], THREADS);
  test_event_clear(&event);
  assert_false(event.set);
  test_barrier_done(&barrier);
  test_event_done(&event);
}

static int child_main(int argc, char** argv) {
  if (strcmp(argv[1], "echo") == 0) {
    for (int i = 2; i < argc; i++) printf("[%s]\n", argv[i]);
    fprintf(stderr, "env: %s\n", getenv("MI_TEST_CHILD") == NULL ? "none" : getenv("MI_TEST_CHILD"));
    return 200;
  }
  if (strcmp(argv[1], "flood") == 0) { // more than a pipe holds, on both streams in turn
    for (int i = 0; i < 20000; i++) {
      fputs("0123456789\n", stdout);
      fputs("abcdefghij\n", stderr);
    }
    return 7;
  }
  if (strcmp(argv[1], "hang") == 0) {
    fputs("hanging\n", stderr);
    fflush(stderr);
    for (;;) __atomic_load_n(&passed, __ATOMIC_SEQ_CST);
  }
  if (strcmp(argv[1], "abort") == 0) abort();
  if (strcmp(argv[1], "fault") == 0) {
    volatile char* volatile nowhere = (volatile char*)(uintptr_t)16;
    *nowhere = 1;
  }
  return 98;
}

static void test_children(void** state) {
  (void)state;
  static child_result_t result;
  char self[CHILD_PATH_MAX];
  child_self(self);
  const char* echo[] = {self, "echo", "plain", "two words", "", "quo\"te", "back\\slash\\", "\\\"", NULL};
  child_set_environment("MI_TEST_CHILD", "value");
  assert_true(child_run(echo, 20000, &result));
  assert_int_equal(result.exit_code, 200);
  assert_string_equal(result.output, "[plain]\n[two words]\n[]\n[quo\"te]\n[back\\slash\\]\n[\\\"]\n");
  assert_string_equal(result.error, "env: value\n");
  assert_false(result.timed_out || child_aborted(&result) || child_faulted(&result));
  child_set_environment("MI_TEST_CHILD", NULL);
  assert_true(child_run(echo, 20000, &result));
  assert_string_equal(result.error, "env: none\n");

  assert_true(child_run((const char*[]){self, "flood", NULL}, 20000, &result));
  assert_int_equal(result.exit_code, 7);
  assert_int_equal(strlen(result.output), CHILD_TEXT_MAX - 1);

  assert_true(child_run((const char*[]){self, "hang", NULL}, 3000, &result));
  assert_true(result.timed_out);
  assert_string_equal(result.error, "hanging\n");
  assert_false(child_aborted(&result) || child_faulted(&result));

  assert_true(child_run((const char*[]){self, "abort", NULL}, 20000, &result));
  assert_true(child_aborted(&result));
  assert_false(child_faulted(&result));
  assert_true(child_run((const char*[]){self, "fault", NULL}, 20000, &result));
  assert_true(child_faulted(&result));
  assert_false(child_aborted(&result));
  assert_false(child_run((const char*[]){"/no/such/program", NULL}, 20000, &result));
}

int main(int argc, char** argv) {
  if (argc > 1) return child_main(argc, argv);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_pattern), cmocka_unit_test(test_nonzero),  cmocka_unit_test(test_random),
      cmocka_unit_test(test_waiting), cmocka_unit_test(test_children),
  };
  return check_run(tests);
}
