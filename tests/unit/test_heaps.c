// Heaps: blocks belong to the heap they were allocated in, by whichever thread; they outlive a deleted heap and go with a
// destroyed one, whatever other threads do meanwhile; records are used again; lists survive dead threads.
#include "heap_blocks.h"

// ---- one thread -------------------------------------------------------------------------------------------------

static void test_blocks_belong_to_heaps(void** state) {
  MI_UNUSED(state);
  static int elsewhere;
  heap_t *first = make(), *second = make();
  blocks_t in_first, in_second, in_main;
  fill(first, &in_first);
  fill(second, &in_second);
  fill(heap_main(), &in_main);
  check_pages(first);
  check_pages(second);
  assert_null(heap_of(&elsewhere));
  assert_null(heap_of(NULL));
  assert_ptr_equal(heap_of(in_first.p[9] + 300000), first); // inside of a huge block
  assert_false(heap_is_valid((heap_t*)(void*)&elsewhere));
  assert_false(heap_is_valid(NULL));
  assert_false(heap_delete(heap_main()) || heap_destroy(heap_main()) || heap_delete(NULL) ||
               heap_destroy(NULL));
  assert_true(heap_destroy(first)); // with all in it
  assert_int_equal(pages_in(subproc_main(), first), 0);
  assert_false(heap_is_valid(first) || heap_destroy(first) || heap_delete(first));
  check(&in_second);
  assert_true(heap_delete(second)); // its blocks live on
  for (size_t i = 0; i < BLOCKS; i++) assert_ptr_equal(heap_of(in_second.p[i]), heap_main());
  check(&in_main);
  free_from(&in_second, 0, 1);
  free_from(&in_main, 0, 1);
}

// More heaps than a thread's table has places: each has its own blocks all the same, in whatever order they go.
static void test_many_heaps(void** state) {
  MI_UNUSED(state);
  enum { HEAPS = 2 * THEAP_CACHE_SIZE + 20, EACH = 5 };
  static heap_t* heaps[HEAPS];
  static char* p[HEAPS][EACH];
  for (size_t i = 0; i < HEAPS; i++) heaps[i] = make();
  for (size_t k = 0; k < EACH; k++) {
    for (size_t i = 0; i < HEAPS; i++) { // neighbours in the table come one after the other
      p[i][k] = allocate(heaps[i], 100);
      pattern_fill(p[i][k], 100, i * EACH + k);
    }
  }
  for (size_t i = 0; i < HEAPS; i++) assert_int_equal(theaps_in(heaps[i]), 1);
  assert_int_equal(heaps_in(subproc_main()), HEAPS + 1);
  test_random_t random = {5};
  for (size_t left = HEAPS; left > 0; left--) {
    size_t i = test_random_below(&random, HEAPS);
    while (heaps[i] == NULL) i = (i + 1) % HEAPS;
    for (size_t k = 0; k < EACH; k++)
      assert_int_equal(pattern_mismatch(p[i][k], 100, i * EACH + k), SIZE_MAX);
    if (i % 2 == 0) {
      assert_true(heap_destroy(heaps[i]));
    } else {
      assert_true(heap_delete(heaps[i]));
      for (size_t k = 0; k < EACH; k++) mi_free(p[i][k]);
    }
    heaps[i] = NULL;
    assert_int_equal(heaps_in(subproc_main()), left);
  }
}

static heap_t* shared;
static test_barrier_t step;

static void run_user_of_each(void* arg) {
  MI_UNUSED(arg);
  for (size_t i = 0; i < 3000; i++) {
    test_barrier_wait(&step);
    mi_free(allocate(shared, 100));
    allocate(shared, 600000);
    test_barrier_wait(&step);
  }
}

