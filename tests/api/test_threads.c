// Blocks that cross threads: freed, resized and measured elsewhere than they were made, also after their thread ended.
#include "api_check.h"
#include "support/child.h"
#include "support/test_thread.h"

#include <mimalloc-stats.h>

enum { BLOCKS = 3000 };

typedef struct batch_s {
  test_thread_t thread;
  char* blocks[BLOCKS];
  size_t sizes[BLOCKS];
  uint64_t seed;
} batch_t;

static void make_batch(void* arg) {
  batch_t* batch = arg;
  test_random_t random = {batch->seed};
  for (size_t i = 0; i < BLOCKS; i++) {
    batch->sizes[i] = test_random_size(&random, 1, i % 200 == 0 ? 2000000 : 4000);
    batch->blocks[i] = mi_malloc(batch->sizes[i]);
    pattern_fill_sampled(batch->blocks[i], batch->sizes[i], (uintptr_t)batch->blocks[i]);
  }
}

static void check_and_free_batch(void* arg) {
  batch_t* batch = arg;
  for (size_t i = 0; i < BLOCKS; i++) {
    char* p = batch->blocks[i];
    if (p == NULL) continue;
    if (pattern_mismatch_sampled(p, batch->sizes[i], (uintptr_t)p) != SIZE_MAX ||
        mi_usable_size(p) < batch->sizes[i]) {
      continue; // stays in the array: the main thread sees it
    }
    mi_free(p);
    batch->blocks[i] = NULL;
  }
}

static void assert_all_freed(const batch_t* batch) {
  for (size_t i = 0; i < BLOCKS; i++) {
    if (batch->blocks[i] != NULL) fail_msg("block %zu (%zu bytes) was damaged", i, batch->sizes[i]);
  }
}

// One thread makes blocks and ends; another, then the main thread, free them.
static void test_outliving_blocks(void** state) {
  (void)state;
  static batch_t batch;
  for (uint64_t round = 0; round < 20; round++) {
    batch.seed = round;
    test_thread_start(&batch.thread, make_batch, &batch);
    test_thread_join(&batch.thread);
    if (round % 2 == 0) {
      test_thread_start(&batch.thread, check_and_free_batch, &batch);
      test_thread_join(&batch.thread);
    } else {
      check_and_free_batch(&batch);
    }
    assert_all_freed(&batch);
  }
}

// The main thread's blocks are freed by others while it goes on allocating.
static void test_remote_free(void** state) {
  (void)state;
  static batch_t batches[3];
  for (uint64_t round = 0; round < 15; round++) {
    for (size_t i = 0; i < 3; i++) {
      batches[i].seed = round * 3 + i;
      make_batch(&batches[i]);
      test_thread_start(&batches[i].thread, check_and_free_batch, &batches[i]);
    }
    static batch_t own;
    own.seed = 1000 + round;
    make_batch(&own);
    check_and_free_batch(&own);
    assert_all_freed(&own);
    for (size_t i = 0; i < 3; i++) {
      test_thread_join(&batches[i].thread);
      assert_all_freed(&batches[i]);
    }
  }
}

static void resize_batch(void* arg) {
  batch_t* batch = arg;
  test_random_t random = {batch->seed + 5};
  for (size_t i = 0; i < BLOCKS; i++) {
    size_t size = test_random_size(&random, 64, 4000);
    size_t kept = batch->sizes[i] < 64 ? batch->sizes[i] : 64;
    uintptr_t tag = (uintptr_t)batch->blocks[i];
    if (mi_expand(batch->blocks[i], batch->sizes[i]) != batch->blocks[i]) continue;
    char* p = mi_realloc(batch->blocks[i], size);
    if (pattern_mismatch(p, kept, tag) != SIZE_MAX) size = 0; // fails the check below
    batch->blocks[i] = p;
    batch->sizes[i] = size;
    if (size > 0) pattern_fill_sampled(p, size, (uintptr_t)p);
  }
}

static void test_remote_realloc(void** state) {
  (void)state;
  static batch_t batch;
  for (uint64_t round = 0; round < 10; round++) {
    batch.seed = 77 + round;
    make_batch(&batch);
    test_thread_start(&batch.thread, resize_batch, &batch);
    test_thread_join(&batch.thread);
    for (size_t i = 0; i < BLOCKS; i++) assert_true(batch.sizes[i] >= 64);
    check_and_free_batch(&batch);
    assert_all_freed(&batch);
  }
}

