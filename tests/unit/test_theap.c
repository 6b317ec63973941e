// Theaps and the pages that nobody owns: full pages and those of ended threads are abandoned, listed when an eighth is free,
// adopted by who needs their class, taken back by who filled them, and gone with their last block. Dead owners are found.
// long because all cases work on what the same leaving threads leave.
#include "support/check.h"
#include "support/test_data.h"
#include "support/test_thread.h"

#include "support/level_below_racks.h" // behind <windows.h>, as all of the core

#include "core/heaps/abandoned.h"
#include "core/heaps/theap_pages.h"
#include "core/heaps/thread.h"
#include "core/report/options.h"
#include "core/stats/stats.h"
#include "core/stats/stats_print.h"
#include "lifecycle/runtime.h"

#include <mimalloc.h>

enum { BLOCKS = 400 };

typedef struct leaver_s {
  test_thread_t thread;
  char* blocks[BLOCKS];
  size_t size;
  theap_t* theap;
  thread_t* record;
} leaver_t;

// What is looked at here are pages and their lists.
static void go_without_racks(void) {
  if (os_slot_get() == OS_SLOT_DETACHED) return; // the late theap has none anyway
  theap_t* theap = runtime_enter();
  theap_go_without_racks(theap);
  runtime_leave(theap);
}

static void run_leaver(void* arg) {
  leaver_t* leaver = arg;
  go_without_racks();
  for (size_t i = 0; i < BLOCKS; i++) {
    leaver->blocks[i] = mi_malloc(leaver->size);
    pattern_fill_sampled(leaver->blocks[i], leaver->size, i);
  }
  leaver->theap = runtime_theap();
  leaver->record = leaver->theap == NULL ? NULL : leaver->theap->thread;
}

static void leave(leaver_t* leaver, size_t size) {
  leaver->size = size;
  test_thread_start(&leaver->thread, run_leaver, leaver);
  test_thread_join(&leaver->thread);
}

static void free_left_at(leaver_t* leaver, size_t i) {
  assert_int_equal(pattern_mismatch_sampled(leaver->blocks[i], leaver->size, i), SIZE_MAX);
  mi_free(leaver->blocks[i]);
  leaver->blocks[i] = NULL;
}

static void free_left(leaver_t* leaver) {
  for (size_t i = 0; i < BLOCKS; i++)
    if (leaver->blocks[i] != NULL) free_left_at(leaver, i);
}

static bool count_page(page_t* page, void* arg) {
  MI_UNUSED(page);
  ++*(size_t*)arg;
  return true;
}

static size_t pages_now(void) {
  size_t pages = 0;
  arena_visit_pages(&subproc_main()->arenas, &count_page, &pages);
  return pages;
}

// Counters of ended theaps, and of those that go on.
static stats_process_t counters(void) {
  static stats_snapshot_t snapshot;
  stats_snapshot(&snapshot);
  return snapshot.process;
}

// The test's own thread has its theap, and nothing is left of other cases.
static int set_up(void** state) {
  MI_UNUSED(state);
  mi_free(mi_malloc(8));
  go_without_racks();
  mi_collect(true);
  return stats_process.theaps.current == 1 && pages_now() == 0 ? 0 : -1;
}

static int tear_down(void** state) {
  MI_UNUSED(state);
  option_set(option_page_max_candidates, 4);
  option_set(option_page_reclaim_on_free, 0);
  option_set(option_page_max_reclaim, -1);
  return 0;
}

// ---- full pages -------------------------------------------------------------------------------------------------

static page_t* page_of(const void* p) {
  page_t* page = page_map_page(p);
  assert_non_null(page);
  return page;
}

static bool is_abandoned(const void* p) { return page_is_abandoned(page_of(p)->owner); }

static bool is_in_queue(theap_t* theap, const page_t* page) {
  for (const page_t* at = theap->bins[page->bin].first; at != NULL; at = at->next)
    if (at == page) return true;
  return false;
}

