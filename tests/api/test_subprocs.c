// Sub-processes: memory never goes from one to another, and frees across them work.
#include "api_check.h"
#include "support/test_thread.h"

#include <mimalloc-stats.h>

#include <stdlib.h>

#define MIB(n) ((size_t)(n) << 20)

enum { BLOCKS = 500 };

typedef struct member_s {
  test_thread_t thread;
  mi_subproc_id_t subproc, seen;
  mi_heap_t *main_heap, *heap;
  char* blocks[BLOCKS];
  char* foreign[BLOCKS]; // of the main sub-process, to be freed here
  bool was_late, in_other_heap;
  test_event_t done, leave;
} member_t;

static size_t size_of(size_t i) { return i % 100 == 99 ? MIB(1) : 10 + i * 20; }

static void live_in_subproc(void* arg) {
  member_t* member = arg;
  mi_subproc_add_current_thread(member->subproc);
  member->seen = mi_subproc_current();
  member->main_heap = mi_heap_main();
  member->heap = mi_heap_new();
  for (size_t i = 0; i < BLOCKS; i++) {
    char* p = i % 2 == 0 ? mi_malloc(size_of(i)) : mi_heap_malloc(member->heap, size_of(i));
    pattern_fill_sampled(p, size_of(i), (uintptr_t)p);
    member->blocks[i] = p;
    if (mi_heap_of(p) != (i % 2 == 0 ? member->main_heap : member->heap)) member->in_other_heap = true;
    mi_free(member->foreign[i]);
  }
  mi_subproc_add_current_thread(mi_subproc_main()); // too late: refused
  member->was_late = mi_subproc_current()._mi_subproc_id == member->subproc._mi_subproc_id;
  test_event_set(&member->done);
  test_event_wait(&member->leave);
}

static void start_member(member_t* member, mi_subproc_id_t subproc) {
  memset(member, 0, sizeof(*member));
  member->subproc = subproc;
  for (size_t i = 0; i < BLOCKS; i++) {
    member->foreign[i] = mi_malloc(size_of(i));
    memset(member->foreign[i], 3, 8);
  }
  test_event_init(&member->done);
  test_event_init(&member->leave);
  test_thread_start(&member->thread, live_in_subproc, member);
  test_event_wait(&member->done);
}

static void end_member(member_t* member) {
  test_event_set(&member->leave);
  test_thread_join(&member->thread);
  test_event_done(&member->done);
  test_event_done(&member->leave);
}

static void test_main(void** state) {
  (void)state;
  assert_non_null(mi_subproc_main()._mi_subproc_id);
  assert_ptr_equal(mi_subproc_main()._mi_subproc_id, mi_subproc_current()._mi_subproc_id);
  mi_subproc_destroy(mi_subproc_main()); // stays
  mi_subproc_destroy((mi_subproc_id_t){NULL});
  mi_subproc_add_current_thread((mi_subproc_id_t){NULL});
  void* p = mi_malloc(100);
  api_check_block(p, 100, 16);
  mi_free(p);
}

static void test_isolation(void** state) {
  (void)state;
  static member_t members[2];
  mi_subproc_id_t subprocs[2] = {mi_subproc_new(), mi_subproc_new()};
  assert_non_null(subprocs[0]._mi_subproc_id);
  assert_ptr_not_equal(subprocs[0]._mi_subproc_id, subprocs[1]._mi_subproc_id);
  for (size_t k = 0; k < 2; k++) start_member(&members[k], subprocs[k]);
  for (size_t k = 0; k < 2; k++) {
    member_t* member = &members[k];
    assert_ptr_equal(member->seen._mi_subproc_id, subprocs[k]._mi_subproc_id);
    assert_true(member->was_late);
    assert_false(member->in_other_heap);
    assert_ptr_not_equal(member->main_heap, mi_heap_main());
    // Freed and measured here, in another sub-process.
    for (size_t i = 0; i < BLOCKS; i++) {
      char* p = member->blocks[i];
      assert_true(mi_usable_size(p) >= size_of(i));
      assert_int_equal(pattern_mismatch_sampled(p, size_of(i), (uintptr_t)p), SIZE_MAX);
      assert_ptr_equal(mi_heap_of(p), i % 2 == 0 ? member->main_heap : member->heap);
      if (i % 3 == 0) mi_free(p);
    }
    mi_subproc_destroy(subprocs[k]); // a thread is in it: refused
    char* p = member->blocks[1];
    assert_int_equal(pattern_mismatch_sampled(p, size_of(1), (uintptr_t)p), SIZE_MAX);
  }
  assert_ptr_not_equal(members[0].main_heap, members[1].main_heap);
  // What was freed there is not used here.
  for (size_t round = 0; round < 3; round++) {
    static void* mine[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
      mine[i] = mi_malloc(size_of(i));
      assert_ptr_equal(mi_heap_of(mine[i]), mi_heap_main());
    }
    for (size_t i = 0; i < BLOCKS; i++) mi_free(mine[i]);
    mi_collect(true);
  }
  mi_stats_t_decl(stats);
  assert_true(mi_subproc_stats_get(subprocs[0], &stats));
  assert_int_equal(stats.threads.current, 1);
  assert_int_equal(stats.heaps.current, 2);
  assert_int_equal(stats.malloc_normal_count.total + stats.malloc_huge_count.total, BLOCKS);
  assert_true(stats.reserved.current > 0 && stats.committed.current > 0);
  for (size_t k = 0; k < 2; k++) {
    end_member(&members[k]);
    mi_subproc_destroy(subprocs[k]);
  }
  assert_false(mi_any_heap_contains(members[0].blocks[1])); // all of it is gone
}

