// Pages of one block: a few freed ones are kept by the thread that freed them, for the next block of the size.
#include "support/check.h"
#include "support/test_thread.h"

#include "core/heaps/single.h"
#include "core/heaps/thread.h"
#include "core/report/options.h"
#include "core/stats/stats.h"
#include "core/stats/stats_print.h"
#include "lifecycle/runtime.h"

#include <mimalloc.h>

enum { LARGE = 200000, LARGE_SLICES = 4, KEPT_SLICES = KEPT_LENGTHS, KEPT_MOST = 128, KEPT_SHARE = 8 };

static int64_t pages_now(void) {
  static stats_snapshot_t snapshot;
  stats_snapshot(&snapshot);
  return snapshot.blocks.pages[BIN_HUGE];
}

static int begin(void** state) {
  MI_UNUSED(state);
  mi_free(mi_malloc(LARGE));
  mi_collect(true);
  return pages_now() == 0 ? 0 : -1;
}

static void test_reuse(void** state) {
  MI_UNUSED(state);
  void* p = mi_malloc(LARGE);
  mi_free(p);
  assert_int_equal(pages_now(), 1);
  assert_ptr_equal(mi_malloc(LARGE - 1000), p);
  void* other = mi_malloc(LARGE); // none is left
  assert_ptr_not_equal(other, p);
  mi_free(other);
  void* larger = mi_malloc(2 * LARGE);
  assert_ptr_not_equal(larger, other);
  mi_free(p);
  mi_free(larger);
  assert_int_equal(pages_now(), 3);
  mi_collect(false);
  assert_int_equal(pages_now(), 0);
}

// Of `count` blocks of `size` and more one after the other is freed: what is kept is bounded by what is still live.
static void check_bound(size_t count, size_t size, size_t step) {
  static void* blocks[400];
  size_t live = 0, most_kept = 0;
  for (size_t i = 0; i < count; i++) {
    blocks[i] = mi_malloc(size + i * step);
    live += (mi_usable_size(blocks[i]) + SLICE_SIZE - 1) / SLICE_SIZE;
  }
  for (size_t i = 0; i < count; i++) {
    size_t kept, allowed = KEPT_SLICES + live / KEPT_SHARE; // live before this free
    live -= (mi_usable_size(blocks[i]) + SLICE_SIZE - 1) / SLICE_SIZE;
    mi_free(blocks[i]);
    kept = runtime_theap()->singles_slices;
    assert_true(kept >= 1 && kept <= allowed && kept <= KEPT_MOST);
    if (kept > most_kept) most_kept = kept;
  }
  assert_true(runtime_theap()->singles_slices <= KEPT_SLICES); // all are freed
  if (count == 400) assert_true(most_kept > KEPT_MOST - KEPT_SLICES);
}

static void test_bound(void** state) {
  MI_UNUSED(state);
  check_bound(40, LARGE, 0);                          // by number
  check_bound(40, 300000, 20000);                     // by size
  check_bound(400, 10 * LARGE / 2, 0);                // by what may be kept at most
  mi_free(mi_malloc((KEPT_SLICES + 1) * SLICE_SIZE)); // too large
  assert_true(runtime_theap()->singles_slices <= KEPT_SLICES);
  mi_collect(true);
  assert_int_equal(pages_now(), 0);
}

// The last one that was freed is the first that is used again, of its own length alone.
static void test_order(void** state) {
  MI_UNUSED(state);
  void* blocks[4];
  for (size_t i = 0; i < 4; i++) blocks[i] = mi_malloc(LARGE - (i % 2) * SLICE_SIZE);
  for (size_t i = 0; i < 4; i++) mi_free(blocks[i]);
  for (size_t i = 4; i-- > 0;) assert_ptr_equal(mi_malloc(LARGE - (i % 2) * SLICE_SIZE), blocks[i]);
  for (size_t i = 0; i < 4; i++) mi_free(blocks[i]);
  mi_collect(true);
  assert_int_equal(pages_now(), 0);
}

// While a thread goes on, what it doesn't use any more goes back.
static void test_given_up_in_time(void** state) {
  MI_UNUSED(state);
  for (size_t i = 0; i < 3; i++) mi_free(mi_malloc(LARGE + i * SLICE_SIZE));
  assert_int_equal(pages_now(), 3);
  for (size_t i = 0; i < 3 * 4 * THEAP_TICK_CALLS; i++)
    mi_free(mi_malloc(9000)); // the fourth time that each is looked at
  assert_int_equal(pages_now(), 0);
  // Of a length that is in use none goes, however many ticks there are.
  for (size_t i = 0; i < 2; i++) mi_free(mi_malloc(LARGE + i * SLICE_SIZE));
  for (size_t i = 0; i < 40 * THEAP_TICK_CALLS; i++)
    mi_free(mi_malloc(i % THEAP_TICK_CALLS == 0 ? LARGE : 9000));
  assert_int_equal(pages_now(), 1);
  mi_collect(true);
}