// A page without room has no owner, and remembers who filled it; the others are in the queue.
static void test_full_pages_are_abandoned(void** state) {
  MI_UNUSED(state);
  leaver_t own = {.size = 1000};
  run_leaver(&own);
  size_t full = 0;
  for (size_t i = 0; i < BLOCKS; i++) {
    page_t* page = page_of(own.blocks[i]);
    assert_ptr_equal(page_owner_theap(page->owner), own.theap);
    assert_int_equal(is_in_queue(own.theap, page), !page_is_abandoned(page->owner));
    if (!page_is_abandoned(page->owner)) continue;
    full++;
    assert_int_equal(page_used(page), page->reserved);
    assert_false(page->is_listed);
  }
  size_t reserved = page_of(own.blocks[0])->reserved;
  assert_int_equal(full, (BLOCKS - 1) / reserved *
                             reserved); // the last page that was filled may still be in the queue
  free_left(&own);
  mi_collect(true);
  assert_int_equal(pages_now(), 0);
}

// Who filled a page has it back with the first block that it frees there; not if that is turned off.
static void test_owner_takes_back(void** state) {
  MI_UNUSED(state);
  for (int reclaim = 0; reclaim >= -1; reclaim--) {
    option_set(option_page_reclaim_on_free, reclaim);
    leaver_t own = {.size = 3000};
    int64_t before = counters().pages_reclaimed;
    run_leaver(&own);
    page_t* page = page_of(own.blocks[0]);
    assert_true(page_is_abandoned(page->owner));
    free_left_at(&own, 0);
    assert_int_equal(page_is_abandoned(page->owner), reclaim < 0);
    assert_int_equal(is_in_queue(own.theap, page), reclaim == 0);
    assert_int_equal(counters().pages_reclaimed - before, reclaim == 0);
    if (reclaim == 0) {
      assert_int_equal(page->owner, (uintptr_t)own.theap);
      assert_int_equal(page_used(page), page->reserved - 1);
    }
    free_left(&own);
    mi_collect(true);
    assert_int_equal(pages_now(), 0);
  }
}

static void free_some_of_page(leaver_t* leaver, const page_t* page, size_t count) {
  for (size_t i = 0; i < BLOCKS && count > 0; i++) {
    if (leaver->blocks[i] == NULL || page_of(leaver->blocks[i]) != page) continue;
    free_left_at(leaver, i);
    count--;
  }
}

// Where others free a sixteenth of a page it stays nobody's, as long as there is another one of the class.
static const page_t* others_page;
static size_t others_count;
static void run_others(void* arg) { free_some_of_page(arg, others_page, others_count); }

static void test_owner_leaves_what_others_free(void** state) {
  MI_UNUSED(state);
  leaver_t own = {.size = 1000};
  run_leaver(&own);
  for (size_t k = 0; k < 2; k++) {
    page_t* page = page_of(own.blocks[k * 100]);
    assert_true(page_is_abandoned(page->owner));
    others_page = page;
    others_count = (page->reserved - 1) / 16 + k; // fewer than a sixteenth, then as many
    test_thread_t other;
    test_thread_start(&other, run_others, &own);
    test_thread_join(&other);
    free_some_of_page(&own, page, 1);
    assert_int_equal(is_in_queue(own.theap, page), k == 0);
    assert_int_equal(page_is_abandoned(page->owner), k == 1);
  }
  free_left(&own);
  mi_collect(true);
  assert_int_equal(pages_now(), 0);
}

// As many of a class as it may, no more.
static void test_owner_takes_back_so_many(void** state) {
  MI_UNUSED(state);
  option_set(option_page_max_reclaim, 3);
  leaver_t own = {.size = 5000};
  run_leaver(&own);
  for (size_t i = 0; i < BLOCKS; i++)
    if (is_abandoned(own.blocks[i])) free_left_at(&own, i);
  assert_true(own.theap->bins[size_class_bin(5000)].count <= 3);
  free_left(&own);
  mi_collect(true);
  assert_int_equal(pages_now(), 0);
}

// ---- pages of ended threads -------------------------------------------------------------------------------------

