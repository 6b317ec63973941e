// The functions under the names of POSIX, Unix and Microsoft's C runtime.
#include "api_check.h"
#include "support/child.h"

#include <errno.h>
#include <stdlib.h>
#include <wchar.h>

static void test_posix_memalign(void** state) {
  (void)state;
  for (size_t alignment = sizeof(void*); alignment <= (size_t)1 << 22; alignment *= 2) {
    for (size_t i = 0; i < api_size_count; i += 4) {
      void* p = &p;
      assert_int_equal(mi_posix_memalign(&p, alignment, api_sizes[i]), 0);
      api_check_block(p, api_sizes[i], alignment);
      mi_free(p);
    }
  }
  const size_t wrong[] = {0, 1, 2, 3, sizeof(void*) / 2, 12, 24, sizeof(void*) * 3, 100, 4097, SIZE_MAX};
  char untouched;
  for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
    void* p = &untouched;
    assert_int_equal(mi_posix_memalign(&p, api_opaque(wrong[i]), 100), EINVAL);
    assert_ptr_equal(p, &untouched);
  }
  assert_int_equal(mi_posix_memalign(api_opaque_pointer(NULL), 16, 100), EINVAL);
  void* kept = &untouched;
  assert_int_equal(mi_posix_memalign(&kept, api_opaque(SIZE_MAX / 2 + 1), 100),
                   ENOMEM); // valid, but who has that
  assert_ptr_equal(kept, &untouched);
  for (size_t i = 0; i < api_impossible_size_count; i++) {
    void* p = &untouched;
    assert_int_equal(mi_posix_memalign(&p, 64, api_opaque(api_impossible_sizes[i])), ENOMEM);
    assert_ptr_equal(p, &untouched);
  }
}

static void test_memalign(void** state) {
  (void)state;
  for (size_t alignment = 1; alignment <= 65536; alignment *= 2) {
    for (size_t i = 0; i < api_size_count; i += 3) {
      void* p = mi_memalign(alignment, api_sizes[i]);
      api_check_block(p, api_sizes[i], alignment);
      void* q = mi_aligned_alloc(alignment, api_sizes[i]);
      api_check_block(q, api_sizes[i], alignment);
      mi_free_aligned(p, alignment);
      mi_free_size_aligned(q, api_sizes[i], alignment);
    }
  }
  assert_null(mi_memalign(api_opaque(24), 100));
  assert_null(mi_memalign(api_opaque(0), 100));
  assert_null(mi_aligned_alloc(api_opaque(24), 100));
  assert_null(mi_aligned_alloc(api_opaque(0), 100));
  assert_null(mi_memalign(64, api_opaque(SIZE_MAX)));
  assert_null(mi_aligned_alloc(64, api_opaque(SIZE_MAX - 63)));
}

static void test_page_aligned(void** state) {
  (void)state;
  const size_t sizes[] = {0, 1, 100, 4095, 4096, 4097, 70000, 1 << 20};
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    void* p = mi_valloc(sizes[i]);
    api_check_block(p, sizes[i], 4096);
    void* q = mi_pvalloc(sizes[i]);
    api_check_block(q, (sizes[i] + 4095) / 4096 * 4096, 4096);
    mi_free(p);
    mi_free(q);
  }
  for (size_t i = 0; i < api_impossible_size_count; i++) {
    assert_null(mi_valloc(api_opaque(api_impossible_sizes[i])));
    assert_null(mi_pvalloc(api_opaque(api_impossible_sizes[i])));
  }
}

static void test_sizes(void** state) {
  (void)state;
  for (size_t i = 0; i < api_size_count; i++) {
    void* p = mi_malloc(api_sizes[i]);
    assert_int_equal(mi_malloc_size(p), mi_usable_size(p));
    assert_int_equal(mi_malloc_usable_size(p), mi_usable_size(p));
    assert_int_equal(mi_malloc_good_size(api_sizes[i]), mi_good_size(api_sizes[i]));
    mi_free_size(p, api_sizes[i]);
  }
  assert_int_equal(mi_malloc_size(NULL), 0);
  assert_int_equal(mi_malloc_usable_size(NULL), 0);
  mi_free_size(NULL, 0);
  mi_free_aligned(NULL, 16);
  mi_free_size_aligned(NULL, 0, 16);
}

