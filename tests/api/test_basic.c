// malloc, calloc, free, expand, the string functions, the small and the counted variants, sizes.
#include "api_check.h"
#include "support/child.h"

#include <errno.h>
#include <stdlib.h>

static void test_malloc_each_size(void** state) {
  (void)state;
  for (size_t i = 0; i < api_size_count; i++) {
    size_t size = api_sizes[i];
    char* p = mi_malloc(size);
    char* q = mi_malloc(size);
    api_check_block(p, size, api_natural_alignment(size));
    api_check_block(q, size, api_natural_alignment(size));
    assert_ptr_not_equal(p, q); // size 0, too, gives a block of its own
    assert_true(p + size <= q || q + size <= p);
    api_check_contents(p, size, p);
    mi_free(p);
    api_check_contents(q, size, q);
    mi_free(q);
  }
}

// The whole usable size is the program's.
static void test_usable_is_usable(void** state) {
  (void)state;
  enum { BLOCKS = 8 };
  for (size_t i = 0; i < api_size_count; i++) {
    char* blocks[BLOCKS];
    for (size_t j = 0; j < BLOCKS; j++) {
      blocks[j] = mi_malloc(api_sizes[i]);
      api_check_block(blocks[j], mi_usable_size(blocks[j]), 8);
    }
    for (size_t j = 0; j < BLOCKS; j++) {
      api_check_contents(blocks[j], mi_usable_size(blocks[j]), blocks[j]);
      mi_free(blocks[j]);
    }
  }
}

static void test_every_small_size(void** state) {
  (void)state;
  for (size_t size = 0; size <= 4096; size++) {
    void* p = mi_malloc(size);
    api_check_block(p, size, api_natural_alignment(size));
    assert_true(mi_usable_size(p) <= (size < 8 ? 8 : size + 15 + size / 4)); // spacing of the classes
    mi_free(p);
  }
}

// Many blocks of mixed sizes live at once, freed in another order than they were made.
static void test_many_blocks(void** state) {
  (void)state;
  enum { BLOCKS = 20000 };
  static char* blocks[BLOCKS];
  static uint32_t sizes[BLOCKS];
  test_random_t random = {20};
  for (size_t round = 0; round < 4; round++) {
    for (size_t i = 0; i < BLOCKS; i++) {
      if (blocks[i] != NULL) continue;
      sizes[i] = (uint32_t)test_random_size(&random, 1, i % 100 == 0 ? 100000 : 1500);
      blocks[i] = mi_malloc(sizes[i]);
      api_check_block(blocks[i], sizes[i], api_natural_alignment(sizes[i]));
    }
    for (size_t i = 0; i < BLOCKS; i++) {
      size_t j = test_random_below(&random, BLOCKS);
      if (blocks[j] == NULL) continue;
      api_check_contents(blocks[j], sizes[j], blocks[j]);
      mi_free(blocks[j]);
      blocks[j] = NULL;
    }
  }
  for (size_t i = 0; i < BLOCKS; i++) {
    if (blocks[i] != NULL) api_check_contents(blocks[i], sizes[i], blocks[i]);
    mi_free(blocks[i]);
    blocks[i] = NULL;
  }
}

static void test_free_null(void** state) {
  (void)state;
  mi_free(NULL);
  assert_int_equal(mi_usable_size(NULL), 0);
}

static void test_impossible_sizes(void** state) {
  (void)state;
  for (size_t i = 0; i < api_impossible_size_count; i++) {
    size_t size = api_opaque(api_impossible_sizes[i]);
    assert_null(mi_malloc(size));
    assert_null(mi_zalloc(size));
    assert_null(mi_calloc(size, 1));
    assert_null(mi_calloc(1, size));
    assert_null(mi_mallocn(size, 1));
    assert_null(mi_realloc(NULL, size));
    void* p = mi_malloc(100);
    api_check_block(p, 100, 16);
    assert_null(mi_realloc(p, size)); // p stays
    assert_null(mi_reallocn(p, size, 1));
    assert_null(mi_expand(p, size));
    api_check_contents(p, 100, p);
    mi_free(p);
  }
}

