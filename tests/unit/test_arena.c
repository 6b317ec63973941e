// Arenas: slices handed out once, committed when handed out, zero when they say so, purged when free.
// long because all cases work on pages that the same checks follow, and end with the same balance of memory.
#include "arenas_gone.h"

#include "support/check.h"
#include "support/os_faults.h"
#include "support/test_data.h"
#include "support/test_thread.h"

#include "core/arenas/arena_slices.h"
#include "core/memory/bitmap.h"
#include "core/report/options.h"
#include "core/stats/stats.h"
#include "core/memory/sysmem.h"
#include "os_posix.h"

static arena_set_t set;
static const arena_source_t source = {.set = &set, .numa_node = -1};

// A page's record as the core would make it, filled with a pattern.
static page_t* allocate(size_t slice_count, size_t alignment) {
  page_t* page = arena_page_allocate(&source, slice_count, slice_count, alignment);
  assert_non_null(page);
  assert_int_equal(page->slice_count, slice_count);
  assert_int_equal((uintptr_t)page->start % (alignment > SLICE_SIZE ? alignment : SLICE_SIZE), 0);
  assert_true(os_posix_is_committed(page->start, slice_count * SLICE_SIZE));
  if (page->is_zero) {
    for (size_t i = 0; i < slice_count; i++) { // the ends of each slice: what anybody would have written
      assert_int_equal(pattern_nonzero(page->start + i * SLICE_SIZE, 64), SIZE_MAX);
      assert_int_equal(pattern_nonzero(page->start + (i + 1) * SLICE_SIZE - 64, 64), SIZE_MAX);
    }
  }
  page_init(page, BIN_HUGE, slice_count * SLICE_SIZE, 64, NULL);
  for (size_t i = 0; i < slice_count; i++) {
    pattern_fill(page->start + i * SLICE_SIZE, 64, (uintptr_t)page->start);
    pattern_fill(page->start + (i + 1) * SLICE_SIZE - 64, 64, (uintptr_t)page->start);
  }
  return page;
}

static void check(const page_t* page) {
  for (size_t i = 0; i < page->slice_count; i++) {
    assert_int_equal(pattern_mismatch(page->start + i * SLICE_SIZE, 64, (uintptr_t)page->start), SIZE_MAX);
    assert_int_equal(pattern_mismatch(page->start + (i + 1) * SLICE_SIZE - 64, 64, (uintptr_t)page->start),
                     SIZE_MAX);
  }
}

static void release(page_t* page) {
  check(page);
  arena_page_free(page, NULL);
}

// After each case: everything is given back to the system.
static int set_up(void** state) {
  MI_UNUSED(state);
  arena_set_init(&set);
  return 0;
}

static int tear_down(void** state) {
  MI_UNUSED(state);
  os_faults_none();
  option_set(option_purge_delay, 1000);
  option_set(option_purge_decommits, 1);
  option_set(option_arena_purge_mult, 1);
  return arenas_gone(&set);
}

static void test_random_pages(void** state) {
  MI_UNUSED(state);
  enum { PAGES = 300, STEPS = 6000 };
  static page_t* pages[PAGES];
  memset(pages, 0, sizeof(pages));
  option_set(option_purge_delay, 0); // purges go on all the time
  test_random_t random = {4};
  for (size_t step = 0; step < STEPS; step++) {
    size_t i = test_random_below(&random, PAGES);
    if (pages[i] != NULL) {
      release(pages[i]);
      pages[i] = NULL;
      continue;
    }
    static const size_t counts[] = {1, 1, 1, 8, 8, 64, 2, 3, 17, 100};
    size_t alignment = step % 7 == 0 ? SLICE_SIZE << test_random_below(&random, 9) : 1;
    pages[i] = allocate(counts[test_random_below(&random, 10)], alignment);
    if (step % 1000 == 0) option_set(option_purge_delay, step % 2000 == 0 ? 1000 : 0);
    if (step % 500 == 0) arena_purge(&set, true, NULL);
  }
  for (size_t i = 0; i < PAGES; i++) {
    if (pages[i] != NULL) release(pages[i]);
  }
}

