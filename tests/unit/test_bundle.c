// Memory under freed blocks goes back while their page stays its owner's: which blocks stand for which, that those in use keep
// what they hold, and that the owner gets each freed one back once. Then the same by threads that sleep.
#include "support/check.h"
#include "support/test_data.h"
#include "support/test_thread.h"

#include "core/heaps/idle.h"
#include "core/pages/block.h"
#include "core/pages/bundle.h"
#include "core/pages/page_map.h"
#include "core/report/counters.h"
#include "core/stats/stats.h"
#include "os/os.h"

#include <mimalloc.h>

enum { BLOCKS_MOST = SLICE_SIZE / 8 };

static page_t page;
static size_t memory_size;
static block_t* blocks[BLOCKS_MOST]; // by their index in the page
static bool is_in_use[BLOCKS_MOST];

static void make_page(unsigned bin) {
  memset(&page, 0, sizeof(page));
  page.slice_count = (uint32_t)page_slices_for(size_class_size(bin));
  page.committed_slices = (uint8_t)page.slice_count;
  memory_size = page.slice_count * SLICE_SIZE;
  page.start = os_reserve_and_commit(memory_size);
  assert_non_null(page.start);
  page_init(&page, bin, size_class_size(bin), 64, NULL);
  bool is_zero;
  for (size_t i = 0; i < page.reserved; i++) {
    block_t* block = page_take(&page, &is_zero);
    size_t index = (size_t)((uint8_t*)block - page.start) / page.block_size;
    blocks[index] = block;
    is_in_use[index] = true;
    pattern_fill(block, page.block_size, index);
  }
  assert_null(page_take(&page, &is_zero));
}

static void drop_page(void) { assert_true(os_release(page.start, memory_size)); }

static void free_others(size_t index) {
  assert_true(is_in_use[index]);
  is_in_use[index] = false;
  page_free_remote(&page, blocks[index]);
}

static size_t freed_blocks(void) {
  size_t count = 0;
  for (size_t i = 0; i < page.reserved; i++) count += !is_in_use[i];
  return count;
}

static void check_in_use(void) {
  for (size_t i = 0; i < page.reserved; i++)
    if (is_in_use[i]) assert_int_equal(pattern_mismatch(blocks[i], page.block_size, i), SIZE_MAX);
}

// The owner takes them all again, each once.
static void collect_and_take(void) {
  size_t freed = freed_blocks();
  assert_int_equal(page_remote_count(&page), freed);
  assert_int_equal(page_collect_remote(&page), freed);
  assert_int_equal(page_used(&page), page.reserved - freed);
  bool is_zero;
  for (size_t i = 0; i < freed; i++) {
    block_t* block = page_take(&page, &is_zero);
    assert_non_null(block);
    size_t index = (size_t)((uint8_t*)block - page.start) / page.block_size;
    assert_ptr_equal(block, blocks[index]);
    assert_false(is_in_use[index]);
    is_in_use[index] = true;
    pattern_fill(block, page.block_size, index);
  }
  assert_null(page_take(&page, &is_zero));
  check_in_use();
}

// Every `share`-th block stays in use, or so many in a row.
static void test_all_classes(void** state) {
  MI_UNUSED(state);
  const size_t shares[] = {0, 2, 5, 50, 1000};
  test_random_t random = {7};
  for (unsigned bin = 1; bin <= BIN_LAST; bin++) {
    for (size_t s = 0; s < sizeof(shares) / sizeof(shares[0]); s++) {
      make_page(bin);
      size_t stays = shares[s] == 0 ? SIZE_MAX : test_random_below(&random, shares[s]);
      for (size_t i = page.reserved; i-- > 0;)
        if (shares[s] == 0 || i % shares[s] != stays) free_others(i);
      int64_t resets = stats_process.reset_calls;
      uint64_t before = page.remote;
      bool is_done = bundle_remote(&page, NULL);
      assert_int_equal(stats_process.reset_calls > resets, is_done);
      assert_int_equal(page_remote_count(&page), freed_blocks());
      if (shares[s] == 0) assert_true(is_done);
      if (!is_done) assert_int_equal(page.remote, before);
      check_in_use();
      collect_and_take();
      drop_page();
    }
  }
}

// More blocks come while others stand for some; some of those that stand for others stand for each other then.
static void test_one_after_another(void** state) {
  MI_UNUSED(state);
  test_random_t random = {8};
  for (size_t size = 8; size <= 16384; size *= 2) {
    make_page(size_class_bin(size));
    unsigned done = 0;
    for (size_t i = 0; i < 3 * (size_t)page.reserved / 4; i++) free_others(i);
    done += bundle_remote(&page, NULL);
    assert_false(bundle_remote(&page, NULL)); // there is nothing new
    for (int i = 0; i < 3; i++) {
      for (size_t next = page.reserved; next-- > 0;)
        if (is_in_use[next] && test_random_below(&random, 2) == 0) free_others(next);
      done += bundle_remote(&page, NULL);
      check_in_use();
    }
    assert_true(done >= 2);
    for (size_t next = page.reserved; next-- > 0;)
      if (is_in_use[next] && test_random_below(&random, 2) == 0) free_others(next);
    collect_and_take(); // a list with blocks before and behind a bundle
    drop_page();
  }
}

