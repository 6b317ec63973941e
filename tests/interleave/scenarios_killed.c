// A thread is killed at any point of what it does, while another one is at work on the same. What it had in
// its hands may be lost: blocks that it was just taking or freeing, slices between two notes of its own
// (docs/lifecycle.md). Nothing else may be, and nobody waits for it.
#include "interleave/scenarios.h"
#include "interleave/world.h"
#include "core/heaps/idle.h"
#include "core/heaps/theap_pages.h"

enum { SIZE = 8192, RUN = 20 * SLICE_SIZE, KEPT_RUN = 12 * SLICE_SIZE, DELAY = 100 };
enum { TINY = 1024, TINY_EACH = SLICE_SIZE / TINY };

static int first, huge;
static heap_t* heap;

// Two pages that A filled are nobody's, two blocks are left of the first; a huge block.
static void prepare_pages(void) {
  world_begin(C);
  schedule_as(A);
  first = world_fill_page(SIZE, 0);
  world_fill_page(SIZE, 0);
  world_take(SIZE);
  huge = world_take(RUN);
  schedule_as(B);
  for (int i = 2; i < 8; i++) world_free(first + i);
  schedule_as(0);
}
// The others go on as before.
static void use(void) {
  schedule_as(B);
  if (world_self() == NULL) world_start_thread();
  for (int i = 0; i < 3; i++) {
    world_take(SIZE);
    world_free(world_take(RUN));
  }
  schedule_as(0);
}
static void judge_pages(void) {
  use();
  world_end((world_loss_t){.blocks = 8, .pages = 1, .slices = 64, .records = 1});
}

static void take_some(void) {
  world_take(SIZE);
  world_take(SIZE);
}
static void take_one(void) { world_take(SIZE); }
static void free_first(void) { world_free(first); }
static void free_second(void) { world_free(first + 1); }
static void free_both(void) {
  world_free(first);
  world_free(first + 1);
}
static void end_thread(void) { world_end_thread(); }
static void collect_all(void) { thread_collect(world_self(), true); }
static void free_and_take_run(void) {
  world_free(huge);
  world_take(RUN);
}
static void take_run(void) { world_take(RUN); }
static void keep_and_take(void) {
  world_free(world_take(KEPT_RUN));
  world_take(KEPT_RUN);
}

static void free_huge(void) { world_free(huge); }
// Pages that begin elsewhere than the one before, some of which go again.
static void take_and_give_back_kept(void) {
  int block = world_take(KEPT_RUN);
  world_take(KEPT_RUN);
  world_free(block);
  theap_collect(theap_current(), true);
}
// When A is reaped, and not before, what it held is anybody's.
static void judge_letting_go(void) {
  schedule_as(B);
  thread_reap(world_self(), SIZE_MAX);
  for (int i = 0; i < 4; i++) world_take(KEPT_RUN / 2);
  judge_pages();
}

// B has a page of whose blocks five lie in its remote list: those are lost with who was giving their memory back.
static void prepare_asleep(void) { first = world_begin_with_free(SIZE, B, C); }
static void give_back(void) { idle_give_back(theap_current(), true); }
static void prepare_trim(void) { first = world_begin_with_free(SIZE, A, A); }
static void trim(void) { thread_trim(world_self()); }
// The next one isn't kept from it, nor from counting.
static void judge_asleep(void) {
  schedule_as(C);
  give_back();
  judge_pages();
}

static void prepare_old(void) {
  prepare_pages();
  option_set(option_purge_delay, DELAY);
  schedule_as(A);
  world_free(huge);
  model_clock_ms += DELAY;
  arena_purge(&subproc_main()->arenas, false, NULL);
  model_clock_ms += DELAY;
  schedule_as(0);
}
static void purge(void) { arena_purge(&subproc_main()->arenas, true, &world_self()->hands); }

static void prepare_heap(void) {
  world_begin(C);
  schedule_as(A);
  heap = heap_new(subproc_main(), NULL);
  first = world_take_in(heap, SIZE);
  for (int i = 1; i < 9; i++) world_take_in(heap, SIZE);
  schedule_as(C);
  huge = world_take_in(heap, RUN);
  for (int i = 2; i < 8; i++) world_free(first + i);
  schedule_as(0);
}
static void delete_heap(void) { heap_delete(heap); }
static void prepare_destroy(void) {
  prepare_heap();
  world_forget(first);
  world_forget(first + 1);
  world_forget(first + 8);
  world_forget(huge);
}
static void destroy_heap(void) { heap_destroy(heap); }
static void judge_destroy(void) {
  schedule_as(B);
  if (heap_is_valid(heap)) heap_destroy(heap); // killed before it began
  judge_pages();
}

