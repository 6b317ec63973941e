// Blocks freed by others than the page's owner; pages that lose their owner and find another.
#include "interleave/scenarios.h"
#include "interleave/world.h"
#include "core/heaps/idle.h"
#include "core/heaps/theap_pages.h"

#include <string.h>

enum { SIZE = 8192 }; // eight blocks in a page; one free block is enough to be listed

static int first; // of the page in question

static void end_well(void) { world_end_without_loss(); }

// ---- freed by others, collected by the owner --------------------------------------------------------------

static void prepare_owned(void) {
  world_begin(C);
  schedule_as(A);
  first = world_fill_page(SIZE, 1);
  schedule_as(0);
}
static void take_two(void) {
  world_take(SIZE);
  world_take(SIZE);
}
static void free_first(void) { world_free(first); }
static void free_second(void) { world_free(first + 1); }

// ---- the page runs full -----------------------------------------------------------------------------------

// One block is left of the page: the next allocation but one abandons it.
static void free_all_but_two(void) {
  for (int i = 2; i < 7; i++) world_free(first + i);
}
static void free_first_two(void) {
  world_free(first);
  world_free(first + 1);
}

// ---- the last blocks of nobody's page ---------------------------------------------------------------------

// A filled a page and ended; all blocks but two are free already.
static void prepare_two_left(void) {
  world_begin(C);
  schedule_as(A);
  first = world_fill_page(SIZE, 0);
  world_take(SIZE); // in another page
  world_end_thread();
  schedule_as(B);
  for (int i = 2; i < 8; i++) world_free(first + i);
  schedule_as(0);
}
static void free_first_by_nobody(void) { world_free_by_nobody(first); }

// ---- nobody's page is adopted, or taken back --------------------------------------------------------------

static void prepare_full_left(void) { // all eight blocks of it in use
  world_begin(C);
  schedule_as(A);
  first = world_fill_page(SIZE, 0);
  world_take(SIZE);
  world_end_thread();
  schedule_as(0);
}
static void free_but_first(void) {
  for (int i = 1; i < 8; i++) world_free(first + i);
}
static void take_one(void) { world_take(SIZE); }
static void take_from_it(void) { // as long as there is room in it
  for (int i = 0; i < 3; i++) world_take(SIZE);
}

// The thread that filled the page lives, and has another one to allocate from.
static void prepare_filled(void) {
  world_begin(C);
  schedule_as(A);
  first = world_fill_page(SIZE, 0);
  world_take(SIZE);
  schedule_as(0);
}
static void free_first_and_take(void) {
  world_free(first);
  world_take(SIZE);
}
static void free_second_and_third(void) {
  world_free(first + 1);
  world_free(first + 2);
}

// Two pages are listed: the fullest is adopted.
static void prepare_two_listed(void) {
  world_begin(C);
  schedule_as(A);
  first = world_fill_page(SIZE, 0);
  world_fill_page(SIZE, 0);
  world_end_thread();
  schedule_as(B);
  world_free(first);
  for (int i = 8; i < 14; i++) world_free(first + i);
  schedule_as(0);
}
static void free_last_of_second(void) {
  world_free(first + 14);
  world_free(first + 15);
}

// ---- a thread ends ----------------------------------------------------------------------------------------

static void prepare_ending(void) {
  world_begin(C);
  schedule_as(A);
  first = world_fill_page(SIZE, 4);
  for (int i = 2; i < 4; i++) world_free(first + i);
  schedule_as(0);
}
static void end_thread(void) { world_end_thread(); }

static void start_and_take(void) {
  world_start_thread();
  world_take(SIZE);
}
static void prepare_ending_alone(void) { // B has no record yet, and may get A's
  world_begin(A);
  schedule_as(A);
  first = world_fill_page(SIZE, 4);
  schedule_as(C);
  world_start_thread();
  schedule_as(0);
}

// ---- collections ------------------------------------------------------------------------------------------

static void collect_all(void) { thread_collect(world_self(), true); }
static bool see_block(heap_t* heap, const heap_area_t* area, void* block, size_t size, void* arg) {
  MI_UNUSED(heap);
  MI_UNUSED(size);
  size_t* left = arg;
  if (block == NULL) {
    *left = area->used;
  } else if ((*left)-- == 0) { // fewer may come: others free them
    schedule_fail("a visit sees more blocks of a page than it announced");
  }
  return true;
}
static void visit_all(void) {
  size_t left = 0;
  heap_visit(heap_main(), HEAP_ABANDONED, NULL, true, &see_block, &left);
}
static void sweep(void) {
  theap_sweep(theap_current(), SIZE_MAX);
  world_take(SIZE);
}
// Of two pages in A's queue the second one's blocks are freed by others: the sweep leaves it to them.
static void prepare_swept(void) {
  world_begin(C);
  schedule_as(A);
  first = world_fill_page(SIZE, 0);
  world_fill_page(SIZE, 4);
  world_free(first);
  world_free(first + 1);
  schedule_as(0);
}
static void free_third(void) { world_free(first + 2); }
static void free_fourth_to_last(void) {
  for (int i = 3; i < 8; i++) world_free(first + i);
}