static void test_double_free(void** state) {
  MI_UNUSED(state);
  char* p = mi_malloc(LARGE);
  mi_free(p);
  assert_int_equal(mi_usable_size(p), 0);
  assert_null(mi_expand(p, 10));
  mi_free(p);
  mi_free(p + SLICE_SIZE);
  assert_null(mi_realloc(p, 2 * LARGE));
  void *first = mi_malloc(LARGE), *second = mi_malloc(LARGE);
  assert_ptr_equal(first, p);
  assert_ptr_not_equal(second, p);
  mi_free(first);
  mi_free(second);
  mi_collect(true);
  assert_int_equal(pages_now(), 0);
}

static bool count_block(const mi_heap_t* heap, const mi_heap_area_t* area, void* block, size_t size,
                        void* arg) {
  (void)heap, (void)area, (void)size;
  if (block != NULL && size >= LARGE) ++*(size_t*)arg;
  return true;
}

static void test_no_block_there(void** state) {
  MI_UNUSED(state);
  void *p = mi_malloc(LARGE), *q = mi_malloc(LARGE);
  size_t count = 0;
  mi_heap_visit_blocks(mi_heap_main(), true, count_block, &count);
  assert_int_equal(count, 2);
  mi_free(p);
  count = 0;
  mi_heap_visit_blocks(mi_heap_main(), true, count_block, &count);
  assert_int_equal(count, 1);
  mi_free(q);
  mi_collect(true);
}

// ---- threads ----------------------------------------------------------------------------------------------

static void free_block(void* arg) { mi_free(arg); }

static void test_other_threads(void** state) {
  MI_UNUSED(state);
  test_thread_t thread;
  test_thread_start(&thread, free_block, mi_malloc(LARGE)); // has no theap: nobody to keep it
  test_thread_join(&thread);
  assert_int_equal(pages_now(), 0);
}

static test_event_t has_freed, go_on;
static void free_and_wait(void* arg) {
  mi_free(mi_malloc(10));
  mi_free(arg);
  test_event_set(&has_freed);
  test_event_wait(&go_on);
}

static void test_end_of_keeper(void** state) {
  MI_UNUSED(state);
  test_event_init(&has_freed);
  test_event_init(&go_on);
  test_thread_t thread;
  void* p = mi_malloc(LARGE);
  test_thread_start(&thread, free_and_wait, p);
  test_event_wait(&has_freed);
  assert_int_equal(pages_now(), 1);
  mi_free(p); // a double free, of what another thread keeps
  void* other = mi_malloc(LARGE);
  assert_ptr_not_equal(other, p);
  test_event_set(&go_on);
  test_thread_join(&thread);
  mi_free(other);
  mi_collect(true);
  assert_int_equal(pages_now(), 0);
  test_event_done(&has_freed);
  test_event_done(&go_on);
}

// Two threads free the same block at once, again and again: one of them has it.
enum { ROUNDS = 2000 };
static test_barrier_t both;
static void* shared_block;
static void free_shared(void* arg) {
  MI_UNUSED(arg);
  mi_free(mi_malloc(10));
  for (size_t i = 0; i < ROUNDS; i++) {
    test_barrier_wait(&both);
    mi_free(shared_block);
    test_barrier_wait(&both);
  }
}

static void test_freed_by_two(void** state) {
  MI_UNUSED(state);
  test_thread_t threads[2];
  test_barrier_init(&both, 3);
  for (size_t i = 0; i < 2; i++) test_thread_start(&threads[i], free_shared, NULL);
  for (size_t i = 0; i < ROUNDS; i++) {
    shared_block = mi_malloc(i % 2 == 0 ? LARGE : 2 * LARGE);
    test_barrier_wait(&both);
    test_barrier_wait(&both);
  }
  for (size_t i = 0; i < 2; i++) test_thread_join(&threads[i]);
  mi_collect(true);
  assert_int_equal(pages_now(), 0);
}

int main(void) {
  const struct CMUnitTest cases[] = {
      cmocka_unit_test_setup(test_reuse, begin),         cmocka_unit_test_setup(test_bound, begin),
      cmocka_unit_test_setup(test_order, begin),         cmocka_unit_test_setup(test_given_up_in_time, begin),
      cmocka_unit_test_setup(test_double_free, begin),   cmocka_unit_test_setup(test_no_block_there, begin),
      cmocka_unit_test_setup(test_other_threads, begin), cmocka_unit_test_setup(test_end_of_keeper, begin),
      cmocka_unit_test_setup(test_freed_by_two, begin),
  };
  return check_run(cases);
}
