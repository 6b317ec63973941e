// Memory from the system: alignment, the books, metadata.
#include "support/check.h"
#include "support/os_faults.h"
#include "support/test_data.h"

#include "core/stats/stats.h"
#include "core/memory/sysmem.h"
#include "core/report/options.h"
#include "os_posix.h"

static void assert_books(void) {
  os_posix_balance_t balance = os_posix_balance();
  assert_int_equal(stats_process.reserved.current, balance.reserved);
  assert_int_equal(stats_process.committed.current, balance.committed);
}

static void test_aligned(void** state) {
  MI_UNUSED(state);
  for (size_t alignment = OS_GRANULARITY; alignment <= 4 * MI_GIB; alignment *= 4) {
    for (size_t size = OS_GRANULARITY; size <= MI_GIB; size *= 16) {
      void *bases[3], *starts[3];
      size_t reserved[3];
      for (size_t i = 0; i < 3; i++) {
        starts[i] = sysmem_reserve_aligned(size, alignment, &bases[i], &reserved[i]);
        assert_non_null(starts[i]);
        assert_true(bits_is_aligned(starts[i], alignment));
        assert_true((char*)starts[i] >= (char*)bases[i]);
        assert_true((char*)starts[i] + size <= (char*)bases[i] + reserved[i]);
        assert_true(sysmem_commit(starts[i], OS_GRANULARITY, OS_GRANULARITY));
        memset(starts[i], 1, OS_GRANULARITY);
        assert_books();
      }
      for (size_t i = 0; i < 3; i++) sysmem_release(bases[i], reserved[i], OS_GRANULARITY);
      assert_books();
    }
  }
  assert_int_equal(os_posix_balance().reservations, 0);
  void* base;
  size_t reserved;
  assert_null(sysmem_reserve_aligned((size_t)PTRDIFF_MAX / 65536 * 65536, MI_GIB, &base, &reserved));
}

// Another thread takes the aligned place between the probe and the reservation: the last resort is to keep the probe.
static void test_aligned_when_unlucky(void** state) {
  MI_UNUSED(state);
  void *base, *start;
  size_t reserved;
  const size_t size = 4 * OS_GRANULARITY, alignment = 64 * MI_MIB;
  os_faults_fail_from(OS_CALL_RESERVE_AT, 1);
  start = sysmem_reserve_aligned(size, alignment, &base, &reserved);
  assert_non_null(start);
  assert_true(bits_is_aligned(start, alignment));
  assert_true((char*)start + size <= (char*)base + reserved);
  sysmem_release(base, reserved, 0);
  for (size_t n = 1; n <= 4; n++) {
    os_faults_fail_from(OS_CALL_RESERVE, n);
    start = sysmem_reserve_aligned(size, alignment, &base, &reserved);
    if (start != NULL) sysmem_release(base, reserved, 0);
    assert_books();
    assert_int_equal(os_posix_balance().reservations, 0);
  }
  os_faults_none();
}

static void test_metadata(void** state) {
  MI_UNUSED(state);
  test_random_t random = {8};
  enum { RECORDS = 500 };
  static unsigned char* records[RECORDS];
  static size_t sizes[RECORDS];
  for (size_t i = 0; i < RECORDS; i++) {
    sizes[i] = test_random_size(&random, 1, i % 50 == 0 ? 200000 : 3000);
    records[i] = sysmem_metadata(sizes[i]);
    assert_non_null(records[i]);
    assert_true(bits_is_aligned(records[i], MI_CACHE_LINE));
    assert_int_equal(pattern_nonzero(records[i], sizes[i]), SIZE_MAX);
    pattern_fill(records[i], sizes[i], i);
    assert_books();
  }
  for (size_t i = 0; i < RECORDS; i++) assert_int_equal(pattern_mismatch(records[i], sizes[i], i), SIZE_MAX);
  os_faults_fail_from(OS_CALL_ANY, 1);
  assert_null(sysmem_metadata(MI_MIB));
  os_faults_none();
  assert_non_null(sysmem_metadata(MI_MIB));
  sysmem_release_metadata();
  assert_books();
  assert_int_equal(os_posix_balance().reservations, 0);
}

// What fails is not counted, and what could not be released stays counted.
static void test_books(void** state) {
  MI_UNUSED(state);
  const size_t size = 10 * OS_GRANULARITY;
  int64_t calls = stats_process.commit_calls;
  char* p = sysmem_reserve(size);
  os_faults_fail_from(OS_CALL_ANY, 1);
  assert_false(sysmem_commit(p, size, size));
  assert_null(sysmem_reserve(size));
  assert_null(sysmem_reserve_and_commit(size));
  assert_books();
  os_faults_none();
  assert_true(sysmem_commit(p, size / 2, size / 2));
  assert_books();
  assert_int_equal(stats_process.commit_calls - calls, 2);
  os_faults_fail_from(OS_CALL_ANY, 1);
  assert_false(sysmem_decommit(p, OS_GRANULARITY, OS_GRANULARITY));
  assert_false(sysmem_reset(p, OS_GRANULARITY));
  sysmem_release(p, size, size / 2);
  assert_books();
  os_faults_none();
  assert_true(sysmem_reset(p, OS_GRANULARITY));
  assert_true(sysmem_decommit(p, OS_GRANULARITY, OS_GRANULARITY));
  assert_books();
  sysmem_release(p, size, size / 2 - OS_GRANULARITY);
  assert_books();
  assert_int_equal(stats_process.reserved.current, 0);
}

// Asked again as long as the system thinks that memory may come, and option retry_on_oom lets.
static void test_asks_again(void** state) {
  MI_UNUSED(state);
  const size_t size = OS_GRANULARITY;
  char* p = sysmem_reserve(size);
  option_set(option_retry_on_oom, 1 << 20);
  os_faults_fail_nth(OS_CALL_COMMIT, 1);
  os_faults_grant_waits(1);
  assert_true(sysmem_commit(p, size, size));
  assert_int_equal(os_faults_calls(OS_CALL_COMMIT), 2);
  assert_true(sysmem_decommit(p, size, size));
  os_faults_fail_from(OS_CALL_ANY, 1);
  os_faults_grant_waits(5);
  assert_false(sysmem_commit(p, size, size));
  assert_int_equal(os_faults_calls(OS_CALL_COMMIT), 6);
  os_faults_grant_waits(3);
  assert_null(sysmem_reserve_and_commit(size));
  assert_int_equal(os_faults_calls(OS_CALL_RESERVE_AND_COMMIT), 4);
  option_set(option_retry_on_oom, 0);
  os_faults_fail_from(OS_CALL_ANY, 1);
  os_faults_grant_waits(3);
  assert_false(sysmem_commit(p, size, size));
  assert_int_equal(os_faults_calls(OS_CALL_COMMIT), 1);
  os_faults_none();
  sysmem_release(p, size, 0);
  assert_books();
}

int main(void) {
  os_init();
  options_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_aligned),    cmocka_unit_test(test_aligned_when_unlucky),
      cmocka_unit_test(test_metadata),   cmocka_unit_test(test_books),
      cmocka_unit_test(test_asks_again),
  };
  return check_run(tests);
}
