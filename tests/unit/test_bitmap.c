// Bitmaps against an array of booleans, and with several threads claiming runs at once.
#include "support/check.h"
#include "support/test_data.h"
#include "support/test_thread.h"

#include "core/memory/bitmap.h"

enum { BITS = 320, WORDS = BITS / 64 };

static void check_same(const uint64_t* bitmap, const bool* model) {
  for (size_t i = 0; i < BITS; i++) {
    if (((bitmap[i / 64] >> (i % 64) & 1) != 0) != model[i]) fail_msg("bit %zu", i);
  }
}

static void test_against_model(void** state) {
  MI_UNUSED(state);
  uint64_t bitmap[WORDS] = {0};
  bool model[BITS] = {false};
  test_random_t random = {1};
  for (size_t step = 0; step < 30000; step++) {
    size_t start = test_random_below(&random, BITS);
    size_t count = test_random_below(&random, step % 3 == 0 ? 5 : BITS - start + 1);
    if (count > BITS - start) count = BITS - start;
    switch (test_random_below(&random, 4)) {
    case 0:
      bitmap_set(bitmap, start, count);
      for (size_t i = start; i < start + count; i++) model[i] = true;
      break;
    case 1:
      bitmap_clear(bitmap, start, count);
      for (size_t i = start; i < start + count; i++) model[i] = false;
      break;
    case 2: {
      if (count > 64 - start % 64) count = 64 - start % 64;
      bool all = true;
      for (size_t i = start; i < start + count; i++) all = all && model[i];
      assert_int_equal(bitmap_claim_part(bitmap, start, count), all ? count : 0);
      for (size_t i = start; all && i < start + count; i++) model[i] = false;
      break;
    }
    default: {
      size_t total = 0;
      for (size_t i = start; i < start + count; i++) total += model[i];
      assert_int_equal(bitmap_count(bitmap, start, count), total);
      for (int value = 0; value < 2; value++) {
        size_t expected = start;
        while (expected < start + count && model[expected] != (value != 0)) expected++;
        assert_int_equal(bitmap_next(bitmap, start, start + count, value != 0), expected);
      }
      size_t begin = start + count;
      while (begin > start && model[begin - 1]) begin--;
      assert_int_equal(bitmap_run_begin(bitmap, start + count, start), begin);
    }
    }
    if (step % 16 == 0) check_same(bitmap, model);
  }
  check_same(bitmap, model);
}

static uint64_t shared_bitmap[WORDS];
static unsigned char owners[BITS]; // who holds the bit; only the holder may touch it
static size_t claims, collisions;
static test_barrier_t barrier;

static void run_claims(void* arg) {
  unsigned char self = (unsigned char)(uintptr_t)arg;
  test_random_t random = {self};
  test_barrier_wait(&barrier);
  for (size_t step = 0; step < 30000; step++) {
    size_t start = test_random_below(&random, BITS),
           count = 1 + test_random_below(&random, step % 8 == 0 ? 130 : 10);
    if (count > BITS - start) count = BITS - start;
    count = bitmap_claim_part(shared_bitmap, start, count);
    if (count == 0) continue;
    atomic_add_relaxed(&claims, 1);
    for (size_t i = start; i < start + count; i++) {
      if (atomic_get_relaxed(&owners[i]) != 0) atomic_add_relaxed(&collisions, 1);
      atomic_set_relaxed(&owners[i], self);
    }
    for (size_t i = start; i < start + count; i++) {
      if (atomic_get_relaxed(&owners[i]) != self) atomic_add_relaxed(&collisions, 1);
      atomic_set_relaxed(&owners[i], 0);
    }
    bitmap_set(shared_bitmap, start, count);
  }
}

static void test_concurrent_claims(void** state) {
  MI_UNUSED(state);
  enum { THREADS = 4 };
  test_thread_t threads[THREADS];
  test_barrier_init(&barrier, THREADS);
  bitmap_set(shared_bitmap, 0, BITS);
  for (size_t i = 0; i < THREADS; i++) test_thread_start(&threads[i], run_claims, (void*)(i + 1));
  for (size_t i = 0; i < THREADS; i++) test_thread_join(&threads[i]);
  assert_true(claims > 1000);
  assert_int_equal(collisions, 0);
  assert_int_equal(bitmap_count(shared_bitmap, 0, BITS), BITS); // no bit was lost
  test_barrier_done(&barrier);
}

static void test_word_set(void** state) {
  MI_UNUSED(state);
  uint64_t bitmap[2] = {0};
  assert_true(bitmap_word_set(bitmap, 70));
  assert_false(bitmap_word_set(bitmap, 70)); // it was set
  assert_true(bitmap_word_set(bitmap, 0));
  assert_true(bitmap[0] == 1 && bitmap[1] == 64);
}

// A summary says "nothing here" of no word that has something in it, whoever sets and clears at the same time.
static uint64_t summarised[WORDS], summary[1];

static void run_summary(void* arg) {
  test_random_t random = {(uintptr_t)arg};
  size_t own = (size_t)(uintptr_t)arg; // a bit of each word is this thread's
  test_barrier_wait(&barrier);
  for (size_t step = 0; step < 100000; step++) {
    size_t word = test_random_below(&random, WORDS);
    bitmap_set(summarised, word * 64 + own, 1);
    bitmap_word_set(summary, word);
    bitmap_clear(summarised, word * 64 + own, 1);
    if (atomic_get_relaxed(&summarised[word]) == 0) bitmap_summary_clear(summary, summarised, word);
  }
  bitmap_set(summarised, own, 1); // all end with something in the first word, and nothing in the others
  bitmap_word_set(summary, 0);
}

static void test_summary(void** state) {
  MI_UNUSED(state);
  enum { THREADS = 4 };
  bitmap_word_set(summary, 3);
  bitmap_summary_clear(summary, summarised, 3);
  assert_int_equal(summary[0], 0);
  summarised[3] = 8;
  bitmap_word_set(summary, 3);
  bitmap_summary_clear(summary, summarised, 3); // there is something
  assert_int_equal(summary[0], 8);
  summarised[3] = 0;
  test_thread_t threads[THREADS];
  test_barrier_init(&barrier, THREADS);
  for (size_t i = 0; i < THREADS; i++) test_thread_start(&threads[i], run_summary, (void*)(i + 1));
  for (size_t i = 0; i < THREADS; i++) test_thread_join(&threads[i]);
  test_barrier_done(&barrier);
  assert_int_equal(summarised[0], 0x1E);
  assert_true((summary[0] & 1) != 0);
  for (size_t i = 0; i < WORDS; i++) bitmap_summary_clear(summary, summarised, i);
  assert_int_equal(summary[0], 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_model),
                                     cmocka_unit_test(test_concurrent_claims),
                                     cmocka_unit_test(test_word_set), cmocka_unit_test(test_summary)};
  return check_run(tests);
}
