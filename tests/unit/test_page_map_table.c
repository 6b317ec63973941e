// Where the tables of the page map come from; with a stand-in for core/sysmem that hands out what a case wants.
#include "support/check.h"

#include "core/pages/page_map.h"
#include "core/memory/sysmem.h"

#define TABLE_SIZE (REGION_SLICES << PAGE_RECORD_SHIFT)

static uint8_t room[2][2 * TABLE_SIZE];
static void* next[2]; // what the next calls get; nothing is left: out of memory
static void* released[2];
static size_t reserve_calls, release_calls;

void* sysmem_reserve_and_commit(size_t size) {
  assert_int_equal(size, TABLE_SIZE);
  return reserve_calls < 2 ? next[reserve_calls++] : NULL;
}

void sysmem_release(void* base, size_t size, size_t committed_size) {
  assert_int_equal(size, TABLE_SIZE);
  assert_int_equal(committed_size, TABLE_SIZE);
  assert_true(release_calls < 2);
  released[release_calls++] = base;
}

static void prepare(void* first, void* second) {
  next[0] = first;
  next[1] = second;
  released[0] = released[1] = NULL;
  reserve_calls = release_calls = 0;
}

static void* aligned(uint8_t* p) { return (void*)bits_align_up((uintptr_t)p, MI_CACHE_LINE); }

// The table whose address makes the region's entry 0, which says "no table". With 32 bits it is within the lowest 8 MiB.
static void* unlucky_table(uintptr_t region) {
  return (void*)((region << REGION_SHIFT >> SLICE_SHIFT) << PAGE_RECORD_SHIFT);
}

static void test_lucky_table(void** state) {
  (void)state;
  void* p = (void*)((uintptr_t)5 << REGION_SHIFT);
  prepare(aligned(room[0]), NULL);
  assert_true(page_map_cover(p, SLICE_SIZE));
  assert_ptr_equal(page_map_record(p), aligned(room[0]));
  assert_int_equal(release_calls, 0);
}

static void test_unlucky_table(void** state) {
  (void)state;
  const uintptr_t region = 7;
  void* p = (void*)(region << REGION_SHIFT);
  prepare(unlucky_table(region), aligned(room[1])); // nobody writes to the first
  assert_true(page_map_cover(p, SLICE_SIZE));
  assert_ptr_equal(page_map_record(p), aligned(room[1]));
  assert_null(page_map_page(p)); // nobody's yet
  assert_int_equal(release_calls, 1);
  assert_ptr_equal(released[0], next[0]);
}

static void test_unlucky_table_and_no_other(void** state) {
  (void)state;
  const uintptr_t region = 9;
  void* p = (void*)(region << REGION_SHIFT);
  prepare(unlucky_table(region), NULL);
  assert_false(page_map_cover(p, SLICE_SIZE));
  assert_null(page_map_record(p));
  assert_int_equal(release_calls, 1);
  assert_ptr_equal(released[0], next[0]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_lucky_table),
      cmocka_unit_test(test_unlucky_table),
      cmocka_unit_test(test_unlucky_table_and_no_other),
  };
  return check_run(tests);
}