// The record, with the theap, goes to the next thread; the pages are nobody's, and none is left that is empty.
static void test_thread_end(void** state) {
  MI_UNUSED(state);
  leaver_t first, second;
  leave(&first, 1000);
  assert_int_equal(stats_process.theaps.current, 1); // the test's own
  for (size_t i = 0; i < BLOCKS; i++) assert_true(is_abandoned(first.blocks[i]));
  size_t pages = pages_now();
  assert_int_equal(pages,
                   bits_divide_up(BLOCKS, page_of(first.blocks[0])->reserved)); // those with blocks alone
  leave(&second, 1000);
  assert_ptr_equal(second.record, first.record);
  assert_ptr_equal(second.theap, first.theap);
  free_left(&first);
  free_left(&second);
  assert_int_equal(pages_now(), 0); // with the last block of each, without a collection
}

static void test_listed_when_an_eighth_is_free(void** state) {
  MI_UNUSED(state);
  static const size_t sizes[] = {300, 1000, 8000, 60000};
  for (size_t k = 0; k < 4; k++) {
    leaver_t leaver;
    leave(&leaver, sizes[k]);
    page_t* page = page_of(leaver.blocks[0]);
    page_list_t* list = &heap_main()->abandoned[page->bin];
    size_t freed = 0;
    for (size_t i = 0; i < BLOCKS && leaver.blocks[i] != NULL; i++) {
      if (page_of(leaver.blocks[i]) != page || page_used(page) != page->reserved) continue;
      uint32_t count = list->count;
      bool was_listed = page->is_listed;
      free_left_at(&leaver, i);
      freed++;
      if (freed == page->reserved) break; // gone
      assert_int_equal(page->is_listed, freed * LISTED_FREE_SHARE >= page->reserved);
      assert_int_equal(list->count - count, page->is_listed && !was_listed);
    }
    assert_true(freed > 1);
    free_left(&leaver);
    assert_int_equal(list->count, 0);
    assert_null(list->first);
    assert_null(list->last);
    assert_int_equal(pages_now(), 0);
  }
}

// Of the first few of the list the fullest is taken, others may yet become empty.
static void test_adoption_order(void** state) {
  MI_UNUSED(state);
  enum { PAGES = 6, EACH = 64 };
  static const size_t holes[PAGES] = {40, 20, 10, 30, 9, 50}; // in the order in which they get into the list
  for (int candidates = 4; candidates >= 1; candidates -= 3) {
    option_set(option_page_max_candidates, candidates);
    leaver_t leaver;
    leave(&leaver, 1000);
    for (size_t i = PAGES * EACH; i < BLOCKS; i++)
      free_left_at(&leaver, i); // of the last page, which was listed first
    page_t* pages[PAGES];
    size_t at = 0;
    for (size_t k = 0; k < PAGES; k++) {
      pages[k] = page_of(leaver.blocks[at]);
      assert_int_equal(pages[k]->reserved, EACH);
      for (size_t i = 0; i < holes[k]; i++) free_left_at(&leaver, at + i);
      at += EACH;
    }
    static const size_t orders[2][PAGES] = {{2, 4, 1, 3, 0, 5}, {0, 1, 2, 3, 4, 5}};
    const size_t* order = orders[candidates == 1];
    size_t before = pages_now();
    int64_t adopted = counters().pages_adopted;
    void* own[PAGES][EACH];
    for (size_t k = 0; k < PAGES; k++) {
      for (size_t i = 0; i < holes[order[k]]; i++) {
        own[k][i] = mi_malloc(1000);
        assert_ptr_equal(page_of(own[k][i]), pages[order[k]]);
      }
      assert_int_equal(counters().pages_adopted - adopted, k + 1);
    }
    assert_int_equal(pages_now(), before);
    for (size_t k = 0; k < PAGES; k++)
      for (size_t i = 0; i < holes[order[k]]; i++) mi_free(own[k][i]);
    free_left(&leaver);
    mi_collect(true);
    assert_int_equal(pages_now(), 0);
  }
}

