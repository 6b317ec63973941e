// Slices of arenas of several chunks: claims against a plain array, what the hints may hide, many threads at once; arenas that
// programs reserve, give, keep to themselves or pin; the end of the table.
#include "arenas_gone.h"

#include "support/check.h"
#include "support/os_faults.h"
#include "support/test_data.h"
#include "support/test_thread.h"

#include "core/arenas/arena_slices.h"
#include "core/memory/sysmem.h"
#include "core/report/counters.h"
#include "core/report/message.h"
#include "core/report/options.h"
#include "os_posix.h"

static arena_set_t set;

static int set_up(void** state) {
  MI_UNUSED(state);
  arena_set_init(&set);
  option_set(option_purge_delay, 1000);
  return 0;
}

static int tear_down(void** state) {
  MI_UNUSED(state);
  message_register_output(NULL, NULL);
  option_set(option_show_errors, 0);
  os_faults_none();
  return arenas_gone(&set);
}

// ---- claims against a plain array -------------------------------------------------------------------------------

static const arena_alignment_t anywhere = {1, false};

enum { SLICES_MAX = 6 * 4096 + 256, RUNS = 4000 };
static bool taken[SLICES_MAX];
static struct { size_t start, count; } runs[RUNS];
static size_t run_count;

// Where a run of so many free slices starts, at or behind `from` and before `to`; SIZE_MAX if nowhere.
static size_t find_run(const arena_t* arena, size_t from, size_t to, size_t count,
                       arena_alignment_t alignment, bool in_arena) {
  size_t base =
      in_arena ? 0 : (uintptr_t)arena->base / SLICE_SIZE; // bytes and words of the bitmap are aligned in it
  for (size_t at = from, length = 0; at < arena->slice_count; at++) {
    length = taken[at] ? 0 : length + 1;
    if (length < count) continue;
    size_t start = at + 1 - count;
    if (start >= to) break;
    size_t aligned = alignment.is_of_end ? at + 1 : start;
    if (start >= from && (base + aligned) % alignment.slices == 0) return start;
  }
  return SIZE_MAX;
}

// Hints hide no run, the summary no free slice.
static void check_hints(const arena_t* arena) {
  for (size_t word = 0; word < arena->word_count; word++) {
    uint64_t free_bits = 0;
    for (size_t i = word * 64; i < word * 64 + 64 && i < arena->slice_count; i++)
      free_bits |= (uint64_t)!taken[i] << i % 64;
    assert_int_equal(arena->free[word], free_bits);
    if (free_bits != 0) assert_true((arena->free_summary[word / 64] >> word % 64 & 1) != 0);
  }
  for (size_t from = 0, chunk = 0; from < arena->slice_count; from += CHUNK_SLICES, chunk++) {
    uint8_t fits = arena->fits[chunk];
    size_t to = from + CHUNK_SLICES;
    if ((fits & FITS_MEDIUM) == 0)
      assert_int_equal(
          find_run(arena, from, to, PAGE_MEDIUM_SLICES, (arena_alignment_t){PAGE_MEDIUM_SLICES, false}, true),
          SIZE_MAX);
    if ((fits & FITS_WORD) == 0)
      assert_int_equal(find_run(arena, from, to, 64, (arena_alignment_t){64, false}, true), SIZE_MAX);
    if (arena->longest[chunk] < LONGEST_UNKNOWN)
      assert_int_equal(find_run(arena, from, to, (size_t)arena->longest[chunk] + 1, anywhere, true),
                       SIZE_MAX);
  }
  if (arena->longest_run < LONGEST_UNKNOWN)
    assert_int_equal(find_run(arena, 0, arena->slice_count, (size_t)arena->longest_run + 1, anywhere, true),
                     SIZE_MAX);
}

