// Visiting: each living block exactly once and no free one, against a list of what lives, with remote frees pending.
#include "api_check.h"
#include "support/test_thread.h"

#include <setjmp.h>
#include <stdlib.h>

#define MIB(n) ((size_t)(n) << 20)

enum { BLOCKS_MAX = 4000 };

typedef struct shadow_s {
  char* block;
  size_t size;
  size_t seen; // visits
} shadow_t;

typedef struct shadows_s {
  mi_heap_t* heap;
  shadow_t list[BLOCKS_MAX];
  size_t count;
  size_t blocks, areas, strangers, wrong_sizes, wrong_areas;
  const void* area; // of the last call
  size_t area_used, area_seen;
} shadows_t;

static int by_address(const void* a, const void* b) {
  const char *p = ((const shadow_t*)a)->block, *q = ((const shadow_t*)b)->block;
  return p < q ? -1 : p > q;
}

static void end_area(shadows_t* shadows, bool blocks) {
  if (shadows->area != NULL && blocks && shadows->area_seen != shadows->area_used) shadows->wrong_areas++;
}

static bool visit(const mi_heap_t* heap, const mi_heap_area_t* area, void* block, size_t block_size,
                  void* arg) {
  shadows_t* shadows = arg;
  if (heap != shadows->heap) shadows->strangers++;
  if (block == NULL) {
    end_area(shadows, true);
    shadows->areas++;
    shadows->area = area->blocks;
    shadows->area_used = area->used;
    shadows->area_seen = 0;
    if (area->committed > area->reserved || area->full_block_size < area->block_size ||
        area->used * area->full_block_size > area->reserved || area->blocks == NULL) {
      shadows->wrong_areas++;
    }
    return true;
  }
  shadows->area_seen++;
  shadows->blocks++;
  shadow_t key = {.block = block};
  shadow_t* found = bsearch(&key, shadows->list, shadows->count, sizeof(shadow_t), by_address);
  if (found == NULL) {
    shadows->strangers++;
  } else {
    found->seen++;
    if (block_size < found->size || block_size > mi_usable_size(block)) shadows->wrong_sizes++;
    if ((char*)block < (char*)area->blocks ||
        (char*)block + block_size > (char*)area->blocks + area->reserved)
      shadows->wrong_areas++;
  }
  return true;
}

static void check_visit(shadows_t* shadows, const char* when) {
  qsort(shadows->list, shadows->count, sizeof(shadow_t), by_address);
  for (size_t i = 0; i < shadows->count; i++) shadows->list[i].seen = 0;
  shadows->blocks = shadows->areas = shadows->strangers = shadows->wrong_sizes = shadows->wrong_areas = 0;
  shadows->area = NULL;
  assert_true(mi_heap_visit_blocks(shadows->heap, true, visit, shadows));
  end_area(shadows, true);
  for (size_t i = 0; i < shadows->count; i++) {
    if (shadows->list[i].seen != 1)
      fail_msg("%s: block %p of %zu bytes was visited %zu times", when, (void*)shadows->list[i].block,
               shadows->list[i].size, shadows->list[i].seen);
  }
  if (shadows->strangers != 0)
    fail_msg("%s: %zu blocks were visited that aren't there", when, shadows->strangers);
  if (shadows->wrong_sizes != 0) fail_msg("%s: %zu wrong sizes", when, shadows->wrong_sizes);
  if (shadows->wrong_areas != 0) fail_msg("%s: %zu wrong areas", when, shadows->wrong_areas);
  assert_int_equal(shadows->blocks, shadows->count);
}

static void shadow_allocate(shadows_t* shadows, test_random_t* random) {
  size_t size = test_random_size(random, 1, test_random_below(random, 100) == 0 ? MIB(2) : 10000);
  char* p = mi_heap_malloc(shadows->heap, size);
  assert_non_null(p);
  memset(p, 1, size < 100 ? size : 100);
  shadows->list[shadows->count++] = (shadow_t){p, size, 0};
}

