// Pointers into the middle of large blocks, as alignment at an offset makes them: only their slice has a record that leads to
// the page, and it does so as long as the block lives, no longer.
#include "support/check.h"
#include "support/test_data.h"
#include "support/test_thread.h"

#include "core/heaps/theap_pages.h"
#include "core/heaps/thread.h"
#include "lifecycle/runtime.h"

#include <mimalloc.h>

enum { ALIGNMENT = 1024 * 1024, OFFSETS = 2 };
// Wherever the block begins, with one of the two the pointer lies in another slice.
static const size_t offsets[OFFSETS] = {8, ALIGNMENT / 2 + 8};

static size_t slice_in(const page_t* page, const void* p) {
  return (size_t)((const uint8_t*)p - page->start) / SLICE_SIZE;
}

static void* allocate_at(size_t size, size_t offset, page_t** page) {
  void* p = mi_malloc_aligned_at(size, ALIGNMENT, offset);
  assert_non_null(p);
  assert_int_equal(((uintptr_t)p + offset) % ALIGNMENT, 0);
  pattern_fill_sampled(p, size, offset);
  *page = page_map_page(p);
  assert_non_null(*page);
  assert_int_equal((*page)->bin, BIN_HUGE);
  return p;
}

// What is freed is nobody's, also when another page begins where the block's did.
static void test_freed(void** state) {
  MI_UNUSED(state);
  const size_t size = 6 * MI_MIB;
  size_t inside = 0;
  for (size_t i = 0; i < OFFSETS; i++) {
    page_t* page;
    void* p = allocate_at(size, offsets[i], &page);
    inside += slice_in(page, p) != 0;
    mi_free(p);
    assert_null(page_map_page(p));
    assert_int_equal(page_map_record(p)->back, 0);
    void* next = mi_malloc(size + ALIGNMENT - 1);
    assert_ptr_equal(page_map_page(next), page);
    if (slice_in(page, p) != 0) assert_null(page_map_page(p));
    mi_free(next);
    mi_collect(true);
  }
  assert_true(inside > 0);
}

// A page of as many slices as the pages of a class has marks in all of them, which go when it grows.
static void test_grown(void** state) {
  MI_UNUSED(state);
  const size_t size = (PAGE_LARGE_SLICES - (MI_SECURE ? 1 : 0)) * SLICE_SIZE - ALIGNMENT; // the guard counts
  size_t inside = 0;
  for (size_t i = 0; i < OFFSETS; i++) {
    page_t* page;
    void* p = allocate_at(size, offsets[i], &page);
    assert_int_equal(page->slice_count, PAGE_LARGE_SLICES);
    inside += slice_in(page, p) != 0;
    size_t larger = page->block_size + 1; // from p on: more than the page has
    assert_true(theap_expand(runtime_theap(), p, larger));
    assert_true(page->slice_count > PAGE_LARGE_SLICES);
    assert_ptr_equal(page_map_page(p), page);
    assert_true(mi_usable_size(p) >= larger);
    assert_int_equal(pattern_mismatch_sampled(p, size, offsets[i]), SIZE_MAX);
    mi_free(p);
    assert_int_equal(page->owner, 0);
    mi_collect(true);
  }
  assert_true(inside > 0);
}

// A page of a class that has such blocks still does when it changes hands.
enum { BLOCKS = 200, BLOCK_SIZE = 1000 };
static char* blocks[BLOCKS];

static void run_leaver(void* arg) {
  MI_UNUSED(arg);
  for (size_t i = 0; i < BLOCKS; i++) {
    blocks[i] = mi_malloc_aligned_at(BLOCK_SIZE, 64, 8);
    assert_non_null(blocks[i]);
    pattern_fill(blocks[i], BLOCK_SIZE, i);
  }
}

static void test_adopted(void** state) {
  MI_UNUSED(state);
  test_thread_t thread;
  test_thread_start(&thread, run_leaver, NULL);
  test_thread_join(&thread);
  size_t inside = 0;
  for (size_t i = 0; i < BLOCKS; i++) {
    page_t* page = page_map_page(blocks[i]);
    assert_true(page_is_abandoned(page->owner) && (page->owner & PAGE_OWNER_INTERIOR) != 0);
    inside += page_block_of(page, blocks[i]) != (block_t*)blocks[i];
  }
  assert_true(inside > 0);
  size_t class_size = page_map_page(blocks[0])->block_size, adopted = 0;
  for (size_t i = 0; i < BLOCKS; i += 2) mi_free(blocks[i]);
  for (size_t i = 0; i < BLOCKS; i += 2) blocks[i] = mi_malloc(class_size - BLOCK_TAIL);
  for (size_t i = 1; i < BLOCKS; i += 2) {
    page_t* page = page_map_page(blocks[i]);
    adopted += !page_is_abandoned(page->owner);
    assert_true((page->owner & PAGE_OWNER_INTERIOR) != 0);
    assert_true(mi_usable_size(blocks[i]) >= BLOCK_SIZE);
    assert_int_equal(pattern_mismatch(blocks[i], BLOCK_SIZE, i), SIZE_MAX);
  }
  if (!MI_SECURE) assert_true(adopted > 0); // elsewhere the first free blocks of the page may be held back
  for (size_t i = 0; i < BLOCKS; i++) mi_free(blocks[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_freed), cmocka_unit_test(test_grown),
                                     cmocka_unit_test(test_adopted)};
  return check_run(tests);
}