static bool count_heap(mi_heap_t* heap, void* arg) {
  (void)heap;
  size_t* counts = arg; // so many, and stop after so many
  return ++counts[0] != counts[1];
}

static void enter_destroyed(void* arg) {
  member_t* member = arg;
  mi_subproc_add_current_thread(member->subproc);
  member->seen = mi_subproc_current();
  member->blocks[0] = mi_malloc(100);
  member->heap = mi_heap_of(member->blocks[0]);
}

// A sub-process that is gone takes no threads, and is destroyed once.
static void test_gone(void** state) {
  (void)state;
  static member_t member;
  member.subproc = mi_subproc_new();
  mi_subproc_destroy(member.subproc);
  mi_subproc_destroy(member.subproc);
  test_thread_start(&member.thread, enter_destroyed, &member);
  test_thread_join(&member.thread);
  assert_ptr_equal(member.seen._mi_subproc_id, mi_subproc_main()._mi_subproc_id);
  assert_ptr_equal(member.heap, mi_heap_main());
  mi_free(member.blocks[0]);
}

typedef struct guarding_s {
  mi_subproc_id_t subproc;
  char* memory;
  size_t size, inside; // blocks in the memory
} guarding_t;

static void guard_in_memory(void* arg) {
  guarding_t* guarding = arg;
  mi_subproc_add_current_thread(guarding->subproc);
  mi_manage_os_memory(guarding->memory, guarding->size, true, true, false, -1);
  mi_theap_guarded_set_sample_rate(mi_theap_get_default(), 1, 1);
  for (size_t i = 0; i < 20; i++) {
    char* p = mi_malloc(100 * i);
    guarding->inside += p >= guarding->memory && p < guarding->memory + guarding->size;
  }
}

// Memory of the program's is whole again, though guarded blocks lived there to the end.
static void test_guards_go(void** state) {
  (void)state;
  static char memory[MIB(8)];
  guarding_t guarding = {.subproc = mi_subproc_new(), .memory = memory, .size = sizeof(memory)};
  test_thread_t thread;
  test_thread_start(&thread, guard_in_memory, &guarding);
  test_thread_join(&thread);
  assert_int_equal(guarding.inside, 20);
  mi_subproc_destroy(guarding.subproc);
  assert_false(mi_is_in_heap_region(memory + MIB(4)));
  memset(memory, 1, sizeof(memory));
}

// What was counted of a sub-process's blocks and pages is of the past when it goes.
static void test_statistics(void** state) {
  (void)state;
  static member_t member;
  mi_stats_t_decl(before);
  int64_t peak = 0;
  mi_collect(true);
  mi_stats_get(&before);
  for (size_t round = 0; round < 4; round++) {
    mi_subproc_id_t subproc = mi_subproc_new();
    start_member(&member, subproc);
    end_member(&member);
    mi_subproc_destroy(subproc);
    mi_collect(true);
    mi_stats_t_decl(now);
    assert_true(mi_stats_get(&now));
    assert_int_equal(now.pages.current, before.pages.current);
    assert_int_equal(now.heaps.current, before.heaps.current);
    assert_int_equal(now.malloc_huge.current, before.malloc_huge.current);
    if (round == 0) peak = now.malloc_huge.peak;
    assert_true(now.malloc_huge.peak < peak + (int64_t)MIB(1));
  }
}

static void test_visit_heaps(void** state) {
  (void)state;
  size_t counts[2] = {0, 0};
  assert_true(mi_subproc_visit_heaps(mi_subproc_main(), count_heap, counts));
  assert_int_equal(counts[0], 1);
  mi_heap_t* heaps[5];
  for (size_t i = 0; i < 5; i++) heaps[i] = mi_heap_new();
  counts[0] = 0;
  assert_true(mi_subproc_visit_heaps(mi_subproc_main(), count_heap, counts));
  assert_int_equal(counts[0], 6);
  counts[0] = 0;
  counts[1] = 3;
  assert_false(mi_subproc_visit_heaps(mi_subproc_main(), count_heap, counts));
  assert_int_equal(counts[0], 3);
  for (size_t i = 0; i < 5; i++) mi_heap_delete(heaps[i]);
  counts[0] = counts[1] = 0;
  assert_true(mi_subproc_visit_heaps(mi_subproc_main(), count_heap, counts));
  assert_int_equal(counts[0], 1);
  assert_false(mi_subproc_visit_heaps(mi_subproc_main(), NULL, counts));
  assert_false(mi_subproc_visit_heaps((mi_subproc_id_t){NULL}, count_heap, counts));
}