static int errors;
static void on_error(int error, void* arg) {
  MI_UNUSED(error);
  MI_UNUSED(arg);
  errors++;
}

// Who writes to a freed block may hit one that stands for others: nothing of the list is handed out then.
static void test_damaged(void** state) {
  MI_UNUSED(state);
  mi_register_error(&on_error, NULL);
  enum { COUNT_WORD = 1, BITS_WORD = 2 };
  for (int damage = 0; damage < 6; damage++) {
    make_page(size_class_bin(1024));
    for (size_t i = 0; i < 40; i++) free_others(i);
    assert_true(bundle_remote(&page, NULL));
    free_others(50);
    uint64_t* words = (uint64_t*)(void*)blocks[0]; // the first with room
    assert_int_equal(words[COUNT_WORD], 40);
    if (damage == 0) words[COUNT_WORD] = 39;
    if (damage == 1) words[BITS_WORD] |= (uint64_t)1 << 50 | (uint64_t)1 << 60; // 50 is in the list already
    if (damage == 2) words[BITS_WORD] = words[COUNT_WORD] = 0;
    if (damage == 3) words[0] += page.block_size;
    if (damage == 4) words[BITS_WORD] |= (uint64_t)1 << 60; // one in use
    if (damage == 5) words[BITS_WORD] ^= (uint64_t)1 << 10 | (uint64_t)1 << 50;
    errors = 0;
    assert_int_equal(page_collect_remote(&page), 0);
    assert_int_equal(errors, 1);
    assert_null(page.free);
    drop_page();
  }
  mi_register_error(NULL, NULL);
}

// Blocks that killed threads lost make a page's number of blocks smaller, not their places.
static void test_after_a_kill(void** state) {
  MI_UNUSED(state);
  make_page(size_class_bin(1024));
  enum { LOST = 20 };
  size_t all = page.reserved;
  for (size_t i = LOST; i < all; i++) free_others(i);
  page.reserved = (uint16_t)(all - LOST);
  assert_true(bundle_remote(&page, NULL));
  free_others(0);
  assert_int_equal(page_collect_remote(&page), all - LOST + 1);
  size_t count = 0;
  for (block_t* block = page.free; block != NULL; block = block->next) count++;
  assert_int_equal(count, all - LOST + 1);
  check_in_use();
  drop_page();
}

// A page that another heap has by now is left as it was.
static void test_of_another_heap(void** state) {
  MI_UNUSED(state);
  make_page(size_class_bin(512));
  for (size_t i = 0; i < page.reserved; i++) free_others(i);
  uint64_t before = page.remote;
  assert_false(bundle_remote(&page, heap_main()));
  assert_int_equal(page.remote, before);
  collect_and_take();
  drop_page();
}

// ---- threads ------------------------------------------------------------------------------------------------

enum { PAGES = 40, BLOCK_SIZE = 1000, EACH = SLICE_SIZE / 1024 };

typedef struct sleeper_s {
  test_thread_t thread;
  test_event_t ready, go;
  uint8_t* blocks[EACH]; // all but the last block of a page
} sleeper_t;

static sleeper_t sleepers[PAGES];

static void sleeper_run(void* arg) {
  sleeper_t* sleeper = arg;
  for (size_t i = 0; i < EACH - 1; i++) {
    sleeper->blocks[i] = mi_malloc(BLOCK_SIZE);
    pattern_fill(sleeper->blocks[i], BLOCK_SIZE, i);
  }
  test_event_set(&sleeper->ready);
  test_event_wait(&sleeper->go);
  // It goes on with its page: what is in use stays as it was.
  uint8_t* more[2 * EACH];
  for (size_t i = 0; i < 2 * EACH; i++) {
    more[i] = mi_malloc(BLOCK_SIZE);
    memset(more[i], 0xAA, BLOCK_SIZE);
  }
  for (size_t i = 0; i < EACH - 1; i++) {
    if (sleeper->blocks[i] == NULL) continue;
    assert_int_equal(pattern_mismatch(sleeper->blocks[i], BLOCK_SIZE, i), SIZE_MAX);
    mi_free(sleeper->blocks[i]);
  }
  for (size_t i = 0; i < 2 * EACH; i++) mi_free(more[i]);
}

