// Killed threads, found at some later time: all that are found at a time are dealt with together, each once, and nobody else's.
//
// All records are acquired by the test's thread, which says of some that they are a dead thread's.
#include "heap_blocks.h"
#include "support/level_below_racks.h"

#include "core/arenas/arena_slices.h"

enum { EACH = 6 };
static thread_t* self;
static int64_t threads, reaped;

static int begin(void** state) {
  if (set_up(state) != 0) return -1;
  self = runtime_theap()->thread;
  theap_go_without_racks(self->main);
  threads = stats_process.threads.current;
  reaped = stats_process.threads_reaped;
  return threads == 1 ? 0 : -1;
}

static thread_t* acquire(void) {
  thread_t* thread = thread_acquire(subproc_main());
  assert_non_null(thread);
  theap_go_without_racks(thread->main); // what is held back there is lost with its thread
  for (thread_t* at = thread_first(); at != NULL; at = at->all_next) at->is_superseded = 0;
  return thread;
}

static void kill_holder(thread_t* thread) {
  thread->holder = THREAD_HOLDER(THREAD_OWNED, NO_THREAD, thread_holder_number(thread->holder));
}

static thread_t* acquire_dead(void) {
  thread_t* thread = acquire();
  kill_holder(thread);
  return thread;
}

static void take_blocks(thread_t* thread, void** blocks) {
  bool is_zero;
  for (size_t i = 0; i < EACH; i++) {
    blocks[i] = theap_allocate(thread->main, size_of(i), &is_zero);
    assert_non_null(blocks[i]);
    pattern_fill_sampled(blocks[i], size_of(i), i);
  }
}

static void free_blocks(void** blocks) {
  for (size_t i = 0; i < EACH; i++) {
    assert_int_equal(pattern_mismatch_sampled(blocks[i], size_of(i), i), SIZE_MAX);
    mi_free(blocks[i]);
  }
}

static void check_reaped(size_t count) {
  assert_int_equal(stats_process.threads.current, threads);
  assert_int_equal(stats_process.threads_reaped - reaped, count);
  for (const thread_t* at = thread_first(); at != NULL; at = at->all_next) {
    assert_int_equal(thread_holder_kind(at->holder), at == self ? THREAD_OWNED : THREAD_SPARE);
    assert_false(at->was_owned);
  }
  mi_collect(true);
  assert_int_equal(pages_in(subproc_main(), NULL), 0);
}

// However few of the living are looked at, of the dead the walk finds all; their blocks are there still.
static void test_all_at_once(void** state) {
  MI_UNUSED(state);
  enum { DEAD = 20 };
  static void* blocks[DEAD][EACH];
  for (size_t i = 0; i < DEAD; i++) take_blocks(acquire_dead(), blocks[i]);
  assert_int_equal(thread_reap(self, 1), DEAD);
  for (size_t i = 0; i < DEAD; i++)
    for (size_t k = 0; k < EACH; k++) assert_ptr_equal(heap_of(blocks[i][k]), heap_main());
  for (size_t i = 0; i < DEAD; i++) free_blocks(blocks[i]);
  check_reaped(DEAD);
}

// A look at a few begins where the last one ended: a dead one among many living is found.
static void test_walk_goes_round(void** state) {
  MI_UNUSED(state);
  enum { LIVING = 12, LOOKS = 2 };
  thread_t *records[LIVING], *last = NULL;
  for (size_t i = 0; i < LIVING; i++) records[i] = acquire();
  for (thread_t* at = thread_first(); at != NULL; at = at->all_next)
    for (size_t i = 0; i < LIVING; i++)
      if (records[i] == at) last = at;
  kill_holder(last);
  size_t found = 0, tries = 0;
  for (; found == 0 && tries < LIVING; tries++) found += thread_reap(self, LOOKS);
  assert_int_equal(found, 1);
  for (size_t i = 0; i < LIVING; i++) {
    assert_int_equal(thread_holder_kind(records[i]->holder),
                     records[i] == last ? THREAD_SPARE : THREAD_OWNED);
    if (records[i] != last) thread_give_back(records[i]);
  }
  check_reaped(1);
}

