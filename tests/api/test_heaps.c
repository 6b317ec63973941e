// First-class heaps: their life, allocation in them by any thread, and what becomes of their blocks; long because all of the
// family is here.
#include "api_check.h"
#include "support/test_thread.h"

#include <mimalloc-stats.h>
#include <time.h>

#define KIB(n) ((size_t)(n) << 10)
#define MIB(n) ((size_t)(n) << 20)

enum { FEW = 40 };

static mi_stats_t stats_now(void) {
  mi_stats_t_decl(stats);
  assert_true(mi_stats_get(&stats));
  return stats;
}

static int64_t committed_now(void) { return stats_now().committed.current; }
static int64_t pages_now(void) { return stats_now().pages.current; }

// ---- every function -----------------------------------------------------------------------------------------------

static void test_every_size(void** state) {
  (void)state;
  mi_heap_t* heap = mi_heap_new();
  assert_non_null(heap);
  for (size_t i = 0; i < api_size_count; i++) {
    size_t size = api_sizes[i];
    char* p = mi_heap_malloc(heap, size);
    api_check_block(p, size, api_natural_alignment(size));
    assert_ptr_equal(mi_heap_of(p), heap);
    assert_ptr_equal(mi_heap_of(p + size / 2), heap); // inside, too
    assert_true(mi_heap_contains(heap, p));
    assert_true(size == 0 || mi_heap_contains(heap, p + size - 1));
    assert_false(mi_heap_contains(mi_heap_main(), p));
    assert_true(mi_any_heap_contains(p) && mi_check_owned(p));
    char* q = mi_heap_realloc(heap, p, size * 2 + 100);
    api_check_contents(q, size, p);
    assert_true(mi_heap_contains(heap, q));
    mi_free(q);
    if (size <= MI_SMALL_SIZE_MAX) {
      p = mi_heap_malloc_small(heap, size);
      api_check_block(p, size, api_natural_alignment(size));
      assert_true(mi_heap_contains(heap, p));
      mi_free_small(p);
      p = mi_heap_zalloc_small(heap, size);
      api_check_zero(p, size);
      mi_free(p);
    }
    p = mi_heap_zalloc(heap, size);
    api_check_zero(p, mi_usable_size(p));
    mi_free(p);
  }
  mi_heap_delete(heap);
}

