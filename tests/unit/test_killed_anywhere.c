// Threads killed at every instruction. A thread does one thing with its heap, one machine instruction at a time, and dies
// after the n-th, for each n: no destructor, no notice. Then another thread reaps it, and nothing may be damaged: the
// blocks of both are as they were, all of them can be freed, and what can't be found again is what the dead one had in
// its hands. Every store of the slow paths is tried out that way, in the order in which the compiler put them.
// long because all acts happen in one world, which is set up and counted in one way.
#include "support/check.h"
#include "support/test_data.h"

#include "support/level_below_racks.h" // behind <windows.h>, as all of the core

#include "core/arenas/arena.h"
#include "core/memory/bitmap.h"
#include "core/pages/block.h"
#include "core/report/options.h"
#include "core/stats/stats.h"
#include "core/memory/sysmem.h"
#include "core/heaps/abandoned.h"
#include "core/heaps/theap_pages.h"
#include "core/heaps/single.h"
#include "core/heaps/thread.h"
#include "os_posix.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

// ---- single steps -------------------------------------------------------------------------------------------

static uint64_t steps, steps_allowed; // of the victim

// The processor stops after each instruction (trap flag); the kernel clears the flag while the handler runs.
static void on_step(int signal) {
  MI_UNUSED(signal);
  if (steps++ == steps_allowed) syscall(SYS_exit, 0); // this thread only, here and now
}

// Below the red zone, which signal-free code may use.
static void begin_steps(void) {
  __asm__ volatile("sub $128, %%rsp; pushfq; orq $0x100, (%%rsp); popfq; add $128, %%rsp" ::: "memory", "cc");
}
static void end_steps(void) {
  __asm__ volatile("sub $128, %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; add $128, %%rsp" ::
                       : "memory", "cc");
}

// ---- the world --------------------------------------------------------------------------------------------

// Blocks of the victim, of the survivor and of a third thread, in the main heap and in another one. What is freed is taken
// out of the table first: should the victim die on the way, nobody knows whether it is free.
typedef struct owned_s {
  char* p;
  size_t size;
} owned_t;

enum { EACH = 24, IN_HEAP = 8, FULL = 1400, NO_THREAD = 0x7FFFFFF0 };
static const size_t sizes[EACH] = {8,      16,     32,     32,     100,    100,    1000,    1000,
                                   3000,   5000,   5000,   8000,   20000,  20000,  60000,   70000,
                                   200000, 300000, 400000, 700000, 700000, 900000, 1200000, 9000};
static const size_t heap_sizes[IN_HEAP] = {16, 16, 1000, 5000, 5000, 20000, 700000, 900000};
static owned_t victims[EACH], survivors[EACH], thirds[EACH];
static owned_t heap_victims[IN_HEAP], heap_survivors[IN_HEAP];
static char* full[FULL]; // more of one of them: pages without room
static char* giant;      // outside of all arenas
static char* others[2];  // its neighbours in their list
static thread_t *victim, *survivor;
static heap_t* heap;     // with theaps of both
static heap_t* more[3];  // that an act makes
static subproc_t* other; // the same

static char* take(theap_t* theap, size_t size) {
  bool is_zero;
  char* p = theap_allocate(theap, size, &is_zero);
  assert_non_null(p);
  if (is_zero) assert_int_equal(pattern_nonzero(p, size < 4096 ? size : 4096), SIZE_MAX);
  return p;
}

static void fill_with(theap_t* theap, owned_t* owned, const size_t* wanted, size_t count) {
  assert_non_null(theap);
  for (size_t i = 0; i < count; i++) {
    owned[i] = (owned_t){take(theap, wanted[i]), wanted[i]};
    pattern_fill_sampled(owned[i].p, wanted[i], i);
  }
}
static void fill(theap_t* theap, owned_t* owned) { fill_with(theap, owned, sizes, EACH); }
static void fill_heap(thread_t* thread, heap_t* in, owned_t* owned) {
  fill_with(thread_theap(thread, in), owned, heap_sizes, IN_HEAP);
}

static char* give(owned_t* owned, size_t i) {
  char* p = owned[i].p;
  owned[i].p = NULL;
  return p;
}