// A makes pages in a heap that ends before or after anybody knows of A's death.
static int taken[2];
static void prepare_making(void) {
  world_begin(C);
  schedule_as(A);
  heap = heap_new(subproc_main(), NULL);
  first = world_take_in(heap, SIZE);
  taken[0] = taken[1] = -1;
  schedule_as(0);
}
static void make_pages(void) {
  taken[0] = world_take_in(heap, TINY);
  taken[1] = world_take_in(heap, RUN);
}
// Lost: blocks that it was just handed, and their pages; slices that were claimed and not yet noted.
static void judge_making(unsigned pages) {
  use();
  world_end((world_loss_t){.blocks = 2, .pages = pages, .slices = RUN / SLICE_SIZE, .records = 1});
}
static void forget_made(void) {
  world_forget(first);
  for (int i = 0; i < 2; i++)
    if (taken[i] >= 0) world_forget(taken[i]);
}
static void judge_making_destroyed(void) {
  forget_made();
  schedule_as(B);
  heap_destroy(heap);
  judge_making(0);
}
static void judge_making_reaped(void) {
  schedule_as(B);
  thread_reap(world_self(), SIZE_MAX);
  judge_making_destroyed();
}
static void judge_making_deleted(void) {
  schedule_as(B);
  heap_delete(heap);
  judge_making(2);
}

// C is dead, and two threads come to know of it.
static void prepare_dead(void) {
  prepare_pages();
  schedule_as(C);
  world_take(SIZE);
  thread_t* dead = world_self();
  dead->holder = THREAD_HOLDER(THREAD_OWNED, 9, thread_holder_number(dead->holder));
  os_slot_set(NULL);
  schedule_as(0);
}
static void reap(void) { thread_reap(world_self(), SIZE_MAX); }

// Blocks that are linked a system page at a time; the next one wants a further list. Others came back meanwhile.
static void prepare_tiny(void) {
  world_begin(C);
  schedule_as(A);
  first = world_take(TINY);
  for (int i = 1; i < 4; i++) world_take(TINY);
  schedule_as(0);
}
static void take_tiny(void) {
  int block = world_take(TINY);
  world_take(TINY);
  world_free(block);
  theap_collect(theap_current(), false);
}
static void judge_tiny(void) { // all of the page, as far as it isn't lost
  schedule_as(B);
  thread_reap(world_self(), SIZE_MAX);
  for (int i = 0; i < TINY_EACH; i++) world_take(TINY);
  judge_pages();
}
// The page empties, is kept, and is in use again.
static void prepare_kept(void) {
  prepare_tiny();
  schedule_as(A);
  for (int i = 1; i < 4; i++) world_free(first + i);
  schedule_as(0);
}
static void keep_and_use(void) {
  world_free(first);
  theap_collect(theap_current(), true);
  world_take(TINY);
}
// The page empties, is kept, is in use again, and that is seen.
static void use_kept(void) {
  world_free(first);
  world_take(TINY);
  theap_drop_kept(theap_current());
}

// C was killed while its theap ended.
static void prepare_destroy_of_dead(void) {
  prepare_destroy();
  schedule_as(C);
  thread_t* dead = world_self();
  theap_t* its = thread_find_theap(dead, heap);
  world_assert(its != NULL);
  its->state = THEAP_ENDING;
  dead->holder = THREAD_HOLDER(THREAD_OWNED, 9, thread_holder_number(dead->holder));
  os_slot_set(NULL);
  schedule_as(0);
}
static void judge_destroy_of_dead(void) {
  for (theap_t* at = theap_first(); at != NULL; at = at->all_next)
    if (at->list_next == at) schedule_fail("a record was given back twice");
  world_end((world_loss_t){.blocks = 8, .pages = 1, .slices = 64, .records = 1});
}

enum { KILL_A = 1 << 0, KILL_C = 1 << 2 };

