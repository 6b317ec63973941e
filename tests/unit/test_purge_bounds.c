// What purges are bounded by: growth of what was ever in use and of the request, runs too short for a call, failed
// allocations within a second, arenas that wait and aren't due.
#include "arenas_gone.h"

#include "support/check.h"

#include "core/arenas/arena_slices.h"
#include "core/memory/bitmap.h"
#include "core/memory/sysmem.h"
#include "core/report/counters.h"
#include "core/report/options.h"
#include "os_posix.h"

static arena_set_t set;
static const arena_source_t source = {.set = &set, .numa_node = -1};

static int set_up(void** state) {
  MI_UNUSED(state);
  arena_set_init(&set);
  return 0;
}

static int tear_down(void** state) {
  MI_UNUSED(state);
  option_set(option_purge_delay, 1000);
  option_set(option_minimal_purge_size, 0);
  return arenas_gone(&set);
}

static page_t* allocate(size_t slice_count) {
  page_t* page = arena_page_allocate(&source, slice_count, slice_count, 1);
  assert_non_null(page);
  page_init(page, BIN_HUGE, slice_count * SLICE_SIZE, 64, NULL);
  return page;
}

// ---- growth -----------------------------------------------------------------------------------------------------

enum { PAGES = 40, EACH = 64, NEEDED = EACH + 1 }; // slices; what is needed fits into no page that is free

static page_t* pages[PAGES];

static size_t committed_now(void) { return (size_t)stats_process.committed.current; }

// Every second one of `count` is free; there was never more than that.
static void half_free(size_t count, size_t each) {
  for (size_t i = 0; i < count; i++) pages[i] = allocate(each);
  for (size_t i = 0; i < count; i += 2) arena_page_free(pages[i], NULL);
  stats_process.committed.peak = stats_process.committed.current;
  arena_growth = (arena_growth_t){0, 0};
}

// Slices that were purged when that was needed.
static size_t purged_for(size_t needed) {
  int64_t before = stats_process.purged_bytes;
  allocate(needed);
  return (size_t)(stats_process.purged_bytes - before) / SLICE_SIZE;
}

// Never much more than what is asked for; then the next growth has its turn at once.
static void test_growth_is_a_bound(void** state) {
  MI_UNUSED(state);
  half_free(PAGES, EACH);
  size_t before = committed_now(), size = NEEDED * SLICE_SIZE, most = 4 * (size + MI_MIB) / SLICE_SIZE;
  size_t purged = purged_for(NEEDED);
  assert_in_range(purged, most - EACH, most + EACH); // of 1280 that wait, half of them too many
  assert_int_equal(arena_growth.next_level, before + size);
  assert_in_range(arena_growth.used_peak, size, before);
}

// All of it went: committed memory may grow by a step before that is looked at again.
static void test_growth_by_steps(void** state) {
  MI_UNUSED(state);
  half_free(12, EACH);
  size_t before = committed_now(), size = NEEDED * SLICE_SIZE;
  assert_true(purged_for(NEEDED) > 0);
  size_t level = arena_growth.next_level;
  assert_in_range(level - before - size, MI_MIB, MI_MIB + before / 16);
  arena_purge(&set, true, NULL);
  half_free(12, EACH);
  arena_growth = (arena_growth_t){0, committed_now() + size + SLICE_SIZE}; // not yet
  assert_int_equal(purged_for(NEEDED), 0);
  assert_int_equal(arena_growth.used_peak, 0);
  arena_growth.next_level = 0;
  stats_process.committed.peak = stats_process.committed.current;
  assert_true(purged_for(NEEDED) > 0);
}

// What was in use once may be committed again, and a fifth more.
static void test_growth_to_what_was_in_use(void** state) {
  MI_UNUSED(state);
  half_free(20, EACH);
  size_t wanted = committed_now() + NEEDED * SLICE_SIZE;
  arena_growth.used_peak = wanted * 5 / 6 + MI_MIB;
  assert_int_equal(purged_for(NEEDED), 0);
  stats_process.committed.peak = stats_process.committed.current;
  arena_growth.used_peak = (wanted + NEEDED * SLICE_SIZE) * 5 / 6 - MI_MIB; // a little less than enough
  assert_in_range(purged_for(NEEDED), 1, 2 * EACH);
}

// Of two runs in one word of the bitmaps one is enough: the other one goes on waiting.
static void test_growth_leaves_the_rest(void** state) {
  MI_UNUSED(state);
  enum { SHORT = 16 };
  half_free(PAGES, SHORT);
  arena_growth.used_peak = (committed_now() + (NEEDED - 4) * SLICE_SIZE) * 5 / 6;
  assert_int_equal(purged_for(NEEDED), SHORT);
  size_t left = 0;
  for (size_t i = 0; i < PAGES; i += 2) {
    const arena_t* arena = pages[i]->arena;
    size_t start = arena_slice_of(arena, pages[i]->start);
    size_t waiting = bitmap_count(arena->aging, start, SHORT) + bitmap_count(arena->old, start, SHORT);
    assert_int_equal(waiting, bitmap_count(arena->committed, start, SHORT));
    left += waiting;
  }
  assert_int_equal(left, (PAGES / 2 - 1) * SHORT);
}

// ---- short runs -------------------------------------------------------------------------------------------------