typedef struct handed_s {
  test_thread_t thread;
  char* blocks[BLOCKS_MAX];
  size_t count;
} handed_t;

static void free_handed(void* arg) {
  handed_t* handed = arg;
  for (size_t i = 0; i < handed->count; i++) mi_free(handed->blocks[i]);
}

typedef struct allocating_s {
  test_thread_t thread;
  shadows_t* shadows;
  uint64_t seed;
  size_t count;
} allocating_t;

static void allocate_elsewhere(void* arg) {
  allocating_t* allocating = arg;
  test_random_t random = {allocating->seed};
  for (size_t i = 0; i < allocating->count; i++) shadow_allocate(allocating->shadows, &random);
}

// Steps of all kinds in random order; after each the heap holds what the list says.
static void test_against_shadow_list(void** state) {
  (void)state;
  static shadows_t shadows;
  static handed_t handed;
  for (uint64_t seed = 1; seed <= 12; seed++) {
    test_random_t random = {seed};
    memset(&shadows, 0, sizeof(shadows));
    shadows.heap = mi_heap_new();
    for (size_t step = 0; step < 25; step++) {
      size_t kind = test_random_below(&random, 5);
      size_t many = test_random_below(&random, 300);
      if (kind == 0 || shadows.count == 0) { // allocate here
        for (size_t i = 0; i < many && shadows.count < BLOCKS_MAX; i++) shadow_allocate(&shadows, &random);
        check_visit(&shadows, "after allocations");
      } else if (kind == 1) { // by a thread that ends
        static allocating_t allocating;
        allocating = (allocating_t){.shadows = &shadows, .seed = seed * 100 + step, .count = many};
        if (shadows.count + many > BLOCKS_MAX) continue;
        test_thread_start(&allocating.thread, allocate_elsewhere, &allocating);
        test_thread_join(&allocating.thread);
        check_visit(&shadows, "after allocations by another thread");
      } else if (kind == 2) { // free here
        for (size_t i = 0; i < many && shadows.count > 0; i++) {
          size_t at = test_random_below(&random, shadows.count);
          mi_free(shadows.list[at].block);
          shadows.list[at] = shadows.list[--shadows.count];
        }
        check_visit(&shadows, "after frees");
      } else if (kind == 3) { // free elsewhere: these frees are pending
        handed.count = 0;
        for (size_t i = 0; i < many && shadows.count > 0; i++) {
          size_t at = test_random_below(&random, shadows.count);
          handed.blocks[handed.count++] = shadows.list[at].block;
          shadows.list[at] = shadows.list[--shadows.count];
        }
        test_thread_start(&handed.thread, free_handed, &handed);
        test_thread_join(&handed.thread);
        check_visit(&shadows, "after frees by another thread");
      } else {
        mi_heap_collect(shadows.heap, many % 2 == 0);
        check_visit(&shadows, "after a collection");
      }
    }
    mi_heap_destroy(shadows.heap);
  }
}

typedef struct counter_s {
  size_t areas, blocks, stop_after;
} counter_t;

static bool count(const mi_heap_t* heap, const mi_heap_area_t* area, void* block, size_t block_size,
                  void* arg) {
  (void)heap;
  (void)area;
  (void)block_size;
  counter_t* counter = arg;
  if (block == NULL) {
    counter->areas++;
  } else {
    counter->blocks++;
  }
  return counter->areas + counter->blocks != counter->stop_after;
}