// A page that seems empty to one is taken over by another meanwhile, and let go of with a block in use.
static int handed;
static void prepare_handing(void) { // it is the only one to adopt
  world_begin(C);
  schedule_as(A);
  first = world_fill_page(SIZE, 0);
  world_end_thread();
  schedule_as(B);
  world_free(first);
  for (int i = 2; i < 8; i++) world_free(first + i);
  schedule_as(0);
  handed = -1;
}
static void take_and_leave(void) {
  handed = world_take(SIZE);
  world_end_thread();
}
static void free_handed(void) {
  int block = handed;
  handed = -1;
  if (block >= 0) world_free_by_nobody(block);
}

// ---- the direct way, for small blocks ---------------------------------------------------------------------

static void prepare_small(void) { // a whole list of 4 KiB is taken in at once
  world_begin(C);
  schedule_as(A);
  first = world_take(1024);
  for (int i = 0; i < 5; i++) world_take(1024);
  schedule_as(0);
}
static void take_and_free_small(void) {
  int block = world_take(1024);
  world_take(1024);
  world_take(1024);
  world_free(block);
}

// ---- memory under freed blocks of another's page goes back ------------------------------------------------------

// A allocates from the page, sleeping or not; five blocks of it lie in the remote list.
static void prepare_bundle(void) { first = world_begin_with_free(SIZE, A, B); }
// And they have been given back once.
static void prepare_bundled(void) {
  prepare_bundle();
  schedule_as(C);
  idle_give_back(theap_current(), true);
  uint64_t word = world_page(first)->remote;
  world_assert((word & PAGE_REMOTE_BUNDLED) != 0 && (word & PAGE_REMOTE_COUNT) == 5);
  schedule_as(0);
}
static void give_back(void) { idle_give_back(theap_current(), true); }
static void free_first_and_give_back(void) {
  world_free(first);
  give_back();
}
static void take_all(void) {
  for (int i = 0; i < 7; i++) world_take(SIZE);
}
// A has five blocks of its own free.
static void prepare_trim(void) { first = world_begin_with_free(SIZE, A, A); }
static void trim_and_take(void) {
  thread_trim(world_self());
  world_take(SIZE);
}
static void count_blocks(void) {
  stats_blocks_t blocks;
  stats_collect_blocks(&blocks);
  unsigned bin = world_page(first)->bin;
  if (blocks.allocated[bin] - blocks.freed[bin] > 2)
    schedule_fail("%lld blocks are counted as in use",
                  (long long)(blocks.allocated[bin] - blocks.freed[bin]));
}
static bool see_two_at_most(heap_t* heap, const heap_area_t* area, void* block, size_t size, void* arg) {
  size_t* count = arg;
  *count = block == NULL ? 0 : *count + 1;
  if (*count > 2 || area->used > 2) schedule_fail("a visit sees free blocks of a page");
  MI_UNUSED(heap);
  MI_UNUSED(size);
  return true;
}
static void visit_own(void) {
  size_t count;
  heap_visit(heap_main(), HEAP_THEAP, theap_current(), true, &see_two_at_most, &count);
}

// ---- freed twice ------------------------------------------------------------------------------------------

// The only block in use: whatever the order, one more comes back than went out. That is refused, and nothing
// is lost for it but what stood in the list.
static void* doubly;

static void prepare_double(void) {
  world_begin(C);
  schedule_as(A);
  first = world_take(SIZE);
  doubly = world_address(first);
  world_forget(first);
  schedule_as(0);
}
static void free_doubly(void) { theap_free(theap_current(), doubly); }
static void collect_own(void) { theap_collect(theap_current(), false); }
static void judge_double(void) {
  schedule_as(A);
  for (int i = 0; i < 12; i++) world_take(SIZE);
  schedule_as(0);
  // Said by one of the two, but where the page goes for the first free and takes the second one with it.
  model_messages = 0;
  world_end((world_loss_t){.blocks = 2, .pages = 1, .slices = 1});
}

