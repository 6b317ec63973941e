// Heaps from outside: sub-processes keep to themselves and go with all they have; a visitor sees each block in use once; what is a
// heap is known among thousands.
#include "heap_blocks.h"

static heap_t* shared;

typedef struct user_s {
  test_thread_t thread;
  blocks_t blocks, later;
} user_t;
static test_barrier_t ready, go;

// ---- sub-processes ----------------------------------------------------------------------------------------------

static subproc_t* apart;

static void run_apart(void* arg) {
  user_t* user = arg;
  assert_true(runtime_subproc_add_current_thread(apart));
  assert_ptr_equal(runtime_subproc(), apart);
  fill(apart->main, &user->blocks);
  heap_t* heap = heap_new(apart, NULL);
  fill(heap, &user->later);
  check_pages(heap);
  void* p = mi_malloc(100);
  assert_ptr_equal(heap_of(p), apart->main);
  mi_free(p);
  test_barrier_wait(&ready);
  test_barrier_wait(&go);
  free_from(&user->blocks, 0, 1); // those of the other heap go with the sub-process
}

static bool find_arena(page_t* page, void* arg) {
  for (size_t i = 0; i < subproc_main()->arenas.count; i++)
    if (!page->is_outside && page->arena == subproc_main()->arenas.arenas[i]) *(bool*)arg = true;
  return true;
}

static void test_subprocesses(void** state) {
  MI_UNUSED(state);
  assert_false(subproc_destroy(subproc_main()) || subproc_destroy(NULL));
  int64_t reserved = 0;
  for (size_t round = 0; round < 20; round++) {
    static user_t user;
    blocks_t own;
    apart = subproc_new();
    assert_non_null(apart);
    test_barrier_init(&ready, 2);
    test_barrier_init(&go, 2);
    test_thread_start(&user.thread, run_apart, &user);
    test_barrier_wait(&ready);
    size_t pages = pages_in(apart, NULL);
    assert_true(pages > 0);
    fill(heap_main(), &own);
    bool is_mixed = false;
    arena_visit_pages(&apart->arenas, &find_arena, &is_mixed);
    assert_false(is_mixed);
    assert_int_equal(pages_in(apart, NULL), pages);
    assert_false(subproc_destroy(apart)); // somebody is in it
    check(&user.blocks);
    test_barrier_wait(&go);
    test_thread_join(&user.thread);
    check(&user.later);
    assert_true(subproc_destroy(apart));
    assert_false(subproc_destroy(apart));
    assert_null(heap_of(user.later.p[0]));
    assert_null(apart->arenas.outside);
    free_from(&own, 0, 1);
    test_barrier_done(&ready);
    test_barrier_done(&go);
    if (round == 2) reserved = stats_process.reserved.current;
  }
  assert_int_equal(stats_process.reserved.current, reserved);
}

// ---- visiting ---------------------------------------------------------------------------------------------------

enum { SHADOWS = 3000 };
typedef struct shadow_s {
  char* p[SHADOWS];
  size_t size[SHADOWS];
  bool seen[SHADOWS];
  size_t areas, blocks, used; // used: what the areas say
} shadow_t;
static shadow_t shadow;

static bool see(heap_t* heap, const heap_area_t* area, void* block, size_t block_size, void* arg) {
  assert_ptr_equal(arg, &shadow);
  assert_non_null(heap);
  if (block == NULL) {
    shadow.areas++;
    shadow.used += area->used;
    assert_true(area->committed <= area->reserved && area->used * area->full_block_size <= area->committed);
    return true;
  }
  shadow.blocks++;
  assert_true((char*)block >= (char*)area->blocks &&
              (char*)block + block_size <= (char*)area->blocks + area->committed);
  for (size_t i = 0; i < SHADOWS; i++) {
    if (shadow.p[i] != block) continue;
    assert_false(shadow.seen[i]);
    assert_true(block_size >= shadow.size[i]);
    shadow.seen[i] = true;
    return true;
  }
  fail_msg("%p is no block in use", block);
  return false;
}

