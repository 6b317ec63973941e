// Guards behind pages of one block (secure builds): they stay with kept pages, move with blocks that grow, and are where
// they were when a place is used again.
#include "counted_errors.h"
#include "support/check.h"

#include <mimalloc.h>

#include <unistd.h>

#include "core/arenas/arena_slices.h"
#include "core/heaps/single.h"
#include "core/heaps/theap.h"
#include "core/pages/page_map.h"
#include "core/report/counters.h"
#include "core/report/message.h"
#include "core/report/options.h"
#include "lifecycle/runtime.h"
#include "os_posix.h"

// A page of one block is kept for the next one as it is, with its guard. A second free of the block is told.
static void test_single_keeps_its_guard(void** state) {
  MI_UNUSED(state);
  uint8_t* p = mi_malloc(700000);
  size_t usable = mi_usable_size(p);
  mi_free(p);
  mi_free(hide(p));
  assert_int_equal(errors, 1);
  assert_int_equal(last_error, MESSAGE_EAGAIN); // a page that was given back would be no block at all
  errors = 0;
  uint8_t* again = mi_malloc(699000);
  assert_ptr_equal(again, hide(p));
  assert_int_equal(mi_usable_size(again), usable);
  assert_true(os_posix_is_committed(again, usable));
  assert_false(os_posix_is_committed(again + usable, SLICE_SIZE));
  mi_free(again);
  void* much_shorter = mi_malloc(580000); // 10 slices with the guard, for a page of 12
  assert_ptr_not_equal(much_shorter, hide(p));
  again = mi_malloc(650000); // 11
  assert_ptr_equal(again, hide(p));
  assert_int_equal(mi_usable_size(again), usable);
  mi_free(again);
  mi_free(much_shorter);
  mi_collect(true);
  assert_int_equal(mi_usable_size(hide(p)), 0);
}

// The guard slice behind a large block moves when the block grows in place.
static void test_guard_moves(void** state) {
  MI_UNUSED(state);
  size_t grown = 0;
  char* p = mi_malloc(1024 * 1024);
  memset(p, 7, 1024 * 1024);
  for (size_t size = 1024 * 1024; size < 8 * 1024 * 1024; size += size / 4) {
    char* q = mi_realloc(p, size);
    assert_non_null(q);
    grown += q == p;
    memset(q + 1024 * 1024, 7, size - 1024 * 1024);
    p = q;
    page_t* page = page_map_page(p);
    assert_int_equal(page->block_size + SLICE_SIZE, page->slice_count * SLICE_SIZE);
    assert_false(os_posix_is_committed(p + mi_usable_size(p), SLICE_SIZE));
    assert_true(os_posix_is_committed(p, mi_usable_size(p)));
  }
  assert_true(grown > 2);
  mi_free(p);
}

static bool is_accessible(const void* p) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  bool is = write(ends[1], p, 1) == 1;
  close(ends[0]), close(ends[1]);
  return is;
}

static uint8_t* guarded_block(size_t size, uint8_t** guard) {
  uint8_t* p = mi_malloc(size);
  memset(p, 1, size);
  *guard = p + mi_usable_size(p);
  assert_false(is_accessible(*guard) || is_accessible(*guard + SLICE_SIZE - 1));
  assert_true(is_accessible(*guard - 1));
  return p;
}

static void free_to_arena(void* p) {
  mi_free(p);
  singles_give_up(runtime_theap());
}

