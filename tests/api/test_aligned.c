// Every aligned entry point with every alignment from 1 byte to 1 GiB, also at an offset.
#include "api_check.h"

#define KIB(n) ((size_t)(n)*1024)
#define MIB(n) (KIB(n) * 1024)

static const size_t sizes[] = {0,         1,     7,       8,           16,     17,       40,           64,
                               100,       128,   200,     500,         1024,   1500,     4096,         5000,
                               8192,      10000, KIB(64), KIB(64) + 1, 200000, KIB(512), KIB(512) + 1, MIB(1),
                               MIB(3) + 5};
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

// Up to 4 MiB each size is tried; above that each alignment with a few, as each needs address space of its own.
static const size_t alignment_max = MIB(4);

static void test_alignments(void** state) {
  (void)state;
  for (size_t alignment = 1; alignment <= alignment_max; alignment *= 2) {
    for (size_t i = 0; i < SIZES; i++) {
      size_t size = sizes[i];
      api_make_dirt(size);
      void* p = mi_malloc_aligned(size, alignment);
      api_check_block(p, size, alignment);
      void* q = mi_malloc_aligned(size, alignment);
      api_check_block(q, size, alignment);
      void* z = mi_zalloc_aligned(size, alignment);
      api_check_zero(z, size);
      api_check_block(z, size, alignment);
      void* c = mi_calloc_aligned(3, size, alignment);
      api_check_zero(c, 3 * size);
      api_check_block(c, 3 * size, alignment);
      api_check_contents(p, size, p);
      api_check_contents(q, size, q);
      api_check_contents(z, size, z);
      mi_free(p);
      mi_free(z);
      mi_free(q);
      mi_free(c);
    }
  }
}

static void test_large_alignments(void** state) {
  (void)state;
  const size_t largest = sizeof(void*) > 4 ? MIB(1024) : MIB(256);
  for (size_t alignment = alignment_max; alignment <= largest; alignment *= 2) {
    const size_t some[] = {1, 100, KIB(64) + 1, MIB(5)};
    for (size_t i = 0; i < 4; i++) {
      void* p = mi_malloc_aligned(some[i], alignment);
      api_check_block(p, some[i], alignment);
      void* z = mi_zalloc_aligned(some[i], alignment);
      api_check_zero(z, some[i]);
      api_check_block(z, some[i], alignment);
      api_check_contents(p, some[i], p);
      void* q = mi_realloc_aligned(p, 2 * some[i], alignment);
      api_check_contents(q, some[i], p);
      api_check_block(q, 2 * some[i], alignment);
      mi_free(q);
      mi_free(z);
    }
  }
}

static void check_at(void* p, size_t size, size_t alignment, size_t offset) {
  assert_non_null(p);
  if (((uintptr_t)p + offset) % alignment != 0)
    fail_msg("%p: not aligned to %zu at %zu", p, alignment, offset);
  api_check_block(p, size, 1);
}

static void test_at_offset(void** state) {
  (void)state;
  for (size_t alignment = 1; alignment <= KIB(256); alignment *= 2) {
    for (size_t i = 0; i < SIZES; i++) {
      size_t size = sizes[i];
      const size_t offsets[] = {0, 1, 5, 8, 16, 24, size / 2, size};
      for (size_t k = 0; k < sizeof(offsets) / sizeof(offsets[0]); k++) {
        size_t offset = offsets[k];
        if (offset > size) continue;
        if (size > 100000 && k % 3 != 0) continue;
        api_make_dirt(size);
        void* p = mi_malloc_aligned_at(size, alignment, offset);
        check_at(p, size, alignment, offset);
        void* z = mi_zalloc_aligned_at(size, alignment, offset);
        api_check_zero(z, size);
        check_at(z, size, alignment, offset);
        void* c = mi_calloc_aligned_at(2, size, alignment, offset);
        api_check_zero(c, 2 * size);
        check_at(c, 2 * size, alignment, offset);
        api_check_contents(p, size, p);
        void* q = mi_realloc_aligned_at(p, size + size / 2 + 1, alignment, offset);
        api_check_contents(q, size, p);
        check_at(q, size + size / 2 + 1, alignment, offset);
        api_check_contents(z, size, z);
        mi_free(z);
        mi_free(q);
        mi_free(c);
      }
    }
  }
}

