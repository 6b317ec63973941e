// Racks (secure builds): what a freed block holds, when it is reused, in which order, what is counted, and what
// becomes of blocks that were freed twice, inside, or written to. An error function of the test's own lets the
// process live on.
#include "counted_errors.h"
#include "support/check.h"
#include "support/test_thread.h"

#include <mimalloc.h>

#include <stdlib.h>

#include "core/heaps/theap.h"
#include "core/report/message.h"
#include "core/stats/stats.h"
#include "core/pages/page_map.h"
#include "lifecycle/runtime.h"
#include "os_posix.h"

enum { SIZE = 40, BLOCKS = 4 * RACK_WAITING, ROUNDS = 6 };

static void allocate_all(void** blocks, size_t count, size_t size) {
  for (size_t i = 0; i < count; i++) assert_non_null(blocks[i] = mi_malloc(size));
}

static void free_all(void** blocks, size_t count) {
  for (size_t i = 0; i < count; i++) mi_free(blocks[i]);
}

// Frees a block full of 0xA5 and looks at what is left: `whole`: nothing; else nothing at both ends.
static void check_freed(size_t size, bool whole) {
  uint8_t* p = mi_malloc(size);
  size_t usable = mi_usable_size(p), end = usable + BLOCK_TAIL;
  memset(p, 0xA5, usable);
  uint64_t* words = hide(p);
  mi_free(p);
  assert_true(words[0] != 0 && words[0] != 0xA5A5A5A5A5A5A5A5u);
  for (size_t at = end > 8 * MI_KIB ? 16 : 8; at < end; at += 8) { // larger ones have link and mark there
    bool is_end = at < BLOCK_ZEROED_BEGIN || at >= end - BLOCK_ZEROED_END;
    if (whole || is_end) assert_int_equal(words[at / 8], 0);
  }
  assert_int_equal(mi_usable_size(words), 0); // it isn't in use
}

// From its free on, a block is zero at its ends but for its first word; that is all of it if it is small.
static void test_freed_is_zero(void** state) {
  MI_UNUSED(state);
  static const size_t sizes[] = {1, 8, 24, 40, 56, 72, 100, 120, 136, 184};
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) check_freed(sizes[i], true);
  static const size_t larger[] = {185, 250, 600, 1016, 2000, 5000, 8184};
  for (size_t i = 0; i < sizeof(larger) / sizeof(larger[0]); i++) check_freed(larger[i], false);
  assert_int_equal(errors, 0);
}

// The variable does that; the test runs with and without it.
static void test_all_is_zeroed(void** state) {
  MI_UNUSED(state);
  static const size_t sizes[] = {1, 100, 184, 185, 300, 1000, 1016, 2000, 8184, 20000, 100000};
  mi_free(mi_malloc(1));
  bool before = block_zeroes_all, is_asked_for = getenv("MIMALLOC_ZERO_ON_FREE") != NULL;
  assert_true(before == is_asked_for);
  block_zeroes_all = true;
  racks_set_reach(theap_current());
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) check_freed(sizes[i], true);
  block_zeroes_all = before;
  racks_set_reach(theap_current());
  assert_int_equal(errors, 0);
}

// A block that malloc returns holds nothing of ours but behind its end.
static void test_fresh_is_clean(void** state) {
  MI_UNUSED(state);
  void* blocks[BLOCKS];
  for (int round = 0; round < ROUNDS; round++) {
    allocate_all(blocks, BLOCKS, SIZE);
    for (size_t i = 0; i < BLOCKS; i++) {
      for (size_t at = 0; at < SIZE / 8; at++) assert_int_equal(((uint64_t*)blocks[i])[at], 0);
      memset(blocks[i], 0xFF, SIZE);
    }
    free_all(blocks, BLOCKS);
  }
}