const scenario_t scenarios_pages[] = {
    {"free-vs-collect",
     "two threads free blocks of a page from which its owner allocates",
     prepare_owned,
     {take_two, free_first, free_second},
     end_well,
     0,
     0},
    {"free-vs-abandon",
     "the last blocks of a page are freed while its owner finds it full",
     prepare_owned,
     {take_two, free_first_two, free_all_but_two},
     end_well,
     0,
     0},
    {"last-free-vs-last-free",
     "two threads free the last two blocks of nobody's page",
     prepare_two_left,
     {NULL, free_first, free_second},
     end_well,
     0,
     3},
    {"last-free-by-nobody",
     "the same, one of them has no heap",
     prepare_two_left,
     {NULL, free_first_by_nobody, free_second},
     end_well,
     0,
     3},
    {"listing-vs-last-free",
     "nobody's page gets listed for one free block, and empty for the others",
     prepare_full_left,
     {NULL, free_first, free_but_first},
     end_well,
     0,
     0},
    {"adopt-vs-last-free",
     "nobody's page is adopted while its last blocks are freed",
     prepare_two_left,
     {NULL, take_one, free_first_two},
     end_well,
     0,
     3},
    {"adopt-vs-two-frees",
     "the same, by three threads of which one just begins",
     prepare_two_left,
     {start_and_take, free_first, free_second},
     end_well,
     0,
     0},
    {"adopt-vs-listing",
     "a page is adopted while it gets listed, and filled again",
     prepare_full_left,
     {NULL, take_from_it, free_first_two},
     end_well,
     0,
     0},
    {"adopt-of-two",
     "two threads adopt pages of one list while one of these empties",
     prepare_two_listed,
     {start_and_take, take_one, free_last_of_second},
     end_well,
     0,
     0},
    {"reclaim-vs-free",
     "who filled a page takes it back while another frees into it, and a third adopts",
     prepare_filled,
     {free_first_and_take, free_second_and_third, take_one},
     end_well,
     0,
     0},
    {"thread-end-vs-free",
     "a thread ends while others free its blocks",
     prepare_ending,
     {end_thread, free_first, free_second},
     end_well,
     0,
     0},
    {"thread-end-vs-start",
     "a thread ends, another begins and gets its record, a third frees",
     prepare_ending_alone,
     {end_thread, start_and_take, free_first},
     end_well,
     0,
     0},
    {"collect-vs-last-free",
     "a full collection looks at nobody's page while its last blocks are freed",
     prepare_two_left,
     {NULL, collect_all, free_first_two},
     end_well,
     0,
     0},
    {"visit-vs-last-free",
     "nobody's page is visited while its last blocks are freed",
     prepare_two_left,
     {NULL, visit_all, free_first_two},
     end_well,
     0,
     3},
    {"visit-vs-adopt",
     "nobody's page is visited while another adopts it",
     prepare_two_left,
     {NULL, visit_all, take_one},
     end_well,
     0,
     0},
    {"look-vs-adopt",
     "a page that looks empty is adopted and abandoned before it can be taken",
     prepare_handing,
     {free_handed, free_second, take_and_leave},
     end_well,
     0,
     0},
    {"sweep-vs-free",
     "a sweep lets go of a page that others empty",
     prepare_swept,
     {sweep, free_third, free_fourth_to_last},
     end_well,
     0,
     0},
    {"small-vs-free",
     "the fast paths while others free into the page",
     prepare_small,
     {take_and_free_small, free_first, free_second},
     end_well,
     0,
     0},
    {"bundle-vs-free",
     "memory of a page goes back while its owner allocates and another frees",
     prepare_bundle,
     {take_two, free_first, give_back},
     end_well,
     0,
     0},
    {"bundle-vs-thread-end",
     "the same while its owner ends, and another frees its last block",
     prepare_bundle,
     {end_thread, free_first_two, give_back},
     end_well,
     0,
     0},
    {"bundle-vs-bundle",
     "two threads give back memory of the same page, one frees into it",
     prepare_bundle,
     {NULL, free_first_and_give_back, give_back},
     end_well,
     0,
     3},
    {"bundled-vs-owner",
     "the owner takes what stands for others while another frees, and a third gives back once more",
     prepare_bundled,
     {take_all, free_first, give_back},
     end_well,
     0,
     0},
    {"trim-vs-free",
     "a thread gives back memory of its own free blocks while others free into the page",
     prepare_trim,
     {trim_and_take, free_first, free_second},
     end_well,
     0,
     0},
    {"trim-vs-bundle",
     "the same, and another gives it back",
     prepare_trim,
     {trim_and_take, free_first_two, give_back},
     end_well,
     0,
     0},
    {"bundle-vs-counting",
     "blocks are counted while memory of their page goes back",
     prepare_bundle,
     {NULL, count_blocks, give_back},
     end_well,
     0,
     3},
    {"bundle-vs-visit",
     "the owner visits its blocks while memory of their page goes back",
     prepare_bundle,
     {visit_own, free_first, give_back},
     end_well,
     0,
     0},
    {"double-free",
     "two threads free the same block",
     prepare_double,
     {collect_own, free_doubly, free_doubly},
     judge_double,
     0,
     0},
    {0},
};