// However often heaps come and go, their records and those of their theaps don't become more.
static void test_records_are_used_again(void** state) {
  MI_UNUSED(state);
  size_t records = 0;
  int64_t reserved = 0;
  for (size_t i = 0; i < 100000; i++) {
    heap_t* heap = make();
    void* p = i % 10 < 2 ? allocate(heap, 1000) : NULL;
    if (i % 2 == 0) {
      assert_true(heap_destroy(heap));
    } else {
      assert_true(heap_delete(heap));
      mi_free(p);
    }
    if (i == 100) records = theap_records(), reserved = stats_process.reserved.current;
  }
  assert_int_equal(theap_records(), records);
  assert_int_equal(stats_process.reserved.current, reserved);

  // Nor do they when another thread has a theap of each.
  test_thread_t user;
  test_barrier_init(&step, 2);
  test_thread_start(&user, run_user_of_each, NULL);
  for (size_t i = 0; i < 3000; i++) {
    shared = make();
    mi_free(allocate(shared, 100));
    test_barrier_wait(&step);
    test_barrier_wait(&step);
    assert_true(heap_destroy(shared));
    if (i == 10) records = theap_records(), reserved = stats_process.reserved.current;
  }
  test_thread_join(&user);
  test_barrier_done(&step);
  assert_true(theap_records() <= records + 1);
  assert_int_equal(stats_process.reserved.current, reserved);
}

// What malloc allocates from on this thread may be a heap's theap, and the heap may go.
static void test_default_goes(void** state) {
  MI_UNUSED(state);
  for (int deleted = 0; deleted < 2; deleted++) {
    heap_t* heap = make();
    theap_t *own = runtime_theap(), *theap = runtime_heap_enter(heap);
    assert_ptr_equal(runtime_set_default(theap), own);
    void* p = mi_malloc(100);
    assert_ptr_equal(heap_of(p), heap);
    assert_true(deleted ? heap_delete(heap) : heap_destroy(heap));
    assert_ptr_equal(runtime_theap(), own);
    if (deleted) mi_free(p);
    p = mi_malloc(100);
    assert_ptr_equal(heap_of(p), heap_main());
    mi_free(p);
  }
}

// A thread's table of its theaps is in its default one, wherever that is, and in no other.
static void test_table_goes_with_default(void** state) {
  MI_UNUSED(state);
  for (int deleted = 0; deleted < 2; deleted++) {
    heap_t *first = make(), *second = make();
    theap_t *own = runtime_theap(), *a = runtime_heap_enter(first), *b = runtime_heap_enter(second);
    assert_ptr_equal(theap_cached(own, second), b);
    assert_ptr_equal(runtime_set_default(a), own);
    assert_ptr_equal(theap_cached(a, second), b);
    assert_null(theap_cached(own, second));
    assert_ptr_equal(runtime_set_default(b), a);
    assert_ptr_equal(theap_cached(b, first), a);
    assert_null(theap_cached(a, second));
    assert_true(deleted ? heap_delete(first) : heap_destroy(first));
    for (size_t i = 0; i < THEAP_CACHE_SIZE; i++) assert_ptr_not_equal(b->cache[i], a);
    assert_true(deleted ? heap_delete(second) : heap_destroy(second));
    assert_ptr_equal(runtime_theap(), own);
    for (size_t i = 0; i < THEAP_CACHE_SIZE; i++) assert_ptr_not_equal(own->cache[i], b);
  }
}

// On its own thread a block goes straight back to its page, in whichever heap it is.
static void test_own_free_is_direct(void** state) {
  MI_UNUSED(state);
  if (MI_SECURE || MI_DEBUG) return; // they look at more, and hold blocks back
  heap_t* heap = make();
  void *first = mi_heap_malloc((mi_heap_t*)heap, 100), *second = mi_heap_malloc((mi_heap_t*)heap, 100);
  page_t* page = page_map_page(first);
  assert_ptr_equal(page_map_page(second), page);
  uint64_t freed = page->freed;
  mi_free(first);
  assert_int_equal(page->freed, freed + 1);
  assert_int_equal(page_remote_count(page), 0);
  assert_ptr_equal(page->free, first);
  mi_free(first); // the second of two in a row is refused
  assert_int_equal(page->freed, freed + 1);
  assert_ptr_equal(page->free, first);
  mi_free(second);
  assert_true(heap_destroy(heap));
}

// ---- several threads --------------------------------------------------------------------------------------------

enum { THREADS = 3 };

typedef struct user_s {
  test_thread_t thread;
  blocks_t blocks, later;
} user_t;
static test_barrier_t ready, go;

static void run_user(void* arg) { // allocates; when the heap is gone, goes on in the main one
  user_t* user = arg;
  fill(shared, &user->blocks);
  test_barrier_wait(&ready);
  test_barrier_wait(&go);
  fill(heap_main(), &user->later);
  free_from(&user->blocks, 0, 2);
  free_from(&user->later, 0, 2);
}