static bool claim_aligned(arena_t* arena, size_t count, arena_alignment_t alignment) {
  size_t start = arena_claim(arena, count, alignment, NULL);
  if (start == ARENA_NOT_FOUND) {
    bool is_part =
        alignment.slices == 1 && (count == PAGE_MEDIUM_SLICES || count == 64); // of a bitmap's word
    size_t missed = is_part ? find_run(arena, 0, SIZE_MAX, count, (arena_alignment_t){count, false}, true)
                            : find_run(arena, 0, SIZE_MAX, count, alignment, false);
    if (missed != SIZE_MAX)
      fail_msg("%zu slices weren't found, though there are some from %zu on", count, missed);
    return false;
  }
  assert_true(start + count <= arena->slice_count);
  size_t aligned = alignment.is_of_end ? start + count : start;
  assert_int_equal(((uintptr_t)arena->base / SLICE_SIZE + aligned) % alignment.slices, 0);
  for (size_t i = start; i < start + count; i++) {
    assert_false(taken[i]);
    taken[i] = true;
  }
  if (run_count == RUNS) fail_msg("more than %d runs", RUNS);
  runs[run_count].start = start;
  runs[run_count++].count = count;
  return true;
}

static bool claim(arena_t* arena, size_t count, size_t alignment) {
  return claim_aligned(arena, count, (arena_alignment_t){alignment, false});
}

static void release_run(arena_t* arena, size_t i) {
  for (size_t k = runs[i].start; k < runs[i].start + runs[i].count; k++) taken[k] = false;
  slices_release(arena, runs[i].start, runs[i].count);
  runs[i] = runs[--run_count];
}

static size_t pick_count(test_random_t* random) {
  static const size_t counts[] = {1, 1, 1, 2, 3, 4, 5, 8, 8, 15, 16, 17, 33, 64, 64, 65, 200, 256, 257, 1000};
  size_t choice = test_random_below(random, 500);
  if (choice == 0) return 4096;
  if (choice == 1) return 4097 + test_random_below(random, 3000);
  return counts[choice % 20];
}

static void test_claims(void** state) {
  MI_UNUSED(state);
  static const size_t sizes[] = {300, 4096, 4 * 4096, 5 * 4096 + 100, 6 * 4096 - 1};
  for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
    arena_t* arena =
        arena_reserve(&set, bits_align_up(sizes[k] * SLICE_SIZE, SLICE_SIZE), false, false, true);
    assert_non_null(arena);
    assert_true(arena->slice_count >= sizes[k] && arena->slice_count <= SLICES_MAX);
    memset(taken, 0, sizeof(taken));
    run_count = 0;
    test_random_t random = {k + 1};
    for (size_t step = 0; step < 6000; step++) {
      // In turn it fills up, falls to pieces, and empties.
      size_t phase = step / 700 % 3;
      bool wants = test_random_below(&random, 10) < (phase == 0 ? 9u : phase == 1 ? 5u : 2u);
      if ((wants && run_count < RUNS) || run_count == 0) {
        size_t alignment = step % 11 == 0 ? (size_t)1 << test_random_below(&random, 8) : 1;
        claim_aligned(arena, pick_count(&random), (arena_alignment_t){alignment, MI_SECURE && step % 22 == 0});
      } else {
        release_run(arena, test_random_below(&random, run_count));
      }
      if (step % 50 == 0) check_hints(arena);
    }
    while (run_count > 0) release_run(arena, run_count - 1);
    check_hints(arena);
    assert_true(claim(arena, arena->slice_count, 1)); // all of it
    assert_false(claim(arena, 1, 1));
    while (run_count > 0) release_run(arena, run_count - 1);
  }
}