static void sleepers_start(void) {
  for (size_t i = 0; i < PAGES; i++) {
    test_event_init(&sleepers[i].ready);
    test_event_init(&sleepers[i].go);
    test_thread_start(&sleepers[i].thread, sleeper_run, &sleepers[i]);
    test_event_wait(&sleepers[i].ready);
  }
}

// Of each page one block in eight stays in use.
static void free_blocks_of_sleepers(void) {
  for (size_t i = 0; i < PAGES; i++) {
    for (size_t block = 0; block < EACH - 1; block++) {
      if (block % 8 == 3) continue;
      mi_free(sleepers[i].blocks[block]);
      sleepers[i].blocks[block] = NULL;
    }
  }
}

static void sleepers_end(void) {
  for (size_t i = 0; i < PAGES; i++) {
    test_event_set(&sleepers[i].go);
    test_thread_join(&sleepers[i].thread);
    test_event_done(&sleepers[i].ready);
    test_event_done(&sleepers[i].go);
  }
}

static size_t visited;
static bool count_visited(const mi_heap_t* heap, const mi_heap_area_t* area, void* block, size_t size,
                          void* arg) {
  MI_UNUSED(heap);
  MI_UNUSED(area);
  MI_UNUSED(arg);
  if (block != NULL && size >= BLOCK_SIZE && size < 2 * BLOCK_SIZE) visited++;
  return true;
}

static size_t count_blocks(size_t size) {
  stats_blocks_t counts;
  stats_collect_blocks(&counts);
  unsigned bin = size_class_bin(size);
  return (size_t)(counts.allocated[bin] - counts.freed[bin]);
}

static void test_collect_of_others(void** state) {
  MI_UNUSED(state);
  size_t before = count_blocks(BLOCK_SIZE);
  sleepers_start();
  free_blocks_of_sleepers();
  size_t in_use = count_blocks(BLOCK_SIZE);
  assert_int_equal(in_use - before, PAGES * (EACH / 8));
  visited = 0;
  mi_heap_visit_blocks(mi_heap_main(), true, &count_visited, NULL);
  size_t visited_before = visited;
  int64_t resets = stats_process.reset_bytes;
  mi_collect(true);
  // At least four of the sixteen system pages of each, if they are of 4 KiB.
  if (os_page_size() == 4096) assert_true(stats_process.reset_bytes - resets >= PAGES * 4 * 4096);
  assert_int_equal(count_blocks(BLOCK_SIZE), in_use);
  visited = 0;
  mi_heap_visit_blocks(mi_heap_main(), true, &count_visited, NULL);
  assert_int_equal(visited, visited_before);
  sleepers_end();
  assert_int_equal(count_blocks(BLOCK_SIZE), before);
}

// Who has done something since it was noted is left alone. The test's own thread is one of them.
static void test_who_is_awake(void** state) {
  MI_UNUSED(state);
  long delay = mi_option_get(mi_option_purge_delay);
  mi_option_set(mi_option_purge_delay, 0); // no timer, which would look as well
  sleepers_start();
  idle_note();
  for (size_t i = 0; i < 1000; i++) mi_free(mi_malloc(3 * MI_KIB)); // counts
  uint8_t* own[EACH - 1];
  for (size_t i = 0; i < EACH - 1; i++) own[i] = mi_malloc(BLOCK_SIZE);
  page_t* page_of_own = page_map_page(own[0]);
  for (size_t i = 0; i < EACH - 1; i++) {
    if (page_map_page(own[i]) == page_of_own) page_free_remote(page_of_own, (block_t*)(void*)own[i]);
  }
  free_blocks_of_sleepers();
  int64_t resets = stats_process.reset_calls;
  idle_give_back(NULL, false);
  if (os_page_size() == 4096) assert_true(stats_process.reset_calls - resets >= PAGES);
  assert_int_equal(page_of_own->remote & PAGE_REMOTE_BUNDLED, 0);
  idle_note();
  idle_give_back(NULL, false);
  if (os_page_size() == 4096) assert_int_not_equal(page_of_own->remote & PAGE_REMOTE_BUNDLED, 0);
  for (size_t i = 0; i < EACH - 1; i++) {
    if (page_map_page(own[i]) != page_of_own) mi_free(own[i]);
  }
  sleepers_end();
  mi_option_set(mi_option_purge_delay, delay);
}