static size_t see_all(heap_t* heap, heap_scope_t scope, theap_t* theap) {
  shadow.areas = shadow.blocks = shadow.used = 0;
  assert_true(heap_visit(heap, scope, theap, true, see, &shadow));
  if (MI_SECURE) {
    assert_in_range(shadow.blocks, 0,
                    shadow.used); // freed blocks whose reuse is delayed are used to their page
  } else {
    assert_int_equal(shadow.blocks, shadow.used);
  }
  return shadow.blocks;
}

static void expect_all_seen(void) {
  for (size_t i = 0; i < SHADOWS; i++) {
    assert_int_equal(shadow.seen[i], shadow.p[i] != NULL);
    shadow.seen[i] = false;
  }
}

static void change(heap_t* heap, size_t from, size_t to, test_random_t* random) {
  for (size_t i = from; i < to; i++) {
    if (shadow.p[i] != NULL && test_random_below(random, 3) > 0) {
      mi_free(shadow.p[i]);
      shadow.p[i] = NULL;
    } else if (shadow.p[i] == NULL) {
      shadow.size[i] = test_random_size(random, 1, i % 100 == 0 ? 1000000 : 5000);
      shadow.p[i] = allocate(heap, shadow.size[i]);
    }
  }
}

static void run_changes(void* arg) {
  test_random_t random = {*(uint64_t*)arg};
  change(shared, 0, SHADOWS / 2, &random); // also frees what others allocated
}

static bool stop(heap_t* heap, const heap_area_t* area, void* block, size_t block_size, void* arg) {
  MI_UNUSED(heap), MI_UNUSED(area), MI_UNUSED(block), MI_UNUSED(block_size);
  return ++*(size_t*)arg < 3;
}

static void test_visit(void** state) {
  MI_UNUSED(state);
  for (size_t k = 0; k < 2; k++) {
    shared = k == 0 ? make() : heap_main();
    test_random_t random = {17};
    for (size_t round = 0; round < 12; round++) {
      change(shared, round % 2 == 0 ? 0 : SHADOWS / 3, SHADOWS, &random);
      uint64_t seed = round + 100;
      test_thread_t thread;
      test_thread_start(&thread, run_changes, &seed);
      test_thread_join(&thread);
      see_all(shared, HEAP_ALL, NULL);
      expect_all_seen();
      // Each page is nobody's, or a theap's; huge blocks of a thread that has ended are in neither.
      size_t own = see_all(shared, HEAP_THEAP, runtime_heap_enter(shared));
      assert_true(own > 0);
      memset(shadow.seen, 0, sizeof(shadow.seen));
      see_all(shared, HEAP_ABANDONED, NULL);
      memset(shadow.seen, 0, sizeof(shadow.seen));
    }
    size_t calls = 0;
    assert_false(heap_visit(shared, HEAP_ALL, NULL, true, stop, &calls));
    assert_int_equal(calls, 3);
    for (size_t i = 0; i < SHADOWS; i++) {
      if (k == 1) mi_free(shadow.p[i]);
      shadow.p[i] = NULL;
    }
    if (k == 0) assert_true(heap_destroy(shared));
  }
}

// ---- which pointers are heaps -----------------------------------------------------------------------------------

// More heaps than there are hashes of their addresses: each is known as long as it is one.
static void test_valid_among_many(void** state) {
  MI_UNUSED(state);
  enum { HEAPS = 3000 };
  static heap_t* heaps[HEAPS];
  for (size_t i = 0; i < HEAPS; i++) heaps[i] = make();
  for (size_t i = 0; i < HEAPS; i++) assert_true(heap_is_valid(heaps[i]));
  for (size_t i = 0; i < HEAPS; i += 2) assert_true(heap_delete(heaps[i]));
  for (size_t i = 0; i < HEAPS; i++) {
    assert_int_equal(heap_is_valid(heaps[i]), i % 2 != 0);
    assert_false(heap_is_valid((heap_t*)((char*)heaps[i] + MI_CACHE_LINE))); // nor what lies inside of one
  }
  assert_true(heap_is_valid(heap_main()));
  for (size_t i = 1; i < HEAPS; i += 2) assert_true(heap_destroy(heaps[i]));
  for (size_t i = 0; i < HEAPS; i++) assert_false(heap_is_valid(heaps[i]));
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup(name, set_up)
  const struct CMUnitTest tests[] = {
      CASE(test_subprocesses),
      CASE(test_visit),
      CASE(test_valid_among_many),
  };
  return check_run(tests);
}