// Full but for holes: what fits in none is not found, what fits is, and a hole that grows is seen again.
static void test_fragmented(void** state) {
  MI_UNUSED(state);
  arena_t* arena = arena_reserve(&set, 4 * CHUNK_SLICES * SLICE_SIZE, false, false, true);
  assert_non_null(arena);
  memset(taken, 0, sizeof(taken));
  run_count = 0;
  assert_true(claim(arena, arena->slice_count, 1));
  run_count = 0;
  // Behind the bits of free slices lie those of committed ones, which aren't the arena's end.
  size_t end = arena->slice_count;
  slices_release(arena, end - 5, 5);
  bitmap_set(arena->committed, 0, 8);
  assert_int_equal(arena_claim(arena, 6, anywhere, NULL), ARENA_NOT_FOUND);
  assert_int_equal(arena_claim(arena, 5, anywhere, NULL), end - 5);
  bitmap_clear(arena->committed, 0, 8);
  const size_t holes[] = {3 * 4096 + 1000, 4090, 2 * 4096 + 100,
                          3 * 4096 + 4000}; // the second will grow into the next chunk
  for (size_t length = 1; length <= 64; length++) {
    for (size_t k = 0; k < 4; k++) {
      taken[holes[k] + length - 1] = false;
      slices_release(arena, holes[k] + length - 1, 1);
    }
    check_hints(arena);
    for (size_t k = 0; k < 4; k++) {
      if (length == 1 || length == PAGE_MEDIUM_SLICES || length == 64)
        continue; // these come one by one, or aligned
      if (!claim(arena, length, 1)) fail_msg("hole %zu of %zu slices", k, length);
    }
    if (run_count > 0) assert_false(claim(arena, 1, 1));
    while (run_count > 0) release_run(arena, run_count - 1);
    // Lowers the hints, which the next slice at the end of the run must raise again, if only in the chunk before its own. A
    // search for much longer ones hides none of those that there are.
    assert_false(claim(arena, length % 2 == 0 ? length + 1 : 2 * length + 1, 1));
    // An aligned one in vain leaves behind how long the longest is, wherever that is aligned: nobody looks again.
    memset(arena->longest, 0xFF, 4 * sizeof(arena->longest[0]));
    arena->longest_run = LONGEST_UNKNOWN;
    assert_false(claim(arena, 80, 16));
    for (size_t chunk = 0; chunk < 4; chunk++) assert_true(arena->longest[chunk] <= length);
    assert_true(arena->longest_run <= length); // nor at the arena at all
    check_hints(arena);
  }
}

enum { CLAIMERS = 4, OWN = 40 };
static arena_t* contested;
static uint8_t owners[SLICES_MAX];
static size_t collisions;

static void run_claims(void* arg) {
  uint8_t self = (uint8_t)(uintptr_t)arg;
  test_random_t random = {self};
  size_t start[OWN], count[OWN] = {0};
  for (size_t step = 0; step < 20000; step++) {
    size_t i = test_random_below(&random, OWN);
    if (count[i] != 0) {
      for (size_t k = start[i]; k < start[i] + count[i]; k++) {
        if (atomic_get_relaxed(&owners[k]) != self) atomic_add_relaxed(&collisions, 1);
        atomic_set_relaxed(&owners[k], 0);
      }
      slices_let_go(contested, start[i], count[i], NULL);
      count[i] = 0;
    } else {
      count[i] = pick_count(&random);
      start[i] = arena_claim(contested, count[i], anywhere, NULL);
      if (start[i] == ARENA_NOT_FOUND) count[i] = 0;
      for (size_t k = start[i]; k < start[i] + count[i]; k++) {
        if (atomic_get_relaxed(&owners[k]) != 0) atomic_add_relaxed(&collisions, 1);
        atomic_set_relaxed(&owners[k], self);
      }
    }
  }
  for (size_t i = 0; i < OWN; i++) {
    for (size_t k = start[i]; k < start[i] + count[i]; k++) atomic_set_relaxed(&owners[k], 0);
    if (count[i] != 0) slices_let_go(contested, start[i], count[i], NULL);
  }
}

static void test_claims_by_threads(void** state) {
  MI_UNUSED(state);
  contested = arena_reserve(&set, 4 * CHUNK_SLICES * SLICE_SIZE, false, false, true);
  assert_non_null(contested);
  test_thread_t threads[CLAIMERS];
  for (size_t i = 0; i < CLAIMERS; i++) test_thread_start(&threads[i], run_claims, (void*)(i + 1));
  for (size_t i = 0; i < CLAIMERS; i++) test_thread_join(&threads[i]);
  assert_int_equal(collisions, 0);
  memset(taken, 0, sizeof(taken));
  check_hints(contested); // all is free again, and nothing hides it
}

// ---- kinds of arenas --------------------------------------------------------------------------------------------

static page_t* page_from(arena_t* only, size_t count, size_t commit) {
  arena_source_t source = {.set = &set, .only = only, .numa_node = -1};
  page_t* page = arena_page_allocate(&source, count, commit, 1);
  if (page != NULL) page_init(page, BIN_LAST, LARGE_SIZE_MAX, 64, NULL);
  return page;
}