static void check_and_free(owned_t* owned, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (owned[i].p == NULL) continue;
    assert_int_equal(pattern_mismatch_sampled(owned[i].p, owned[i].size, i), SIZE_MAX);
    assert_int_equal(theap_free(survivor->main, give(owned, i)), FREE_DONE);
  }
}

static void forget(owned_t* owned, size_t count) { memset(owned, 0, count * sizeof(owned[0])); }

// Secure builds: every act is tried on racks, too. There the victim's hands are full: of each size, and in its ring.
static bool has_racks;
static size_t pages_in_hands(size_t pages) { return pages + (has_racks ? EACH : 0); }

// All records are acquired by the test's thread, which has one at a time: the others aren't dead for that.
static thread_t* acquire(uint32_t id) {
  thread_t* thread = thread_acquire(subproc_main());
  assert_non_null(thread);
  atomic_set_release(&thread->holder, THREAD_HOLDER(THREAD_OWNED, id, thread_holder_number(thread->holder)));
  for (thread_t* at = thread_first(); at != NULL; at = at->all_next) at->is_superseded = 0;
  if (!has_racks) theap_go_without_racks(thread->main);
  return thread;
}

static void world_begin(void) {
  survivor = acquire(os_thread_id());
  os_slot_set(survivor->main);
  victim = acquire(NO_THREAD);
  fill(survivor->main, survivors);
  fill(victim->main, victims);
  heap = heap_new(subproc_main(), NULL);
  assert_non_null(heap);
  fill_heap(survivor, heap, heap_survivors);
  fill_heap(victim, heap, heap_victims);
  forget(thirds, EACH);
  for (size_t i = 0; i < FULL; i++) full[i] = NULL;
  giant = others[0] = others[1] = NULL;
  other = NULL;
  memset(more, 0, sizeof(more));
}

typedef struct loss_s {
  size_t pages;   // that are still there although all known blocks were freed
  size_t slices;  // that are neither free nor in a page
  size_t outside; // reservations that belong to no page
} loss_t;

static bool count_page(page_t* page, void* arg) {
  loss_t* loss = arg;
  loss->pages++;
  if (!page->is_outside) loss->slices -= page->slice_count;
  return true;
}

static void count_taken(arena_t* arena, void* arg) {
  ((loss_t*)arg)->slices += arena->slice_count - bitmap_count(arena->free, 0, arena->slice_count);
}

// The lists are what their pages say.
static void check_lists(const heap_t* of) {
  for (unsigned bin = 0; bin < BIN_COUNT; bin++) {
    const page_list_t* list = &of->abandoned[bin];
    if (list->lock.owner != 0) continue; // the victim's still: made anew by the next who wants it
    size_t count = 0;
    const page_t* last = NULL;
    for (const page_t* page = list->first; page != NULL; last = page, page = page->next, count++) {
      assert_ptr_equal(page->previous, last);
      assert_ptr_equal(page->heap, of);
      assert_int_equal(page->bin, bin);
      assert_int_equal(page->is_listed, 1);
    }
    assert_ptr_equal(list->last, last);
    assert_int_equal(list->count, count);
  }
  const page_t* previous = NULL;
  if (of->pages_lock.owner != 0) return;
  for (const page_t* page = of->pages; page != NULL; previous = page, page = page->heap_next) {
    assert_ptr_equal(page->heap_previous, previous);
    assert_ptr_equal(page->heap, of);
    assert_true(page->owner != 0);
    assert_true(page->heap_next != page);
  }
}

// Pages of the class with which the acts work are listed, adopted and taken back, by a thread that lives.
static void use_lists(void) {
  enum { COUNT = 3 * SLICE_SIZE / 128 };
  static char* blocks[COUNT];
  for (size_t round = 0; round < 2; round++) {
    for (size_t i = 0; i < COUNT; i++) blocks[i] = take(survivor->main, 128 - BLOCK_TAIL);
    for (size_t i = 0; i < COUNT; i += 3) theap_free(NULL, blocks[i]);
    for (size_t i = 0; i < COUNT; i += 3) blocks[i] = take(survivor->main, 128 - BLOCK_TAIL);
    check_lists(heap_main());
    for (size_t i = 0; i < COUNT; i++) theap_free(i % 2 == 0 ? NULL : survivor->main, blocks[i]);
  }
  assert_int_equal(heap_main()->abandoned[size_class_bin(128)].lock.owner, 0);
}

