// Theaps from birth to adoption: what a dead thread leaves is taken over, what others free comes back, dead owners are
// found, empty pages go.
#include "support/check.h"
#include "support/test_data.h"
#include "support/test_thread.h"

#include "core/arenas/arena.h"
#include "core/stats/stats.h"
#include "core/heaps/theap.h"
#include "lifecycle/runtime.h"

#include <mimalloc.h>

enum { BLOCKS = 400 };

typedef struct leaver_s {
  test_thread_t thread;
  char* blocks[BLOCKS];
  size_t size;
  theap_t* theap;
} leaver_t;

static void run_leaver(void* arg) {
  leaver_t* leaver = arg;
  for (size_t i = 0; i < BLOCKS; i++) {
    leaver->blocks[i] = mi_malloc(leaver->size);
    pattern_fill_sampled(leaver->blocks[i], leaver->size, i);
  }
  leaver->theap = runtime_theap();
}

static void leave(leaver_t* leaver, size_t size) {
  leaver->size = size;
  test_thread_start(&leaver->thread, run_leaver, leaver);
  test_thread_join(&leaver->thread);
}

static void free_left(leaver_t* leaver) {
  for (size_t i = 0; i < BLOCKS; i++) {
    assert_int_equal(pattern_mismatch_sampled(leaver->blocks[i], leaver->size, i), SIZE_MAX);
    mi_free(leaver->blocks[i]);
  }
}

static int64_t pages_now(void) { return stats_process.pages.current; }

// The test's own thread has its theap, and nothing is left of other cases.
static int set_up(void** state) {
  MI_UNUSED(state);
  mi_free(mi_malloc(8));
  mi_collect(true);
  return stats_process.theaps.current == 1 && stats_process.theaps_orphaned.current == 0 ? 0 : -1;
}

static void test_adoption_by_new_thread(void** state) {
  MI_UNUSED(state);
  int64_t pages = pages_now(), adopted = stats_process.theaps_adopted;
  leaver_t first, second;
  leave(&first, 1000);
  assert_int_equal(stats_process.theaps_orphaned.current, 1);
  assert_int_equal(stats_process.theaps.current, 1); // the test's own
  assert_true(pages_now() > pages);
  leave(&second, 1000);
  assert_int_equal(stats_process.theaps_adopted - adopted, 1);
  assert_ptr_equal(second.theap, first.theap); // whole: the very record
  assert_int_equal(stats_process.theaps_orphaned.current, 1);
  free_left(&first);
  free_left(&second);
  mi_collect(true);
  assert_int_equal(stats_process.theaps_orphaned.current, 0);
  assert_int_equal(pages_now(), pages);
}

// A living thread that needs pages takes an orphan's before it asks the arenas.
static void test_absorption(void** state) {
  MI_UNUSED(state);
  int64_t pages = pages_now(), absorbed = stats_process.pages_absorbed;
  leaver_t leaver;
  leave(&leaver, 3000);
  int64_t with_orphan = pages_now();
  for (size_t i = 0; i < BLOCKS; i += 2) { // holes in its pages
    mi_free(leaver.blocks[i]);
    leaver.blocks[i] = NULL;
  }
  static char* own[BLOCKS / 2];
  for (size_t i = 0; i < BLOCKS / 2; i++) {
    own[i] = mi_malloc(3000);
    assert_non_null(own[i]);
    pattern_fill(own[i], 3000, i);
  }
  assert_true(stats_process.pages_absorbed > absorbed);
  assert_true(pages_now() <= with_orphan + 2); // the holes were used
  for (size_t i = 1; i < BLOCKS; i += 2) {
    assert_int_equal(pattern_mismatch_sampled(leaver.blocks[i], 3000, i), SIZE_MAX);
    mi_free(leaver.blocks[i]);
  }
  for (size_t i = 0; i < BLOCKS / 2; i++) {
    assert_int_equal(pattern_mismatch(own[i], 3000, i), SIZE_MAX);
    mi_free(own[i]);
  }
  mi_collect(true);
  assert_int_equal(pages_now(), pages);
}