static void test_exclusive(void** state) {
  MI_UNUSED(state);
  arena_t* own = arena_reserve(&set, 2 * ARENA_ALIGNMENT, false, false, true);
  assert_non_null(own);
  size_t room = own->slice_count, made = set.made;
  static page_t* pages[1000];
  assert_true(room < 1000);
  for (size_t i = 0; i < room; i++) {
    pages[i] = page_from(own, 1, 1);
    assert_ptr_equal(pages[i]->arena, own);
  }
  assert_null(page_from(own, 1, 1)); // full: nowhere else
  assert_int_equal(set.made, made);
  arena_page_free(pages[7], NULL);
  page_t* other = page_from(NULL, 1, 1); // anybody else's come from elsewhere
  assert_true(other->arena != own);
  assert_ptr_equal(page_from(own, 1, 1)->arena, own);
}

// The program's memory, with the program's functions.
static struct given_s {
  size_t commits, decommits;
  size_t bad; // calls outside of it, or in the wrong order
  bool fails, is_zero;
  uint8_t* base;
  bool committed[256];
} given;

static bool commit_given(bool commit, void* start, size_t size, bool* is_zero, void* arg) {
  assert_ptr_equal(arg, &given);
  size_t first = (size_t)((uint8_t*)start - given.base) / SLICE_SIZE;
  if ((uint8_t*)start < given.base || first + size / SLICE_SIZE > 256 || (is_zero == NULL) != !commit)
    given.bad++;
  if (given.fails) return false;
  commit ? given.commits++ : given.decommits++;
  for (size_t i = first; i < first + size / SLICE_SIZE; i++) {
    if (!commit && !given.committed[i]) given.bad++;
    if (commit && !given.committed[i] && !given.is_zero)
      memset(given.base + i * SLICE_SIZE, 0xAA, SLICE_SIZE);
    given.committed[i] = commit;
  }
  if (commit) *is_zero = given.is_zero;
  return true;
}

static void test_given(void** state) {
  MI_UNUSED(state);
  memset(&given, 0, sizeof(given));
  given.base = os_reserve_and_commit(256 * SLICE_SIZE);
  given.is_zero = true;
  arena_t* arena = arena_manage(&set, &(arena_given_t){.start = given.base,
                                                       .size = 256 * SLICE_SIZE,
                                                       .is_exclusive = true,
                                                       .numa_node = -1,
                                                       .commit = commit_given,
                                                       .commit_arg = &given});
  assert_non_null(arena);
  page_t* page = page_from(arena, PAGE_MEDIUM_SLICES, 2);
  assert_true(page->is_zero && given.commits == 1 && given.committed[1] && !given.committed[2]);
  // What comes later needn't be zero: then the page can't promise it any more.
  given.is_zero = false;
  assert_true(arena_page_commit(page, 3, NULL));
  assert_int_equal(page->start[2 * SLICE_SIZE], 0xAA);
  assert_false(page->is_zero);
  given.fails = true;
  assert_false(arena_page_commit(page, 4, NULL));
  assert_int_equal(page->committed_slices, 3);
  given.fails = false;
  arena_page_free(page, NULL);
  arena_purge(&set, true, NULL);
  assert_true(given.decommits > 0);
  for (size_t i = 0; i < 256; i++) assert_false(given.committed[i]);
  page = page_from(arena, 64, 64);
  assert_false(page->is_zero);
  arena_page_free(page, NULL);
  given.fails = true;
  assert_null(page_from(arena, 100, 100));
  assert_int_equal(bitmap_count(arena->free, 0, 256), 256); // and nothing is lost
  assert_int_equal(given.bad, 0);
  given.fails = false;
  arena_release_all(&set);
  assert_true(os_posix_is_committed(given.base, 256 * SLICE_SIZE)); // it isn't ours to release
  assert_true(os_release(given.base, 256 * SLICE_SIZE));
}