static void test_queries(void** state) {
  MI_UNUSED(state);
  static int in_data;
  page_t* small = allocate(1, 1);
  page_t* huge = allocate(40, 1);
  page_t* own = allocate(option_get_size(option_arena_reserve) / SLICE_SIZE, 1); // too large for an arena
  page_t* pages[] = {small, huge, own};
  for (size_t k = 0; k < 3; k++) {
    page_t* page = pages[k];
    size_t size = page->slice_count * SLICE_SIZE;
    const size_t offsets[] = {0, 1, 4096, SLICE_SIZE - 1, size / 2, size - SLICE_SIZE, size - 1};
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
      if (offsets[i] >= size) continue;
      assert_true(arena_contains(page->start + offsets[i]));
      assert_ptr_equal(arena_find_page(page->start + offsets[i]), page);
    }
  }
  assert_false(arena_contains(&in_data));
  assert_false(arena_contains(NULL));
  assert_null(arena_find_page(&in_data));
  assert_true(own->is_outside && !small->is_outside && !huge->is_outside);
  uint8_t* own_start = own->start;
  size_t own_size = own->slice_count * SLICE_SIZE;
  for (size_t k = 0; k < 3; k++) release(pages[k]);
  assert_false(arena_contains(own_start)); // given back at once
  assert_false(os_posix_is_committed(own_start, own_size));
}

static bool count_page(page_t* page, void* arg) {
  MI_UNUSED(page);
  return ++*(size_t*)arg < 3;
}

static void test_visit(void** state) {
  MI_UNUSED(state);
  page_t* pages[5];
  for (size_t i = 0; i < 5; i++) pages[i] = allocate(1 + 7 * (i % 2), 1);
  size_t visited = 0;
  arena_visit_pages(&set, &count_page, &visited);
  assert_int_equal(visited, 3); // as many as it wants
  for (size_t i = 2; i < 5; i++) release(pages[i]);
  visited = 0;
  arena_visit_pages(&set, &count_page, &visited);
  assert_int_equal(visited, 2);
  release(pages[0]);
  release(pages[1]);
}

// Memory comes as a page is cut, and a later page sees what is there.
static void test_commit_in_parts(void** state) {
  MI_UNUSED(state);
  page_t* page = arena_page_allocate(&source, 64, 3, 1);
  assert_non_null(page);
  page_init(page, BIN_LAST, LARGE_SIZE_MAX, 64, NULL);
  assert_int_equal(page->committed_slices, 3);
  assert_true(page->is_zero);
  assert_true(os_posix_is_committed(page->start, 3 * SLICE_SIZE));
  assert_false(os_posix_is_committed(page->start + 3 * SLICE_SIZE, SLICE_SIZE));
  os_faults_fail_from(OS_CALL_COMMIT, 1);
  assert_false(arena_page_commit(page, 10, NULL));
  assert_int_equal(page->committed_slices, 3);
  os_faults_none();
  assert_true(arena_page_commit(page, 10, NULL));
  assert_int_equal(page->committed_slices, 10);
  assert_true(os_posix_is_committed(page->start, 10 * SLICE_SIZE));
  assert_false(os_posix_is_committed(page->start + 10 * SLICE_SIZE, SLICE_SIZE));
  assert_true(page->is_zero); // still: nothing was there before
  assert_true(arena_page_commit(page, 7, NULL));
  assert_int_equal(page->committed_slices, 10);
  memset(page->start, 1, 10 * SLICE_SIZE);
  uint8_t* start = page->start;
  arena_page_free(page, NULL);
  page = arena_page_allocate(&source, 64, 2, 1);
  assert_ptr_equal(page->start, start);
  page_init(page, BIN_LAST, LARGE_SIZE_MAX, 64, NULL);
  assert_int_equal(page->committed_slices, 10); // they were still there
  assert_false(page->is_zero);
  arena_page_free(page, NULL);
  arena_purge(&set, true, NULL);
  assert_int_equal(bitmap_count(page->arena->committed, 0, page->arena->slice_count), 0);
}