static void test_overflow(void** state) {
  (void)state;
  static const size_t pairs[][2] = {{SIZE_MAX / 2 + 1, 2},
                                    {SIZE_MAX / 8 + 1, 8},
                                    {SIZE_MAX, SIZE_MAX},
                                    {SIZE_MAX / 16 + 2, 16},
                                    {(size_t)1 << (sizeof(size_t) * 4), (size_t)1 << (sizeof(size_t) * 4)},
                                    {SIZE_MAX / 3 + 1, 3}};
  for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
    size_t a = api_opaque(pairs[i][0]), b = api_opaque(pairs[i][1]);
    for (int swap = 0; swap < 2; swap++) {
      size_t count = swap ? b : a, size = swap ? a : b;
      assert_null(mi_calloc(count, size));
      assert_null(mi_mallocn(count, size));
      assert_null(mi_reallocn(NULL, count, size));
      void* p = mi_malloc(40);
      api_check_block(p, 40, 16);
      assert_null(mi_reallocn(p, count, size));
      api_check_contents(p, 40, p);
      mi_free(p);
    }
  }
  // Products that just fit their limits are none.
  void* p = mi_calloc(api_opaque(1000), api_opaque(1000));
  api_check_zero(p, 1000000);
  mi_free(p);
}

// errno tells of a failure as the C standard library's malloc does.
static void test_errno(void** state) {
  (void)state;
  errno = 0;
  assert_null(mi_malloc(api_opaque(PTRDIFF_MAX) + 1));
  assert_int_equal(errno, ENOMEM);
}

static void test_calloc_zero(void** state) {
  (void)state;
  for (size_t i = 0; i < api_size_count; i++) {
    size_t size = api_sizes[i];
    api_make_dirt(size);
    void* a = mi_calloc(1, size);
    void* b = mi_calloc(size, 1);
    void* c = mi_zalloc(size);
    api_check_zero(a, size);
    api_check_zero(b, size);
    api_check_zero(c, size);
    api_check_block(a, size, api_natural_alignment(size));
    api_check_block(b, size, api_natural_alignment(size));
    api_check_block(c, size, api_natural_alignment(size));
    mi_free(a);
    mi_free(b);
    mi_free(c);
  }
  void* empty = mi_calloc(0, api_opaque(SIZE_MAX)); // nothing, SIZE_MAX bytes each
  api_check_block(empty, 0, 8);
  mi_free(empty);
  empty = mi_calloc(api_opaque(SIZE_MAX), 0);
  api_check_block(empty, 0, 8);
  mi_free(empty);
}

static void test_small(void** state) {
  (void)state;
  for (size_t size = 0; size <= 128 * sizeof(void*); size++) {
    api_make_dirt(size);
    void* p = mi_malloc_small(size);
    api_check_block(p, size, api_natural_alignment(size));
    void* z = mi_zalloc_small(size);
    api_check_zero(z, size);
    api_check_block(z, size, api_natural_alignment(size));
    mi_free_small(p);
    mi_free(z); // the plain free takes them as well
  }
}

static void test_mallocn(void** state) {
  (void)state;
  void* p = mi_mallocn(10, 30);
  api_check_block(p, 300, 16);
  void* q = mi_reallocn(p, 20, 30);
  api_check_contents(q, 300, p);
  api_check_block(q, 600, 16);
  mi_free(q);
  p = mi_mallocn(0, 30);
  api_check_block(p, 0, 8);
  mi_free(p);
}

static void test_good_size(void** state) {
  (void)state;
  for (size_t i = 0; i < api_size_count; i++) {
    size_t size = api_sizes[i], good = mi_good_size(size);
    assert_true(good >= size);
    assert_int_equal(mi_good_size(good), good); // asking for it gives it
    void* p = mi_malloc(size);
    assert_non_null(p);
    assert_true(mi_usable_size(p) >= good);
    mi_free(p);
    p = mi_malloc(good);
    assert_non_null(p);
    if (good <= 512 * 1024) assert_int_equal(mi_usable_size(p), good);
    mi_free(p);
  }
  assert_true(mi_good_size(api_opaque(SIZE_MAX)) >= SIZE_MAX - 65536); // nothing wraps
}

static void test_expand(void** state) {
  (void)state;
  for (size_t i = 0; i < api_size_count; i++) {
    size_t size = api_sizes[i];
    char* p = mi_malloc(size);
    api_check_block(p, size, 8);
    size_t usable = mi_usable_size(p);
    const size_t wanted[] = {0, size / 2, size, usable, usable + 1, 2 * usable + 1};
    for (size_t j = 0; j < sizeof(wanted) / sizeof(wanted[0]); j++) {
      void* q = mi_expand(p, wanted[j]);
      if (q != NULL) {
        assert_ptr_equal(q, p); // it never moves
        assert_true(mi_usable_size(q) >= wanted[j]);
      } else {
        assert_true(wanted[j] > usable);
      }
    }
    api_check_contents(p, size < usable ? size : usable, p);
    mi_free(p);
  }
  assert_null(mi_expand(NULL, 16));
}