static void test_pinned(void** state) {
  MI_UNUSED(state);
  uint8_t* memory = os_reserve_and_commit(64 * SLICE_SIZE);
  arena_t* arena = arena_manage(&set, &(arena_given_t){.start = memory,
                                                       .size = 64 * SLICE_SIZE,
                                                       .is_exclusive = true,
                                                       .is_committed = true,
                                                       .is_pinned = true,
                                                       .is_zero = true,
                                                       .numa_node = -1});
  assert_non_null(arena);
  static const long delays[] = {0, 1000};
  for (size_t decommits = 0; decommits < 2; decommits++) {
    option_set(option_purge_decommits, (long)decommits);
    for (size_t k = 0; k < 2; k++) {
      option_set(option_purge_delay, delays[k]);
      os_faults_none();
      page_t* page = page_from(arena, 64, 64);
      assert_int_equal(page->is_zero, decommits == 0 && k == 0); // as it came, then as it was left
      memset(page->start, 1, 64 * SLICE_SIZE);
      arena_page_free(page, NULL);
      arena_purge(&set, true, NULL);
      assert_int_equal(os_faults_calls(OS_CALL_DECOMMIT) + os_faults_calls(OS_CALL_RESET), 0);
      assert_int_equal(memory[5 * SLICE_SIZE], 1);
    }
  }
  option_set(option_purge_decommits, 1);
  arena_release_all(&set);
  assert_true(os_release(memory, 64 * SLICE_SIZE));
}

static char heard[4096];
static void hear(const char* text, void* arg) {
  MI_UNUSED(arg);
  strncat(heard, text, sizeof(heard) - strlen(heard) - 1);
}

// What the program gives or reserves takes all places but some for malloc, which goes on when there is no other room.
static void test_end_of_table(void** state) {
  MI_UNUSED(state);
  enum { GIVEN_MAX = ARENA_COUNT_MAX - ARENA_COUNT_KEPT };
  const size_t each = ARENA_MIN_SIZE, size = (GIVEN_MAX + 1) * each;
  uint8_t* memory = os_reserve_and_commit(size);
  assert_non_null(memory);
  message_register_output(hear, NULL);
  option_set(option_show_errors, 1);
  heard[0] = 0;
  arena_given_t one = {.size = each, .is_committed = true, .numa_node = -1};
  arena_t* last = NULL;
  for (size_t i = 0; i < GIVEN_MAX; i++) {
    one.start = memory + i * each;
    last = arena_manage(&set, &one);
    assert_non_null(last);
    assert_int_equal(last->index, i);
  }
  assert_string_equal(heard, "");
  int64_t arenas = stats_process.arenas;
  one.start = memory + GIVEN_MAX * each;
  assert_null(arena_manage(&set, &one));
  assert_non_null(strstr(heard, "MIMALLOC_ARENA_RESERVE")); // the remedy
  assert_null(arena_reserve(&set, ARENA_ALIGNMENT, false, false, false));
  assert_int_equal(stats_process.arenas, arenas);
  assert_int_equal(set.count, GIVEN_MAX);
  for (size_t i = 0; i < 2 * GIVEN_MAX; i++)
    assert_non_null(page_from(NULL, 1, 1)); // those that are there serve
  assert_true(arena_holds(last, page_from(last, 1, 1) == NULL ? memory + (GIVEN_MAX - 1) * each
                                                              : NULL)); // all of them
  while (page_from(last, 1, 1) != NULL) {}
  while (set.count == GIVEN_MAX)
    assert_non_null(page_from(NULL, 1, 1)); // the next one comes from one of its own
  assert_int_equal(set.count, GIVEN_MAX + 1);
  assert_null(arena_reserve(&set, ARENA_ALIGNMENT, false, false, false));
  // Too small, or not at all.
  heard[0] = 0;
  one.size = each - 1;
  assert_null(arena_manage(&set, &one));
  assert_non_null(strstr(heard, "unable to manage"));
  arena_release_all(&set);
  assert_true(os_release(memory, size));
}

int main(void) {
  os_init();
  options_init();
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      CASE(test_claims), CASE(test_fragmented), CASE(test_claims_by_threads), CASE(test_exclusive),
      CASE(test_given),  CASE(test_pinned),     CASE(test_end_of_table),
  };
  return check_run(tests);
}