// Another class's pages are of no use, nor are those of another heap.
static void test_adoption_by_class_and_heap(void** state) {
  MI_UNUSED(state);
  leaver_t leaver;
  leave(&leaver, 1000);
  for (size_t i = 0; i < BLOCKS; i += 2) free_left_at(&leaver, i);
  int64_t adopted = counters().pages_adopted;
  size_t pages = pages_now();
  void* other_class = mi_malloc(1200);
  heap_t* heap = heap_new(subproc_main(), NULL);
  bool is_zero;
  void* other_heap = theap_allocate(runtime_heap_enter(heap), 1000, &is_zero);
  assert_int_equal(counters().pages_adopted, adopted);
  assert_int_equal(pages_now(), pages + 2);
  void* same = mi_malloc(1000);
  assert_int_equal(counters().pages_adopted, adopted + 1);
  assert_int_equal(pages_now(), pages + 2);
  mi_free(other_class);
  mi_free(other_heap);
  mi_free(same);
  assert_true(heap_destroy(heap));
  free_left(&leaver);
  mi_collect(true);
  assert_int_equal(pages_now(), 0);
}

// Killed threads leave blocks that nobody has and that are in no list, or that count as used though they are handed out again:
// neither is room that somebody could adopt the page for, again and again.
static void test_lost_blocks_are_no_room(void** state) {
  MI_UNUSED(state);
  leaver_t leaver;
  leave(&leaver, 60000);
  page_t* page = page_of(leaver.blocks[0]);
  assert_true(page->reserved <= LISTED_FREE_SHARE && page_used(page) == page->reserved);
  page->allocated--; // the block at its start
  leaver.blocks[0] = NULL;
  page_look_at_abandoned(NULL, page);
  assert_true(page->is_listed);
  void* p = mi_malloc(60000);
  assert_true(page_of(p) != page);
  assert_false(page->is_listed);
  mi_free(p);
  page_t* other = page_of(leaver.blocks[page->reserved + 1]);
  assert_true(other != page && page_used(other) == other->reserved);
  other->allocated += 3;
  page_look_at_abandoned(NULL, other);
  assert_int_equal(page_available(other), 0);
  assert_false(other->is_listed);
  other->allocated -= 3;
  free_left(&leaver); // the page with the lost block goes as well
  mi_collect(true);
  assert_int_equal(pages_now(), 0);
}

// Several threads free the blocks of pages that nobody owns, or that somebody goes on to fill: of those whose last block goes
// none is left over, and none goes too early.
enum { FREERS = 3, RACES = 60 };

typedef struct race_s {
  test_barrier_t barrier;
  leaver_t* leaver;
} race_t;
static race_t race;

static void run_freer(void* arg) {
  size_t self = (size_t)(uintptr_t)arg;
  test_barrier_wait(&race.barrier);
  for (size_t i = self; i < BLOCKS; i += FREERS) free_left_at(race.leaver, i);
}

static void test_last_block_of_many(void** state) {
  MI_UNUSED(state);
  static const size_t sizes[] = {16, 200, 4000, 30000};
  for (size_t k = 0; k < 4; k++) {
    for (size_t round = 0; round < RACES; round++) {
      leaver_t leaver;
      race.leaver = &leaver;
      bool is_owned = round % 2 == 1;
      if (is_owned) {
        leaver.size = sizes[k];
        run_leaver(&leaver);
      } else {
        leave(&leaver, sizes[k]);
      }
      test_thread_t freers[FREERS];
      test_barrier_init(&race.barrier, FREERS + 1);
      for (size_t i = 0; i < FREERS; i++) test_thread_start(&freers[i], run_freer, (void*)(uintptr_t)i);
      test_barrier_wait(&race.barrier);
      void* own[BLOCKS / 4]; // adopts pages, or goes on with its own
      for (size_t i = 0; i < BLOCKS / 4; i++) own[i] = mi_malloc(sizes[k]);
      for (size_t i = 0; i < FREERS; i++) test_thread_join(&freers[i]);
      test_barrier_done(&race.barrier);
      for (size_t i = 0; i < BLOCKS / 4; i++) mi_free(own[i]);
      theap_collect(runtime_theap(), true); // its own pages alone
      assert_int_equal(pages_now(), 0);
    }
  }
}

