// Where released arenas lay others come to lie: the page map's tables are there already. The largest blocks lie where they can
// grow.
#include "arenas_gone.h"

#include "support/check.h"
#include "support/test_thread.h"

#include "core/arenas/arena_parts.h"
#include "core/arenas/arena_slices.h"
#include "core/memory/sysmem.h"
#include "core/report/options.h"
#include "os_posix.h"

static arena_set_t set, others; // `others`: what isn't looked at
static uintptr_t highest;       // place that was ever had

// An arena of so many GiB: where it begins.
static uintptr_t reserve_in(arena_set_t* in, size_t count) {
  arena_t* arena = arena_reserve(in, count * MI_GIB - ARENA_ALIGNMENT, false, false, true);
  assert_non_null(arena);
  assert_int_equal(arena->os_size, count * MI_GIB);
  uintptr_t place = (uintptr_t)arena->os_base;
  assert_int_equal(place % MI_GIB, 0);
  return place;
}

// Places that nobody had are asked for from low addresses up.
static uintptr_t reserve(size_t count) {
  uintptr_t place = reserve_in(&set, count);
  if (place + (count - 1) * MI_GIB > highest) highest = place + (count - 1) * MI_GIB;
  return place;
}

// Nobody's place is known any more.
static int set_up(void** state) {
  MI_UNUSED(state);
  arena_set_init(&set);
  arena_set_init(&others);
  uintptr_t place;
  while ((place = reserve_in(&others, 1)) <= highest) {}
  highest = place;
  return 0;
}

static int tear_down(void** state) {
  MI_UNUSED(state);
  arena_release_all(&others);
  return arenas_gone(&set);
}

static bool is_among(uintptr_t place, const uintptr_t* places, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (places[i] == place) return true;
  return false;
}

static void test_same_place(void** state) {
  MI_UNUSED(state);
  for (size_t count = 1; count <= 3; count++) {
    uintptr_t first = reserve(count);
    for (size_t i = 0; i < 5; i++) { // as often as one likes
      arena_release_all(&set);
      assert_int_equal(reserve(count), first);
    }
    arena_release_all(&set);
    uintptr_t before = highest, larger = reserve(count + 1); // which has no room there
    assert_true(larger > before);
    assert_int_equal(reserve(count), first);
    arena_release_all(&set);
    assert_int_equal(tear_down(NULL) | set_up(NULL), 0);
  }
}

// A smaller one leaves the rest of a place to others.
static void test_rest(void** state) {
  MI_UNUSED(state);
  enum { LEFT = 4 };
  uintptr_t five = reserve(5), one = reserve(1), before = highest;
  arena_release_all(&set);
  assert_int_equal(reserve(2), five);
  assert_true(reserve(4) > before);
  before = highest;
  uintptr_t left[LEFT], wanted[LEFT] = {five + 2 * MI_GIB, five + 3 * MI_GIB, five + 4 * MI_GIB, one};
  for (size_t i = 0; i < LEFT; i++) left[i] = reserve(1);
  for (size_t i = 0; i < LEFT; i++) assert_true(is_among(wanted[i], left, LEFT));
  assert_true(reserve(1) > before); // that was all
}

// More places than are remembered: those that are serve.
static void test_many(void** state) {
  MI_UNUSED(state);
  enum { MANY = 100, REMEMBERED = 64 };
  static uintptr_t places[MANY], now[MANY];
  for (size_t i = 0; i < MANY; i++) places[i] = reserve(1);
  uintptr_t before = highest;
  arena_release_all(&set);
  for (size_t i = 0; i < MANY; i++) {
    now[i] = reserve(1);
    assert_int_equal(is_among(now[i], places, MANY), i < REMEMBERED);
    assert_true(now[i] <= before || i >= REMEMBERED);
    assert_false(is_among(now[i], now, i));
  }
}

// ---- pages outside of arenas ------------------------------------------------------------------------------------

// The arm64 build is tested under qemu-user, which takes many seconds for each GiB that is committed.
#if defined(__aarch64__)
enum { LANES = 1, GROWN_GIB = 1, SHIFT_STEP = 5 };
#else
enum { LANES = 32, GROWN_GIB = 8, SHIFT_STEP = 1 };
#endif

static page_t* make_outside(size_t size) {
  page_t* page = outside_allocate(&set, size / SLICE_SIZE, SLICE_SIZE);
  assert_non_null(page);
  return page;
}

static void test_grows_in_place(void** state) {
  MI_UNUSED(state);
  page_t* page = make_outside(512 * MI_MIB);
  uint8_t* start = page->start;
  page_t* beside = make_outside(512 * MI_MIB); // no obstacle
  for (size_t slices = page->slice_count; slices < GROWN_GIB * MI_GIB / SLICE_SIZE;) {
    slices += slices / 2;
    assert_true(outside_extend(page, slices));
    assert_int_equal(page->slice_count, slices);
    uint8_t* end = start + slices * SLICE_SIZE;
    end[-1] = 1;
    assert_true(os_posix_is_committed(end - SLICE_SIZE, SLICE_SIZE));
  }
  assert_ptr_equal(page->start, start);
  outside_free(page);
  assert_false(os_posix_is_committed(start, SLICE_SIZE));
  page = make_outside(512 * MI_MIB);
  assert_ptr_equal(page->start, start); // where the page map's table is already
  outside_free(page);
  outside_free(beside);
}

static void test_aligned(void** state) {
  MI_UNUSED(state);
  for (unsigned shift = 30; shift <= 40; shift += SHIFT_STEP) {
    page_t* page = outside_allocate(&set, 512 * MI_MIB / SLICE_SIZE, (size_t)1 << shift);
    assert_non_null(page);
    assert_true(bits_is_aligned(page->start, (size_t)1 << shift));
    outside_free(page);
  }
}

// More of them than there is room for: the rest lie where the system likes.
static void test_lanes_run_out(void** state) {
  MI_UNUSED(state);
  enum { ALL = LANES == 32 ? LANES + 2 : LANES };
  page_t* pages[ALL];
  for (size_t i = 0; i < ALL; i++) {
    pages[i] = make_outside(512 * MI_MIB);
    assert_int_equal(pages[i]->outside->lane, i < LANES ? i + 1 : 0);
  }
  size_t again = LANES / 2;
  outside_free(pages[again]);
  pages[again] = make_outside(512 * MI_MIB);
  assert_int_equal(pages[again]->outside->lane, again + 1);
  for (size_t i = 0; i < ALL; i++) outside_free(pages[i]);
}

int main(void) {
  os_init();
  options_init();
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {CASE(test_same_place),     CASE(test_rest),    CASE(test_many),
                                     CASE(test_grows_in_place), CASE(test_aligned), CASE(test_lanes_run_out)};
  return check_run(tests);
}