// A guard where memory is stays one when its block is freed, for blocks of other lengths, too; the memory is counted, serves a
// block that comes to lie there, and goes back with the rest.
static void test_guard_stays(void** state) {
  MI_UNUSED(state);
  enum { LONG = 5 * 1024 * 1024 };
  long delay = option_get(option_purge_delay);
  option_set(option_purge_delay, 1000 * 1000);
  mi_free(mi_malloc(400 * MI_MIB)); // below that peak nothing is purged for growth
  mi_collect(true);
  uint8_t *guard, *next, *all_guard;
  free_to_arena(guarded_block(700000, &guard));
  uint8_t* all = guarded_block(LONG, &all_guard); // there as well, where most memory is
  arena_t* arena = page_map_page(all)->arena;
  free_to_arena(all);
  size_t committed = (size_t)stats_process.committed.current;
  uint8_t* p = guarded_block(700000, &guard);
  assert_true(guard >= all && guard < all_guard); // in what was freed
  size_t slice = arena_slice_of(arena, guard);
  assert_int_equal(bitmap_count(arena->shut, slice, 1), 1);
  assert_int_equal(bitmap_count(arena->committed, slice, 1), 0);
  for (size_t size = 550000; size < 700000; size += 30000) { // without a call to the system
    free_to_arena(p);
    assert_false(is_accessible(guard));
    int64_t calls = stats_process.commit_calls;
    p = guarded_block(size, &next);
    if (MI_64BIT) assert_ptr_equal(next, guard);
    if (MI_64BIT) assert_int_equal(stats_process.commit_calls, calls);
  }
  assert_int_equal(stats_process.committed.current, committed);
  free_to_arena(p);
  uint8_t* again = guarded_block(LONG, &next);
  assert_ptr_equal(again, all);
  assert_true(is_accessible(guard) && is_accessible(guard + SLICE_SIZE - 1));
  assert_int_equal(bitmap_count(arena->shut, 0, arena->slice_count), next == all_guard ? 0 : 1);
  assert_int_equal(stats_process.committed.current, committed);
  free_to_arena(again);

  // As many small pages as take that slice, too.
  free_to_arena(guarded_block(700000, &guard));
  slice = arena_slice_of(arena, guard);
  assert_int_equal(bitmap_count(arena->shut, slice, 1), 1);
  static page_t* pages[1 << 14];
  arena_source_t source = {arena->set, arena, -1, NULL};
  size_t count = 0;
  for (bool is_there = false; !is_there && count < 1 << 14; count++) {
    pages[count] = arena_page_allocate(&source, 1, 0, 1);
    assert_non_null(pages[count]);
    is_there = pages[count]->start == guard;
  }
  assert_true(is_accessible(guard) && is_accessible(guard + SLICE_SIZE - 1));
  assert_int_equal(bitmap_count(arena->shut, slice, 1), 0);
  while (count > 0) arena_page_free(pages[--count], NULL);

  p = guarded_block(700000, &guard);
  slice = arena_slice_of(arena, guard);
  free_to_arena(p);
  option_set(option_purge_delay, delay);
  mi_collect(true);
  assert_int_equal(bitmap_count(arena->shut, 0, arena->slice_count), 0);
  assert_false(os_posix_is_committed(guard, SLICE_SIZE));
  assert_true((size_t)stats_process.committed.current < committed);
}

// Where small pages had begun there is some memory: it goes. Nothing is committed that isn't asked for.
static void test_guard_was_begun(void** state) {
  MI_UNUSED(state);
  enum { SLICES = 64, RUN = 11 };
  static arena_set_t set;
  arena_set_init(&set);
  arena_t* arena = arena_reserve(&set, SLICES * SLICE_SIZE, false, false, true);
  assert_non_null(arena);
  arena_source_t source = {&set, arena, -1, NULL};
  page_t* pages[SLICES];
  for (size_t i = 0; i < SLICES; i++) {
    assert_non_null(pages[i] = arena_page_allocate(&source, 1, 0, 1));
    assert_int_equal(pages[i]->committed_slices, 0);
  }
  for (size_t i = 0; i < SLICES; i++) arena_page_free(pages[i], NULL);
  page_t* run = arena_page_allocate_guarded(&source, RUN, RUN - 1, 1);
  assert_non_null(run);
  size_t last = arena_slice_of(arena, run->start) + RUN - 1;
  assert_int_equal(slices_memory(arena, last, 1), PAGE_PART_SIZE);
  assert_int_equal(arena_page_guard(run), RUN - 1);
  assert_int_equal(slices_memory(arena, last, 1), 0);
  assert_false(os_posix_is_committed(slice_address(arena, last), os_page_size()));
  assert_true(os_posix_is_committed(run->start, (RUN - 1) * SLICE_SIZE));
  arena_page_free(run, NULL);
  arena_set_close(&set);
  arena_release_all(&set);
}

// Memory of the program's can be read everywhere when the arenas don't use it any more; what is pinned has no guard at all.
static void test_programs_memory(void** state) {
  MI_UNUSED(state);
  enum { SLICES = 64, RUN = 11 };
  for (int is_pinned = 0; is_pinned < 2; is_pinned++) {
    static arena_set_t set;
    arena_set_init(&set);
    uint8_t* memory = os_reserve_and_commit(SLICES * SLICE_SIZE);
    arena_given_t given = {.start = memory,
                           .size = SLICES * SLICE_SIZE,
                           .numa_node = -1,
                           .is_pinned = is_pinned != 0,
                           .is_committed = true};
    arena_source_t source = {&set, arena_manage(&set, &given), -1, NULL};
    assert_non_null(source.only);
    page_t* run = arena_page_allocate_guarded(&source, RUN, RUN - 1, 1);
    assert_non_null(run);
    const uint8_t* guard = run->start + (RUN - 1) * SLICE_SIZE;
    assert_int_equal(arena_page_guard(run), is_pinned ? RUN : RUN - 1);
    assert_int_equal(is_accessible(guard), is_pinned);
    arena_set_close(&set);
    arena_release_all(&set);
    assert_true(is_accessible(guard));
    assert_true(os_release(memory, SLICES * SLICE_SIZE));
  }
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest cases[] = {
      CASE(test_single_keeps_its_guard), CASE(test_guard_moves),     CASE(test_guard_stays),
      CASE(test_guard_was_begun),        CASE(test_programs_memory),
  };
  return check_run(cases);
}
