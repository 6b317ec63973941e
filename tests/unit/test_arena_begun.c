// Pages that begin with a part of their first slice: what is committed of them, while they grow, are freed, purged and claimed
// again, and when the system refuses. After each step the statistics count what the system counts.
#include "arenas_gone.h"

#include "support/check.h"
#include "support/os_faults.h"
#include "support/test_data.h"

#include "core/arenas/arena_slices.h"
#include "core/memory/sysmem.h"
#include "core/report/counters.h"
#include "core/report/options.h"
#include "os_posix.h"

enum { BIN_SIZE = 512 };

static arena_set_t set;
static const arena_source_t source = {.set = &set, .numa_node = -1};

static int set_up(void** state) {
  MI_UNUSED(state);
  arena_set_init(&set);
  option_set(option_purge_delay, 1000);
  option_set(option_purge_decommits, 1);
  return 0;
}

static int tear_down(void** state) {
  MI_UNUSED(state);
  os_faults_none();
  return arenas_gone(&set);
}

static void check_count(void) {
  assert_int_equal(stats_process.committed.current, os_posix_balance().committed);
}

static bool is_begun(const uint8_t* slice) {
  check_count();
  return os_posix_is_committed(slice, PAGE_PART_SIZE) &&
         !os_posix_is_committed(slice + PAGE_PART_SIZE, os_page_size());
}

static page_t* begin_page(size_t slice_count) {
  page_t* page = arena_page_allocate(&source, slice_count, 0, 1);
  assert_non_null(page);
  unsigned bin = size_class_bin(slice_count == 1 ? BIN_SIZE : PAGE_PART_SIZE);
  page_init(page, bin, size_class_size(bin), 64, NULL);
  return page;
}

static void fill(page_t* page, size_t wanted) {
  bool is_zero;
  size_t taken = 0;
  for (block_t* block; (block = page_take(page, &is_zero)) != NULL; taken++) {
    if (is_zero) assert_int_equal(pattern_nonzero((uint8_t*)block, page->block_size), SIZE_MAX);
    memset(block, 1, page->block_size);
  }
  assert_int_equal(taken, wanted);
}

static void test_grows(void** state) {
  MI_UNUSED(state);
  for (size_t slices = 1; slices <= PAGE_MEDIUM_SLICES; slices += PAGE_MEDIUM_SLICES - 1) {
    page_t* page = begin_page(slices);
    assert_int_equal(page->committed_slices, 0);
    assert_true(page->is_zero && is_begun(page->start));
    size_t size = page->block_size;
    fill(page, PAGE_PART_SIZE / size);
    assert_true(page_wants_commit(page));
    os_faults_fail_from(OS_CALL_COMMIT, 1);
    assert_false(arena_page_commit(page, 1, NULL));
    assert_true(page->committed_slices == 0 && is_begun(page->start));
    os_faults_none();
    assert_true(arena_page_commit(page, 1, NULL));
    check_count();
    assert_true(page->is_zero); // the rest is as the system gave it
    assert_int_equal(page->committed_slices, 1);
    fill(page, SLICE_SIZE / size - PAGE_PART_SIZE / size);
    arena_page_free(page, NULL);
    arena_purge(&set, true, NULL);
    assert_int_equal(bitmap_count(page->arena->begun, 0, page->arena->slice_count), 0);
    check_count();
  }
}

// What was begun is begun still when it comes again, but isn't zero any more; and what is whole stays whole.
static void test_comes_again(void** state) {
  MI_UNUSED(state);
  page_t* page = begin_page(1);
  uint8_t* start = page->start;
  fill(page, PAGE_PART_SIZE / BIN_SIZE);
  arena_page_free(page, NULL);
  os_faults_fail_from(OS_CALL_COMMIT, 1);
  page = begin_page(1); // needs nothing
  os_faults_none();
  assert_ptr_equal(page->start, start);
  assert_true(page->committed_slices == 0 && !page->is_zero && is_begun(start));
  assert_true(arena_page_commit(page, 1, NULL));
  assert_false(page->is_zero);
  arena_page_free(page, NULL);
  page = begin_page(1);
  assert_ptr_equal(page->start, start);
  assert_int_equal(page->committed_slices, 1);
  arena_page_free(page, NULL);
  check_count();
}