static void test_other_forms(void** state) {
  (void)state;
  mi_heap_t* heap = mi_heap_new();
  for (size_t round = 0; round < 2; round++) { // the second one with blocks that were used
    char* p = mi_heap_calloc(heap, 30, 50);
    api_check_zero(p, 1500);
    p = mi_heap_recalloc(heap, p, 3000, 2);
    api_check_zero(p, 6000);
    p = mi_heap_rezalloc(heap, p, 100);
    p = mi_heap_rezalloc(heap, p, 30000);
    api_check_zero(p, 30000);
    memset(p, 1, 30000);
    mi_free(p);
    p = mi_heap_mallocn(heap, 20, 20);
    api_check_block(p, 400, 16);
    char* q = mi_heap_reallocn(heap, p, 40, 40);
    api_check_contents(q, 400, p);
    q = mi_heap_reallocf(heap, q, 2000);
    assert_true(mi_heap_contains(heap, q));
    assert_null(mi_heap_reallocf(heap, q, api_opaque(SIZE_MAX))); // frees q
    for (size_t alignment = 1; alignment <= MIB(1); alignment *= 4) {
      char* blocks[] = {mi_heap_malloc_aligned(heap, 300, alignment),
                        mi_heap_zalloc_aligned(heap, 300, alignment),
                        mi_heap_calloc_aligned(heap, 3, 100, alignment),
                        mi_heap_realloc_aligned(heap, NULL, 300, alignment),
                        mi_heap_rezalloc_aligned(heap, NULL, 300, alignment),
                        mi_heap_recalloc_aligned(heap, NULL, 3, 100, alignment)};
      for (size_t i = 0; i < 6; i++) {
        if (i == 1 || i == 2 || i >= 4) api_check_zero(blocks[i], 300);
        api_check_block(blocks[i], 300, alignment);
        assert_true(mi_heap_contains(heap, blocks[i]));
        mi_free(blocks[i]);
      }
      char* at[] = {mi_heap_malloc_aligned_at(heap, 300, alignment, 40),
                    mi_heap_zalloc_aligned_at(heap, 300, alignment, 40),
                    mi_heap_calloc_aligned_at(heap, 3, 100, alignment, 40),
                    mi_heap_realloc_aligned_at(heap, NULL, 300, alignment, 40),
                    mi_heap_rezalloc_aligned_at(heap, NULL, 300, alignment, 40),
                    mi_heap_recalloc_aligned_at(heap, NULL, 3, 100, alignment, 40)};
      for (size_t i = 0; i < 6; i++) {
        if (i == 1 || i == 2 || i >= 4) api_check_zero(at[i], 300);
        assert_int_equal((uintptr_t)(at[i] + 40) % alignment, 0);
        api_check_block(at[i], 300, 1);
        assert_true(mi_heap_contains(heap, at[i]));
        mi_free(at[i]);
      }
    }
    char* copy = mi_heap_strdup(heap, "some text");
    assert_string_equal(copy, "some text");
    assert_true(mi_heap_contains(heap, copy));
    mi_free(copy);
    copy = mi_heap_strndup(heap, "some text", 4);
    assert_string_equal(copy, "some");
    mi_free(copy);
    assert_null(mi_heap_strdup(heap, NULL));
    copy = mi_heap_realpath(heap, ".", NULL);
    assert_non_null(copy);
    assert_true(mi_heap_contains(heap, copy));
    mi_free(copy);
    p = mi_heap_alloc_new(heap, 100);
    assert_true(mi_heap_contains(heap, p));
    mi_free(p);
    p = mi_heap_alloc_new_n(heap, 10, 100);
    api_check_block(p, 1000, 16);
    mi_free(p);
    int* number = mi_heap_calloc_tp(int, heap, 5);
    number = mi_heap_recalloc_tp(int, heap, number, 50);
    api_check_zero(number, 50 * sizeof(int));
    mi_free(number);
  }
  assert_null(mi_heap_malloc(heap, api_opaque(SIZE_MAX)));
  assert_null(mi_heap_calloc(heap, api_opaque(SIZE_MAX / 2), 3));
  assert_null(mi_heap_malloc_aligned(heap, 100, 24));
  mi_heap_destroy(heap);
}

// ---- life ---------------------------------------------------------------------------------------------------------

static void test_delete_keeps_blocks(void** state) {
  (void)state;
  mi_heap_t* heap = mi_heap_new();
  static char* blocks[1000];
  static size_t sizes[1000];
  test_random_t random = {1};
  for (size_t i = 0; i < 1000; i++) {
    sizes[i] = test_random_size(&random, 1, i % 100 == 0 ? MIB(3) : 5000);
    blocks[i] = mi_heap_malloc(heap, sizes[i]);
    assert_non_null(blocks[i]);
    pattern_fill_sampled(blocks[i], sizes[i], i);
  }
  for (size_t i = 0; i < 1000; i += 3) mi_free(blocks[i]);
  mi_heap_delete(heap);
  for (size_t i = 0; i < 1000; i++) {
    if (i % 3 == 0) continue;
    assert_int_equal(pattern_mismatch_sampled(blocks[i], sizes[i], i), SIZE_MAX);
    assert_ptr_equal(mi_heap_of(blocks[i]), mi_heap_main());
    mi_free(blocks[i]);
  }
}

static void test_destroy_frees_blocks(void** state) {
  (void)state;
  mi_collect(true);
  int64_t before = committed_now();
  for (size_t round = 0; round < 20; round++) { // more than memory would hold if it stayed
    mi_heap_t* heap = mi_heap_new();
    for (size_t i = 0; i < 20000; i++) {
      char* p = mi_heap_malloc(heap, 8 + i % 5000);
      assert_non_null(p);
      p[0] = 1;
    }
    assert_non_null(mi_heap_malloc(heap, MIB(30)));
    mi_heap_destroy(heap);
  }
  mi_collect(true);
  int64_t after = committed_now();
  if (after > before + (int64_t)MIB(8))
    fail_msg("committed: %lld before, %lld after", (long long)before, (long long)after);
}