// The theaps of other threads are the main heap's from then on.
static void test_delete_with_living_theaps(void** state) {
  MI_UNUSED(state);
  static user_t users[THREADS];
  shared = make();
  test_barrier_init(&ready, THREADS + 1);
  test_barrier_init(&go, THREADS + 1);
  for (size_t i = 0; i < THREADS; i++) test_thread_start(&users[i].thread, run_user, &users[i]);
  test_barrier_wait(&ready);
  assert_int_equal(theaps_in(shared), THREADS);
  check_pages(shared);
  heap_t* gone = shared;
  assert_true(heap_delete(shared));
  assert_int_equal(pages_in(subproc_main(), gone), 0);
  heap_t* next = make(); // in the same record: nobody mistakes it for the old one
  assert_ptr_equal(next, gone);
  for (size_t i = 0; i < THREADS; i++)
    for (size_t k = 0; k < BLOCKS; k++) assert_ptr_equal(heap_of(users[i].blocks.p[k]), heap_main());
  test_barrier_wait(&go);
  for (size_t i = 0; i < THREADS; i++) test_thread_join(&users[i].thread);
  assert_int_equal(pages_in(subproc_main(), next), 0);
  assert_true(heap_destroy(next));
  for (size_t i = 0; i < THREADS; i++) {
    free_from(&users[i].blocks, 1, 2);
    free_from(&users[i].later, 1, 2);
  }
  test_barrier_done(&ready);
  test_barrier_done(&go);
}

static void run_ender(void* arg) { // ends while the heap does
  user_t* user = arg;
  fill(shared, &user->blocks);
  fill(heap_main(), &user->later);
  test_barrier_wait(&ready);
}

static void run_freer(void* arg) { // frees all that others have, while the heap is deleted
  user_t* user = arg;
  fill(shared, &user->blocks);
  test_barrier_wait(&ready);
  free_from(&user->blocks, 0, 1);
}

// Blocks may be freed, threads may end, and new heaps fill up, at each moment of a heap's end.
static void test_ends_meet(void** state) {
  MI_UNUSED(state);
  static user_t users[THREADS];
  for (size_t round = 0; round < 300; round++) {
    bool is_deleted = round % 2 == 0;
    shared = make();
    test_barrier_init(&ready, THREADS + 1);
    void (*run)(void*) = is_deleted && round % 4 == 0 ? run_freer : run_ender;
    for (size_t i = 0; i < THREADS; i++) test_thread_start(&users[i].thread, run, &users[i]);
    test_barrier_wait(&ready);
    assert_true(is_deleted ? heap_delete(shared) : heap_destroy(shared));
    heap_t* next = make();
    blocks_t blocks;
    fill(next, &blocks);
    check_pages(next);
    for (size_t i = 0; i < THREADS; i++) test_thread_join(&users[i].thread);
    check(&blocks);
    check_pages(next);
    assert_true(heap_destroy(next));
    for (size_t i = 0; i < THREADS && run == run_ender; i++) {
      if (is_deleted) free_from(&users[i].blocks, 0, 1);
      free_from(&users[i].later, 0, 1);
    }
    test_barrier_done(&ready);
    mi_collect(true);
    assert_int_equal(pages_in(subproc_main(), NULL), 0);
  }
}

// ---- threads that died without a word ---------------------------------------------------------------------------

static void run_vanish(void* arg) {
  fill(shared, arg);
  os_slot_set(NULL); // the thread's end will find nothing to give back
}

static void vanish(blocks_t* blocks) {
  test_thread_t thread;
  test_thread_start(&thread, run_vanish, blocks);
  test_thread_join(&thread);
}

static void reap_all(int64_t threads) {
  for (size_t tries = 0; tries < 1000 && stats_process.threads.current > threads; tries++) {
    mi_collect(true);
    if (stats_process.threads.current > threads) os_yield();
  }
  assert_int_equal(stats_process.threads.current, threads);
}