static void test_areas_alone_and_early_stop(void** state) {
  (void)state;
  mi_heap_t* heap = mi_heap_new();
  counter_t counter = {0};
  assert_true(mi_heap_visit_blocks(heap, true, count, &counter)); // nothing there
  assert_int_equal(counter.blocks, 0);
  for (size_t i = 0; i < 100; i++) assert_non_null(mi_heap_malloc(heap, 5000));
  counter = (counter_t){0};
  assert_true(mi_heap_visit_blocks(heap, false, count, &counter));
  assert_true(counter.areas > 0);
  assert_int_equal(counter.blocks, 0);
  size_t areas = counter.areas;
  for (size_t stop = 1; stop <= 100 + areas; stop++) {
    counter = (counter_t){.stop_after = stop};
    assert_false(mi_heap_visit_blocks(heap, true, count, &counter));
    assert_int_equal(counter.areas + counter.blocks, stop);
  }
  void* in_main = mi_malloc(100);
  counter = (counter_t){0};
  assert_true(mi_heap_visit_blocks(NULL, true, count, &counter)); // the main one
  assert_true(counter.blocks > 0);
  mi_free(in_main);
  assert_false(mi_heap_visit_blocks(heap, true, NULL, &counter));
  mi_heap_destroy(heap);
}

// With more heaps than a thread has at hand, too: nothing is left to visit.
static void test_collect_any_heap(void** state) {
  (void)state;
  enum { HEAPS = 200 };
  mi_heap_t* heaps[HEAPS];
  for (size_t i = 0; i < HEAPS; i++) heaps[i] = mi_heap_new();
  for (size_t i = 0; i < HEAPS; i++) mi_free(mi_heap_malloc(heaps[i], 100));
  counter_t counter = {0};
  for (size_t i = 0; i < HEAPS; i++) {
    mi_heap_collect(heaps[i], true);
    mi_heap_visit_blocks(heaps[i], false, count, &counter);
    mi_heap_destroy(heaps[i]);
  }
  assert_int_equal(counter.areas, 0);
}

static void test_theap_visit(void** state) {
  (void)state;
  mi_heap_t* heap = mi_heap_new();
  mi_theap_t* theap = mi_heap_theap(heap);
  for (size_t i = 0; i < 10; i++) assert_non_null(mi_heap_malloc(heap, 64));
  counter_t counter = {0};
  assert_true(mi_theap_visit_blocks(theap, true, count, &counter));
  assert_int_equal(counter.blocks, 10);
  assert_false(mi_theap_visit_blocks(NULL, true, count, &counter));
  mi_heap_destroy(heap);
}

static void leave_blocks(void* arg) {
  for (size_t i = 0; i < 200; i++) memset(mi_heap_malloc(arg, 100), 1, 100);
}

static void test_abandoned(void** state) {
  (void)state;
  mi_heap_t* heap = mi_heap_new();
  test_thread_t thread;
  test_thread_start(&thread, leave_blocks, heap);
  test_thread_join(&thread);
  counter_t counter = {0};
  assert_false(mi_heap_visit_abandoned_blocks(heap, true, count, &counter)); // needs the option
  assert_false(mi_abandoned_visit_blocks(mi_subproc_main(), -1, true, count, &counter));
  assert_int_equal(counter.areas, 0);
  mi_option_enable(mi_option_visit_abandoned);
  assert_true(mi_heap_visit_abandoned_blocks(heap, true, count, &counter));
  assert_int_equal(counter.blocks, 200);
  counter = (counter_t){0};
  assert_true(mi_abandoned_visit_blocks(mi_subproc_main(), -1, true, count, &counter));
  assert_true(counter.blocks >= 200);
  counter = (counter_t){0};
  assert_true(
      mi_abandoned_visit_blocks(mi_subproc_main(), 5, true, count, &counter)); // no block has that tag
  assert_int_equal(counter.blocks, 0);
  mi_option_disable(mi_option_visit_abandoned);
  mi_heap_destroy(heap);
}