// Begun slices in runs: committed with the others, or left as they are in the part that isn't needed yet.
static void test_in_runs(void** state) {
  MI_UNUSED(state);
  page_t* pages[PAGE_MEDIUM_SLICES];
  for (size_t i = 0; i < PAGE_MEDIUM_SLICES; i++) pages[i] = begin_page(1);
  uint8_t* start = pages[0]->start;
  for (size_t i = 0; i < PAGE_MEDIUM_SLICES; i++) {
    assert_ptr_equal(pages[i]->start, start + i * SLICE_SIZE);
    memset(pages[i]->start, 1, PAGE_PART_SIZE);
  }
  for (size_t i = 0; i < PAGE_MEDIUM_SLICES; i++) arena_page_free(pages[i], NULL);
  page_t* run = arena_page_allocate(&source, PAGE_MEDIUM_SLICES, 2, 1);
  assert_ptr_equal(run->start, start);
  assert_false(run->is_zero);
  assert_true(os_posix_is_committed(start, 2 * SLICE_SIZE));
  assert_true(is_begun(start + 2 * SLICE_SIZE) && is_begun(start + 3 * SLICE_SIZE));
  page_init(run, BIN_LAST, LARGE_SIZE_MAX, 64, NULL);
  assert_true(arena_page_commit(run, 3, NULL));
  assert_true(os_posix_is_committed(start, 3 * SLICE_SIZE) && is_begun(start + 3 * SLICE_SIZE));

#if MI_SECURE
  // Its guard has no memory at all.
  assert_int_equal(arena_page_guard(run), PAGE_MEDIUM_SLICES - 1);
  assert_false(os_posix_is_committed(start + 3 * SLICE_SIZE, os_page_size()));
#endif
  check_count();
  arena_page_free(run, NULL);
}

static void test_purge(void** state) {
  MI_UNUSED(state);
  // After the delay; slices of both kinds side by side.
  option_set(option_purge_delay, 20);
  page_t* begun[3] = {begin_page(1), begin_page(1), begin_page(1)};
  assert_true(arena_page_commit(begun[1], 1, NULL));
  uint8_t* start = begun[0]->start;
  for (size_t i = 0; i < 3; i++) arena_page_free(begun[i], NULL);
  uint32_t freed = os_clock_ms();
  while (stats_process.committed.current != 0 && bitmap_count(begun[0]->arena->begun, 0, 8) > 0) {
    arena_purge(&set, false, NULL);
    if (os_clock_ms() - freed > 20000) fail_msg("what was begun is not purged");
  }
  for (size_t i = 0; i < 3; i++) assert_false(os_posix_is_committed(start + i * SLICE_SIZE, os_page_size()));
  check_count();

  // Where memory is only reset, too.
  option_set(option_purge_decommits, 0);
  page_t *whole = begin_page(1), *part = begin_page(1);
  assert_true(arena_page_commit(whole, 1, NULL));
  arena_page_free(whole, NULL);
  arena_page_free(part, NULL);
  arena_purge(&set, true, NULL);
  assert_true(os_posix_is_committed(whole->start, SLICE_SIZE));
  assert_false(os_posix_is_committed(part->start, os_page_size()));
  check_count();
  option_set(option_purge_decommits, 1);
  arena_purge(&set, true, NULL);

  // At once.
  option_set(option_purge_delay, 0);
  page_t* page = begin_page(1);
  assert_true(page->is_zero && is_begun(page->start));
  arena_page_free(page, NULL);
  assert_false(os_posix_is_committed(page->start, os_page_size()));
  check_count();

  // What was begun behind what is whole.
  option_set(option_purge_delay, 1000);
  page_t* pages[PAGE_MEDIUM_SLICES];
  for (size_t i = 0; i < PAGE_MEDIUM_SLICES; i++) pages[i] = begin_page(1);
  for (size_t i = 0; i < PAGE_MEDIUM_SLICES; i++) arena_page_free(pages[i], NULL);
  option_set(option_purge_delay, 0);
  page = arena_page_allocate(&source, PAGE_MEDIUM_SLICES, 2, 1);
  assert_ptr_equal(page->start, pages[0]->start);
  arena_page_free(page, NULL);
  assert_int_equal(slices_begun, 0);
  check_count();

  // Refused: it is there as before.
  option_set(option_purge_delay, 1000);
  page = begin_page(1);
  arena_page_free(page, NULL);
  os_faults_fail_from(OS_CALL_DECOMMIT, 1);
  arena_purge(&set, true, NULL);
  assert_true(is_begun(page->start));
  os_faults_none();
  arena_purge(&set, true, NULL);
  assert_false(os_posix_is_committed(page->start, os_page_size()));
  check_count();
}