// Frees by others make full pages usable again: no page more than at the first time.
static void run_freeing(void* arg) { free_left(arg); }

static void test_remote_frees_come_back(void** state) {
  MI_UNUSED(state);
  for (size_t size = 16; size <= 100000; size *= 9) {
    leaver_t own = {.size = size};
    run_leaver(&own);
    size_t pages = pages_now();
    for (size_t round = 0; round < 20; round++) {
      test_thread_start(&own.thread, run_freeing, &own);
      test_thread_join(&own.thread);
      run_leaver(&own);
      if (pages_now() > pages + 2)
        fail_msg("size %zu, round %zu: %zu pages, %zu at first", size, round, pages_now(), pages);
    }
    free_left(&own);
  }
}

static page_t* only_page;

static void run_freeing_some(void* arg) { // of that page: the first block that is left, or all
  leaver_t* leaver = arg;
  bool is_first = leaver->record == NULL;
  for (size_t i = 0, freed = 0; i < BLOCKS && !(is_first && freed > 0); i++) {
    if (leaver->blocks[i] == NULL || page_of(leaver->blocks[i]) != only_page) continue;
    free_left_at(leaver, i);
    freed++;
  }
}

// A page in the queue, but not the one in use, that others begin to free is left to them: its last block gives it back,
// even if its thread never comes here again.
static void test_page_that_others_empty(void** state) {
  MI_UNUSED(state);
  leaver_t own = {.size = 1000};
  run_leaver(&own);
  theap_t* theap = own.theap;
  only_page = page_of(own.blocks[0]);
  free_left_at(&own, 0); // takes it back into the queue
  assert_true(is_in_queue(theap, only_page) && theap->bins[only_page->bin].first != only_page);
  own.record = NULL;
  test_thread_start(&own.thread, run_freeing_some, &own);
  test_thread_join(&own.thread);
  assert_true(is_in_queue(theap, only_page));
  theap_sweep(theap, SIZE_MAX);
  assert_false(is_in_queue(theap, only_page));
  own.record = theap->thread;
  test_thread_start(&own.thread, run_freeing_some, &own);
  test_thread_join(&own.thread);
  assert_int_equal(only_page->owner, 0);
  free_left(&own);
}

// Whichever page leaves the queue, the sweep goes on with one that is there still.
static void test_sweep_goes_on(void** state) {
  MI_UNUSED(state);
  leaver_t own = {.size = 1000};
  run_leaver(&own);
  theap_t* theap = own.theap;
  size_t each = page_of(own.blocks[0])->reserved;
  for (size_t k = 0; k < 4; k++) free_left_at(&own, k * each); // back in the queue
  page_t* next = page_of(own.blocks[3 * each + 1]);
  while (next != NULL && (next->previous == NULL || next->next == NULL)) next = next->previous;
  assert_non_null(next);
  page_t *gone = next->previous, *after = next->next;
  theap->sweep_page = gone;
  page_t* leaving[] = {gone, next};
  for (size_t k = 0; k < 2; k++) {
    for (size_t i = 0; i < BLOCKS; i++)
      if (own.blocks[i] != NULL && page_of(own.blocks[i]) == leaving[k]) free_left_at(&own, i);
    assert_int_equal(leaving[k]->owner, 0);
    assert_ptr_equal(theap->sweep_page, k == 0 ? next : after);
  }
  theap_sweep(theap, SIZE_MAX);
  free_left(&own);
}