static void test_purge(void** state) {
  MI_UNUSED(state);
  page_t* page = allocate(64, 1);
  uint8_t* start = page->start;
  const size_t size = 64 * SLICE_SIZE;
  release(page);
  assert_true(os_posix_is_committed(start, size)); // it waits
  arena_purge(&set, false, NULL);
  assert_true(os_posix_is_committed(start, size));
  arena_purge(&set, true, NULL);
  assert_false(os_posix_is_committed(start, SLICE_SIZE));
  assert_false(os_posix_is_committed(start + size - SLICE_SIZE, SLICE_SIZE));

  // By the clock, at the latest after the whole delay.
  option_set(option_purge_delay, 40);
  page = allocate(64, 1);
  start = page->start;
  release(page);
  uint32_t freed = os_clock_ms();
  while (os_posix_is_committed(start, size)) { // the time limit of the test ends this if it never happens
    arena_purge(&set, false, NULL);
    if (os_clock_ms() - freed > 20000) fail_msg("free memory is not purged");
  }

  // Never.
  option_set(option_purge_delay, -1);
  page = allocate(64, 1);
  start = page->start;
  release(page);
  arena_purge(&set, false, NULL);
  assert_true(os_posix_is_committed(start, size));

  // At once.
  option_set(option_purge_delay, 0);
  page = allocate(64, 1);
  start = page->start;
  release(page);
  assert_false(os_posix_is_committed(start, SLICE_SIZE));
}

// By force everything that is free goes, also what was committed ahead of need and never used.
static void test_purge_all(void** state) {
  MI_UNUSED(state);
  page_t* pages[20];
  for (size_t i = 0; i < 20; i++) pages[i] = allocate(i % 5 == 4 ? 8 : 1, 1);
  arena_t* arena = pages[0]->arena;
  for (size_t i = 0; i < 20; i++) release(pages[i]);
  arena_purge(&set, true, NULL);
  assert_int_equal(bitmap_count(arena->committed, 0, arena->slice_count), 0);
}

// Who wants all to be given back is not put off by a thread that was killed in the middle of a purge just now.
static void test_purge_after_killed_purger(void** state) {
  MI_UNUSED(state);
  enum { NO_THREAD = 0x7FFFFFF0 };
  assert_true(os_thread_is_dead(NO_THREAD));
  page_t* page = allocate(8, 1);
  arena_t* arena = page->arena;
  release(page);
  arena->purge_busy = NO_THREAD;
  arena->purge_since = os_clock_ms();
  arena_purge(&set, true, NULL);
  assert_int_equal(bitmap_count(arena->committed, 0, arena->slice_count), 0);
  assert_int_equal(arena->purge_busy, 0);
}

enum { SCATTERED = 100, STEP_RUNS = 8 };

// Pages with a page in use between any two: as many runs to purge.
static size_t free_scattered(page_t** pages) {
  for (size_t i = 0; i < 2 * SCATTERED; i++) pages[i] = allocate(1, 1);
  for (size_t i = 0; i < 2 * SCATTERED; i += 2) release(pages[i]);
  return SCATTERED;
}

// What has waited for its delay goes in bounded steps, each by a call.
static void test_purge_in_steps(void** state) {
  MI_UNUSED(state);
  option_set(option_purge_delay, 20);
  page_t* pages[2 * SCATTERED];
  size_t runs = free_scattered(pages), purged = 0, calls = 0;
  uint32_t begin = os_clock_ms();
  while (purged < runs) {
    os_faults_none(); // counts anew
    arena_purge(&set, false, NULL);
    size_t now = os_faults_calls(OS_CALL_DECOMMIT);
    if (now > STEP_RUNS) fail_msg("%zu system calls in one step", now);
    purged += now;
    calls += now > 0;
    if (os_clock_ms() - begin > 20000) fail_msg("only %zu of %zu runs were purged", purged, runs);
  }
  assert_true(calls >= runs / STEP_RUNS);
  for (size_t i = 0; i < 2 * SCATTERED; i += 2)
    assert_false(os_posix_is_committed(pages[i]->start, SLICE_SIZE));
  for (size_t i = 1; i < 2 * SCATTERED; i += 2) release(pages[i]);
}

// The clock wraps after 49 days: a purge that was due when the process was last awake isn't put off for another 24.
static void test_purge_after_clock_wrap(void** state) {
  MI_UNUSED(state);
  option_set(option_purge_delay, 1000);
  page_t* page = allocate(64, 1);
  uint8_t* start = page->start;
  arena_t* arena = page->arena;
  release(page);
  static const uint32_t ages[] = {1, 0x7FFFFFFF, 0x80000000, 0x90000000, 0xFFFFF000};
  for (size_t i = 0; i < sizeof(ages) / sizeof(ages[0]); i++) {
    arena->purge_from = set.next_purge = os_clock_ms() - 500 - ages[i];
    arena_purge(&set, false, NULL); // what is aging becomes old
    arena->purge_from = set.next_purge = os_clock_ms() - 500 - ages[i];
    arena_purge(&set, false, NULL);
    assert_false(os_posix_is_committed(start, SLICE_SIZE));
    page = allocate(64, 1);
    assert_ptr_equal(page->start, start);
    release(page);
  }
  set.next_purge = 0;
  arena->purge_from = os_clock_ms() - 100; // but not before its time
  arena_purge(&set, false, NULL);
  assert_true(set.next_purge - os_clock_ms() - 1 < 400); // nor is it looked at before
  set.next_purge = 0;
  arena_purge(&set, false, NULL);
  assert_true(os_posix_is_committed(start, SLICE_SIZE));
}

