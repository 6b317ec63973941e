// A page's free list, its untouched rest, memory behind it as far as it is cut, and the list that other threads free into.
#include "support/check.h"
#include "support/test_data.h"
#include "support/test_thread.h"

#include "core/pages/block.h"
#include "os/os.h"

#include <mimalloc.h>

// Secure builds have no blocks of 8 bytes: no room for link and mark.
enum { BIN_FIRST = MI_SECURE ? 2 : 1 };

static page_t page;
static size_t memory_size;

static void make_page(unsigned bin, bool is_zero) {
  memset(&page, 0, sizeof(page));
  page.slice_count = (uint32_t)page_slices_for(size_class_size(bin));
  page.committed_slices = (uint8_t)page.slice_count;
  memory_size = page.slice_count * SLICE_SIZE;
  page.start = os_reserve_and_commit(memory_size);
  assert_non_null(page.start);
  page.is_zero = is_zero;
  page_init(&page, bin, size_class_size(bin), 64, NULL);
}

static void drop_page(void) { assert_true(os_release(page.start, memory_size)); }

// Counts the blocks that the page holds for the owner: free ones and those in the untouched rest.
static size_t free_blocks(void) {
  size_t count = page.reserved - page.extended;
  for (block_t* b = page.free; b != NULL; b = block_next(&page, b)) count++;
  return count;
}

static void test_take_all(void** state) {
  MI_UNUSED(state);
  for (unsigned bin = BIN_FIRST; bin <= BIN_LAST; bin++) {
    make_page(bin, true);
    size_t size = size_class_size(bin);
    assert_int_equal(page.reserved, memory_size / size);
    static unsigned char taken[SLICE_SIZE * PAGE_LARGE_SLICES / 8];
    memset(taken, 0, sizeof(taken));
    for (size_t i = 0; i < page.reserved; i++) {
      bool is_zero;
      block_t* block = page_take(&page, &is_zero);
      assert_non_null(block);
      size_t offset = (size_t)((uint8_t*)block - page.start);
      assert_int_equal(offset % size, 0);
      assert_true(offset + size <= memory_size);
      assert_int_equal(taken[offset / size]++, 0); // no block twice
      if (is_zero)
        assert_int_equal(pattern_nonzero(block, size <= 4096 ? size - BLOCK_TAIL : 4096), SIZE_MAX);
      assert_int_equal(page_used(&page), i + 1);
      memset(block, 0xEE, size < 4096 ? size : 4096);
    }
    bool is_zero;
    assert_null(page_take(&page, &is_zero));
    drop_page();
  }
}

// A page is cut as far as there is memory behind it, to the byte, and goes on when there is more.
static void test_committed_slices(void** state) {
  MI_UNUSED(state);
  for (unsigned bin = size_class_bin(PAGE_SMALL_BLOCK_MAX + 1); bin <= BIN_LAST; bin++) {
    make_page(bin, false);
    size_t size = size_class_size(bin), taken = 0;
    bool is_zero;
    for (size_t slices = bits_divide_up(size, SLICE_SIZE); slices <= page.slice_count; slices++) {
      page.committed_slices = (uint8_t)slices;
      for (block_t* block; (block = page_take(&page, &is_zero)) != NULL; taken++)
        assert_true((uint8_t*)block + size <= page.start + slices * SLICE_SIZE);
      assert_int_equal(taken, slices * SLICE_SIZE / size);
      // More is wanted only where more blocks could be cut.
      assert_true(taken == page.reserved || page_wants_commit(&page));
      if (slices == page.slice_count) assert_int_equal(taken, page.reserved);
    }
    drop_page();
  }
}

// A page that begins with a part of its first slice is cut that far.
static void test_begun(void** state) {
  MI_UNUSED(state);
  for (unsigned bin = BIN_FIRST; size_class_size(bin) <= PAGE_PART_SIZE; bin++) {
    make_page(bin, false);
    page.committed_slices = 0;
    size_t size = size_class_size(bin), taken = 0;
    bool is_zero;
    for (block_t* block; (block = page_take(&page, &is_zero)) != NULL; taken++)
      assert_true((uint8_t*)block + size <= page.start + PAGE_PART_SIZE);
    assert_int_equal(taken, PAGE_PART_SIZE / size);
    assert_true(page_wants_commit(&page));
    assert_int_equal(page_uncut(&page), 0);
    page.committed_slices = 1;
    page.reserved = (uint16_t)(taken / 2); // as where a killed thread lost blocks
    assert_int_equal(page_uncut(&page), 0);
    drop_page();
  }
}