// Frees by others make full pages usable again: no page more than at the first time.
static void run_freeing(void* arg) { free_left(arg); }

static void test_remote_frees_come_back(void** state) {
  MI_UNUSED(state);
  for (size_t size = 16; size <= 100000; size *= 9) {
    leaver_t own = {.size = size};
    run_leaver(&own);
    int64_t pages = pages_now();
    for (size_t round = 0; round < 20; round++) {
      test_thread_start(&own.thread, run_freeing, &own);
      test_thread_join(&own.thread);
      run_leaver(&own);
      if (pages_now() > pages + 2) {
        fail_msg("size %zu, round %zu: %lld pages, %lld at first", size, round, (long long)pages_now(),
                 (long long)pages);
      }
    }
    free_left(&own);
  }
}

// A loop of one block at the border of a page goes to the arenas now and then at most, and never to the system.
static void test_kept_page(void** state) {
  MI_UNUSED(state);
  for (size_t size = 8; size <= 400000; size *= 7) {
    mi_free(mi_malloc(size));
    int64_t calls = stats_process.commit_calls, retired = stats_process.pages_retired;
    for (size_t i = 0; i < 10000; i++) mi_free(mi_malloc(size));
    assert_int_equal(stats_process.commit_calls, calls);
    int64_t more = stats_process.pages_retired - retired;
    if (more > 100) fail_msg("size %zu: %lld pages retired in 10,000 rounds", size, (long long)more);
  }
  mi_collect(true); // and yet none is kept for ever
  int64_t pages = pages_now();
  assert_true(pages <= 1);
}

// ---- the late theap ---------------------------------------------------------------------------------------------

enum { LATE_THREADS = 4 };

static void run_late(void* arg) {
  leaver_t* leaver = arg;
  mi_free(mi_malloc(10));
  runtime_thread_detach();
  run_leaver(leaver); // runtime_theap() answers NULL
  for (size_t i = 0; i < BLOCKS; i += 2) {
    mi_free(leaver->blocks[i]);
    leaver->blocks[i] = mi_malloc(leaver->size);
    if (leaver->blocks[i] != NULL) pattern_fill_sampled(leaver->blocks[i], leaver->size, i);
  }
}

static void test_late(void** state) {
  MI_UNUSED(state);
  int64_t late = stats_process.late_allocations, threads = stats_process.threads.current;
  static leaver_t leavers[LATE_THREADS];
  for (size_t i = 0; i < LATE_THREADS; i++) {
    leavers[i].size = 40 + 5000 * i;
    test_thread_start(&leavers[i].thread, run_late, &leavers[i]);
  }
  for (size_t i = 0; i < LATE_THREADS; i++) test_thread_join(&leavers[i].thread);
  assert_int_equal(stats_process.late_allocations - late, LATE_THREADS * (BLOCKS + BLOCKS / 2));
  assert_int_equal(stats_process.threads.current, threads);
  for (size_t i = 0; i < LATE_THREADS; i++) {
    assert_null(leavers[i].theap);
    free_left(&leavers[i]);
  }
  mi_collect(true);
  assert_int_equal(pages_now(), 0);
}

// ---- owners that died without a word ----------------------------------------------------------------------------

static void run_vanish(void* arg) {
  leaver_t* leaver = arg;
  run_leaver(leaver);
  for (size_t i = 0; i < BLOCKS; i += 3) mi_free(leaver->blocks[i]); // holes, on its own free lists
  os_slot_set(NULL); // the thread's end will find nothing to give back
}