static void test_dead_thread_in_heap(void** state) {
  MI_UNUSED(state);
  int64_t threads = stats_process.threads.current;
  size_t records = 0;
  for (size_t round = 0; round < 12; round++) {
    blocks_t blocks;
    shared = make();
    vanish(&blocks);
    heap_t* heap = shared;
    switch (round % 4) {
    case 0: // the heap goes before anybody knows of the death
      assert_true(heap_destroy(heap));
      reap_all(threads);
      break;
    case 1:
      reap_all(threads);
      check(&blocks);
      check_pages(heap);
      assert_int_equal(theaps_in(heap), 0);
      assert_true(heap_destroy(heap));
      break;
    case 2:
      assert_true(heap_delete(heap));
      reap_all(threads);
      free_from(&blocks, 0, 1);
      break;
    default:
      reap_all(threads);
      assert_true(heap_delete(heap));
      free_from(&blocks, 0, 1);
    }
    if (round == 3) records = theap_records();
  }
  assert_int_equal(theap_records(), records);
}

static page_t* made_by_dead;

static void run_vanish_making(void* arg) {
  MI_UNUSED(arg);
  page_t* page = page_map_page(allocate(shared, 11 * SLICE_SIZE));
  uint64_t start = (uint64_t)(page->start - page->arena->base) / SLICE_SIZE;
  arena_hold_t* claimed = &runtime_theap()->thread->hands.claimed; // not yet struck out
  *claimed = (arena_hold_t){page->arena, start << 32 | page->slice_count};
  made_by_dead = page;
  os_slot_set(NULL);
}

// What a thread had in its hands when it was killed goes back once, also when it was a page of a heap that was destroyed
// since, and other pages lie there now.
static void test_dead_thread_held_a_page(void** state) {
  MI_UNUSED(state);
  enum { GUARD = MI_SECURE ? 1 : 0 }; // slices, behind each page
  int64_t threads = stats_process.threads.current;
  heap_t* heap = make();
  uint8_t* before = allocate(heap, 10 * SLICE_SIZE);
  size_t before_size = page_map_page(before)->slice_count * SLICE_SIZE;
  shared = make();
  test_thread_t thread;
  test_thread_start(&thread, run_vanish_making, NULL);
  test_thread_join(&thread);
  size_t size = made_by_dead->slice_count * SLICE_SIZE, both = before_size + size;
  assert_ptr_equal(made_by_dead->start, before + before_size);
  assert_true(heap_destroy(shared));
  mi_free(before);
  uint8_t* over = allocate(heap, both - GUARD * SLICE_SIZE);
  assert_ptr_equal(over, before);
  reap_all(threads);
  uint8_t* next = allocate(heap, size - GUARD * SLICE_SIZE);
  assert_true(next + size <= over || next >= over + both);
  assert_true(heap_destroy(heap));
}

static void run_vanish_in_subproc(void* arg) {
  assert_true(runtime_subproc_add_current_thread(arg));
  assert_non_null(mi_malloc(100));
  os_slot_set(NULL);
}

// Threads that were killed are no reason to keep a sub-process.
static void test_dead_thread_in_subproc(void** state) {
  MI_UNUSED(state);
  int64_t threads = stats_process.threads.current;
  for (size_t round = 0; round < 3; round++) {
    subproc_t* subproc = subproc_new();
    test_thread_t thread;
    test_thread_start(&thread, run_vanish_in_subproc, subproc);
    test_thread_join(&thread);
    bool is_gone = false;
    for (size_t tries = 0; tries < 1000 && !is_gone; tries++) {
      is_gone = subproc_destroy(subproc);
      if (!is_gone) os_yield();
    }
    assert_true(is_gone);
    assert_int_equal(stats_process.threads.current, threads);
  }
}

// A record whose dead thread's things are being given back by a living one isn't up for grabs.
static void test_taken_is_not_dead(void** state) {
  MI_UNUSED(state);
  static thread_t record;
  record.watch = 1; // no thread's
  record.holder = THREAD_HOLDER(THREAD_OWNED, os_thread_id(), 1);
#if defined(_WIN32) // an open watch keeps the id from other threads
  assert_false(thread_is_dead(&record));
  record.holder = THREAD_HOLDER(THREAD_OWNED, NO_THREAD, 1);
#endif
  assert_true(thread_is_dead(&record));
  record.holder = THREAD_HOLDER(THREAD_TAKEN, os_thread_id(), 1);
  assert_false(thread_is_dead(&record));
  record.is_superseded = 1;
  assert_false(thread_is_dead(&record));
  record.holder = THREAD_HOLDER(THREAD_TAKEN, NO_THREAD, 1);
  assert_true(thread_is_dead(&record));
  record.holder = THREAD_HOLDER(THREAD_SPARE, 0, 0);
  assert_false(thread_is_dead(&record));
  // Of a thread that is there: dead all the same when its id is known to have had a record since.
  record.watch = 0;
  record.holder = THREAD_HOLDER(THREAD_OWNED, os_thread_id(), 1);
  assert_true(thread_is_dead(&record));
  record.is_superseded = 0;
  assert_false(thread_is_dead(&record));
}