// Not before RACK_WAITING other frees; and not never.
static void test_reuse_waits(void** state) {
  MI_UNUSED(state);
  enum { GOT = 2 * RACK_WAITING, MANY = 3 * RACK_WAITING * GOT };
  static void* got[MANY];
  for (size_t ahead = 0; ahead <= RACK_WAITING / 2; ahead += 5) { // at several places of a turn
    void *p = mi_malloc(SIZE), *others[4 * RACK_WAITING];
    allocate_all(others, 4 * RACK_WAITING, SIZE);
    free_all(others, ahead);
    mi_free(p);
    size_t frees = 0, count = 0, reused_after = 0;
    for (; frees < 3 * RACK_WAITING && reused_after == 0; frees++) {
      mi_free(others[ahead + frees]);
      allocate_all(got + count, GOT, SIZE);
      for (size_t i = count; i < count + GOT; i++)
        if (got[i] == p) reused_after = frees + 1;
      count += GOT;
    }
    assert_true(reused_after >= RACK_WAITING);
    assert_true(reused_after <= 2 * RACK_WAITING);
    free_all(got, count);
    free_all(others + ahead + frees, 4 * RACK_WAITING - ahead - frees);
  }
}

// Blocks come back in another order than they went, another one each time.
static void test_order_is_random(void** state) {
  MI_UNUSED(state);
  void *blocks[BLOCKS], *again[BLOCKS];
  size_t places[ROUNDS][RACK_WAITING], same = 0, descents = 0;
  allocate_all(blocks, BLOCKS, SIZE);
  for (int round = 0; round < ROUNDS; round++) {
    free_all(blocks, BLOCKS);
    allocate_all(again, BLOCKS, SIZE);
    for (size_t i = 0; i < RACK_WAITING; i++) {
      size_t k = 0;
      while (k < BLOCKS && blocks[k] != again[i]) k++;
      places[round][i] = k;
      if (i > 0 && places[round][i] != places[round][i - 1] - 1) descents++;
      if (round > 0) same += places[round][i] == places[round - 1][i];
    }
    memcpy(blocks, again, sizeof(blocks));
  }
  assert_true(descents > ROUNDS * RACK_WAITING / 2); // last in, first out would have next to none
  assert_true(same < (ROUNDS - 1) * RACK_WAITING / 2);
  free_all(blocks, BLOCKS);
}

// The blocks of a fresh page aren't handed out in the order of their addresses, either.
static void test_fresh_order_is_random(void** state) {
  MI_UNUSED(state);
  enum { FRESH = 64 };
  void* blocks[FRESH];
  allocate_all(blocks, FRESH, 48 + 8);
  size_t rising = 0, falling = 0;
  for (size_t i = 1; i < FRESH; i++) {
    rising += blocks[i] > blocks[i - 1];
    falling += blocks[i] < blocks[i - 1];
  }
  assert_true(rising > FRESH / 8 && falling > FRESH / 8);
  free_all(blocks, FRESH);
}

static void sums(unsigned bin, int64_t* allocated, int64_t* freed) {
  stats_blocks_t blocks;
  stats_collect_blocks(&blocks);
  *allocated = blocks.allocated[bin];
  *freed = blocks.freed[bin];
}

static void take_and_free(void* arg) {
  void** blocks = arg;
  free_all(blocks, BLOCKS);
  allocate_all(blocks, BLOCKS / 2, SIZE);
  free_all(blocks, BLOCKS / 2);
}

// Every block counts, though most never reach a page's counts; also those that another thread frees.
static void test_counts_are_exact(void** state) {
  MI_UNUSED(state);
  unsigned bin = size_class_bin(block_size_for(SIZE));
  int64_t allocated, freed, allocated_then, freed_then;
  sums(bin, &allocated_then, &freed_then);
  void* blocks[BLOCKS];
  for (int round = 0; round < 100; round++) {
    allocate_all(blocks, BLOCKS, SIZE);
    sums(bin, &allocated, &freed);
    assert_int_equal(allocated - allocated_then, (round + 1) * BLOCKS);
    assert_int_equal(freed - freed_then, round * BLOCKS);
    free_all(blocks, BLOCKS);
    sums(bin, &allocated, &freed);
    assert_int_equal(freed - freed_then, (round + 1) * BLOCKS);
  }
  allocate_all(blocks, BLOCKS, SIZE);
  test_thread_t thread;
  test_thread_start(&thread, take_and_free, blocks);
  test_thread_join(&thread);
  sums(bin, &allocated, &freed);
  assert_int_equal(allocated - allocated_then, 101 * BLOCKS + BLOCKS / 2);
  assert_int_equal(freed - freed_then, 101 * BLOCKS + BLOCKS / 2);
  mi_collect(true);
  sums(bin, &allocated, &freed);
  assert_int_equal(allocated - allocated_then, 101 * BLOCKS + BLOCKS / 2);
  assert_int_equal(freed - freed_then, 101 * BLOCKS + BLOCKS / 2);
}