static void test_reaping(void** state) {
  MI_UNUSED(state);
  int64_t threads = stats_process.threads.current, pages = pages_now(), reaped = stats_process.theaps_reaped;
  leaver_t leavers[3];
  for (size_t i = 0; i < 3; i++) {
    leavers[i].size = 100 + 2000 * i;
    test_thread_start(&leavers[i].thread, run_vanish, &leavers[i]);
    test_thread_join(&leavers[i].thread);
  }
  // The start of a later thread may have found an earlier one already. Ids of dead threads may live again for a moment: ask until all are found.
  for (size_t tries = 0; tries < 1000 && stats_process.threads.current > threads; tries++) {
    mi_collect(true);
    if (stats_process.threads.current > threads) os_yield();
  }
  assert_int_equal(stats_process.threads.current, threads);
  assert_int_equal(stats_process.theaps_reaped - reaped, 3);
  for (size_t k = 0; k < 3; k++) {
    for (size_t i = 0; i < BLOCKS; i++) {
      if (i % 3 == 0) continue;
      assert_int_equal(pattern_mismatch_sampled(leavers[k].blocks[i], leavers[k].size, i), SIZE_MAX);
      mi_free(leavers[k].blocks[i]);
    }
  }
  mi_collect(true);
  assert_int_equal(pages_now(), pages);
}

static test_event_t end;
static test_barrier_t used;

static void run_living(void* arg) {
  run_leaver(arg);
  test_barrier_wait(&used);
  test_event_wait(&end);
  free_left(arg);
}

static void test_living_are_not_reaped(void** state) {
  MI_UNUSED(state);
  test_event_init(&end);
  test_barrier_init(&used, 3);
  leaver_t leavers[2];
  for (size_t i = 0; i < 2; i++) {
    leavers[i].size = 500;
    test_thread_start(&leavers[i].thread, run_living, &leavers[i]);
  }
  test_barrier_wait(&used);
  int64_t reaped = stats_process.theaps_reaped, threads = stats_process.threads.current;
  for (size_t i = 0; i < 50; i++) assert_int_equal(theap_reap(runtime_theap(), SIZE_MAX), 0);
  assert_int_equal(stats_process.theaps_reaped, reaped);
  assert_int_equal(stats_process.threads.current, threads);
  test_event_set(&end);
  for (size_t i = 0; i < 2; i++) test_thread_join(&leavers[i].thread);
  test_event_done(&end);
  test_barrier_done(&used);
}

// ---- counts -----------------------------------------------------------------------------------------------------

static void count_blocks(int64_t* allocated, int64_t* freed) {
  static stats_blocks_t blocks;
  stats_collect_blocks(&blocks);
  *allocated = *freed = 0;
  for (size_t i = 0; i < BIN_COUNT; i++) {
    *allocated += blocks.allocated[i];
    *freed += blocks.freed[i];
  }
}

static void test_counts(void** state) {
  MI_UNUSED(state);
  int64_t allocated, freed, allocated_before, freed_before;
  count_blocks(&allocated_before, &freed_before);
  leaver_t leavers[3];
  for (size_t i = 0; i < 3; i++) leave(&leavers[i], i == 2 ? 600000 : 10 + 900 * i);
  count_blocks(&allocated, &freed);
  assert_int_equal(allocated - allocated_before, 3 * BLOCKS);
  assert_int_equal(freed, freed_before);
  for (size_t i = 0; i < 3; i++) free_left(&leavers[i]);
  count_blocks(&allocated, &freed); // those in remote lists count as freed
  assert_int_equal(allocated - allocated_before, 3 * BLOCKS);
  assert_int_equal(freed - freed_before, 3 * BLOCKS);
  mi_collect(true);
  count_blocks(&allocated, &freed);
  assert_int_equal(allocated - allocated_before, 3 * BLOCKS);
  assert_int_equal(freed - freed_before, 3 * BLOCKS);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup(name, set_up)
  const struct CMUnitTest tests[] = {
      CASE(test_adoption_by_new_thread),
      CASE(test_absorption),
      CASE(test_remote_frees_come_back),
      CASE(test_kept_page),
      CASE(test_late),
      CASE(test_reaping),
      CASE(test_living_are_not_reaped),
      CASE(test_counts),
  };
  return check_run(tests);
}