static void test_main_heap_stays(void** state) {
  (void)state;
  mi_heap_t* heap = mi_heap_main();
  assert_non_null(heap);
  void* p = mi_malloc(100);
  assert_ptr_equal(mi_heap_of(p), heap);
  mi_heap_delete(heap);
  mi_heap_destroy(heap);
  mi_heap_delete(NULL);
  mi_heap_destroy(NULL);
  mi_heap_collect(NULL, true);
  assert_ptr_equal(mi_heap_main(), heap);
  api_check_block(p, 100, 16);
  mi_free(p);
}

static void test_questions(void** state) {
  (void)state;
  int on_stack = 0;
  static int in_data;
  assert_null(mi_heap_of(NULL));
  assert_null(mi_heap_of(&on_stack));
  assert_null(mi_heap_of(&in_data));
  assert_false(mi_heap_contains(mi_heap_main(), &on_stack));
  assert_false(mi_heap_contains(NULL, &on_stack));
  void* in_main = mi_heap_malloc(NULL, 100); // as programs made for 3.4 may
  assert_true(mi_heap_contains(mi_heap_main(), in_main));
  assert_true(mi_heap_contains(NULL, in_main));
  mi_free(in_main);
  in_main = mi_heap_zalloc(NULL, 100);
  api_check_zero(in_main, 100);
  mi_free(mi_heap_realloc(NULL, in_main, 100000));
  assert_ptr_equal(mi_heap_theap(NULL), mi_heap_theap(mi_heap_main()));
  assert_false(mi_any_heap_contains(&in_data));
  assert_false(mi_any_heap_contains(NULL));
  char* huge = mi_malloc(MIB(20));
  for (size_t at = 0; at < MIB(20); at += KIB(64) + 1)
    assert_ptr_equal(mi_heap_of(huge + at), mi_heap_main());
  mi_free(huge);
}

static void test_many_cycles(void** state) {
  (void)state;
  // Each cycle takes and gives back a whole page and more: what stays behind would add up to gigabytes.
  const size_t cycles = TEST_DEBUG_CHECKS ? 20000 : 1000000;
  int64_t after_some = 0;
  for (size_t i = 0; i < cycles; i++) {
    mi_heap_t* heap = mi_heap_new();
    char* p = mi_heap_malloc(heap, 100);
    p[0] = 1;
    if (i % 7 == 0) mi_free(p);
    if (i % 2 == 0) {
      mi_heap_destroy(heap);
    } else {
      mi_heap_delete(heap);
      if (i % 7 != 0) mi_free(p);
    }
    if (i == 1000) after_some = committed_now();
  }
  int64_t after = committed_now();
  if (after > after_some + (int64_t)MIB(4))
    fail_msg("committed: %lld after 1000 heaps, %lld after all", (long long)after_some, (long long)after);
}

static void test_many_at_once(void** state) {
  (void)state;
  enum { HEAPS = 10000 };
  static mi_heap_t* heaps[HEAPS];
  static void* blocks[HEAPS];
  for (size_t i = 0; i < HEAPS; i++) {
    heaps[i] = mi_heap_new();
    assert_non_null(heaps[i]);
    blocks[i] = mi_heap_malloc(heaps[i], 16);
    memset(blocks[i], (int)i, 16);
  }
  for (size_t i = 0; i < HEAPS; i++) {
    size_t other = i * 7919 % HEAPS;
    assert_ptr_equal(mi_heap_of(blocks[i]), heaps[i]);
    void* p = mi_heap_malloc(heaps[other], 24);
    assert_ptr_equal(mi_heap_of(p), heaps[other]);
    mi_free(p);
    assert_int_equal(*(unsigned char*)blocks[i], i & 255);
  }
  // The record of the first one made isn't farther away than that of the last one. (CPU time, which Windows' clock()
  // doesn't tell.)
  enum { TIMED = 500 };
  clock_t ends[2] = {0, 0};
  for (size_t i = 0; i < TIMED; i++) {
    size_t at[2] = {i, HEAPS - 1 - i};
    for (size_t k = 0; k < 2; k++) {
      clock_t start = clock();
      mi_heap_destroy(heaps[at[k]]);
      ends[k] += clock() - start;
    }
  }
  for (size_t i = TIMED; i < HEAPS - TIMED; i++) mi_heap_destroy(heaps[i]);
#ifndef _WIN32
  if (ends[0] > 10 * ends[1]) fail_msg("first: %ld us, last: %ld us", (long)ends[0], (long)ends[1]);
#else
  (void)ends;
#endif
}

