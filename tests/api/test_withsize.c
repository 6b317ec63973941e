// The family that also tells the block's size.
#include "api_check.h"

static void test_allocate(void** state) {
  (void)state;
  for (size_t i = 0; i < api_size_count; i++) {
    size_t size = api_sizes[i], told = 1234567;
    api_make_dirt(size);
    void* p = mi_umalloc(size, &told);
    api_check_block(p, size, api_natural_alignment(size));
    assert_int_equal(told, mi_usable_size(p));
    void* z = mi_ucalloc(1, size, &told);
    api_check_zero(z, size);
    api_check_block(z, size, api_natural_alignment(size));
    assert_int_equal(told, mi_usable_size(z));
    void* a = mi_umalloc_aligned(size, 128, &told);
    api_check_block(a, size, 128);
    assert_int_equal(told, mi_usable_size(a));
    void* b = mi_uzalloc_aligned(size, 256, &told);
    api_check_zero(b, size);
    api_check_block(b, size, 256);
    assert_int_equal(told, mi_usable_size(b));
    if (size <= MI_SMALL_SIZE_MAX) {
      void* s = mi_umalloc_small(size, &told);
      api_check_block(s, size, api_natural_alignment(size));
      assert_int_equal(told, mi_usable_size(s));
      void* t = mi_uzalloc_small(size, &told);
      api_check_zero(t, size);
      assert_int_equal(told, mi_usable_size(t));
      mi_free(s);
      mi_free(t);
    }
    size_t usable = mi_usable_size(p);
    mi_ufree(p, &told);
    assert_int_equal(told, usable);
    mi_ufree(z, &told);
    mi_ufree(a, NULL);
    mi_free(b);
  }
}

static void test_reallocate(void** state) {
  (void)state;
  size_t before = 1, after = 2;
  void* p = mi_urealloc(NULL, 100, &before, &after);
  api_check_block(p, 100, 16);
  assert_int_equal(before, 0);
  assert_int_equal(after, mi_usable_size(p));
  size_t usable = mi_usable_size(p);
  void* q = mi_urealloc(p, 5000, &before, &after);
  api_check_contents(q, 100, p);
  assert_int_equal(before, usable);
  assert_int_equal(after, mi_usable_size(q));
  assert_true(after >= 5000);
  q = mi_urealloc(q, 200000, NULL, NULL);
  assert_non_null(q);
  mi_ufree(q, NULL);
}

static void test_null(void** state) {
  (void)state;
  size_t told = 77;
  assert_null(mi_umalloc(api_opaque(SIZE_MAX), &told));
  assert_null(mi_ucalloc(api_opaque(SIZE_MAX / 2), 3, &told));
  assert_null(mi_umalloc_aligned(api_opaque(SIZE_MAX), 16, &told));
  assert_null(mi_umalloc_aligned(100, api_opaque(24), &told));
  assert_null(mi_uzalloc_aligned(100, api_opaque(0), &told));
  void* p = mi_umalloc(100, NULL);
  api_check_block(p, 100, 16);
  assert_null(mi_urealloc(p, api_opaque(SIZE_MAX), NULL, NULL));
  api_check_contents(p, 100, p);
  mi_ufree(p, NULL);
  told = 77;
  mi_ufree(NULL, &told);
  assert_int_equal(told, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_allocate),
      cmocka_unit_test(test_reallocate),
      cmocka_unit_test(test_null),
  };
  return check_run(tests);
}