static void test_wrong_alignments(void** state) {
  (void)state;
  const size_t wrong[] = {0,
                          3,
                          5,
                          6,
                          7,
                          12,
                          15,
                          17,
                          24,
                          48,
                          100,
                          1000,
                          4095,
                          4097,
                          KIB(64) + 1,
                          MIB(1) + 8,
                          MIB(3),
                          (size_t)PTRDIFF_MAX,
                          SIZE_MAX / 2 + 2,
                          SIZE_MAX - 1,
                          SIZE_MAX};
  void* kept = mi_malloc_aligned(100, 64);
  api_check_block(kept, 100, 64);
  for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
    size_t alignment = api_opaque(wrong[i]);
    for (size_t k = 0; k < SIZES; k += 5) {
      assert_null(mi_malloc_aligned(sizes[k], alignment));
      assert_null(mi_zalloc_aligned(sizes[k], alignment));
      assert_null(mi_calloc_aligned(1, sizes[k], alignment));
      assert_null(mi_malloc_aligned_at(sizes[k], alignment, 8));
      assert_null(mi_zalloc_aligned_at(sizes[k], alignment, 8));
      assert_null(mi_calloc_aligned_at(1, sizes[k], alignment, 8));
    }
    // These ask for no alignment then.
    void* moved = mi_realloc_aligned(kept, 5000 + i * 1000, alignment);
    api_check_contents(moved, 100, kept);
    api_check_block(moved, 5000 + i * 1000, 16);
    kept = mi_realloc_aligned_at(moved, 100, alignment, 8);
    api_check_contents(kept, 100, moved);
    api_check_block(kept, 100, 16);
  }
  mi_free(kept);
}

// Each function gets every size, mi_malloc_aligned with every alignment, the others in turn with one of them: a
// failure is dear under Wine, which looks on disk for all the C runtimes whose errno might want to know.
static void test_impossible(void** state) {
  (void)state;
  const size_t alignments[] = {1, KIB(1), MIB(1), MIB(1024)};
  for (size_t i = 0; i < api_impossible_size_count; i++) {
    size_t size = api_opaque(api_impossible_sizes[i]);
    for (size_t k = 0; k < 4; k++) assert_null(mi_malloc_aligned(size, alignments[k]));
    assert_null(mi_zalloc_aligned(size, alignments[i % 4]));
    assert_null(mi_calloc_aligned(2, size, alignments[(i + 1) % 4]));
    assert_null(mi_malloc_aligned_at(size, alignments[(i + 2) % 4], 16));
    void* p = mi_malloc_aligned(50, 32);
    api_check_block(p, 50, 32);
    assert_null(mi_realloc_aligned(p, size, alignments[(i + 3) % 4]));
    assert_null(mi_recalloc_aligned(p, 2, size, alignments[i / 4 % 4]));
    api_check_contents(p, 50, p);
    mi_free(p);
  }
  assert_null(mi_calloc_aligned(api_opaque(SIZE_MAX / 4 + 1), 4, 16));
  assert_null(mi_calloc_aligned_at(api_opaque(SIZE_MAX / 4 + 1), 4, 16, 8));
  // An alignment above what can be had, as large as the address space allows to write it.
  assert_null(mi_malloc_aligned(100, api_opaque(SIZE_MAX / 2 + 1)));
  assert_null(mi_malloc_aligned_at(100, api_opaque(SIZE_MAX / 2 + 1), 8));
}

// More than 1 GiB: as far as there is address space.
static void test_vast_alignments(void** state) {
  (void)state;
  for (size_t alignment = MIB(512); alignment != 0; alignment *= 2) {
    // In between it may work, but Wine keeps a byte for each 4 KiB of address space.
    if (alignment / MIB(1024) > 4 && alignment < SIZE_MAX / 4) continue;
    char* p = mi_malloc_aligned(100, api_opaque(alignment));
    if (p != NULL) api_check_block(p, 100, alignment);
    if (sizeof(void*) == 8 && alignment <= (size_t)MIB(4096)) assert_non_null(p);
    mi_free(p);
    p = mi_malloc_aligned_at(1000, api_opaque(alignment), 64);
    if (p != NULL) {
      assert_int_equal((uintptr_t)(p + 64) % alignment, 0);
      api_check_block(p, 1000, 1);
      p = mi_realloc(p, 5000);
      assert_non_null(p);
    }
    mi_free(p);
  }
}