// What each of them had in its hands goes back.
static void test_hands(void** state) {
  MI_UNUSED(state);
  enum { DEAD = 3, RUN = 5 };
  mi_free(mi_malloc(100)); // there is an arena
  arena_t* arena = page_map_page(runtime_theap()->bins[size_class_bin(100)].first->start)->arena;
  size_t before = arena_usage(arena).free;
  for (size_t i = 0; i < DEAD; i++)
    assert_true(arena_claim(arena, RUN, (arena_alignment_t){1, false}, &acquire_dead()->hands.claimed) != ARENA_NOT_FOUND);
  assert_int_equal(arena_usage(arena).free, before - DEAD * RUN);
  assert_int_equal(thread_reap(self, 1), DEAD);
  assert_int_equal(arena_usage(arena).free, before);
  check_reaped(DEAD);
}

// Theaps whose heap was destroyed wait for their thread, which doesn't come: who has the record next has none of them.
static void test_ended_theaps(void** state) {
  MI_UNUSED(state);
  heap_t *first = make(), *second = make();
  thread_t* dead = acquire_dead();
  theap_t *in_first = thread_theap(dead, first), *in_second = thread_theap(dead, second);
  assert_true(in_first != NULL && in_second != NULL);
  assert_true(heap_destroy(first)); // by a thread that doesn't know
  assert_int_equal(in_first->state, THEAP_DESTROYED);
  in_second->state = THEAP_DESTROYING; // somebody is at it
  assert_int_equal(thread_reap(self, 1), 1);
  assert_int_equal(in_first->state, THEAP_SPARE);
  assert_int_equal(in_second->state,
                   THEAP_LET_GO); // the record is the other's to give back, as it does here:
  theaps_relink(second);
  assert_int_equal(in_second->state, THEAP_SPARE);
  assert_true(heap_destroy(second));
  check_reaped(1);
}

// A page that the dead one kept, and had begun to use again: who adopts it keeps it as its own.
static void test_kept_page(void** state) {
  MI_UNUSED(state);
  bool is_zero;
  thread_t* dead = acquire_dead();
  theap_free(dead->main, theap_allocate(dead->main, 1000, &is_zero));
  void* p = theap_allocate(dead->main, 1000, &is_zero);
  page_t* page = page_map_page(p);
  assert_true(page->is_kept && page_used(page) == 1);
  assert_int_equal(thread_reap(self, 1), 1);
  assert_true(page_is_abandoned(page->owner));
  assert_true(!page->is_kept && page_used(page) == 1);
  void* next = theap_allocate(self->main, 1000, &is_zero);
  assert_ptr_equal(page_map_page(next), page);
  mi_free(p);
  mi_free(next);
  assert_true(page->is_kept);
  assert_int_equal(self->main->kept_slices, page->committed_slices);
  check_reaped(1);
}

// ---- the late record ----------------------------------------------------------------------------------------------

static void* late_block;

static void run_killed_late(void* arg) { // in the middle of something, and it holds the lock
  MI_UNUSED(arg);
  bool is_zero;
  thread_t* late = thread_late_enter(subproc_main());
  theap_t* theap = thread_theap(late, heap_main());
  late_block = theap_allocate(theap, 1000, &is_zero);
  theap->bins[page_map_page(late_block)->bin].first = NULL; // as bad as it gets
}