// A collection leaves nothing in the racks: their pages go.
static void test_collect_empties(void** state) {
  MI_UNUSED(state);
  enum { MANY = 5000 };
  static void* blocks[MANY];
  unsigned bin = size_class_bin(block_size_for(SIZE));
  allocate_all(blocks, MANY, SIZE);
  free_all(blocks, MANY);
  mi_collect(true);
  stats_blocks_t sum;
  stats_collect_blocks(&sum);
  assert_int_equal(sum.pages[bin], 0);
}

// Others' blocks, freed by a thread that allocates as well, whose stacks run over, and by one that never does: their
// links and marks are those of the pages' lists, their ends are zero, counts are exact, and all pages go.
enum { OTHERS = 3000 };
typedef struct freer_s {
  void* blocks[OTHERS];
  bool allocates;
} freer_t;

static void free_others(void* arg) {
  freer_t* freer = arg;
  if (freer->allocates) mi_free(mi_malloc(1));
  free_all(freer->blocks, OTHERS);
}

static void test_others(void** state) {
  MI_UNUSED(state);
  static const size_t sizes[] = {1, SIZE, 200, 1000, 8000};
  static freer_t freer;
  for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
    size_t size = sizes[i / 2];
    unsigned bin = size_class_bin(block_size_for(size));
    freer.allocates = i % 2 == 0;
    int64_t allocated_then, freed_then, allocated, freed;
    sums(bin, &allocated_then, &freed_then);
    allocate_all(freer.blocks, OTHERS, size);
    test_thread_t thread;
    test_thread_start(&thread, free_others, &freer);
    test_thread_join(&thread);
    sums(bin, &allocated, &freed);
    int64_t own = freer.allocates && size == 1;
    assert_int_equal(allocated - allocated_then, OTHERS + own);
    assert_int_equal(freed - freed_then, OTHERS + own);
    allocate_all(freer.blocks, OTHERS, size); // every link is followed
    free_all(freer.blocks, OTHERS);
    mi_collect(true);
    stats_blocks_t sum;
    stats_collect_blocks(&sum);
    assert_int_equal(sum.pages[bin], 0);
    assert_int_equal(errors, 0);
  }
}

static void expect_error(int error) {
  assert_int_equal(errors, 1);
  assert_int_equal(last_error, error);
  errors = 0;
}

static bool comes_twice(void* p, size_t size) {
  void* blocks[2 * BLOCKS];
  allocate_all(blocks, 2 * BLOCKS, size);
  size_t seen = 0;
  for (size_t i = 0; i < 2 * BLOCKS; i++) seen += blocks[i] == p;
  free_all(blocks, 2 * BLOCKS);
  return seen > 1;
}

static void free_one(void* arg) { mi_free(arg); }

static void test_double_free(void** state) {
  MI_UNUSED(state);
  static const size_t sizes[] = {8, SIZE, 1000, 8000};
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    void *p = mi_malloc(sizes[i]), *others[BLOCKS];
    allocate_all(others, BLOCKS, sizes[i]);
    mi_free(p);
    mi_free(hide(p)); // it waits
    expect_error(MESSAGE_EAGAIN);
    test_thread_t thread;
    test_thread_start(&thread, free_one, hide(p)); // another thread
    test_thread_join(&thread);
    expect_error(MESSAGE_EAGAIN);
    free_all(others, BLOCKS);
    mi_free(hide(p)); // it lies in its stack, or its page is gone
    assert_true(errors <= 1 && (last_error == MESSAGE_EAGAIN || last_error == MESSAGE_EINVAL));
    errors = 0;
    assert_false(comes_twice(p, sizes[i]));
  }
}