static size_t wanted_slices;
static void count_wanted(size_t slice_count) { wanted_slices += slice_count; }

// Somebody is told when memory begins to wait, and whether any does.
static void test_purge_is_wanted(void** state) {
  MI_UNUSED(state);
  void (*before)(size_t) = arena_purge_wanted;
  arena_purge_wanted = count_wanted;
  page_t* pages[3];
  for (size_t i = 0; i < 3; i++) pages[i] = allocate(8, 1);
  assert_false(arena_purge_is_waiting(&set));
  wanted_slices = 0;
  for (size_t i = 0; i < 3; i++) release(pages[i]);
  assert_int_equal(wanted_slices, 24);
  assert_true(arena_purge_is_waiting(&set));
  arena_purge(&set, true, NULL);
  arena_purge(&set, false, NULL); // sees that nothing waits any more
  assert_false(arena_purge_is_waiting(&set));
  release(allocate(8, 1));
  assert_int_equal(wanted_slices, 32);
  arena_purge_wanted = before;
}

// Before more is committed than ever, free memory goes back that is more than a fifth of what is in use: about as much as
// that, from the end of the arena, not in small pieces; the rest goes on waiting. `large` pages of 64 slices, `small` ones of
// 4; every second one of each is free when memory for `needed` slices is asked for.
static void check_growth(size_t large, size_t small, size_t needed, size_t purged_least, size_t purged_most) {
  enum { PAGES = 40 };
  page_t* pages[PAGES];
  size_t starts[PAGES], count = large + small;
  assert_true(count <= PAGES);
  for (size_t i = 0; i < count; i++) {
    pages[i] = allocate(i < large ? 64 : 4, 1);
    starts[i] = (size_t)(pages[i]->start - pages[i]->arena->base) / SLICE_SIZE;
  }
  arena_t* arena = pages[0]->arena;
  for (size_t i = 0; i < count; i += 2) release(pages[i]);
  stats_process.committed.peak = stats_process.committed.current;
  arena_growth = (arena_growth_t){0, 0};
  page_t* page = allocate(needed, 1);
  size_t purged = 0;
  for (size_t i = 0; i < count; i += 2) {
    size_t slices = i < large ? 64 : 4;
    size_t waiting =
        bitmap_count(arena->aging, starts[i], slices) + bitmap_count(arena->old, starts[i], slices);
    assert_int_equal(waiting, bitmap_count(arena->committed, starts[i], slices));
    assert_true(i < large || waiting == slices);
    purged += slices - waiting;
  }
  assert_in_range(purged, purged_least, purged_most);
  if (purged < large / 2 * 64)
    assert_true(bitmap_count(arena->committed, starts[0], 1) == 1); // the front stays
  release(page);
  for (size_t i = 1; i < count; i += 2) release(pages[i]);
}

static void test_growth(void** state) {
  MI_UNUSED(state);
  arena_purge(&set, true, NULL);
  size_t before = (size_t)stats_process.committed.current / SLICE_SIZE; // in use by other tests' arenas
  assert_true(before < 20);
  // 784 slices, 384 of them free (8 large, 2 small), and 100 more wanted: 500 in use, and so 600 at most.
  check_growth(12, 4, 100, 884 - 600 - 10, 884 - 600 + 64);
  arena_purge(&set, true, NULL);
  // 896 and 448; 560 wanted: 1008 in use, and so there may be 1209; 1456 are too many.
  check_growth(14, 0, 560, 1456 - 1209 - 10, 1456 - 1209 + 64);
  arena_purge(&set, true, NULL);
  check_growth(2, 16, 400, 0, 0); // 192 slices, 96 free, 496 in use: 595 may be
  arena_purge(&set, true, NULL);
  // 208 slices, 104 free, 40 in pieces; 65 wanted, 169 in use, and so 202 at most: more than the large one
  check_growth(2, 20, 65, 64, 64);
}