// What it shared with others that come late is made anew.
static void test_killed_late(void** state) {
  MI_UNUSED(state);
  test_thread_t thread;
  test_thread_start(&thread, run_killed_late, NULL);
  test_thread_join(&thread);
  page_t* page = page_map_page(late_block);
  theap_t* before = page_owner_theap(page->owner);
  assert_false(page_is_abandoned(page->owner));
  thread_t* late = thread_late_enter(subproc_main());
  bool is_empty = late->theaps == NULL && late->main == NULL;
  thread_late_leave(); // first: what fails goes on to other cases
  assert_true(is_empty);
  assert_true(page_is_abandoned(page->owner));
  assert_int_equal(before->state, THEAP_SPARE);
  mi_free(late_block);
  mi_collect(true);
  assert_int_equal(pages_in(subproc_main(), NULL), 0);
}

// ---- whose it is --------------------------------------------------------------------------------------------------

// What another thread is dealing with is none of ours.
static void test_others_dead(void** state) {
  MI_UNUSED(state);
  static void *others_blocks[EACH], *blocks[EACH];
  thread_t *others = acquire(), *dead = acquire_dead();
  take_blocks(others, others_blocks);
  take_blocks(dead, blocks);
  theap_t* theap = others->main;
  others->was_owned = true;
  uint64_t by_another = THREAD_HOLDER(THREAD_TAKEN, os_thread_id(), thread_holder_number(self->holder) + 1);
  others->holder = by_another;
  assert_int_equal(thread_reap(self, SIZE_MAX), 1);
  assert_int_equal(thread_holder_kind(dead->holder), THREAD_SPARE);
  assert_true(others->holder == by_another && others->main == theap);
  assert_int_equal(theap->state, THEAP_OWNED);
  for (size_t i = 0; i < EACH; i++)
    assert_int_equal(page_map_page(others_blocks[i])->owner & ~(uintptr_t)PAGE_OWNER_FLAGS, (uintptr_t)theap);
  // The other one is killed on the way: then its are.
  others->holder = THREAD_HOLDER(THREAD_TAKEN, NO_THREAD, 1);
  assert_int_equal(thread_reap(self, SIZE_MAX), 1);
  free_blocks(others_blocks);
  free_blocks(blocks);
  check_reaped(2);
}

// A reaper that was killed when it had struck the thread off leaves that done.
static void test_counted_once(void** state) {
  MI_UNUSED(state);
  thread_t* dead = acquire_dead();
  assert_int_equal(stats_process.threads.current, threads + 1);
  stats_process.threads.current--;
  stats_process.theaps.current--;
  subproc_main()->threads--;
  dead->holder = THREAD_HOLDER(THREAD_TAKEN, NO_THREAD, 1);
  assert_int_equal(thread_reap(self, SIZE_MAX), 1);
  assert_int_equal(subproc_main()->threads, threads);
  check_reaped(1);
}

// A thread begins with the id of one that has a record: that one was killed, though the system says that its id lives.
static void test_id_lives_again(void** state) {
  MI_UNUSED(state);
  thread_t *before = thread_acquire(subproc_main()), *now = thread_acquire(subproc_main());
  assert_true(before != NULL && now != NULL);
  self->is_superseded = 0; // the same thread's, which lives
  assert_false(thread_is_dead(self) || thread_is_dead(now));
  assert_true(thread_is_dead(before));
  assert_int_equal(thread_reap(self, SIZE_MAX), 1);
  assert_int_equal(thread_holder_kind(before->holder), THREAD_SPARE);
  assert_int_equal(stats_process.threads.current, threads + 1);
  thread_give_back(now);
  assert_int_equal(stats_process.threads.current, threads);
  thread_t* again = thread_acquire(subproc_main()); // nothing of that is left in a record that is used again
  assert_false(thread_is_dead(again));
  self->is_superseded = 0;
  thread_give_back(again);
  check_reaped(1);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup(name, begin)
  const struct CMUnitTest tests[] = {
      CASE(test_all_at_once),  CASE(test_walk_goes_round), CASE(test_hands),
      CASE(test_ended_theaps), CASE(test_kept_page),       CASE(test_killed_late),
      CASE(test_others_dead),  CASE(test_counted_once),    CASE(test_id_lives_again),
  };
  return check_run(tests);
}