static void test_many(void** state) {
  (void)state;
  int64_t reserved = 0;
  for (size_t round = 0; round < 30; round++) { // reservations of 1 GiB each would pile up
    static member_t member;
    mi_subproc_id_t subproc = mi_subproc_new();
    start_member(&member, subproc);
    end_member(&member);
    mi_subproc_delete(subproc);
    mi_stats_t_decl(stats);
    assert_true(mi_stats_get(&stats));
    if (round == 2) reserved = stats.reserved.current;
    if (round > 2) assert_true(stats.reserved.current <= reserved + (int64_t)MIB(64));
  }
}

static void use_two_arenas(void* arg) {
  mi_subproc_add_current_thread(*(mi_subproc_id_t*)arg);
  *(char*)mi_malloc(100) = 1;
  mi_arena_id_t own;
  if (mi_reserve_os_memory_ex(MIB(64), false, false, true, &own) != 0) abort();
  *(char*)mi_heap_malloc(mi_heap_new_in_arena(own), MIB(1)) = 1;
}

// The page map's tables stay, so arenas have to come back to where others were: after one sub-process that had more than one
// of them, and when those that live at the same time come and go in turn.
static void test_places_of_arenas(void** state) {
  (void)state;
  enum { ROUNDS = 40, TOGETHER = 3 };
  int64_t committed = 0;
  mi_subproc_id_t subprocs[TOGETHER];
  for (size_t round = 0; round < ROUNDS; round++) {
    mi_subproc_id_t* subproc = &subprocs[round % TOGETHER];
    if (round >= TOGETHER) mi_subproc_destroy(*subproc);
    *subproc = mi_subproc_new();
    test_thread_t thread;
    test_thread_start(&thread, use_two_arenas, subproc);
    test_thread_join(&thread);
    mi_stats_t_decl(stats);
    assert_true(mi_stats_get(&stats));
    if (round == 10) committed = stats.committed.current;
    if (round > 10) assert_true(stats.committed.current <= committed + (int64_t)MIB(2));
  }
  for (size_t i = 0; i < TOGETHER; i++) mi_subproc_destroy(subprocs[i]);
}

// Others look at all memory there is while sub-processes come and go: questions, collections, statistics.
typedef struct looker_s {
  test_thread_t thread;
  int* is_over;
} looker_t;

static void look_around(void* arg) {
  looker_t* looker = arg;
  mi_stats_t_decl(stats);
  char outside = 0;
  while (!__atomic_load_n(looker->is_over, __ATOMIC_ACQUIRE)) {
    if (mi_is_in_heap_region(&outside) || mi_check_owned(&outside)) abort();
    mi_collect(true);
    mi_stats_get(&stats);
  }
}

static void live_shortly(void* arg) {
  mi_subproc_add_current_thread(*(mi_subproc_id_t*)arg);
  char* p = mi_malloc(MIB(2));
  p[0] = 1;
  for (size_t i = 0; i < 200; i++) mi_free(mi_malloc(size_of(i)));
  mi_heap_t* heap = mi_heap_new();
  for (size_t i = 0; i < 200; i++) {
    p = mi_heap_malloc(heap, size_of(i));
    p[0] = 1;
  }
}

static void test_destroyed_while_others_look(void** state) {
  (void)state;
  enum { LOOKERS = 3, ROUNDS = 100 };
  looker_t lookers[LOOKERS];
  int is_over = 0;
  for (size_t i = 0; i < LOOKERS; i++) {
    lookers[i].is_over = &is_over;
    test_thread_start(&lookers[i].thread, look_around, &lookers[i]);
  }
  for (size_t round = 0; round < ROUNDS; round++) {
    mi_subproc_id_t subproc = mi_subproc_new();
    test_thread_t thread;
    test_thread_start(&thread, live_shortly, &subproc);
    test_thread_join(&thread);
    mi_subproc_destroy(subproc);
  }
  __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
  for (size_t i = 0; i < LOOKERS; i++) test_thread_join(&lookers[i].thread);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_main),
      cmocka_unit_test(test_isolation),
      cmocka_unit_test(test_visit_heaps),
      cmocka_unit_test(test_statistics),
      cmocka_unit_test(test_guards_go),
      cmocka_unit_test(test_gone),
      cmocka_unit_test(test_many),
      cmocka_unit_test(test_places_of_arenas),
      cmocka_unit_test(test_destroyed_while_others_look),
  };
  return check_run(tests);
}