// Blocks that the calling thread freed itself, of pages that it keeps.
static void test_collect_of_own(void** state) {
  MI_UNUSED(state);
  enum { COUNT = 4000, STAYS = 16 };
  static uint8_t* own[COUNT];
  const size_t sizes[] = {600, 2000, 6000, 20000};
  for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
    size_t size = sizes[s], before = count_blocks(size);
    for (size_t i = 0; i < COUNT; i++) pattern_fill_sampled(own[i] = mi_malloc(size), size, i);
    for (size_t i = 0; i < COUNT; i++) {
      if (i % STAYS == 3) continue;
      mi_free(own[i]);
      own[i] = NULL;
    }
    int64_t resets = stats_process.reset_bytes;
    mi_collect(true);
    if (os_page_size() == 4096)
      assert_true(stats_process.reset_bytes - resets >= (int64_t)(COUNT * size / 4));
    assert_int_equal(count_blocks(size) - before, COUNT / STAYS);
    for (size_t i = 0; i < COUNT; i++) {
      if (own[i] != NULL) assert_int_equal(pattern_mismatch_sampled(own[i], size, i), SIZE_MAX);
      if (own[i] == NULL) pattern_fill_sampled(own[i] = mi_malloc(size), size, i);
    }
    for (size_t i = 0; i < COUNT; i++) {
      assert_int_equal(pattern_mismatch_sampled(own[i], size, i), SIZE_MAX);
      mi_free(own[i]);
    }
  }
}

// A thread with more pages than one call of the timer's may deal with: the next call goes on.
enum { MANY = 2500, PER_PAGE = SLICE_SIZE / 8192 };
static uint8_t* many[MANY * PER_PAGE];
static test_event_t many_ready, many_go;

static void many_run(void* arg) {
  MI_UNUSED(arg);
  for (size_t i = 0; i < MANY * PER_PAGE; i++) many[i] = mi_malloc(8192);
  for (size_t i = 0; i < MANY * PER_PAGE; i += PER_PAGE) { // so it has the pages back
    mi_free(many[i]);
    many[i] = NULL;
  }
  test_event_set(&many_ready);
  test_event_wait(&many_go);
}

static void test_step_by_step(void** state) {
  MI_UNUSED(state);
  if (os_page_size() != 4096) return;
  long delay = mi_option_get(mi_option_purge_delay);
  mi_option_set(mi_option_purge_delay, 0); // no timer
  test_event_init(&many_ready);
  test_event_init(&many_go);
  test_thread_t thread;
  test_thread_start(&thread, many_run, NULL);
  test_event_wait(&many_ready);
  for (size_t i = 0; i < MANY * PER_PAGE; i++) {
    if (i % PER_PAGE == 1 || many[i] == NULL) continue; // one stays
    mi_free(many[i]);
    many[i] = NULL;
  }
  idle_note();
  int64_t resets = stats_process.reset_bytes;
  assert_false(idle_give_back(NULL, false));
  int64_t first = stats_process.reset_bytes - resets;
  assert_true(idle_give_back(NULL, false));
  int64_t both = stats_process.reset_bytes - resets;
  assert_true(both - first > 0 && first > both - first);
  assert_true(both >= (MANY - 100) * (int64_t)(5 * 8192 - 4096));
  idle_is_to_stop = 1;
  idle_note();
  assert_true(idle_give_back(NULL, false));
  idle_is_to_stop = 0;
  assert_int_equal(stats_process.reset_bytes - resets, both);
  for (size_t i = 0; i < MANY * PER_PAGE; i++) mi_free(many[i]);
  test_event_set(&many_go);
  test_thread_join(&thread);
  test_event_done(&many_ready);
  test_event_done(&many_go);
  mi_option_set(mi_option_purge_delay, delay);
}

// Nobody calls: the timer does, which no test before this one has started.
static void test_by_timer(void** state) {
  MI_UNUSED(state);
  long delay = mi_option_get(mi_option_purge_delay);
  mi_option_set(mi_option_purge_delay, 20);
  sleepers_start();
  int64_t resets = atomic_get_relaxed(&stats_process.reset_bytes);
  free_blocks_of_sleepers();
  // Within a fraction of a second; a minute is for machines that do something else.
  uint32_t begin = os_clock_ms();
  bool is_done = os_page_size() != 4096;
  while (!is_done && os_clock_ms() - begin < 60000) {
    os_yield();
    is_done = atomic_get_relaxed(&stats_process.reset_bytes) - resets >= PAGES * 4 * 4096;
  }
  sleepers_end();
  mi_option_set(mi_option_purge_delay, delay);
  assert_true(is_done);
}

int main(void) {
  os_init();
  const struct CMUnitTest tests[] = {
      // the first two want no timer, the third one a timer that rests
      cmocka_unit_test(test_who_is_awake),      cmocka_unit_test(test_step_by_step),
      cmocka_unit_test(test_by_timer),          cmocka_unit_test(test_all_classes),
      cmocka_unit_test(test_one_after_another), cmocka_unit_test(test_damaged),
      cmocka_unit_test(test_after_a_kill),      cmocka_unit_test(test_of_another_heap),
      cmocka_unit_test(test_collect_of_others), cmocka_unit_test(test_collect_of_own),
  };
  return check_run(tests);
}