// Of the free runs that are long enough the one is taken that has most memory, and of these the shortest.
static void test_long_runs(void** state) {
  MI_UNUSED(state);
  static const size_t counts[] = {40, 70, 50, 60};
  enum { RUNS = 4 };
  page_t *pages[RUNS], *between[RUNS];
  size_t starts[RUNS];
  arena_purge(&set, true, NULL);
  for (size_t i = 0; i < RUNS; i++) {
    pages[i] = allocate(counts[i], 1);
    between[i] = allocate(17, 1);
    starts[i] = (size_t)(pages[i]->start - pages[i]->arena->base);
  }
  release(pages[0]);
  arena_purge(&set, true, NULL); // the shortest run has no memory now
  for (size_t i = 1; i < RUNS; i++) release(pages[i]);
  static const size_t order[RUNS] = {2, 3, 1, 0};
  for (size_t i = 0; i < RUNS; i++) {
    pages[i] = allocate(40, 1);
    assert_int_equal((size_t)(pages[i]->start - pages[i]->arena->base), starts[order[i]]);
  }
  for (size_t i = 0; i < RUNS; i++) {
    release(pages[i]);
    release(between[i]);
  }
}

// A page that is in use is never purged, also when it was taken from what waits for its purge.
static void test_purge_spares_used_pages(void** state) {
  MI_UNUSED(state);
  enum { PAGES = 40 };
  page_t* pages[PAGES];
  for (size_t round = 0; round < 5; round++) {
    for (size_t i = 0; i < PAGES; i++) pages[i] = allocate(1, 1);
    for (size_t i = 0; i < PAGES; i++) release(pages[i]);
    for (size_t i = 0; i < PAGES / 2; i++) pages[i] = allocate(1, 1); // the same slices
    arena_purge(&set, true, NULL);
    for (size_t i = 0; i < PAGES / 2; i++) release(pages[i]);
  }
}

static void test_extend(void** state) {
  MI_UNUSED(state);
  page_t* page = allocate(10, 1);
  size_t extended = 0;
  for (size_t count = 11; count <= 200; count += 21) {
    if (!arena_page_extend(page, count, NULL)) break;
    assert_int_equal(page->slice_count, count);
    assert_true(os_posix_is_committed(page->start, count * SLICE_SIZE));
    extended++;
    for (size_t i = 0; i < count; i++) { // for check()
      pattern_fill(page->start + i * SLICE_SIZE, 64, (uintptr_t)page->start);
      pattern_fill(page->start + (i + 1) * SLICE_SIZE - 64, 64, (uintptr_t)page->start);
    }
  }
  assert_int_equal(extended, 10); // nothing is behind it
  page_t* next = allocate(10, 1);
  check(page);
  assert_false(arena_page_extend(page, page->slice_count, NULL)); // not larger
  size_t all = page->arena->slice_count;
  assert_false(arena_page_extend(page, all + 1, NULL));
  release(page);
  release(next);
}

// A huge page must not grow over its neighbour, and what a failed growth took is given back.
static void test_extend_blocked(void** state) {
  MI_UNUSED(state);
  page_t* pages[200];
  size_t count = 0;
  for (; count < 200; count++) pages[count] = allocate(3, 1);
  size_t blocked = 0;
  for (size_t i = 0; i < count; i++) {
    if (!arena_page_extend(pages[i], 5, NULL)) blocked++;
  }
  assert_true(blocked >= count - 2);
  arena_t* arena = pages[0]->arena;
  for (size_t i = 0; i < count; i++) {
    pages[i]->slice_count = 3; // of the one or two that did grow, look at the filled part
    check(pages[i]);
  }
  assert_true(bitmap_count(arena->free, 0, arena->slice_count) + 3 * count + 4 >= arena->slice_count);
}

// ---- threads --------------------------------------------------------------------------------------------------

enum { THREADS = 4, OWN = 30, STEPS = 40000 };