static void test_remote_list(void** state) {
  MI_UNUSED(state);
  make_page(size_class_bin(500), true);
  enum { BLOCKS = 60, FREED = 10 };
  block_t* blocks[BLOCKS];
  bool is_zero;
  for (size_t i = 0; i < BLOCKS; i++) blocks[i] = page_take(&page, &is_zero);
  size_t others = free_blocks();
  assert_int_equal(page_collect_remote(&page), 0);
  for (size_t i = 0; i < FREED; i++) assert_int_equal(page_free_remote(&page, blocks[i]), i + 1);
  assert_int_equal(page_remote_count(&page), FREED);
  assert_int_equal(page_used(&page), BLOCKS); // they wait
  assert_int_equal(page_available(&page), page.reserved - BLOCKS + FREED);
  assert_int_equal(page_collect_remote(&page), FREED);
  assert_int_equal(page_remote_count(&page), 0);
  assert_int_equal(page_used(&page), BLOCKS - FREED);
  assert_int_equal(free_blocks(), others + FREED);
  for (size_t i = 0; i < FREED; i++) { // the last one freed is the first to go out again
    block_t* block = page_take(&page, &is_zero);
    assert_ptr_equal(block, blocks[FREED - 1 - i]);
    assert_false(is_zero);
  }
  // Into an empty free list as into one that isn't.
  while (page_take(&page, &is_zero) != NULL) {}
  assert_int_equal(page_collect_remote(&page), 0);
  assert_int_equal(page_free_remote(&page, blocks[10]), 1);
  assert_int_equal(page_free_remote(&page, blocks[11]), 2);
  assert_int_equal(page_collect_remote(&page), 2);
  assert_int_equal(free_blocks(), 2);
  drop_page();
}

static int errors;
static void on_error(int error, void* arg) {
  MI_UNUSED(error);
  MI_UNUSED(arg);
  errors++;
}

// A list that holds more blocks than are out can't be true: nothing of it is handed out again.
static void test_impossible_remote_list(void** state) {
  MI_UNUSED(state);
  errors = 0;
  mi_register_error(&on_error, NULL); // without one, secure and checking builds end the process
  make_page(size_class_bin(500), true);
  bool is_zero;
  block_t* block = page_take(&page, &is_zero);
  size_t others = free_blocks();
  page_free_remote(&page, block);
  page_free_remote(&page, block); // twice
  assert_int_equal(page_collect_remote(&page), 0);
  mi_register_error(NULL, NULL);
  assert_int_equal(errors, 1);
  assert_int_equal(page_used(&page), 1);
  assert_int_equal(free_blocks(), others);
  drop_page();
}

static void test_last_block_of_page(void** state) {
  MI_UNUSED(state);
  for (unsigned bin = BIN_FIRST; bin <= BIN_LAST;
       bin += 3) { // the list holds offsets, up to the very last block's
    make_page(bin, false);
    block_t *first = NULL, *last = NULL;
    bool is_zero;
    for (block_t* b; (b = page_take(&page, &is_zero)) != NULL; last = b) {
      if (first == NULL) first = b;
    }
    if (last < first) last = first;
    page_free_remote(&page, last);
    if (first != last) page_free_remote(&page, first);
    assert_int_equal(page_collect_remote(&page), first != last ? 2 : 1);
    assert_ptr_equal(page.free, first);
    if (first != last) assert_ptr_equal(block_next(&page, page.free), last);
    drop_page();
  }
}

// ---- remote frees while the owner goes on -------------------------------------------------------------------

enum { THREADS = 3, ROUNDS = 200000, EXCHANGE = 64 };
static block_t* exchange[EXCHANGE];
static bool owner_is_done;

static void run_remote(void* arg) {
  test_random_t random = {(uintptr_t)arg};
  for (bool last_look = false; !last_look;) {
    last_look = atomic_get_acquire(&owner_is_done);
    for (size_t i = 0; i < EXCHANGE; i++) {
      size_t slot = last_look ? i : test_random_below(&random, EXCHANGE);
      block_t* block = atomic_swap_acq_rel(&exchange[slot], NULL);
      if (block == NULL) continue;
      memset(block, 0xDD, page.block_size);
      page_free_remote(&page, block);
    }
    os_yield();
  }
}

static void test_concurrent_frees(void** state) {
  MI_UNUSED(state);
  make_page(size_class_bin(256), false);
  test_thread_t threads[THREADS];
  for (size_t i = 0; i < THREADS; i++) test_thread_start(&threads[i], run_remote, (void*)(i + 1));
  test_random_t random = {99};
  size_t taken = 0;
  for (size_t i = 0; i < ROUNDS; i++) {
    bool is_zero;
    block_t* block = page_take(&page, &is_zero);
    if (block == NULL) {
      // All blocks are out, and no more than some of them in the exchange and in threads' hands.
      while (page_collect_remote(&page) == 0) os_yield();
      continue;
    }
    taken++;
    memset(block, 0xCC, page.block_size);
    block = atomic_swap_acq_rel(&exchange[test_random_below(&random, EXCHANGE)], block);
    if (block != NULL) { // nobody took it: the owner frees it itself
      block_set_next(&page, block, page.free);
      page.free = block;
      page.freed++;
    }
  }
  atomic_set_release(&owner_is_done, true);
  for (size_t i = 0; i < THREADS; i++) test_thread_join(&threads[i]);
  page_collect_remote(&page);
  assert_int_equal(page_used(&page), 0);
  assert_int_equal(free_blocks(), page.reserved); // none lost, none twice
  assert_true(taken > ROUNDS / 4);
  drop_page();
}

int main(void) {
  os_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_take_all),
      cmocka_unit_test(test_committed_slices),
      cmocka_unit_test(test_begun),
      cmocka_unit_test(test_remote_list),
      cmocka_unit_test(test_impossible_remote_list),
      cmocka_unit_test(test_last_block_of_page),
      cmocka_unit_test(test_concurrent_frees),
  };
  return check_run(tests);
}