// The other threads' use of a heap goes on whatever happened to the victim; then it is destroyed. One that the victim was
// about to delete or to destroy is nobody's to use.
static void use_and_destroy(heap_t* used) {
  if (used == NULL || !heap_is_valid(used)) return;
  owned_t owned[IN_HEAP];
  for (size_t round = 0; round < 2; round++) {
    fill_heap(survivor, used, owned);
    check_lists(used);
    check_and_free(owned, round == 0 ? IN_HEAP : IN_HEAP / 2);
  }
  assert_true(heap_destroy(used));
  assert_null(used->pages);
  assert_null(used->theaps);
}

static void world_forget(void) {
  os_slot_set(NULL);
  thread_reset_all();
  page_map_release();
  sysmem_release_metadata();
  stats_process = (stats_process_t){0};
  option_set(option_page_commit_on_demand, 0);
}

// The victim is dead: all that it had is found, checked and freed, and used again. What is left then is lost.
static loss_t world_end(void) {
  thread_reap(survivor, SIZE_MAX);
  assert_int_equal(thread_holder_kind(victim->holder), THREAD_SPARE);
  check_lists(heap_main());
  check_and_free(victims, EACH);
  check_and_free(thirds, EACH);
  for (size_t i = 0; i < FULL; i++) theap_free(survivor->main, full[i]);
  theap_free(survivor->main, giant);
  for (size_t i = 0; i < 2; i++) theap_free(survivor->main, others[i]);
  use_lists();
  if (heap_is_valid(heap)) check_lists(heap);
  check_and_free(heap_victims, IN_HEAP / 2);
  check_and_free(heap_survivors, IN_HEAP / 2);
  if (!heap_is_valid(heap)) { // deleted: they live on
    check_and_free(heap_victims, IN_HEAP);
    check_and_free(heap_survivors, IN_HEAP);
  }
  use_and_destroy(heap);
  for (size_t i = 0; i < 3; i++) use_and_destroy(more[i]);
  if (other != NULL) assert_true(other->state != HEAP_LIVE || subproc_destroy(other));
  fill(survivor->main, victims);
  check_and_free(survivors, EACH);
  check_and_free(victims, EACH);
  thread_collect(survivor, true);
  check_lists(heap_main());
  loss_t loss = {0};
  arena_visit(&subproc_main()->arenas, &count_taken, &loss);
  arena_visit_pages(&subproc_main()->arenas, &count_page, &loss);
  for (const outside_t* at = subproc_main()->arenas.outside; at != NULL; at = at->next) {
    assert_true(os_posix_is_committed(at->page->start, SLICE_SIZE)); // not one that is gone
    loss.outside++;
  }
  world_forget();
  return loss;
}

// ---- what the victim does ---------------------------------------------------------------------------------

static bool is_zero;
static void* volatile result;
static char* freed;

static void allocate_small(void) { result = theap_allocate(victim->main, 2000, &is_zero); }
static void allocate_tiny(void) { result = theap_allocate(victim->main, 48, &is_zero); }
static void allocate_medium(void) { result = theap_allocate(victim->main, 40000, &is_zero); }
static void allocate_large(void) { result = theap_allocate(victim->main, 130000, &is_zero); }
static void allocate_huge(void) { result = theap_allocate(victim->main, 3000000, &is_zero); }
static void allocate_at_offset(void) {
  result = theap_allocate_aligned(victim->main, 3000, 65536, 40, &is_zero);
}
static void allocate_outside(void) { result = theap_allocate(victim->main, 200 * MI_MIB, &is_zero); }
static void allocate_guarded(void) {
  theap_guarded_set_rate(victim->main, 1, 1);
  result = theap_allocate(victim->main, 500, &is_zero);
}
static void allocate_in_heap(void) { result = theap_allocate(thread_theap(victim, heap), 2000, &is_zero); }
static void allocate_huge_in_heap(void) {
  result = theap_allocate(thread_theap(victim, heap), 3000000, &is_zero);
}
static void grow_huge(void) { is_zero = theap_expand(victim->main, victims[22].p, 5000000); }
static void grow_outside(void) { is_zero = theap_expand(victim->main, giant, 300 * MI_MIB); }

