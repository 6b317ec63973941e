// Every size from 0 to beyond the largest class, and every class.
#include "support/check.h"

#include "core/pages/size_class.h"

static void test_each_class(void** state) {
  MI_UNUSED(state);
  for (unsigned bin = 1; bin <= BIN_LAST; bin++) {
    size_t size = size_class_size(bin);
    assert_int_equal(size_class_bin(size), bin); // a class holds blocks of its own size
    assert_int_equal(size % (bin == 1 ? 8 : 16), 0);
    if (bin > 1) assert_true(size > size_class_size(bin - 1));
  }
  assert_int_equal(size_class_size(1), 8);
  assert_int_equal(size_class_size(BIN_LINEAR_LAST), 128);
  assert_int_equal(size_class_size(BIN_LAST), LARGE_SIZE_MAX);
}

static void test_promised_spacing(void** state) {
  MI_UNUSED(state);
  for (size_t size = 16; size <= 128; size += 16) {
    assert_int_equal(size_class_size(size_class_bin(size)), size); // 16-byte steps up to 128
  }
  for (size_t low = 128; low < LARGE_SIZE_MAX; low *= 2) {
    assert_in_range(size_class_bin(2 * low) - size_class_bin(low), 4, 64); // at least four per doubling
  }
}

static void test_each_size(void** state) {
  MI_UNUSED(state);
  for (size_t size = 0; size <= LARGE_SIZE_MAX; size++) {
    unsigned bin = size_class_bin(size);
    // assert_* of cmocka are too slow for half a million sizes each: one check, then the details.
    bool right = bin >= 1 && bin <= BIN_LAST && size_class_size(bin) >= size;
    if (right && bin > 1) right = size_class_size(bin - 1) < size; // the smallest class that fits
    if (right && size > 128) right = (size_class_size(bin) - size) * 5 <= size_class_size(bin);
    if (!right) fail_msg("size %zu: bin %u of %zu bytes", size, bin, size_class_size(bin));
  }
}

static void test_beyond(void** state) {
  MI_UNUSED(state);
  for (size_t size = LARGE_SIZE_MAX + 1; size < LARGE_SIZE_MAX + 70000; size++) {
    if (size_class_bin(size) != BIN_HUGE) fail_msg("size %zu", size);
  }
  for (size_t size = LARGE_SIZE_MAX * 2; size != 0; size *= 2) {
    assert_int_equal(size_class_bin(size), BIN_HUGE);
    assert_int_equal(size_class_bin(size - 1), BIN_HUGE);
  }
  assert_int_equal(size_class_bin(SIZE_MAX), BIN_HUGE);
  assert_int_equal(size_class_bin(PTRDIFF_MAX), BIN_HUGE);
  assert_true(BIN_HUGE < BIN_COUNT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_each_class),
      cmocka_unit_test(test_promised_spacing),
      cmocka_unit_test(test_each_size),
      cmocka_unit_test(test_beyond),
  };
  return check_run(tests);
}