// ---- threads --------------------------------------------------------------------------------------------------------

typedef struct worker_s {
  test_thread_t thread;
  mi_heap_t* heap;
  char* blocks[FEW];
  mi_theap_t* theap;
} worker_t;

static void allocate_in_heap(void* arg) {
  worker_t* worker = arg;
  worker->theap = mi_heap_theap(worker->heap);
  for (size_t i = 0; i < FEW; i++) {
    worker->blocks[i] = mi_heap_malloc(worker->heap, 50 + i * 100);
    pattern_fill(worker->blocks[i], 50 + i * 100, (uintptr_t)worker->blocks[i]);
  }
}

static void check_worker(worker_t* worker, mi_heap_t* heap, bool frees) {
  for (size_t i = 0; i < FEW; i++) {
    char* p = worker->blocks[i];
    assert_ptr_equal(mi_heap_of(p), heap);
    assert_int_equal(pattern_mismatch(p, 50 + i * 100, (uintptr_t)p), SIZE_MAX);
    if (frees) mi_free(p);
  }
}

static void test_any_thread(void** state) {
  (void)state;
  enum { WORKERS = 8 };
  static worker_t workers[WORKERS];
  mi_heap_t* heap = mi_heap_new();
  for (size_t round = 0; round < 3; round++) {
    for (size_t i = 0; i < WORKERS; i++) {
      workers[i].heap = heap;
      test_thread_start(&workers[i].thread, allocate_in_heap, &workers[i]);
    }
    for (size_t i = 0; i < WORKERS; i++) test_thread_join(&workers[i].thread);
    // Their threads are gone, the blocks are the heap's.
    for (size_t i = 0; i < WORKERS; i++) {
      assert_non_null(workers[i].theap);
      check_worker(&workers[i], heap, round == 0);
    }
    if (round == 1) {
      mi_heap_delete(heap);
      for (size_t i = 0; i < WORKERS; i++) check_worker(&workers[i], mi_heap_main(), true);
      heap = mi_heap_new();
    }
  }
  mi_heap_destroy(heap);
}

typedef struct holder_s {
  test_thread_t thread;
  mi_heap_t* heap;
  char* block;
  test_event_t allocated, go_on;
  bool is_default; // on the thread
} holder_t;

static void hold_theap(void* arg) {
  holder_t* holder = arg;
  holder->block = mi_heap_malloc(holder->heap, 100);
  memset(holder->block, 5, 100);
  if (holder->is_default) mi_heap_set_default(holder->heap);
  test_event_set(&holder->allocated);
  test_event_wait(&holder->go_on);
  // The heap is gone. The thread goes on with others; what it knew of the old one must not be mistaken for them.
  for (size_t i = 0; i < 50; i++) {
    mi_heap_t* fresh = mi_heap_new();
    char* p = mi_heap_malloc(fresh, 100);
    void* in_main = mi_malloc(100);
    if (mi_heap_of(p) != fresh || mi_heap_of(in_main) != mi_heap_main()) holder->block = NULL;
    mi_free(in_main);
    mi_heap_destroy(fresh);
  }
  mi_free(mi_malloc(100));
}