static void take_small(void) { freed = give(victims, 8); }
static void take_medium(void) { freed = give(victims, 14); }
static void take_huge(void) { freed = give(victims, 19); }
static void take_huge_in_heap(void) { freed = give(heap_victims, 6); }
static void take_last_in_heap(void) { freed = give(heap_victims, 2); }
static void take_other_small(void) { freed = give(survivors, 4); }
static void take_other_huge(void) { freed = give(survivors, 20); }
static void make_giant(void) { giant = take(survivor->main, 200 * MI_MIB); }
static void make_guarded(void) {
  theap_guarded_set_rate(survivor->main, 1, 1);
  freed = take(survivor->main, 500);
  theap_guarded_set_rate(survivor->main, 0, 1);
}
static void take_giant(void) { // from the middle of the list
  others[0] = take(survivor->main, 70 * MI_MIB);
  freed = take(survivor->main, 70 * MI_MIB);
  others[1] = take(survivor->main, 70 * MI_MIB);
}
static void free_taken(void) { theap_free(victim->main, freed); }

// Pages of one block, of which a theap keeps a few: the first of these goes for the last.
// Three of the victim's of different sizes, the second one of KEPT_SIZE.
enum { SINGLE = MI_SECURE ? 20 : 15, KEPT_SIZE = MI_SECURE ? 900000 : 200000 };
static void keep_single(void) { theap_free(victim->main, give(victims, SINGLE + 1)); }
static void allocate_kept(void) { result = theap_allocate(victim->main, KEPT_SIZE, &is_zero); }
static void give_up_kept(void) { singles_give_up(victim->main); }
static void take_other_single(void) { freed = give(survivors, SINGLE + 1); }
static void take_large(void) {
  theap_free(victim->main, give(victims, SINGLE));
  theap_free(victim->main, give(victims, SINGLE + 1));
  freed = give(victims, SINGLE + 2);
}

static void free_by_survivor(void) {
  for (size_t i = 0; i < EACH; i += 2) theap_free(survivor->main, give(victims, i));
  for (size_t i = 1; i < EACH; i += 2) theap_free(survivor->main, give(survivors, i));
  for (size_t i = 0; i < IN_HEAP; i += 2) theap_free(survivor->main, give(heap_victims, i));
}
static void collect(void) { theap_collect(victim->main, false); }
static void collect_all(void) { theap_collect(victim->main, true); }
static void collect_thread(void) { thread_collect(victim, true); }
static void purge(void) { arena_purge(&subproc_main()->arenas, true, &victim->hands); }
static void give_back(void) { thread_give_back(victim); }

// Pages without room of one of the two, in order; 512 blocks in each.
enum { FULL_BLOCK = 128, FULL_SIZE = FULL_BLOCK - BLOCK_TAIL, FULL_EACH = SLICE_SIZE / FULL_BLOCK };
static void fill_pages(thread_t* thread) {
  for (size_t i = 0; i < FULL; i++) full[i] = take(thread->main, FULL_SIZE);
}
static void free_of_full(size_t from, size_t to, theap_t* by) {
  for (size_t i = from; i < to; i++) {
    theap_free(by, full[i]);
    full[i] = NULL;
  }
}
static void take_of_full(size_t i) {
  freed = full[i];
  full[i] = NULL;
}