static void test_under_utilized(void** state) {
  (void)state;
  mi_heap_t* heap = mi_heap_new();
  enum { MANY = 5000 };
  static void* blocks[MANY];
  for (size_t i = 0; i < MANY; i++) blocks[i] = mi_heap_malloc(heap, 128);
  assert_false(mi_unsafe_heap_page_is_under_utilized(heap, blocks[0], 50)); // full
  assert_false(mi_unsafe_heap_page_is_under_utilized(heap, NULL, 50));
  assert_false(mi_unsafe_heap_page_is_under_utilized(mi_heap_main(), blocks[0], 50));
  for (size_t i = 0; i < MANY; i++) {
    if (i % 10 != 0) mi_free(blocks[i]);
  }
  size_t sparse = 0, dense = 0, of_any = 0;
  for (size_t i = 0; i < MANY; i += 10) {
    sparse += mi_unsafe_heap_page_is_under_utilized(heap, blocks[i], 50);
    dense += mi_unsafe_heap_page_is_under_utilized(heap, blocks[i], 5);
    of_any += mi_unsafe_heap_page_is_under_utilized(NULL, blocks[i], 50);
  }
  assert_int_equal(of_any, sparse);
  assert_true(sparse >= MANY / 10 / 2); // all but the page that is allocated from
  assert_int_equal(dense, 0);           // a tenth is in use
  mi_heap_destroy(heap);
}

// ---- while others free, and a visitor that never returns ----------------------------------------------------

enum { LEAVING_MAX = 2000 };

typedef struct leaving_s {
  test_thread_t thread;
  char* blocks[LEAVING_MAX];
  size_t count, seen[LEAVING_MAX], areas;
  bool is_gone[LEAVING_MAX];
  size_t group, strangers; // blocks of a page
} leaving_t;

static void free_unseen(void* arg) {
  leaving_t* leaving = arg;
  for (size_t i = 0; i < leaving->count; i++) {
    if (leaving->seen[i] != 0 || i / leaving->group % 10 == 0) continue;
    mi_free(leaving->blocks[i]);
    leaving->is_gone[i] = true;
  }
}

// In the third area: nine of ten of the pages that follow go.
static bool visit_leaving(const mi_heap_t* heap, const mi_heap_area_t* area, void* block, size_t block_size,
                          void* arg) {
  (void)heap;
  (void)area;
  (void)block_size;
  leaving_t* leaving = arg;
  if (block == NULL) {
    if (++leaving->areas != 3) return true;
    test_thread_start(&leaving->thread, free_unseen, leaving);
    test_thread_join(&leaving->thread);
    return true;
  }
  for (size_t i = 0; i < leaving->count; i++) {
    if (leaving->blocks[i] != block) continue;
    leaving->seen[i]++;
    return true;
  }
  leaving->strangers++;
  return true;
}

static void visit_while_others_free(mi_heap_t* heap, size_t size, size_t count, size_t group) {
  static leaving_t leaving;
  leaving = (leaving_t){.count = count, .group = group};
  for (size_t i = 0; i < count; i++) {
    leaving.blocks[i] = mi_heap_malloc(heap, size);
    assert_non_null(leaving.blocks[i]);
  }
  assert_true(mi_heap_visit_blocks(heap, true, visit_leaving, &leaving));
  size_t gone = 0;
  for (size_t i = 0; i < count; i++) {
    gone += leaving.is_gone[i];
    if (!leaving.is_gone[i] && leaving.seen[i] != 1)
      fail_msg("%zu bytes: living block %zu of %zu was visited %zu times", size, i, count, leaving.seen[i]);
    if (!leaving.is_gone[i]) mi_free(leaving.blocks[i]);
  }
  assert_true(gone > count / 2);
  if (heap != mi_heap_main()) assert_int_equal(leaving.strangers, 0);
}

static void test_others_free_meanwhile(void** state) {
  (void)state;
  mi_heap_t* heap = mi_heap_new();
  visit_while_others_free(heap, 100000, 200, 1);
  visit_while_others_free(heap, 4000, 1600, 16);
  mi_heap_destroy(heap);
  visit_while_others_free(mi_heap_main(), 100000, 200, 1);
  visit_while_others_free(mi_heap_main(), 4000, 1600, 16);
  mi_option_enable(mi_option_disallow_arena_alloc); // then each page is a reservation of its own
  heap = mi_heap_new();
  visit_while_others_free(heap, 100000, 200, 1);
  visit_while_others_free(mi_heap_main(), 100000, 200, 1);
  mi_heap_destroy(heap);
  mi_option_disable(mi_option_disallow_arena_alloc);
}