static void run_pages(void* arg) {
  test_random_t random = {(uintptr_t)arg};
  page_t* own[OWN] = {NULL};
  static const size_t counts[] = {1, 1, 1, 8, 64, 5};
  for (size_t step = 0; step < STEPS; step++) {
    size_t i = test_random_below(&random, OWN);
    if (own[i] != NULL) {
      release(own[i]);
      own[i] = NULL;
    } else {
      own[i] = allocate(counts[test_random_below(&random, 6)], 1);
    }
    if (step % 200 == 0) arena_purge(&set, test_random_below(&random, 2) == 0, NULL);
  }
  for (size_t i = 0; i < OWN; i++) {
    if (own[i] != NULL) release(own[i]);
  }
}

static bool workers_are_done;

static void run_purger(void* arg) {
  MI_UNUSED(arg);
  while (!atomic_get_acquire(&workers_are_done)) arena_purge(&set, true, NULL);
}

static void test_threads(void** state) {
  MI_UNUSED(state);
  option_set(option_purge_delay, 1);
  test_thread_t threads[THREADS], purger;
  test_thread_start(&purger, run_purger, NULL);
  for (size_t i = 0; i < THREADS; i++) test_thread_start(&threads[i], run_pages, (void*)(i + 1));
  for (size_t i = 0; i < THREADS; i++) test_thread_join(&threads[i]);
  atomic_set_release(&workers_are_done, true);
  test_thread_join(&purger);
  size_t visited = 0;
  arena_visit_pages(&set, &count_page, &visited);
  assert_int_equal(visited, 0);
  page_t* page = allocate(1, 1);
  arena_t* arena = page->arena;
  release(page);
  assert_int_equal(bitmap_count(arena->free, 0, arena->slice_count), arena->slice_count);
}

static void test_reserve(void** state) {
  MI_UNUSED(state);
  os_posix_balance_t before = os_posix_balance();
  assert_non_null(arena_reserve(&set, 3 * MI_GIB, false, false, false));
  assert_true(os_posix_balance().reserved >= before.reserved + 3 * MI_GIB);
  os_faults_fail_from(OS_CALL_RESERVE_AT, 1);
  page_t* page = allocate(1000, 1); // comes out of what was reserved
  assert_int_equal(os_faults_calls(OS_CALL_RESERVE_AT), 0);
  release(page);
}

// A thread killed in the middle of taking a page off the list of those outside leaves it whole in one direction.
static void test_outside_list_of_killed_thread(void** state) {
  MI_UNUSED(state);
  enum { NO_THREAD = 0x7FFFFFF0 };
  page_t* pages[3];
  for (size_t i = 0; i < 3; i++) pages[i] = allocate(option_get_size(option_arena_reserve) / SLICE_SIZE, 1);
  outside_t *last = pages[0]->outside, *middle = pages[1]->outside, *first = pages[2]->outside;
  assert_true(set.outside == first && first->next == middle && middle->next == last);
  first->next = last; // and no further: last->previous leads to the middle one still
  set.outside_lock.owner = NO_THREAD;
  release(pages[0]);
  assert_ptr_equal(set.outside, first);
  assert_null(first->next);
  release(pages[2]);
  assert_null(set.outside);
  middle->next = middle->previous = NULL; // the dead one's is lost until the unload; put back here for that
  set.outside = middle;
}

static void test_too_much(void** state) {
  MI_UNUSED(state);
  assert_null(arena_page_allocate(&source, SIZE_MAX / SLICE_SIZE, 1, 1));
  assert_null(arena_page_allocate(&source, (size_t)PTRDIFF_MAX / SLICE_SIZE, 1, 1));
  assert_null(arena_page_allocate(&source, (size_t)PTRDIFF_MAX / SLICE_SIZE + 1, 1, 1));
  release(allocate(1, 1));
}

int main(void) {
  os_init();
  options_init();
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      CASE(test_growth), // first: whether memory grows is the process's matter
      CASE(test_long_runs),
      CASE(test_random_pages),
      CASE(test_queries),
      CASE(test_visit),
      CASE(test_commit_in_parts),
      CASE(test_purge_in_steps),
      CASE(test_purge_after_clock_wrap),
      CASE(test_purge_is_wanted),
      CASE(test_purge),
      CASE(test_purge_all),
      CASE(test_purge_spares_used_pages),
      CASE(test_extend),
      CASE(test_extend_blocked),
      CASE(test_threads),
      CASE(test_reserve),
      CASE(test_too_much),
      CASE(test_outside_list_of_killed_thread),
      CASE(test_purge_after_killed_purger),
  };
  return check_run(tests);
}