static void fill_to_the_brim(void) {
  for (size_t i = 0; i < FULL_EACH; i++) full[i] = take(victim->main, FULL_SIZE);
}
static void allocate_beyond(void) { result = theap_allocate(victim->main, FULL_SIZE, &is_zero); }
static void victim_fills(void) {
  fill_pages(victim);
  take_of_full(10);
}
static void survivor_fills(void) {
  fill_pages(survivor);
  take_of_full(10);
}
// One block is missing until the page is listed; another page is, already.
static void nearly_listed(void) {
  fill_pages(survivor);
  free_of_full(FULL_EACH, FULL_EACH + 100, NULL);
  free_of_full(0, FULL_EACH / LISTED_FREE_SHARE - 1, NULL);
  take_of_full(100);
}
static void nearly_empty(void) {
  fill_pages(survivor);
  free_of_full(FULL_EACH, FULL_EACH + 100, NULL);
  free_of_full(0, FULL_EACH - 1, NULL);
  take_of_full(FULL_EACH - 1);
}
static void two_listed(void) {
  fill_pages(survivor);
  free_of_full(0, 200, NULL);
  free_of_full(FULL_EACH, FULL_EACH + 100, NULL);
}
// One that the victim filled, and that is listed since.
static void own_listed(void) {
  fill_pages(victim);
  free_of_full(FULL_EACH, FULL_EACH + 100, NULL);
  free_of_full(0, 200, NULL);
  take_of_full(300);
}
// Pages of the queue with remote frees.
static void freed_in_queue(void) {
  for (size_t i = 0; i < 3 * FULL_EACH && i < FULL; i++) full[i] = take(victim->main, FULL_SIZE);
  for (size_t i = 0; i < 3; i++)
    theap_free(victim->main, full[i * FULL_EACH / 2]), full[i * FULL_EACH / 2] = NULL;
  free_of_full(5, 50, survivor->main);
  free_of_full(FULL_EACH + 5, FULL_EACH + 50, survivor->main);
}
static void sweep(void) { theap_sweep(victim->main, SIZE_MAX); }
static void keep_some(void) {
  for (size_t i = 0; i < 14; i++) theap_free(victim->main, give(victims, i));
}
static void drop_kept(void) {
  for (int i = 0; i < 6; i++) theap_drop_kept(victim->main);
}

static void no_commit_ahead(void) { option_set(option_page_commit_on_demand, 1); }
static void allocate_uncommitted(void) { result = theap_allocate(victim->main, 20000, &is_zero); }

static thread_t* fill_third(void) {
  thread_t* third = acquire(NO_THREAD); // dead by now
  fill(third->main, thirds);
  return third;
}
static void make_ended(void) {
  thread_t* third = fill_third();
  thread_give_back(third);
  for (size_t i = 0; i < EACH; i += 2) theap_free(NULL, give(thirds, i));
}
static void start_thread(void) { thread_acquire(subproc_main()); }
static void make_dead(void) {
  fill_heap(fill_third(), heap, heap_victims); // instead of the victim's, which go with the heap
}
static void reap(void) { thread_reap(victim, SIZE_MAX); }

static void make_heap(void) { more[0] = heap_new(subproc_main(), NULL); }
static void make_heap_before(void) { make_heap(); }
static void make_theap(void) { result = thread_theap(victim, more[0]); }
static void delete_heap(void) { heap_delete(heap); }
static void destroy_heap(void) { heap_destroy(heap); }
static void unlist_blocks_of_heap(void) { // nobody may use them any more
  forget(heap_victims, IN_HEAP);
  forget(heap_survivors, IN_HEAP);
}
static void three_heaps(void) {
  owned_t owned[IN_HEAP];
  for (size_t i = 0; i < 3; i++) {
    more[i] = heap_new(subproc_main(), NULL);
    fill_heap(victim, more[i], owned);
  }
}
static void lose_heap(void) { // the survivor destroys one in which the victim has a theap
  three_heaps();
  assert_true(heap_destroy(more[1]));
}
static void make_subproc(void) { other = subproc_new(); }
static void make_subproc_before(void) {
  make_subproc();
  assert_non_null(other);
}
static void destroy_subproc(void) { subproc_destroy(other); }

typedef struct act_s {
  const char* name;
  void (*prepare)(void); // by the test's thread, or NULL
  void (*run)(void);     // by the victim
  size_t pages;          // that hold what it may have in its hands: a block, or a list of them just taken
  size_t outside;        // reservations, the same
} act_t;