// Every address of a block but its first, and addresses behind a page's last block.
static void test_inside(void** state) {
  MI_UNUSED(state);
  char* p = mi_malloc(SIZE);
  for (size_t at = 1; at < SIZE; at++) {
    mi_free(hide(p + at));
    expect_error(MESSAGE_EINVAL);
  }
  char* page = (char*)((uintptr_t)p & ~(uintptr_t)(SLICE_SIZE - 1));
  for (size_t at = SLICE_SIZE - SLICE_SIZE % 48; at < SLICE_SIZE; at++) {
    mi_free(hide(page + at)); // no block was ever there
    expect_error(MESSAGE_EINVAL);
  }
  mi_free(p);
  assert_int_equal(errors, 0);
}

// A code of one block is worth nothing in another one, or at another place of the same one.
static void test_copied_code(void** state) {
  MI_UNUSED(state);
  uint64_t *p = mi_malloc(SIZE), *q = mi_malloc(SIZE);
  uint64_t mine = ((uint64_t*)hide(p))[SIZE / 8], others = ((uint64_t*)hide(q))[SIZE / 8];
  ((uint64_t*)hide(p))[SIZE / 8] = others;
  mi_free(p);
  expect_error(MESSAGE_EFAULT);
  ((uint64_t*)hide(p))[SIZE / 8] = mine ^ 1;
  mi_free(p);
  expect_error(MESSAGE_EFAULT);
  ((uint64_t*)hide(p))[SIZE / 8] = mine;
  mi_free(p);
  mi_free(q);
  assert_int_equal(errors, 0);
}

// Written to after its free, at its begin or end, a block is reported when its turn comes, and never handed out.
static void test_written_after_free(void** state) {
  MI_UNUSED(state);
  static const size_t places[] = {0, 8, SIZE};
  for (size_t i = 0; i < 3; i++) {
    mi_collect(true);
    errors = 0;
    char *p = mi_malloc(SIZE), *others[BLOCKS];
    allocate_all((void**)others, BLOCKS, SIZE);
    mi_free(p);
    free_all((void**)others, BLOCKS);
    ((char*)hide(p))[places[i]] ^= 1;
    void* blocks[2 * BLOCKS];
    allocate_all(blocks, 2 * BLOCKS, SIZE);
    for (size_t k = 0; k < 2 * BLOCKS; k++) assert_ptr_not_equal(blocks[k], p);
    expect_error(MESSAGE_EFAULT);
    free_all(blocks, 2 * BLOCKS);
  }
  // So is one whose turn never comes.
  char* p = mi_malloc(SIZE);
  mi_free(p);
  ((char*)hide(p))[0] ^= 1;
  mi_collect(true);
  expect_error(MESSAGE_EFAULT);
}

// A heap that is destroyed leaves blocks that were in use: they aren't when another page lies there.
static void test_destroyed_heap(void** state) {
  MI_UNUSED(state);
  enum { MANY = 1600 }; // more than a page
  static void* blocks[MANY];
  mi_heap_t* heap = mi_heap_new();
  for (size_t i = 0; i < MANY; i++) assert_non_null(blocks[i] = mi_heap_malloc(heap, SIZE));
  mi_heap_destroy(heap);
  static void* fresh[MANY];
  size_t count = 0;
  uintptr_t slice = (uintptr_t)blocks[MANY / 2] / SLICE_SIZE;
  do {
    fresh[count] = mi_malloc(SIZE); // until there is a page again
  } while ((uintptr_t)fresh[count++] / SLICE_SIZE != slice && count < MANY);
  size_t tried = 0;
  for (size_t i = 0; i < MANY; i++) {
    bool is_in_use = (uintptr_t)blocks[i] / SLICE_SIZE != slice;
    for (size_t k = 0; k < count; k++) is_in_use |= blocks[i] == fresh[k];
    if (is_in_use) continue;
    tried++;
    errors = 0;
    mi_free(blocks[i]);
    assert_int_equal(errors, 1);
  }
  assert_true(tried > 100);
  free_all(fresh, count);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest cases[] = {
      CASE(test_freed_is_zero),      CASE(test_all_is_zeroed),   CASE(test_fresh_is_clean),
      CASE(test_reuse_waits),        CASE(test_order_is_random), CASE(test_fresh_order_is_random),
      CASE(test_counts_are_exact),   CASE(test_collect_empties), CASE(test_others),
      CASE(test_double_free),        CASE(test_inside),          CASE(test_copied_code),
      CASE(test_written_after_free), CASE(test_destroyed_heap),
  };
  return check_run(cases);
}