// cfree ignores what isn't ours.
static void test_cfree(void** state) {
  (void)state;
  int on_stack = 5;
  char* foreign = malloc(50);
  strcpy(foreign, "still here");
  mi_cfree(NULL);
  mi_cfree(api_opaque_pointer(&on_stack));
  mi_cfree(api_opaque_pointer(foreign));
  assert_int_equal(on_stack, 5);
  assert_string_equal(foreign, "still here");
  free(foreign);
  void* p = mi_malloc(50000);
  void* freed = api_opaque_pointer(p);
  mi_cfree(p);
  assert_true(api_is_freed(freed, 32));
}

static void test_reallocarray(void** state) {
  (void)state;
  void* p = mi_reallocarray(NULL, 10, 10);
  api_check_block(p, 100, 16);
  void* q = mi_reallocarray(p, 1000, 10);
  api_check_contents(q, 100, p);
  api_check_block(q, 10000, 16);
  errno = 0;
  assert_null(mi_reallocarray(q, api_opaque(SIZE_MAX / 10 + 1), 10));
  assert_int_equal(errno, EOVERFLOW);
  errno = 0;
  assert_null(mi_reallocarray(q, api_opaque(SIZE_MAX / 2), 1));
  assert_int_equal(errno, ENOMEM);
  api_check_contents(q, 10000, q);
  mi_free(q);
}

static void test_reallocarr(void** state) {
  (void)state;
  int* numbers = NULL;
  assert_int_equal(mi_reallocarr(&numbers, 25, sizeof(int)), 0);
  api_check_block(numbers, 100, 16);
  int* before = numbers;
  assert_int_equal(mi_reallocarr(&numbers, 5000, sizeof(int)), 0);
  api_check_contents(numbers, 100, before);
  before = numbers;
  assert_int_equal(mi_reallocarr(&numbers, api_opaque(SIZE_MAX / 4 + 1), sizeof(int)), EOVERFLOW);
  assert_ptr_equal(numbers, before);
  assert_int_equal(mi_reallocarr(&numbers, api_opaque(SIZE_MAX / 2), 1), ENOMEM);
  assert_ptr_equal(numbers, before);
  assert_int_equal(mi_reallocarr(api_opaque_pointer(NULL), 1, 1), EINVAL);
  // Nothing is freed, as in NetBSD; and nothing can't be.
  assert_int_equal(mi_reallocarr(&numbers, 0, sizeof(int)), 0);
  assert_null(numbers);
  assert_int_equal(mi_reallocarr(&numbers, 0, sizeof(int)), EINVAL);
  assert_int_equal(mi_reallocarr(&numbers, 10, 0), EINVAL);
  assert_int_equal(mi_reallocarr(&numbers, 10, sizeof(int)), 0);
  assert_int_equal(mi_reallocarr(&numbers, 10, 0), 0);
  assert_null(numbers);
}

static void test_ms(void** state) {
  (void)state;
  void* p = mi_malloc(100);
  api_check_block(p, 100, 16);
  assert_ptr_equal(mi__expand(p, 50), p);
  assert_ptr_equal(mi__expand(p, mi_usable_size(p)), p);
  errno = 0;
  assert_null(mi__expand(p, 1 << 20));
  assert_int_equal(errno, ENOMEM);
  api_check_contents(p, 50, p);
  mi_free(p);

  for (size_t alignment = 16; alignment <= 4096; alignment *= 16) {
    api_make_dirt(3000);
    void* q = mi_aligned_recalloc(NULL, 30, 100, alignment);
    api_check_zero(q, 3000);
    api_check_block(q, 3000, alignment);
    void* r = mi_aligned_recalloc(q, 60, 100, alignment);
    api_check_contents(r, 3000, q);
    api_check_zero((char*)r + 3000, 3000);
    assert_int_equal((uintptr_t)r % alignment, 0);
    assert_null(mi_aligned_recalloc(r, api_opaque(SIZE_MAX / 2), 3, alignment));
    mi_free(r);

    q = mi_aligned_offset_recalloc(NULL, 30, 100, alignment, 40);
    api_check_zero(q, 3000);
    assert_int_equal(((uintptr_t)q + 40) % alignment, 0);
    api_check_block(q, 3000, 8);
    r = mi_aligned_offset_recalloc(q, 60, 100, alignment, 40);
    api_check_contents(r, 3000, q);
    api_check_zero((char*)r + 3000, 3000);
    assert_int_equal(((uintptr_t)r + 40) % alignment, 0);
    mi_free(r);
  }
}