const scenario_t scenarios_killed[] = {
    {"killed-taking",
     "killed while it adopts a page whose blocks another frees",
     prepare_pages,
     {NULL, free_both, take_some},
     judge_pages,
     KILL_C,
     3},
    {"killed-freeing",
     "killed while it frees one of the last blocks of a page",
     prepare_pages,
     {free_first, free_second, NULL},
     judge_pages,
     KILL_A,
     3},
    {"killed-freeing-both",
     "killed while it frees the last blocks of a page that another adopts",
     prepare_pages,
     {free_both, take_one, NULL},
     judge_pages,
     KILL_A,
     3},
    {"killed-extending",
     "killed while it takes blocks, others of which come back",
     prepare_tiny,
     {take_tiny, free_both, NULL},
     judge_tiny,
     KILL_A,
     3},
    {"killed-keeping",
     "killed while its page empties, is kept, goes and another comes",
     prepare_kept,
     {keep_and_use, NULL, NULL},
     judge_tiny,
     KILL_A,
     3},
    {"killed-using-kept",
     "killed while its page empties, is kept, and is in use again",
     prepare_kept,
     {use_kept, NULL, NULL},
     judge_tiny,
     KILL_A,
     3},
    {"killed-ending",
     "killed while it gives its pages back",
     prepare_pages,
     {end_thread, free_both, NULL},
     judge_pages,
     KILL_A,
     3},
    {"killed-collecting",
     "killed in a full collection",
     prepare_pages,
     {collect_all, free_both, NULL},
     judge_pages,
     KILL_A,
     3},
    {"killed-giving-back",
     "killed while it gives back the memory of freed blocks of a page whose owner takes them",
     prepare_asleep,
     {give_back, take_some, free_first},
     judge_asleep,
     KILL_A,
     2},
    {"killed-trimming",
     "killed while it gives back the memory of its own free blocks",
     prepare_trim,
     {trim, free_both, NULL},
     judge_pages,
     KILL_A,
     2},
    {"killed-huge",
     "killed while it frees and takes huge blocks",
     prepare_pages,
     {free_and_take_run, take_run, NULL},
     judge_pages,
     KILL_A,
     3},
    {"killed-letting-go",
     "killed while it gives slices back of which another makes shorter pages",
     prepare_pages,
     {free_huge, take_and_give_back_kept, NULL},
     judge_letting_go,
     KILL_A,
     2},
    {"killed-keeping-huge",
     "killed while it keeps a page of one block for the next",
     prepare_pages,
     {keep_and_take, take_run, NULL},
     judge_pages,
     KILL_A,
     2},
    {"killed-purging",
     "killed while it purges what another takes",
     prepare_old,
     {purge, take_run, NULL},
     judge_pages,
     KILL_A,
     2},
    {"killed-deleting",
     "killed while it deletes a heap whose blocks another frees",
     prepare_heap,
     {delete_heap, free_both, NULL},
     judge_pages,
     KILL_A,
     2},
    {"killed-destroying",
     "killed while it destroys a heap, as another thread with blocks there ends",
     prepare_destroy,
     {destroy_heap, NULL, end_thread},
     judge_destroy,
     KILL_A,
     2},
    {"destroy-vs-reap",
     "a heap is destroyed while the thread is reaped that was killed when it ended its theap there",
     prepare_destroy_of_dead,
     {destroy_heap, reap, NULL},
     judge_destroy_of_dead,
     0,
     3},
    {"killed-making",
     "killed while it makes pages in a heap that is destroyed then",
     prepare_making,
     {make_pages, NULL, NULL},
     judge_making_destroyed,
     KILL_A,
     2},
    {"killed-making-reaped",
     "the same, reaped before",
     prepare_making,
     {make_pages, NULL, NULL},
     judge_making_reaped,
     KILL_A,
     2},
    {"killed-making-deleted",
     "killed while it makes pages in a heap that is deleted then",
     prepare_making,
     {make_pages, NULL, NULL},
     judge_making_deleted,
     KILL_A,
     2},
    {"killed-reaping",
     "killed while it reaps a dead thread that another finds, too",
     prepare_dead,
     {reap, reap, NULL},
     judge_pages,
     KILL_A,
     3},
    {0},
};