// A heap goes while another thread still has its part of it, and lives on.
static void test_goes_under_living_thread(void** state) {
  (void)state;
  for (size_t round = 0; round < 10; round++) {
    static holder_t holder;
    holder.heap = mi_heap_new();
    holder.is_default = round % 4 >= 2;
    test_event_init(&holder.allocated);
    test_event_init(&holder.go_on);
    test_thread_start(&holder.thread, hold_theap, &holder);
    test_event_wait(&holder.allocated);
    char* block = holder.block;
    if (round % 2 == 0) {
      mi_heap_destroy(holder.heap);
    } else {
      mi_heap_delete(holder.heap);
      assert_int_equal(block[99], 5);
      assert_ptr_equal(mi_heap_of(block), mi_heap_main());
      mi_free(block);
    }
    test_event_set(&holder.go_on);
    test_thread_join(&holder.thread);
    assert_ptr_equal(holder.block, block);
    test_event_done(&holder.allocated);
    test_event_done(&holder.go_on);
  }
}

static void use_fifty(void* arg) {
  mi_heap_t** heaps = arg;
  for (size_t i = 0; i < 50; i++) memset(mi_heap_malloc(heaps[i], 1000), (int)i, 1000);
}

// A thread that used 50 heaps gives 50 theaps back: memory and records stay flat.
static void test_thread_with_many_heaps(void** state) {
  (void)state;
  int64_t after_some = 0;
  mi_stats_t_decl(stats);
  for (size_t round = 0; round < 60; round++) {
    mi_heap_t* heaps[50];
    for (size_t i = 0; i < 50; i++) heaps[i] = mi_heap_new();
    test_thread_t thread;
    test_thread_start(&thread, use_fifty, heaps);
    test_thread_join(&thread);
    for (size_t i = 0; i < 50; i++) mi_heap_destroy(heaps[i]);
    if (round == 10) after_some = committed_now();
  }
  assert_true(mi_stats_get(&stats));
  assert_true(committed_now() <= after_some + (int64_t)MIB(4));
  assert_int_equal(stats.heaps.current, 1); // the main one
}

typedef struct borrower_s {
  mi_heap_t* heap;
  test_event_t wanted, done;
} borrower_t;

static void use_what_comes(void* arg) {
  borrower_t* borrower = arg;
  for (;;) {
    test_event_wait(&borrower->wanted);
    test_event_clear(&borrower->wanted);
    if (borrower->heap == NULL) return;
    void* p = mi_heap_malloc(borrower->heap, 100);
    memset(p, 1, 100);
    mi_free(p);
    test_event_set(&borrower->done);
  }
}

// A living thread doesn't keep what it had in heaps that another one deleted.
static void test_deleted_under_living_thread(void** state) {
  (void)state;
  borrower_t borrower;
  test_event_init(&borrower.wanted);
  test_event_init(&borrower.done);
  test_thread_t thread;
  test_thread_start(&thread, use_what_comes, &borrower);
  int64_t after_some = 0;
  for (size_t round = 0; round < 300; round++) {
    borrower.heap = mi_heap_new();
    test_event_set(&borrower.wanted);
    test_event_wait(&borrower.done);
    test_event_clear(&borrower.done);
    mi_heap_delete(borrower.heap);
    if (round == 20) after_some = pages_now();
  }
  int64_t after_all = pages_now();
  borrower.heap = NULL;
  test_event_set(&borrower.wanted);
  test_thread_join(&thread);
  test_event_done(&borrower.wanted);
  test_event_done(&borrower.done);
  assert_true(after_all <= after_some + 10);
}

// ---- defaults and theaps ------------------------------------------------------------------------------------------