static jmp_buf away;
static bool leave(const mi_heap_t* heap, const mi_heap_area_t* area, void* block, size_t block_size,
                  void* arg) {
  (void)heap;
  (void)area;
  (void)block_size;
  size_t* left = arg;
  if (block != NULL && --*left == 0) longjmp(away, 1);
  return true;
}

static void free_all(void* arg) {
  leaving_t* leaving = arg;
  for (size_t i = 0; i < leaving->count; i++) mi_free(leaving->blocks[i]);
}

// A visitor that is left by longjmp, more often than any place for visits could be forgotten: the next visit sees all,
// and the pages go with their last blocks.
static void test_left_by_longjmp(void** state) {
  (void)state;
  static volatile int round; // kept over longjmp
  static size_t left;
  void* in_main = mi_malloc(1000);
  for (round = 0; round < 100; round++) {
    left = 1;
    if (setjmp(away) == 0) mi_heap_visit_blocks(mi_heap_main(), true, leave, &left);
    assert_int_equal(left, 0);
  }
  mi_free(in_main);
  static leaving_t leaving;
  mi_heap_t* heap = mi_heap_new();
  leaving = (leaving_t){.count = 200};
  for (size_t i = 0; i < leaving.count; i++) leaving.blocks[i] = mi_heap_malloc(heap, 4000);
  for (round = 0; round < 10; round++) {
    left = 1 + (size_t)round * 19; // in pages that some thread owns, and in others
    if (setjmp(away) == 0) mi_heap_visit_blocks(heap, true, leave, &left);
    counter_t counter = {0};
    assert_true(mi_heap_visit_blocks(heap, true, count, &counter));
    assert_int_equal(counter.blocks, leaving.count);
  }
  test_thread_start(&leaving.thread, free_all, &leaving);
  test_thread_join(&leaving.thread);
  mi_heap_collect(heap, true);
  counter_t counter = {0};
  assert_true(mi_heap_visit_blocks(heap, true, count, &counter));
  assert_int_equal(counter.blocks, 0);
  assert_int_equal(counter.areas, 0);
  mi_heap_destroy(heap);
}

// What the visitor is told that it may use of a block is there.
static bool fill_block(const mi_heap_t* heap, const mi_heap_area_t* area, void* block, size_t block_size,
                       void* arg) {
  (void)heap;
  size_t* wrong = arg;
  if (block == NULL) return true;
  memset(block, 7, block_size);
  size_t usable = mi_usable_size(block); // 0: handed out at an offset into the block
  if (block_size != area->block_size || (usable != 0 && usable != block_size)) (*wrong)++;
  return true;
}

static void test_sizes_told(void** state) {
  (void)state;
  mi_heap_t* heap = mi_heap_new();
  for (int guarded = 0; guarded < 2; guarded++) {
    mi_heap_guarded_set_sample_rate(heap, (size_t)guarded, 1);
    mi_heap_guarded_set_size_bound(heap, 0, MIB(1));
    for (size_t size = 1; size < MIB(1); size = size * 3 + 1) {
      assert_non_null(mi_heap_malloc(heap, size));
      assert_non_null(mi_heap_malloc_aligned(heap, size, 4096));
      assert_non_null(mi_heap_malloc_aligned_at(heap, size, 4096, 8));
    }
    size_t wrong = 0;
    assert_true(mi_heap_visit_blocks(heap, true, fill_block, &wrong));
    assert_int_equal(wrong, 0);
  }
  mi_heap_destroy(heap);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_shadow_list), cmocka_unit_test(test_areas_alone_and_early_stop),
      cmocka_unit_test(test_theap_visit),         cmocka_unit_test(test_abandoned),
      cmocka_unit_test(test_under_utilized),      cmocka_unit_test(test_others_free_meanwhile),
      cmocka_unit_test(test_left_by_longjmp),     cmocka_unit_test(test_sizes_told),
      cmocka_unit_test(test_collect_any_heap),
  };
  return check_run(tests);
}