static void test_strings(void** state) {
  (void)state;
  static wchar_t wide[200];
  unsigned char bytes[200];
  for (size_t length = 0; length < 200; length += 9) {
    for (size_t i = 0; i < length; i++) {
      wide[i] = (wchar_t)(0x3042 + i);
      bytes[i] = (unsigned char)(0x81 + i % 100);
    }
    wide[length] = 0;
    bytes[length] = 0;
    wchar_t* wide_copy = mi_wcsdup(wide);
    assert_non_null(wide_copy);
    assert_true(mi_usable_size(wide_copy) >= (length + 1) * sizeof(wchar_t));
    assert_memory_equal(wide_copy, wide, (length + 1) * sizeof(wchar_t));
    unsigned char* copy = mi_mbsdup(bytes);
    assert_non_null(copy);
    assert_true(mi_usable_size(copy) >= length + 1);
    assert_memory_equal(copy, bytes, length + 1);
    mi_free(wide_copy);
    mi_free(copy);
  }
  assert_null(mi_wcsdup(api_opaque_pointer(NULL)));
  assert_null(mi_mbsdup(api_opaque_pointer(NULL)));
}

static void test_dupenv(void** state) {
  (void)state;
  static char value[2001];
  static wchar_t wide_value[2001];
  const size_t lengths[] = {1, 10, 254, 255, 256, 257, 1023, 1024, 2000};
  for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
    for (size_t k = 0; k < lengths[i]; k++) wide_value[k] = (wchar_t)(value[k] = (char)('a' + k % 26));
    value[lengths[i]] = 0;
    wide_value[lengths[i]] = 0;
    child_set_environment("MI_TEST_DUPENV", value);
    char* copy = NULL;
    size_t size = 77;
    assert_int_equal(mi_dupenv_s(&copy, &size, "MI_TEST_DUPENV"), 0);
    assert_non_null(copy);
    assert_true(mi_is_in_heap_region(copy));
    assert_string_equal(copy, value);
    assert_int_equal(size, lengths[i] + 1);
    mi_free(copy);
    assert_int_equal(mi_dupenv_s(&copy, NULL, "MI_TEST_DUPENV"), 0);
    assert_string_equal(copy, value);
    mi_free(copy);
    wchar_t* wide_copy = NULL;
    size = 77;
    assert_int_equal(mi_wdupenv_s(&wide_copy, &size, L"MI_TEST_DUPENV"), 0);
    assert_non_null(wide_copy);
    assert_true(mi_is_in_heap_region(wide_copy));
    assert_int_equal(size, lengths[i] + 1);
    assert_memory_equal(wide_copy, wide_value, (lengths[i] + 1) * sizeof(wchar_t));
    mi_free(wide_copy);
  }
  child_set_environment("MI_TEST_DUPENV", NULL);
  char* copy = value;
  wchar_t* wide_copy = wide_value;
  size_t size = 77;
  assert_int_equal(mi_dupenv_s(&copy, &size, "MI_TEST_DUPENV"), 0);
  assert_null(copy);
  assert_int_equal(size, 0);
  size = 77;
  assert_int_equal(mi_wdupenv_s(&wide_copy, &size, L"MI_TEST_DUPENV"), 0);
  assert_null(wide_copy);
  assert_int_equal(size, 0);
  assert_int_equal(mi_dupenv_s(api_opaque_pointer(NULL), NULL, "PATH"), EINVAL);
  assert_int_equal(mi_dupenv_s(&copy, NULL, api_opaque_pointer(NULL)), EINVAL);
  assert_int_equal(mi_wdupenv_s(api_opaque_pointer(NULL), NULL, L"PATH"), EINVAL);
  size = 77;
  wide_copy = wide_value;
  assert_int_equal(mi_wdupenv_s(&wide_copy, &size, api_opaque_pointer(NULL)), EINVAL);
  assert_null(wide_copy);
  assert_int_equal(size, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_posix_memalign), cmocka_unit_test(test_memalign),
      cmocka_unit_test(test_page_aligned),   cmocka_unit_test(test_sizes),
      cmocka_unit_test(test_cfree),          cmocka_unit_test(test_reallocarray),
      cmocka_unit_test(test_reallocarr),     cmocka_unit_test(test_ms),
      cmocka_unit_test(test_strings),        cmocka_unit_test(test_dupenv),
  };
  return check_run(tests);
}