static void test_default_heap(void** state) {
  (void)state;
  mi_heap_t* heap = mi_heap_new();
  assert_ptr_equal(mi_heap_get_default(), mi_heap_main());
  assert_ptr_equal(mi_heap_get_backing(), mi_heap_main());
  assert_ptr_equal(mi_heap_set_default(heap), mi_heap_main());
  assert_ptr_equal(mi_heap_get_default(), heap);
  void* p = mi_malloc(100);
  assert_ptr_equal(mi_heap_of(p), heap);
  void* q = mi_heap_malloc(mi_heap_main(), 100);
  assert_ptr_equal(mi_heap_of(q), mi_heap_main());
  mi_free(q);
  p = mi_realloc(p, 100000);
  assert_ptr_equal(mi_heap_of(p), heap);
  mi_heap_destroy(heap); // with its blocks; it was the default
  assert_ptr_equal(mi_heap_get_default(), mi_heap_main());
  p = mi_malloc(100);
  assert_ptr_equal(mi_heap_of(p), mi_heap_main());
  mi_free(p);
}

static void test_theaps(void** state) {
  (void)state;
  mi_heap_t* heap = mi_heap_new();
  mi_theap_t* theap = mi_heap_theap(heap);
  assert_non_null(theap);
  assert_ptr_equal(mi_heap_theap(heap), theap);
  for (size_t i = 0; i < api_size_count; i++) {
    size_t size = api_sizes[i];
    char* p = mi_theap_malloc(theap, size);
    api_check_block(p, size, api_natural_alignment(size));
    assert_ptr_equal(mi_heap_of(p), heap);
    char* q = mi_theap_realloc(theap, p, size + size / 2 + 20);
    api_check_contents(q, size, p);
    assert_ptr_equal(mi_heap_of(q), heap);
    mi_free(q);
    p = mi_theap_zalloc(theap, size);
    api_check_zero(p, size);
    mi_free(p);
    p = mi_theap_calloc(theap, 2, size / 2);
    api_check_zero(p, size / 2 * 2);
    mi_free(p);
    p = mi_theap_malloc_aligned(theap, size, 4096);
    api_check_block(p, size, 4096);
    mi_free(p);
    if (size > MI_SMALL_SIZE_MAX) continue;
    p = mi_theap_malloc_small(theap, size);
    api_check_block(p, size, api_natural_alignment(size));
    mi_free(p);
    p = mi_theap_zalloc_small(theap, size);
    api_check_zero(p, size);
    mi_free(p);
  }
  mi_theap_collect(theap, true);
  mi_theap_t* before = mi_theap_get_default();
  assert_ptr_equal(before, mi_heap_theap(mi_heap_main()));
  assert_ptr_equal(mi_theap_set_default(theap), before);
  assert_ptr_equal(mi_theap_get_default(), theap);
  void* p = mi_malloc(100);
  assert_ptr_equal(mi_heap_of(p), heap);
  mi_free(p);
  assert_ptr_equal(mi_theap_set_default(NULL), theap);
  assert_ptr_equal(mi_theap_get_default(), before);
  mi_heap_delete(heap);
}

static void test_names_of_24(void** state) {
  (void)state;
  mi_heap_t* heap = mi_heap_new_ex(7, false, 0);
  assert_non_null(heap);
  char* p = mi_heap_malloc(heap, 100);
  assert_true(mi_heap_check_owned(heap, p));
  assert_true(mi_heap_contains_block(heap, p));
  assert_false(mi_heap_contains_block(heap, p + 8));
  assert_false(mi_heap_check_owned(mi_heap_main(), p));
  mi_heap_destroy(heap);
  heap = mi_heap_try_new();
  assert_non_null(heap);
  mi_heap_delete(heap);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_size),
      cmocka_unit_test(test_other_forms),
      cmocka_unit_test(test_delete_keeps_blocks),
      cmocka_unit_test(test_destroy_frees_blocks),
      cmocka_unit_test(test_main_heap_stays),
      cmocka_unit_test(test_questions),
      cmocka_unit_test(test_many_cycles),
      cmocka_unit_test(test_many_at_once),
      cmocka_unit_test(test_any_thread),
      cmocka_unit_test(test_goes_under_living_thread),
      cmocka_unit_test(test_thread_with_many_heaps),
      cmocka_unit_test(test_deleted_under_living_thread),
      cmocka_unit_test(test_default_heap),
      cmocka_unit_test(test_theaps),
      cmocka_unit_test(test_names_of_24),
  };
  return check_run(tests);
}