// Where the system has no room for more mappings, about, pages begin whole.
static void test_too_many(void** state) {
  MI_UNUSED(state);
  slices_begun = os_mapping_limit() / 4 - 1;
  page_t *last = begin_page(1), *next = begin_page(1);
  assert_true(last->committed_slices == 0 && next->committed_slices == 1);
  assert_true(arena_page_commit(last, 1, NULL)); // there is room again
  page_t* again = begin_page(1);
  assert_int_equal(again->start, next->start + SLICE_SIZE); // which was committed ahead
  arena_page_free(last, NULL);
  arena_page_free(next, NULL);
  arena_page_free(again, NULL);
  arena_purge(&set, true, NULL);
  assert_int_equal(slices_begun, os_mapping_limit() / 4 - 1);
  slices_begun = 0;
}

// Memory that the program commits itself comes in whole slices.
static bool program_commits(bool commit, void* start, size_t size, bool* is_zero, void* arg) {
  MI_UNUSED(start);
  *(size_t*)arg += size;
  if (is_zero != NULL) *is_zero = true;
  return commit && size % SLICE_SIZE == 0;
}

static void give_in(bool is_pinned, bool is_committed) {
  void* memory = is_committed ? os_reserve_and_commit(64 * SLICE_SIZE) : os_reserve(64 * SLICE_SIZE);
  const arena_given_t given = {.start = memory,
                               .size = 64 * SLICE_SIZE,
                               .numa_node = -1,
                               .is_pinned = is_pinned,
                               .is_committed = is_committed};
  assert_non_null(arena_manage(&set, &given));
  page_t* page = begin_page(1);
  assert_ptr_equal(page->start, memory);
  assert_int_equal(page->committed_slices,
                   is_pinned || is_committed); // nothing that is pinned would go again
  check_count();
  arena_release_all(&set);
  assert_int_equal(slices_begun, 0);
  assert_true(os_release(memory, 64 * SLICE_SIZE));
  check_count();
}

static void test_given(void** state) {
  MI_UNUSED(state);
  for (int k = 0; k < 4; k++) give_in(k % 2 != 0, k / 2 != 0);
}

static void test_of_program(void** state) {
  MI_UNUSED(state);
  size_t asked = 0;
  void* memory = os_reserve_and_commit(64 * SLICE_SIZE);
  const arena_given_t given = {.start = memory,
                               .size = 64 * SLICE_SIZE,
                               .numa_node = -1,
                               .commit = program_commits,
                               .commit_arg = &asked};
  arena_t* arena = arena_manage(&set, &given);
  assert_non_null(arena);
  page_t* page = begin_page(1);
  assert_ptr_equal(page->arena, arena);
  assert_true(page->committed_slices == 1 && asked >= SLICE_SIZE);
  assert_int_equal(bitmap_count(arena->begun, 0, arena->slice_count), 0);
  arena_page_free(page, NULL);
  assert_true(os_release(memory, 64 * SLICE_SIZE));
}

int main(void) {
  os_init();
  options_init();
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      CASE(test_grows),    CASE(test_comes_again), CASE(test_in_runs),    CASE(test_purge),
      CASE(test_too_many), CASE(test_given),       CASE(test_of_program),
  };
  return check_run(tests);
}
