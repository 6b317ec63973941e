// realloc and its family: contents, in place or moved, zeroed growth, failure.
#include "api_check.h"

static void test_each_pair_of_sizes(void** state) {
  (void)state;
  for (size_t i = 0; i < api_size_count; i++) {
    for (size_t j = 0; j < api_size_count; j++) {
      size_t from = api_sizes[i], to = api_sizes[j];
      if ((from > 2000000 || to > 2000000) && (i + j) % 5 != 0) continue; // large copies take time; keep some
      void* p = mi_malloc(from);
      api_check_block(p, from, api_natural_alignment(from));
      void* q = mi_realloc(p, to);
      assert_non_null(q); // also for size 0
      api_check_contents(q, from < to ? from : to, p);
      api_check_block(q, to, api_natural_alignment(to));
      mi_free(q);
    }
  }
}

static void test_null_and_zero(void** state) {
  (void)state;
  void* p = mi_realloc(NULL, 50);
  api_check_block(p, 50, 16);
  p = mi_realloc(p, 0);
  assert_non_null(p);
  assert_true(mi_is_in_heap_region(p));
  mi_free(p);
  p = mi_realloc(NULL, 0);
  assert_non_null(p);
  mi_free(p);
}

// Growing by what fits, and shrinking by little, moves nothing.
static void test_in_place(void** state) {
  (void)state;
  for (size_t i = 0; i < api_size_count; i++) {
    if (api_sizes[i] < 16) continue;
    void* p = mi_malloc(api_sizes[i]);
    size_t usable = mi_usable_size(p);
    api_check_block(p, usable, 16);
    assert_ptr_equal(mi_realloc(p, usable), p);
    assert_ptr_equal(mi_realloc(p, usable - usable / 16), p);
    assert_ptr_equal(mi_realloc(p, usable), p);
    api_check_contents(p, usable, p);
    mi_free(p);
  }
}

// A vector that grows by one element, by a factor; then shrinks.
static void test_growing(void** state) {
  (void)state;
  for (size_t step = 1; step < 5000; step = step * 7 + 1) {
    char* p = NULL;
    size_t size = 0;
    while (size < 2000 * step && size < 3000000) {
      p = mi_realloc(p, size + step);
      assert_non_null(p);
      memset(p + size, (int)(size / step), step);
      size += step;
    }
    while (size > 0) {
      for (size_t i = 0; i < size; i += step) {
        if (p[i] != (char)(i / step) || p[i + step - 1] != (char)(i / step))
          fail_msg("step %zu: element %zu", step, i / step);
      }
      size = size / step / 2 * step;
      p = mi_realloc(p, size);
      assert_non_null(p);
    }
    mi_free(p);
  }
}

// Shrinking far gives memory back: a block of 20 MiB that became one of 100 bytes must not stay one of 20 MiB.
static void test_shrinking_far(void** state) {
  (void)state;
  void* p = mi_malloc(20 << 20);
  api_check_block(p, 200, 16);
  void* q = mi_realloc(p, 100);
  api_check_contents(q, 100, p);
  assert_true(mi_usable_size(q) < 1 << 20);
  mi_free(q);
}

static void test_reallocf(void** state) {
  (void)state;
  void* p = mi_malloc(3000);
  api_check_block(p, 3000, 16);
  void* q = mi_reallocf(p, 9000);
  api_check_contents(q, 3000, p);
  api_check_block(q, 9000, 16);
  // On failure the block is freed: as only pages with free blocks serve again, the address comes back soon.
  void* freed = api_opaque_pointer(q);
  assert_null(mi_reallocf(q, api_opaque(SIZE_MAX - 4096)));
  assert_true(api_is_freed(freed, 512));
  assert_null(mi_reallocf(NULL, api_opaque(SIZE_MAX)));
}

