// Blocks freed by others than the page's owner; pages that lose their owner and find another.
#include "interleave/scenarios.h"
#include "interleave/world.h"

#include <string.h>

enum { SIZE = 8192 }; // eight blocks in a page; one free block is enough to be listed

static int first; // of the page in question

static void end_well(void) { world_end_without_loss(); }

// ---- freed by others, collected by the owner ----------------------------------------------------------------------

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

// ---- the page runs full -------------------------------------------------------------------------------------------

// One block is left of the page: the next allocation but one abandons it.
static void free_all_but_two(void) {
  for (int i = 2; i < 7; i++) world_free(first + i);
}
static void free_first_two(void) {
  world_free(first);
  world_free(first + 1);
}

// ---- the last blocks of nobody's page -----------------------------------------------------------------------------

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

const scenario_t scenarios_pages[] = {
    {"free-vs-collect", "two threads free blocks of a page from which its owner allocates", prepare_owned,
     {take_two, free_first, free_second}, end_well, 0, 0},
    {"free-vs-abandon", "the last blocks of a page are freed while its owner finds it full", prepare_owned,
     {take_two, free_first_two, free_all_but_two}, end_well, 0, 0},
    {"last-free-vs-last-free", "two threads free the last two blocks of nobody's page", prepare_two_left,
     {NULL, free_first, free_second}, end_well, 0, 0},
    {"last-free-by-nobody", "the same, one of them has no heap", prepare_two_left,
     {NULL, free_first_by_nobody, free_second}, end_well, 0, 0},
    {0},
};