// A loop of one block at the border of a page goes to the arenas now and then at most, and never to the system.
static void test_kept_page(void** state) {
  MI_UNUSED(state);
  for (size_t size = 8; size <= 400000; size *= 7) {
    // Whether it goes on to other pages of the class isn't known yet: a few times more is committed.
    for (size_t i = 0; i < 10000; i++) mi_free(mi_malloc(size));
    int64_t calls = stats_process.commit_calls, retired = counters().pages_retired;
    for (size_t i = 0; i < 10000; i++) mi_free(mi_malloc(size));
    assert_int_equal(stats_process.commit_calls, calls);
    int64_t more = counters().pages_retired - retired;
    if (more > 100) fail_msg("size %zu: %lld pages retired in 10,000 rounds", size, (long long)more);
  }
  assert_true(pages_now() > 0);
  mi_collect(true); // and yet none is kept for ever
  assert_int_equal(pages_now(), 0);
}

// An empty page goes when its thread has had no use for it for a while, whatever else that does.
static void test_kept_page_goes(void** state) {
  MI_UNUSED(state);
  enum { TICKS = 8 };
  theap_t* theap = runtime_theap();
  void* p = mi_malloc(1000);
  page_t* page = page_of(p);
  mi_free(p);
  assert_true(page->is_kept && page->owner != 0);
  bool is_zero;
  for (size_t calls = 0; calls < TICKS * THEAP_TICK_CALLS; calls++) {
    if (calls == 2 * THEAP_TICK_CALLS) assert_true(page->is_kept); // but not at once
    theap_free(theap, theap_allocate(theap, 600000, &is_zero));
  }
  assert_int_equal(page->owner, 0);
  assert_int_equal(theap->kept_slices, 0);
}

// ---- the late theap ---------------------------------------------------------------------------------------------

enum { LATE_THREADS = 4 };

static void run_late(void* arg) {
  leaver_t* leaver = arg;
  mi_free(mi_malloc(10));
  runtime_thread_detach();
  run_leaver(leaver); // runtime_theap() answers NULL
  for (size_t i = 0; i < BLOCKS; i += 2) {
    mi_free(leaver->blocks[i]);
    leaver->blocks[i] = mi_malloc(leaver->size);
    if (leaver->blocks[i] != NULL) pattern_fill_sampled(leaver->blocks[i], leaver->size, i);
  }
}

static void test_late(void** state) {
  MI_UNUSED(state);
  int64_t late = stats_process.late_allocations, threads = stats_process.threads.current;
  static leaver_t leavers[LATE_THREADS];
  for (size_t i = 0; i < LATE_THREADS; i++) {
    leavers[i].size = 40 + 5000 * i;
    test_thread_start(&leavers[i].thread, run_late, &leavers[i]);
  }
  for (size_t i = 0; i < LATE_THREADS; i++) test_thread_join(&leavers[i].thread);
  assert_int_equal(stats_process.late_allocations - late, LATE_THREADS * (BLOCKS + BLOCKS / 2));
  assert_int_equal(stats_process.threads.current, threads);
  for (size_t i = 0; i < LATE_THREADS; i++) {
    assert_null(leavers[i].theap);
    free_left(&leavers[i]);
  }
  mi_collect(true);
  assert_int_equal(pages_now(), 0);
}

// ---- owners that died without a word ----------------------------------------------------------------------------

static void run_vanish(void* arg) {
  leaver_t* leaver = arg;
  run_leaver(leaver);
  for (size_t i = 0; i < BLOCKS; i += 3) { // holes, on its own free lists
    mi_free(leaver->blocks[i]);
    leaver->blocks[i] = NULL;
  }
  os_slot_set(NULL); // the thread's end will find nothing to give back
}

static void test_reaping(void** state) {
  MI_UNUSED(state);
  int64_t threads = stats_process.threads.current, reaped = stats_process.threads_reaped;
  leaver_t leavers[3];
  for (size_t i = 0; i < 3; i++) {
    leavers[i].size = 100 + 2000 * i;
    test_thread_start(&leavers[i].thread, run_vanish, &leavers[i]);
    test_thread_join(&leavers[i].thread);
  }
  // The start of a later thread may have found an earlier one already. Ids of dead threads may live again for a moment: ask
  // until all are found.
  for (size_t tries = 0; tries < 1000 && stats_process.threads.current > threads; tries++) {
    mi_collect(true);
    if (stats_process.threads.current > threads) os_yield();
  }
  assert_int_equal(stats_process.threads.current, threads);
  assert_int_equal(stats_process.threads_reaped - reaped, 3);
  for (size_t k = 0; k < 3; k++) {
    for (size_t i = 0; i < BLOCKS; i++)
      if (leavers[k].blocks[i] != NULL) assert_true(is_abandoned(leavers[k].blocks[i]));
    free_left(&leavers[k]);
  }
  assert_int_equal(pages_now(), 0);
}

