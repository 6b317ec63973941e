// Heaps that end while others free their blocks, end their threads or look at their pages.
#include "interleave/scenarios.h"
#include "interleave/world.h"

enum { SIZE = 8192 };

static heap_t* heap;
static int first, others, huge;

// Then records of theaps are free, and each is handed out once.
static void end_well(void) {
  enum { THEAPS = 8 };
  const theap_t* theaps[THEAPS];
  world_end_without_loss();
  for (int i = 0; i < THEAPS; i++) {
    theaps[i] = thread_theap(world_self(), heap_new(subproc_main(), NULL));
    for (int k = 0; k < i; k++)
      if (theaps[k] == theaps[i]) schedule_fail("a theap's record is handed out twice");
  }
}

// A heap in which A and B have blocks; a page of A's is full, so that nobody owns it.
static void prepare_heap(void) {
  world_begin(C);
  schedule_as(A);
  heap = heap_new(subproc_main(), NULL);
  first = world_take_in(heap, SIZE);
  for (int i = 1; i < 10; i++) world_take_in(heap, SIZE);
  schedule_as(B);
  others = world_take_in(heap, SIZE);
  huge = world_take_in(heap, 10 * SLICE_SIZE);
  schedule_as(0);
}
static void delete_heap(void) {
  if (!heap_delete(heap)) schedule_fail("the heap can't be deleted");
}
static void free_first(void) { world_free(first); }
static void free_second(void) { world_free(first + 1); }
static void free_others(void) {
  world_free(others);
  world_free(huge);
}
static void free_huge(void) { world_free(huge); }
static void end_thread(void) { world_end_thread(); }
static void collect_all(void) { thread_collect(world_self(), true); }

// All but two blocks of the full page are free.
static void prepare_nearly_empty(void) {
  prepare_heap();
  schedule_as(C);
  for (int i = 2; i < 8; i++) world_free(first + i);
  schedule_as(0);
}

// Of another heap's pages the second one is made where the first heap's was.
static heap_t* another;
static int in_another;
static void prepare_reuse(void) {
  prepare_nearly_empty();
  schedule_as(C);
  another = heap_new(subproc_main(), NULL);
  in_another = world_take_in(another, 2 * SIZE);
  world_free(first + 1);
  schedule_as(0);
}
static void free_and_take_in_another(void) {
  world_free(first);
  world_forget(world_take_in(another, SIZE));
}
static void judge_reuse(void) { // all of its pages are in its list
  world_forget(in_another);
  if (!heap_destroy(another)) schedule_fail("the heap can't be destroyed");
  end_well();
}

// ---- destroyed --------------------------------------------------------------------------------------------

static void forget_all(void) { // nobody may use them from here on
  for (int i = 0; i < 10; i++) world_forget(first + i);
  world_forget(others);
  world_forget(huge);
}
static void prepare_destroy(void) {
  prepare_heap();
  forget_all();
}
// A page that a look finds empty: who freed its last block was killed before the look of its own.
static void prepare_destroy_empty(void) {
  prepare_nearly_empty();
  schedule_as(C);
  world_free(first);
  page_free_remote(world_page(first + 1), world_address(first + 1));
  schedule_as(0);
  for (int i = 1; i < 10; i++)
    if (i < 2 || i >= 8) world_forget(first + i);
  world_forget(others);
  world_forget(huge);
}
static void destroy_heap(void) {
  if (!heap_destroy(heap)) schedule_fail("the heap can't be destroyed");
}
static void take_in_main(void) { world_take(SIZE); }
static void make_heap(void) { // perhaps of the same record
  heap_t* made = heap_new(subproc_main(), NULL);
  world_take_in(made, SIZE);
  if (!heap_delete(made)) schedule_fail("the heap can't be deleted");
}

// ---- sub-processes ----------------------------------------------------------------------------------------

static subproc_t* other;

static void prepare_subproc(void) {
  world_begin(C);
  option_set(option_purge_delay, 100);
  schedule_as(A);
  other = subproc_new();
  schedule_as(0);
  thread_t* visitor = thread_acquire(other);
  os_slot_set(visitor->main);
  world_free(world_take(SIZE));
  world_free(world_take(12 * SLICE_SIZE));
  os_slot_set(OS_SLOT_DETACHED);
  thread_give_back(visitor);
  os_slot_set(NULL);
  model_clock_ms += 100;
}
static void destroy_subproc(void) {
  if (!subproc_destroy(other)) schedule_fail("the sub-process can't be destroyed");
}
static void look_at_all(void) { // as the timer does
  for (subproc_t* at = subproc_first(); at != NULL; at = at->next) {
    arena_visit_t visit;
    if (!arena_set_enter(&at->arenas, &visit)) continue;
    for (size_t i = 0; i < at->arenas.count; i++) {
      arena_t* arena = at->arenas.arenas[i];
      if (arena != NULL && !model_is_reserved(arena->base, SLICE_SIZE))
        schedule_fail("a guest sees an arena that is gone");
    }
    arena_purge(&at->arenas, false, NULL);
    arena_set_leave(&visit);
  }
}

const scenario_t scenarios_heaps[] = {
    {"delete-vs-free",
     "a heap is deleted while blocks of it are freed",
     prepare_heap,
     {delete_heap, free_others, free_first},
     end_well,
     0,
     0},
    {"delete-vs-last-free",
     "the same, the last blocks of nobody's page",
     prepare_nearly_empty,
     {delete_heap, free_first, free_second},
     end_well,
     0,
     0},
    {"delete-vs-reuse",
     "the same, and what was its page is made another heap's at once",
     prepare_reuse,
     {delete_heap, free_and_take_in_another, NULL},
     judge_reuse,
     0,
     0},
    {"delete-vs-huge-free",
     "the same, a huge block",
     prepare_heap,
     {delete_heap, free_huge, NULL},
     end_well,
     0,
     0},
    {"delete-vs-thread-end",
     "a heap is deleted while a thread with blocks in it ends",
     prepare_heap,
     {delete_heap, end_thread, NULL},
     end_well,
     0,
     0},
    {"delete-vs-collect",
     "a heap is deleted while a full collection looks at its pages",
     prepare_nearly_empty,
     {delete_heap, collect_all, free_first},
     end_well,
     0,
     1},
    {"destroy-vs-thread-end",
     "a heap is destroyed while a thread with blocks in it ends",
     prepare_destroy,
     {destroy_heap, end_thread, NULL},
     end_well,
     0,
     0},
    {"destroy-vs-collect",
     "a heap is destroyed while a full collection looks at its pages",
     prepare_destroy_empty,
     {destroy_heap, collect_all, NULL},
     end_well,
     0,
     0},
    {"destroy-vs-make",
     "the heap's records are used again at once",
     prepare_destroy,
     {destroy_heap, make_heap, take_in_main},
     end_well,
     0,
     1},
    {"subproc-vs-guest",
     "a sub-process is destroyed while another thread looks at its arenas",
     prepare_subproc,
     {destroy_subproc, look_at_all, NULL},
     end_well,
     0,
     3},
    {"subproc-vs-make",
     "the record of a theap that was one of its threads' is used again at once",
     prepare_subproc,
     {destroy_subproc, make_heap, NULL},
     end_well,
     0,
     0},
    {0},
};