static const act_t acts[] = {
    {"allocate from a page", NULL, allocate_small, 1, 0},
    {"allocate: new page", NULL, allocate_tiny, 1, 0},
    {"allocate: new medium page", NULL, allocate_medium, 1, 0},
    {"allocate: new large page", NULL, allocate_large, 1, 0},
    {"allocate: huge", NULL, allocate_huge, 1, 0},
    {"allocate: outside", NULL, allocate_outside, 1, 1},
    {"allocate at an offset", NULL, allocate_at_offset, 1, 0},
    {"allocate: guarded", NULL, allocate_guarded, 1, 0},
    {"allocate in a heap: new page", NULL, allocate_in_heap, 1, 0},
    {"allocate in a heap: huge", NULL, allocate_huge_in_heap, 1, 0},
    {"allocate: page runs full", fill_to_the_brim, allocate_beyond, 2, 0},
    {"allocate: more is committed", no_commit_ahead, allocate_uncommitted, 1, 0},
    {"allocate: adopted page", two_listed, allocate_beyond, 1, 0},
    {"grow a huge block", NULL, grow_huge, 1, 0},
    {"grow outside", make_giant, grow_outside, 1, 1},
    {"free", take_small, free_taken, 1, 0},
    {"free: medium page", take_medium, free_taken, 1, 0},
    {"free: large page", take_large, free_taken, 1, 0},
    {"free: another's page kept", take_other_single, free_taken, 1, 0},
    {"allocate: kept page", keep_single, allocate_kept, 1, 0},
    {"give up kept pages", take_large, give_up_kept, 1, 0},
    {"free: huge", take_huge, free_taken, 1, 0},
    {"free: guarded", make_guarded, free_taken, 1, 0},
    {"free: outside", take_giant, free_taken, 1, 1},
    {"free in a heap: page goes", take_last_in_heap, free_taken, 1, 0},
    {"free in a heap: huge", take_huge_in_heap, free_taken, 1, 0},
    {"free: full page taken back", victim_fills, free_taken, 1, 0},
    {"free: listed page taken back", own_listed, free_taken, 1, 0},
    {"free: another's", take_other_small, free_taken, 1, 0},
    {"free: another's full page", survivor_fills, free_taken, 1, 0},
    {"free: page gets listed", nearly_listed, free_taken, 1, 0},
    {"free: nobody's page goes", nearly_empty, free_taken, 1, 0},
    {"free: another's huge", take_other_huge, free_taken, 1, 0},
    {"sweep", freed_in_queue, sweep, 1, 0},
    {"drop kept pages", keep_some, drop_kept, 1, 0},
    {"collect", free_by_survivor, collect, 1, 0},
    {"collect all", free_by_survivor, collect_all, 1, 0},
    {"collect all of all", make_ended, collect_thread, 1, 0},
    {"purge", free_by_survivor, purge, 1, 0},
    {"a thread begins", make_ended, start_thread, 0, 0},
    {"give back at the thread's end", free_by_survivor, give_back, 1, 0},
    {"give several heaps back", three_heaps, give_back, 1, 0},
    {"give a lost heap back", lose_heap, give_back, 1, 0},
    {"reap a dead thread", make_dead, reap, 1, 0},
    {"make a heap", NULL, make_heap, 0, 0},
    {"make a theap", make_heap_before, make_theap, 0, 0},
    {"delete a heap", NULL, delete_heap, 1, 0},
    {"destroy a heap", unlist_blocks_of_heap, destroy_heap, 1, 0},
    {"make a sub-process", NULL, make_subproc, 0, 0},
    {"destroy a sub-process", make_subproc_before, destroy_subproc, 0, 0},
};

// ---- dying ------------------------------------------------------------------------------------------------

static uint32_t victim_id;
static bool survived;

static void* run_victim(void* arg) {
  const act_t* act = arg;
  victim_id = os_thread_id();
  atomic_set_release(&victim->holder,
                     THREAD_HOLDER(THREAD_OWNED, victim_id, thread_holder_number(victim->holder)));
  os_slot_set(victim->main);
  begin_steps();
  act->run();
  end_steps();
  survived = true; // and ends without telling anybody
  return NULL;
}

