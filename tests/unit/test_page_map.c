// From any address to the page that holds it, or to nobody.
#include "support/check.h"
#include "support/os_faults.h"

#include "core/pages/page_map.h"
#include "core/memory/sysmem.h"
#include "os/os.h"
#include "os_posix.h"

static void test_foreign_addresses(void** state) {
  MI_UNUSED(state);
  static int in_data;
  int on_stack;
  const uintptr_t addresses[] = {0,
                                 1,
                                 8,
                                 65536,
                                 (uintptr_t)&in_data,
                                 (uintptr_t)&on_stack,
                                 (uintptr_t)&test_foreign_addresses,
                                 ((uintptr_t)1 << 47) - 1,
                                 (uintptr_t)1 << 47,
                                 (uintptr_t)1 << 63,
                                 UINTPTR_MAX - 65536,
                                 UINTPTR_MAX};
  for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
    assert_null(page_map_record((void*)addresses[i]));
    assert_null(page_map_page((void*)addresses[i]));
  }
}

static void test_pages(void** state) {
  MI_UNUSED(state);
  const size_t size = 3 * (REGION_SLICES * SLICE_SIZE); // three regions
  char* base = os_reserve(size);
  assert_non_null(base);
  assert_true(page_map_cover(base, size));
  assert_true(page_map_cover(base, size)); // again

  // Each slice has a record of its own, and records of neighbours are neighbours within a region.
  page_t* previous = NULL;
  for (char* p = base; p < base + size; p += SLICE_SIZE) {
    page_t* record = page_map_record(p);
    assert_non_null(record);
    assert_ptr_equal(page_map_record(p + SLICE_SIZE - 1), record);
    assert_ptr_not_equal(record, previous);
    assert_null(page_map_page(p)); // nobody's
    previous = record;
  }

  // A page of 8 slices that crosses from one region into the next.
  char* border = (char*)(((uintptr_t)base / (REGION_SLICES * SLICE_SIZE) + 1) * (REGION_SLICES * SLICE_SIZE));
  char* start = border - 3 * SLICE_SIZE;
  page_t* page = page_map_record(start);
  page->start = (uint8_t*)start;
  page->slice_count = 8;
  page->owner = 64;
  page_map_mark_inside(page, 8, true);
  for (size_t offset = 0; offset < 8 * SLICE_SIZE; offset += 4096)
    assert_ptr_equal(page_map_page(start + offset), page);
  assert_ptr_equal(page_map_page(start + 8 * SLICE_SIZE - 1), page);
  assert_null(page_map_page(start - 1));
  assert_null(page_map_page(start + 8 * SLICE_SIZE));
  page_map_mark_inside(page, 8, false);
  assert_ptr_equal(page_map_page(start), page);
  assert_null(page_map_page(start + SLICE_SIZE));
  assert_null(page_map_page(border));

  // One pointer into a huge page.
  page_map_mark_pointer(page, start + 5 * SLICE_SIZE + 100, true);
  assert_ptr_equal(page_map_page(start + 5 * SLICE_SIZE + 100), page);
  assert_null(page_map_page(start + 4 * SLICE_SIZE + 100));
  page_map_mark_pointer(page, start + 5 * SLICE_SIZE + 100, false);
  assert_null(page_map_page(start + 5 * SLICE_SIZE + 100));
  page->owner = 0;
  assert_null(page_map_page(start));
  assert_true(os_release(base, size));
}

static void test_out_of_memory(void** state) {
  MI_UNUSED(state);
  page_map_release();
  os_posix_balance_t before = os_posix_balance();
  char* base = (char*)((uintptr_t)96 << 40); // far from everything; nothing needs to be there
  const size_t size = 3 * (REGION_SLICES * SLICE_SIZE);
  for (size_t n = 1; n <= 3; n++) {
    os_faults_fail_nth(OS_CALL_RESERVE_AND_COMMIT, n);
    assert_false(page_map_cover(base, size));
    assert_int_equal(os_faults_injected(), 1);
    os_faults_none();
    assert_true(page_map_cover(base, size));
    page_map_release();
    os_posix_balance_t after = os_posix_balance();
    assert_int_equal(after.reserved, before.reserved);
    assert_null(page_map_record(base));
  }
  assert_false(page_map_cover((void*)((uintptr_t)1 << 47), SLICE_SIZE)); // beyond what a process has
}

int main(void) {
  os_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_foreign_addresses),
      cmocka_unit_test(test_pages),
      cmocka_unit_test(test_out_of_memory),
  };
  return check_run(tests);
}