// Locks whose holders died in the middle: the lists are made anew, while pages, theaps and heaps come and go.
static void test_lists_are_made_anew(void** state) {
  MI_UNUSED(state);
  heap_t *heap = make(), *others[3];
  for (size_t i = 0; i < 3; i++) others[i] = make();
  blocks_t blocks;
  size_t made_anew = 0;
  for (size_t round = 0; round < 4; round++) { // each lock is waited for until its holder is known to be dead
    for (size_t i = 0; i < BLOCKS; i++) {
      blocks.p[i] = NULL;
      if (i % 4 == round % 4) {
        heap->pages_lock.owner = NO_THREAD;
        heap->pages = NULL; // as bad as it gets
      }
      blocks.p[i] = allocate(heap, size_of(i));
      pattern_fill_sampled(blocks.p[i], size_of(i), i);
      if (heap->pages_lock.owner != 0) continue; // no new page was needed
      check_pages(heap);
      made_anew += i % 4 == round % 4;
    }
    check(&blocks);
    for (size_t i = 0; i < BLOCKS; i++) {
      bool is_huge = size_of(i) > LARGE_SIZE_MAX;
      if (is_huge && heap->pages_lock.owner == 0) heap->pages_lock.owner = NO_THREAD; // its list is whole
      mi_free(blocks.p[i]);
      if (is_huge) check_pages(heap);
    }
  }
  assert_true(made_anew > 4);

  // Huge pages lose their owner before they are taken off the list; made anew, that has another order and not the page.
  enum { HUGE = 16 };
  void* huge[HUGE];
  for (size_t i = 0; i < HUGE; i++) huge[i] = allocate(heap, 600000);
  for (size_t i = 0; i < HUGE; i += 3) mi_free(huge[i]);
  for (size_t i = 0; i < HUGE; i += 3) huge[i] = allocate(heap, 600000);
  for (size_t i = 0; i < HUGE; i++) {
    heap->pages_lock.owner = NO_THREAD;
    mi_free(huge[i * 5 % HUGE]);
    check_pages(heap);
  }

  for (size_t i = 0; i < 3; i++) {
    blocks_t gone;
    shared = heap;
    heap->theaps_lock.owner = NO_THREAD;
    test_thread_t thread;
    user_t user;
    test_barrier_init(&ready, 1);
    test_thread_start(&thread, run_ender, &user); // makes a theap, and gives it back
    test_thread_join(&thread);
    test_barrier_done(&ready);
    assert_int_equal(theaps_in(heap), 1);
    heap->theaps_lock.owner = NO_THREAD;
    free_from(&user.blocks, 0, 1);
    free_from(&user.later, 0, 1);
    fill(heap, &gone);
    assert_int_equal(theaps_in(heap), 1);
    subproc_main()->heaps_lock.owner = NO_THREAD;
    assert_true(heap_destroy(others[i]));
    assert_int_equal(heaps_in(subproc_main()), 2 + 2 - i);
  }
  subproc_main()->heaps_lock.owner = NO_THREAD;
  heap_t* last = make();
  assert_int_equal(heaps_in(subproc_main()), 3);
  assert_true(heap_destroy(last));
  assert_true(heap_destroy(heap));
}

static void test_all_is_clean(void** state) { MI_UNUSED(state); } // says the set-up

int main(void) {
#define CASE(name) cmocka_unit_test_setup(name, set_up)
  const struct CMUnitTest tests[] = {
      CASE(test_blocks_belong_to_heaps),    CASE(test_many_heaps),
      CASE(test_records_are_used_again),    CASE(test_default_goes),
      CASE(test_table_goes_with_default),   CASE(test_own_free_is_direct),
      CASE(test_delete_with_living_theaps), CASE(test_ends_meet),
      CASE(test_dead_thread_in_heap),       CASE(test_dead_thread_held_a_page),
      CASE(test_dead_thread_in_subproc),    CASE(test_taken_is_not_dead),
      CASE(test_lists_are_made_anew),       CASE(test_all_is_clean),
  };
  return check_run(tests);
}