// Lets the victim die after `allowed` instructions. False: it came to the end before.
static bool die_after(const act_t* act, uint64_t allowed, loss_t* loss) {
  world_begin();
  if (act->prepare != NULL) act->prepare();
  steps = 0;
  steps_allowed = allowed;
  survived = false;
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, run_victim, (void*)(uintptr_t)act), 0);
  assert_int_equal(pthread_join(thread, NULL), 0); // the kernel tells of the death, however it came
  while (!os_thread_is_dead(victim_id)) sched_yield();
  *loss = world_end();
  return !survived;
}

static uint64_t dying_after; // for the report of a failure
static bool is_dying;

static int tear_down(void** state) {
  MI_UNUSED(state);
  has_racks = false;
  if (!is_dying) return 0;
  print_error("that was when killed after %llu instructions\n", (unsigned long long)dying_after);
  is_dying = false;
  world_forget();
  return 0;
}

static bool try_after(const act_t* act, uint64_t allowed, loss_t* loss) {
  dying_after = allowed;
  is_dying = true;
  bool died = die_after(act, allowed, loss);
  is_dying = false;
  return died;
}

// About as many deaths as asked for, spread over all of its instructions; short acts at each of them. MI_TEST_AT: after so
// many instructions alone.
static void test_act(void** state) {
  const act_t* act = *state;
  const char* text = getenv("MI_TEST_COUNT");
  size_t wanted = text != NULL && atoi(text) > 0 ? (size_t)atoi(text) : 5;
  loss_t loss;
  assert_false(try_after(act, UINT64_MAX - 1, &loss));
  uint64_t length = steps;
  if (length == 0) {
    print_message("no single steps: this machine, or what it runs in, ignores the processor's trap flag\n");
    skip();
  }
  assert_true(length > 20);                              // all of it
  assert_true(loss.pages <= pages_in_hands(act->pages)); // what it has at the end
  uint64_t stride = length < 200 ? 1 : length / wanted + 1;
  uint64_t first = length % stride;
  const char* at = getenv("MI_TEST_AT");
  if (at != NULL) first = (uint64_t)atoll(at), stride = length;
  size_t deaths = 0, with_slices = 0, most_pages = 0, most_slices = 0, most_outside = 0;
  for (uint64_t n = first; n < length && try_after(act, n, &loss); n += stride) {
    deaths++;
    if (loss.slices > 0) with_slices++;
    if (loss.pages > most_pages) most_pages = loss.pages;
    if (loss.slices > most_slices) most_slices = loss.slices;
    if (loss.outside > most_outside) most_outside = loss.outside;
  }
  printf("%-30s %6llu instructions, killed after %4zu of them: pages left <= %zu, slices lost %zu times, <= "
         "%zu%s\n",
         act->name, (unsigned long long)length, deaths, most_pages, with_slices, most_slices,
         most_outside > 0 ? ", a reservation" : "");
  assert_true(most_pages <= pages_in_hands(act->pages));
  assert_true(most_outside <= act->outside);
  // Between claiming slices and writing them down, and between striking them out and letting them go.
  assert_true(with_slices * 4 <= deaths + 8);
  assert_true(most_slices <= PAGE_LARGE_SLICES);
}

static void test_act_with_racks(void** state) {
  has_racks = true;
  test_act(state);
}

int main(void) {
  os_init();
  options_init();
  option_set(option_arena_reserve, 128 * 1024); // KiB: purges look at all of it
  struct sigaction action = {.sa_handler = on_step};
  sigaction(SIGTRAP, &action, NULL);
  enum { ACTS = sizeof(acts) / sizeof(acts[0]), LEVELS = MI_SECURE && !MI_DEBUG ? 2 : 1 };
  static struct CMUnitTest tests[LEVELS * ACTS];
  static char names[LEVELS * ACTS][64];
  for (size_t i = 0; i < LEVELS * ACTS; i++) {
    const act_t* act = &acts[i % ACTS];
    snprintf(names[i], sizeof(names[i]), "%s%s", act->name, i < ACTS ? "" : ", with racks");
    tests[i] = (struct CMUnitTest){.name = names[i],
                                   .test_func = i < ACTS ? test_act : test_act_with_racks,
                                   .teardown_func = tear_down,
                                   .initial_state = (void*)(uintptr_t)act};
  }
  return check_run(tests);
}