static void test_realloc_keeps(void** state) {
  (void)state;
  for (size_t alignment = 8; alignment <= KIB(128); alignment *= 4) {
    for (size_t i = 0; i < SIZES; i++) {
      for (size_t j = 0; j < SIZES; j++) {
        size_t from = sizes[i], to = sizes[j];
        void* p = mi_malloc_aligned(from, alignment);
        api_check_block(p, from, alignment);
        void* q = mi_realloc_aligned(p, to, alignment);
        assert_non_null(q);
        api_check_contents(q, from < to ? from : to, p);
        api_check_block(q, to, alignment);
        mi_free(q);
      }
    }
  }
  void* p = mi_realloc_aligned(NULL, 300, 256);
  api_check_block(p, 300, 256);
  p = mi_realloc(p, 400); // a plain realloc may lose the alignment, not the contents
  assert_non_null(p);
  mi_free(p);
}

static void test_rezalloc(void** state) {
  (void)state;
  for (size_t alignment = 8; alignment <= KIB(64); alignment *= 8) {
    for (size_t i = 0; i < SIZES; i++) {
      for (size_t j = i; j < SIZES; j += 2) {
        size_t from = sizes[i], to = sizes[j];
        api_make_dirt(to);
        void* p = mi_zalloc_aligned(from, alignment);
        pattern_fill(p, from, (uintptr_t)p);
        void* q = (i + j) % 2 != 0 ? mi_rezalloc_aligned(p, to, alignment)
                                   : mi_recalloc_aligned(p, 1, to, alignment);
        api_check_contents(q, from, p);
        api_check_zero((char*)q + from, to - from);
        api_check_block(q, to, alignment);
        mi_free(q);

        size_t offset = from < 8 ? 0 : 8;
        p = mi_zalloc_aligned_at(from, alignment, offset);
        pattern_fill(p, from, (uintptr_t)p);
        q = (i + j) % 2 != 0 ? mi_rezalloc_aligned_at(p, to, alignment, offset)
                             : mi_recalloc_aligned_at(p, 1, to, alignment, offset);
        api_check_contents(q, from, p);
        api_check_zero((char*)q + from, to - from);
        check_at(q, to, alignment, offset);
        mi_free(q);
      }
    }
  }
}

// Many aligned blocks at once: none overlaps another, and each pointer, though inside a larger block, frees that one.
static void test_many(void** state) {
  (void)state;
  enum { BLOCKS = 2000 };
  static char* blocks[BLOCKS];
  static size_t block_sizes[BLOCKS];
  test_random_t random = {11};
  for (size_t round = 0; round < 3; round++) {
    for (size_t i = 0; i < BLOCKS; i++) {
      if (blocks[i] != NULL) continue;
      size_t alignment = (size_t)1 << test_random_below(&random, 15);
      size_t size = test_random_size(&random, 1, 20000);
      size_t offset = test_random_below(&random, 2) == 0 ? 0 : test_random_below(&random, size);
      block_sizes[i] = size;
      blocks[i] = mi_malloc_aligned_at(size, alignment, offset);
      check_at(blocks[i], size, alignment, offset);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
      size_t j = test_random_below(&random, BLOCKS);
      if (blocks[j] == NULL) continue;
      api_check_contents(blocks[j], block_sizes[j], blocks[j]);
      mi_free(blocks[j]);
      blocks[j] = NULL;
    }
  }
  for (size_t i = 0; i < BLOCKS; i++) {
    if (blocks[i] != NULL) api_check_contents(blocks[i], block_sizes[i], blocks[i]);
    mi_free(blocks[i]);
    blocks[i] = NULL;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_alignments),    cmocka_unit_test(test_large_alignments),
      cmocka_unit_test(test_at_offset),     cmocka_unit_test(test_wrong_alignments),
      cmocka_unit_test(test_impossible),    cmocka_unit_test(test_vast_alignments),
      cmocka_unit_test(test_realloc_keeps), cmocka_unit_test(test_rezalloc),
      cmocka_unit_test(test_many),
  };
  return check_run(tests);
}