static void test_strings(void** state) {
  (void)state;
  char text[300];
  for (size_t length = 0; length < sizeof(text); length += 13) {
    memset(text, 'x', length);
    text[length] = 0;
    char* copy = mi_strdup(text);
    assert_non_null(copy);
    assert_true(mi_is_in_heap_region(copy));
    assert_true(mi_usable_size(copy) > length);
    assert_string_equal(copy, text);
    assert_ptr_not_equal(copy, text);
    mi_free(copy);
    const size_t limits[] = {0, 1, length / 2, length, length + 1, 2 * length, SIZE_MAX};
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
      size_t expected = limits[i] < length ? limits[i] : length;
      copy = mi_strndup(text, api_opaque(limits[i]));
      assert_non_null(copy);
      assert_int_equal(strlen(copy), expected);
      assert_memory_equal(copy, text, expected);
      mi_free(copy);
    }
  }
  assert_null(mi_strdup(api_opaque_pointer(NULL)));
  assert_null(mi_strndup(api_opaque_pointer(NULL), 10));
  // strndup reads no byte beyond its limit, so the text needs no end.
  char unended[4] = {'a', 'b', 'c', 'd'};
  char* copy = mi_strndup(unended, 4);
  assert_string_equal(copy, "abcd");
  mi_free(copy);
}

static void test_realpath(void** state) {
  (void)state;
  char self[CHILD_PATH_MAX];
  child_self(self);
  char* full = mi_realpath(self, NULL);
  assert_non_null(full);
  assert_true(mi_is_in_heap_region(full));
  char* again = mi_realpath(full, NULL);
  assert_non_null(again);
  assert_string_equal(again, full);
  static char given[8192];
  assert_ptr_equal(mi_realpath(self, given), given);
  assert_string_equal(given, full);
  mi_free(again);
  mi_free(full);
}

static void test_heap_region(void** state) {
  (void)state;
  static int in_data;
  int on_stack = 0;
  assert_false(mi_is_in_heap_region(NULL));
  assert_false(mi_is_in_heap_region(&in_data));
  assert_false(mi_is_in_heap_region(&on_stack));
  assert_false(mi_is_in_heap_region((void*)(uintptr_t)&test_heap_region));
  assert_false(mi_is_in_heap_region((void*)(uintptr_t)16));
  assert_false(mi_is_in_heap_region((void*)(UINTPTR_MAX - 15)));
  assert_false(mi_is_in_heap_region((void*)(UINTPTR_MAX / 2 + 1)));
  void* foreign = malloc(100);
  assert_false(mi_is_in_heap_region(foreign));
  assert_false(mi_check_owned(foreign));
  free(foreign);
  assert_false(mi_check_owned(NULL));
  assert_false(mi_check_owned(&on_stack));
  for (size_t i = 0; i < api_size_count; i++) {
    char* p = mi_malloc(api_sizes[i]);
    assert_true(mi_is_in_heap_region(p));
    assert_true(mi_check_owned(p));
    if (api_sizes[i] > 0) assert_true(mi_is_in_heap_region(p + api_sizes[i] - 1));
    mi_free(p);
  }
}

static void test_collect(void** state) {
  (void)state;
  void* kept = mi_malloc(1000);
  api_check_block(kept, 1000, 16);
  for (int force = 0; force < 2; force++) {
    for (size_t i = 0; i < api_size_count; i++) api_make_dirt(api_sizes[i]);
    mi_collect(force != 0);
    for (size_t i = 0; i < api_size_count;
         i++) { // purged memory comes back, and as zero where zero is asked for
      void* p = mi_zalloc(api_sizes[i]);
      api_check_zero(p, api_sizes[i]);
      api_check_block(p, api_sizes[i], 8);
      mi_free(p);
    }
  }
  api_check_contents(kept, 1000, kept);
  mi_free(kept);
}

static void test_version(void** state) {
  (void)state;
  assert_true(mi_version() > 0);
  assert_int_equal(mi_version(), MI_MALLOC_VERSION);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_malloc_each_size), cmocka_unit_test(test_usable_is_usable),
      cmocka_unit_test(test_every_small_size), cmocka_unit_test(test_many_blocks),
      cmocka_unit_test(test_free_null),        cmocka_unit_test(test_impossible_sizes),
      cmocka_unit_test(test_overflow),         cmocka_unit_test(test_errno),
      cmocka_unit_test(test_calloc_zero),      cmocka_unit_test(test_small),
      cmocka_unit_test(test_mallocn),          cmocka_unit_test(test_good_size),
      cmocka_unit_test(test_expand),           cmocka_unit_test(test_strings),
      cmocka_unit_test(test_realpath),         cmocka_unit_test(test_heap_region),
      cmocka_unit_test(test_collect),          cmocka_unit_test(test_version),
  };
  return check_run(tests);
}