typedef struct owned_s {
  void* p;
  bool here, there;
} owned_t;

static void look_from_elsewhere(void* arg) {
  owned_t* owned = arg;
  owned->there = mi_check_owned(owned->p);
  void* own = mi_malloc(owned->there ? 1 : 100);
  owned->here = mi_check_owned(own) && mi_is_in_heap_region(owned->p);
  mi_free(own);
}

static void test_ownership(void** state) {
  (void)state;
  const size_t sizes[] = {8, 100, 5000, 100000};
  for (size_t i = 0; i < 4; i++) {
    owned_t owned = {.p = mi_malloc(sizes[i])};
    assert_true(mi_check_owned(owned.p));
    test_thread_t thread;
    test_thread_start(&thread, look_from_elsewhere, &owned);
    test_thread_join(&thread);
    assert_true(owned.there); // any thread's
    assert_true(owned.here);
    mi_free(owned.p);
  }
}

// mi_thread_done and mi_thread_init by hand, in any order and more than once.
static void init_and_done(void* arg) {
  char** results = arg;
  mi_thread_init();
  mi_thread_init();
  results[0] = mi_malloc(100);
  pattern_fill(results[0], 100, 1);
  mi_thread_done();
  mi_thread_done();
  results[1] = mi_malloc(100); // late, but allowed
  if (results[1] != NULL) pattern_fill(results[1], 100, 2);
  mi_thread_init();
  results[2] = mi_malloc(100);
  if (results[2] != NULL) pattern_fill(results[2], 100, 3);
}

static void test_init_and_done(void** state) {
  (void)state;
  for (size_t round = 0; round < 20; round++) {
    char* results[3] = {NULL};
    test_thread_t thread;
    test_thread_start(&thread, init_and_done, results);
    test_thread_join(&thread);
    for (size_t i = 0; i < 3; i++) {
      assert_non_null(results[i]);
      assert_int_equal(pattern_mismatch(results[i], 100, i + 1), SIZE_MAX);
      mi_free(results[i]);
    }
  }
  mi_process_init(); // again
}

// ---- the very first allocations of a process, in eight threads at once ----------------------------------------

enum { RACERS = 8 };
static test_barrier_t start_line;

typedef struct racer_s {
  test_thread_t thread;
  char* block;
} racer_t;

static void run_racer(void* arg) {
  racer_t* racer = arg;
  test_barrier_wait(&start_line);
  racer->block = mi_malloc(100);
  if (racer->block == NULL) return;
  pattern_fill(racer->block, 100, (uintptr_t)racer);
  test_barrier_wait(&start_line); // all live at once, so none adopts another's heap
}

static int race(void) {
  static racer_t racers[RACERS];
  test_barrier_init(&start_line, RACERS);
  for (size_t i = 0; i < RACERS; i++) test_thread_start(&racers[i].thread, run_racer, &racers[i]);
  for (size_t i = 0; i < RACERS; i++) test_thread_join(&racers[i].thread);
  for (size_t i = 0; i < RACERS; i++) {
    if (racers[i].block == NULL) return 1;
    if (pattern_mismatch(racers[i].block, 100, (uintptr_t)&racers[i]) != SIZE_MAX) return 2;
    mi_free(racers[i].block);
  }
  mi_stats_t_decl(stats);
  if (!mi_stats_get(&stats)) return 3;
  if (stats.threads.total != RACERS) {
    fprintf(stderr, "%lld threads had a heap\n", (long long)stats.threads.total);
    return 4;
  }
  if (stats.threads.current != 0) return 5; // each gave its heap back
  return 50;
}

static void test_first_allocations_race(void** state) {
  (void)state;
  static child_result_t result;
  char self[CHILD_PATH_MAX];
  child_self(self);
  for (int i = 0; i < 30; i++) {
    assert_true(child_run((const char*[]){self, "race", NULL}, 30000, &result));
    if (result.exit_code != 50) child_print(&result);
    assert_int_equal(result.exit_code, 50);
  }
}

int main(int argc, char** argv) {
  if (argc > 1) return strcmp(argv[1], "race") == 0 ? race() : 98;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_outliving_blocks), cmocka_unit_test(test_remote_free),
      cmocka_unit_test(test_remote_realloc),   cmocka_unit_test(test_ownership),
      cmocka_unit_test(test_init_and_done),    cmocka_unit_test(test_first_allocations_race),
  };
  return check_run(tests);
}