static test_event_t end;
static test_barrier_t used;

static void run_living(void* arg) {
  run_leaver(arg);
  test_barrier_wait(&used);
  test_event_wait(&end);
  free_left(arg);
}

static void test_living_are_not_reaped(void** state) {
  MI_UNUSED(state);
  test_event_init(&end);
  test_barrier_init(&used, 3);
  leaver_t leavers[2];
  for (size_t i = 0; i < 2; i++) {
    leavers[i].size = 500;
    test_thread_start(&leavers[i].thread, run_living, &leavers[i]);
  }
  test_barrier_wait(&used);
  int64_t reaped = stats_process.threads_reaped, threads = stats_process.threads.current;
  for (size_t i = 0; i < 50; i++) assert_int_equal(thread_reap(runtime_theap()->thread, SIZE_MAX), 0);
  assert_int_equal(stats_process.threads_reaped, reaped);
  assert_int_equal(stats_process.threads.current, threads);
  test_event_set(&end);
  for (size_t i = 0; i < 2; i++) test_thread_join(&leavers[i].thread);
  test_event_done(&end);
  test_barrier_done(&used);
}

// ---- counts -----------------------------------------------------------------------------------------------------

static void count_blocks(int64_t* allocated, int64_t* freed) {
  static stats_blocks_t blocks;
  stats_collect_blocks(&blocks);
  *allocated = *freed = 0;
  for (size_t i = 0; i < BIN_COUNT; i++) {
    *allocated += blocks.allocated[i];
    *freed += blocks.freed[i];
  }
}

static void test_counts(void** state) {
  MI_UNUSED(state);
  int64_t allocated, freed, allocated_before, freed_before;
  count_blocks(&allocated_before, &freed_before);
  leaver_t leavers[3];
  for (size_t i = 0; i < 3; i++) leave(&leavers[i], i == 2 ? 600000 : 10 + 900 * i);
  count_blocks(&allocated, &freed);
  assert_int_equal(allocated - allocated_before, 3 * BLOCKS);
  assert_int_equal(freed, freed_before);
  assert_int_equal(counters().pages.current, pages_now());
  for (size_t i = 0; i < 3; i++) free_left(&leavers[i]);
  count_blocks(&allocated, &freed); // those in remote lists count as freed
  assert_int_equal(allocated - allocated_before, 3 * BLOCKS);
  assert_int_equal(freed - freed_before, 3 * BLOCKS);
  mi_collect(true);
  count_blocks(&allocated, &freed);
  assert_int_equal(allocated - allocated_before, 3 * BLOCKS);
  assert_int_equal(freed - freed_before, 3 * BLOCKS);
  assert_int_equal(counters().pages.current, 0);
  assert_int_equal(counters().huge_bytes.current, 0);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      CASE(test_full_pages_are_abandoned),
      CASE(test_owner_takes_back),
      CASE(test_owner_takes_back_so_many),
      CASE(test_owner_leaves_what_others_free),
      CASE(test_thread_end),
      CASE(test_listed_when_an_eighth_is_free),
      CASE(test_adoption_order),
      CASE(test_adoption_by_class_and_heap),
      CASE(test_lost_blocks_are_no_room),
      CASE(test_last_block_of_many),
      CASE(test_remote_frees_come_back),
      CASE(test_page_that_others_empty),
      CASE(test_sweep_goes_on),
      CASE(test_kept_page),
      CASE(test_kept_page_goes),
      CASE(test_late),
      CASE(test_reaping),
      CASE(test_living_are_not_reaped),
      CASE(test_counts),
  };
  return check_run(tests);
}