static void test_rezalloc(void** state) {
  (void)state;
  for (size_t i = 0; i < api_size_count; i++) {
    for (size_t j = i; j < api_size_count; j += 1 + (j - i)) {
      size_t from = api_sizes[i], to = api_sizes[j];
      api_make_dirt(from);
      api_make_dirt(to);
      for (int counted = 0; counted < 2; counted++) {
        void* p = counted ? mi_calloc(1, from) : mi_zalloc(from);
        assert_non_null(p);
        pattern_fill(p, from, (uintptr_t)p);
        void* q = counted ? mi_recalloc(p, 1, to) : mi_rezalloc(p, to);
        assert_non_null(q);
        api_check_contents(q, from, p);
        api_check_zero((char*)q + from, to - from);
        // The whole usable size is zero behind `to`, so that the next step in place needs no memory of the old size.
        api_check_zero((char*)q + to, mi_usable_size(q) - to);
        mi_free(q);
      }
    }
  }
}

// Down and up again: what was cut off must not come back.
static void test_rezalloc_after_shrinking(void** state) {
  (void)state;
  for (size_t i = 1; i < api_size_count; i++) {
    size_t size = api_sizes[i];
    unsigned char* p = mi_zalloc(size);
    assert_non_null(p);
    memset(p, 0xEE, size);
    size_t less = size - size / 8;
    p = mi_rezalloc(p, less);
    assert_non_null(p);
    p = mi_rezalloc(p, size);
    assert_non_null(p);
    for (size_t k = 0; k < less; k += less / 50 + 1) assert_int_equal(p[k], 0xEE);
    api_check_zero(p + less, size - less);
    mi_free(p);
  }
}

static void test_rezalloc_null_and_failure(void** state) {
  (void)state;
  api_make_dirt(500);
  void* p = mi_rezalloc(NULL, 500);
  api_check_zero(p, 500);
  api_check_block(p, 500, 16);
  assert_null(mi_rezalloc(p, api_opaque(SIZE_MAX)));
  assert_null(mi_recalloc(p, api_opaque(SIZE_MAX), 2));
  api_check_contents(p, 500, p);
  mi_free(p);
  api_make_dirt(600);
  p = mi_recalloc(NULL, 6, 100);
  api_check_zero(p, 600);
  mi_free(p);
}

// A random walk over a few blocks, against a model of what must be in them.
static void test_random_walk(void** state) {
  (void)state;
  enum { BLOCKS = 50, STEPS = 20000 };
  struct {
    char* p;
    size_t size;
    uint64_t tag;
  } blocks[BLOCKS] = {{0}};
  test_random_t random = {7};
  for (size_t step = 0; step < STEPS; step++) {
    size_t i = test_random_below(&random, BLOCKS);
    size_t size = test_random_size(&random, 1, 200000);
    char* p = mi_realloc(blocks[i].p, size);
    assert_non_null(p);
    size_t common =
        blocks[i].size < size ? blocks[i].size : size; // of what a sampled pattern wrote at the start
    if (common > 64) common = 64;
    size_t wrong = pattern_mismatch(p, common, blocks[i].tag);
    if (wrong != SIZE_MAX) fail_msg("step %zu: byte %zu of %zu", step, wrong, size);
    blocks[i].p = p;
    blocks[i].size = size;
    blocks[i].tag = test_random_next(&random);
    pattern_fill_sampled(p, size, blocks[i].tag);
    i = test_random_below(&random, BLOCKS);
    if (blocks[i].p != NULL) {
      assert_int_equal(pattern_mismatch_sampled(blocks[i].p, blocks[i].size, blocks[i].tag), SIZE_MAX);
    }
  }
  for (size_t i = 0; i < BLOCKS; i++) mi_free(blocks[i].p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_each_pair_of_sizes),
      cmocka_unit_test(test_null_and_zero),
      cmocka_unit_test(test_in_place),
      cmocka_unit_test(test_growing),
      cmocka_unit_test(test_shrinking_far),
      cmocka_unit_test(test_reallocf),
      cmocka_unit_test(test_rezalloc),
      cmocka_unit_test(test_rezalloc_after_shrinking),
      cmocka_unit_test(test_rezalloc_null_and_failure),
      cmocka_unit_test(test_random_walk),
  };
  return check_run(tests);
}