// What is too short for a call keeps its memory, and is free all the same.
static void test_too_short(void** state) {
  MI_UNUSED(state);
  enum { SHORTEST = 16 };
  option_set(option_minimal_purge_size, SHORTEST * SLICE_SIZE / MI_KIB);
  page_t *before = allocate(SHORTEST), *between = allocate(1), *page = allocate(SHORTEST - 1);
  arena_t* arena = page->arena;
  size_t committed = bitmap_count(arena->committed, 0, arena->slice_count);
  arena_page_free(page, NULL);
  arena_purge(&set, true, NULL);
  assert_int_equal(bitmap_count(arena->committed, 0, arena->slice_count), committed);
  assert_int_equal(bitmap_count(arena->free, 0, arena->slice_count), arena->slice_count - SHORTEST - 1);
  arena_page_free(before, NULL);
  arena_purge(&set, true, NULL);
  assert_true(bitmap_count(arena->committed, 0, arena->slice_count) <= committed - SHORTEST);
  arena_page_free(between, NULL);
  arena_purge(&set, true, NULL);
  assert_int_equal(bitmap_count(arena->free, 0, arena->slice_count), arena->slice_count);
}

// ---- failed allocations -----------------------------------------------------------------------------------------

// What was committed ahead of need is looked for once a second.
static void test_needed_once_a_second(void** state) {
  MI_UNUSED(state);
  page_t* page = allocate(1);
  arena_t* arena = page->arena;
  const uint64_t* committed = arena->committed;
  size_t slices = arena->slice_count, ahead = bitmap_count(committed, 0, slices);
  assert_true(ahead > 1);
  arena_purge_needed(&set, NULL);
  assert_int_equal(bitmap_count(committed, 0, slices), 1);
  assert_true(arena->purged_free != 0);
  uint32_t begin;
  do { // a machine that stood still for a second tells nothing
    assert_true(slices_do_commit(arena, arena_slice_of(arena, page->start) + 1, 1));
    begin = os_clock_ms();
    arena->purged_free = begin | 1;
    arena_purge_needed(&set, NULL);
  } while (os_clock_ms() - begin > 900);
  assert_int_equal(bitmap_count(committed, 0, slices), 2);
  arena->purged_free = (os_clock_ms() - 5000) | 1;
  arena_purge_needed(&set, NULL);
  assert_int_equal(bitmap_count(committed, 0, slices), 1);
}

// ---- arenas that wait -------------------------------------------------------------------------------------------

// Until the first of them is due none is looked at.
static void test_not_before_the_first_is_due(void** state) {
  MI_UNUSED(state);
  enum { PERIOD = 500000, EARLIER = 1000 }; // half of the delay; the clock may go on meanwhile
  option_set(option_purge_delay, 2L * PERIOD);
  page_t* page = allocate(EACH);
  arena_t* arena = page->arena;
  size_t slices = arena->slice_count;
  arena_page_free(page, NULL);
  assert_int_equal(bitmap_count(arena->aging, 0, slices), EACH);
  arena->purge_from = os_clock_ms() - PERIOD - EARLIER;
  set.next_purge = os_clock_ms() + PERIOD - EARLIER;
  arena_purge(&set, false, NULL);
  assert_int_equal(bitmap_count(arena->aging, 0, slices), EACH);
  set.next_purge = os_clock_ms() - 1;
  arena_purge(&set, false, NULL);
  assert_int_equal(bitmap_count(arena->aging, 0, slices), 0);
  assert_int_equal(bitmap_count(arena->old, 0, slices), EACH);
  assert_in_range(set.next_purge - os_clock_ms(), PERIOD - 10 * EARLIER, PERIOD); // a whole period from now
}

// Makes a round due, whatever the clock says.
static void round_now(arena_t* arena, uint32_t period) {
  arena->purge_from = set.next_purge = os_clock_ms() - period - 1;
  arena_purge(&set, false, NULL);
}

// Slices that are claimed keep the marks of their last free: what was freed, taken, and freed again waits from the second free on.
static void test_waits_from_its_last_free(void** state) {
  MI_UNUSED(state);
  enum { PERIOD = 500000 };
  option_set(option_purge_delay, 2L * PERIOD);
  page_t* page = allocate(EACH);
  arena_t* arena = page->arena;
  size_t start = arena_slice_of(arena, page->start);
  arena_page_free(page, NULL);
  round_now(arena, PERIOD);
  assert_int_equal(bitmap_count(arena->old, start, EACH), EACH);
  page = allocate(EACH);
  assert_int_equal(arena_slice_of(arena, page->start), start);
  arena_page_free(page, NULL);
  round_now(arena, PERIOD);
  assert_int_equal(bitmap_count(arena->committed, start, EACH), EACH);
  page = allocate(EACH); // in use at the end of its wait
  round_now(arena, PERIOD);
  assert_int_equal(bitmap_count(arena->committed, start, EACH), EACH);
  assert_false(arena_purge_is_waiting(&set) && arena->purge_waiting != 0);
  arena_page_free(page, NULL);
  round_now(arena, PERIOD);
  round_now(arena, PERIOD);
  assert_int_equal(bitmap_count(arena->committed, start, EACH), 0);
}

int main(void) {
  os_init();
  options_init();
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      CASE(test_growth_is_a_bound),
      CASE(test_growth_by_steps),
      CASE(test_growth_to_what_was_in_use),
      CASE(test_growth_leaves_the_rest),
      CASE(test_too_short),
      CASE(test_needed_once_a_second),
      CASE(test_waits_from_its_last_free),
      CASE(test_not_before_the_first_is_due),
  };
  return check_run(tests);
}
