// Slices claimed, let go, committed and purged by several threads; huge pages; records on their stacks.
#include "interleave/scenarios.h"
#include "interleave/world.h"
#include "core/arenas/arena_parts.h"
#include "core/arenas/arena_slices.h"
#include "core/heaps/record_stack.h"

#include <string.h>

// A run of more than 16 slices goes back to its arena with its block; shorter ones are kept for the next block.
enum { SLICE = SLICE_SIZE, ARENA_SLICES = 256, SMALL = 8192, MEDIUM = 65536, RUN = 20, KEPT_RUN = 12 };

static int held[8]; // blocks of the preparation

static void end_well(void) { world_end_without_loss(); }

static arena_t* the_arena(void) { return subproc_main()->arenas.arenas[0]; }

// Runs that leave 20 slices in one piece; searches for runs begin a quarter into the arena.
static void prepare_nearly_full(void) {
  world_begin(C);
  schedule_as(A);
  held[0] = world_take(96 * SLICE);
  held[1] = world_take(96 * SLICE);
  world_take(44 * SLICE);
  schedule_as(0);
  world_assert(world_free_slices() == 20 && world_arenas() == 1);
}

// ---- runs -------------------------------------------------------------------------------------------------

static void take_run(void) { held[4 + schedule_self()] = world_take(9 * SLICE); }
static void take_medium(void) { world_take(MEDIUM); }
static void take_small(void) { world_take(SMALL); }
static void take_and_free_run(void) {
  int block = world_take(RUN * SLICE);
  world_free(block);
}
static void free_held(void) { world_free(held[0]); }
static void free_other_held(void) { world_free(held[1]); }

// Not one of the kind is left, and that is known: the hints say so.
static void prepare_full(void) {
  prepare_nearly_full();
  schedule_as(A);
  held[2] = world_take(RUN * SLICE);
  schedule_as(0);
  world_assert(world_free_slices() == 0);
}
// One slice is left in a word of the bitmap.
static void prepare_one_left(void) {
  prepare_nearly_full();
  schedule_as(A);
  held[2] = world_take((RUN - 1) * SLICE);
  schedule_as(0);
  world_assert(world_free_slices() == 1);
}
static void free_last_run(void) { world_free(held[2]); }

static void prepare_nothing(void) { world_begin(0); }
// Two threads have found the same set without room.
static void add_arena(void) { world_assert(arena_add(&subproc_main()->arenas, 1, 0)); }
static void judge_one_arena(void) {
  world_assert(world_arenas() == 1);
  end_well();
}
static void prepare_threads(void) { world_begin(C); }
static void start_and_take_small(void) {
  world_start_thread();
  world_take(SMALL);
}
static void start_and_take_medium(void) {
  world_start_thread();
  world_take(MEDIUM);
}

// A run across words of the bitmap.
static void prepare_across(void) {
  world_begin(C);
  schedule_as(A);
  held[0] = world_take(9 * SLICE); // makes the arena
  schedule_as(0);
}
static void claim_across(void) {
  arena_hands_t* hands = &world_self()->hands;
  size_t start = 124 + 2 * schedule_self(), count = 60;
  if (!slices_try_claim(the_arena(), start, count, hold_for_claim(hands))) return;
  world_assert(bitmap_count(the_arena()->free, start, count) == 0);
  slices_let_go(the_arena(), start, count, hold_for_claim(NULL) == NULL ? &hands->claimed : NULL);
}

// ---- huge blocks ------------------------------------------------------------------------------------------

static void* shared_block;

static void prepare_huge(void) {
  world_begin(C);
  schedule_as(A);
  held[0] = world_take(RUN * SLICE);
  shared_block = world_address(held[0]);
  schedule_as(0);
}
static void prepare_kept(void) {
  world_begin(C);
  schedule_as(A);
  held[0] = world_take(KEPT_RUN * SLICE);
  shared_block = world_address(held[0]);
  schedule_as(0);
}
static void take_kept(void) { held[4] = world_take(KEPT_RUN * SLICE); }
static void judge_kept(void) {
  for (unsigned i = A; i <= B; i++) { // kept by one of the two, for one block
    schedule_as(i);
    take_kept();
  }
  schedule_as(0);
  model_messages = 0;
  world_end((world_loss_t){0});
}
static void free_shared(void) {
  world_forget(held[0]);
  theap_free(theap_current(), shared_block);
}
static void judge_huge(void) {
  world_assert(world_free_slices() == ARENA_SLICES);
  world_end((world_loss_t){0});
}
static void free_shared_by_nobody(void) {
  world_forget(held[0]);
  theap_free(NULL, shared_block);
}
// The program has an address inside of it.
static page_t* interior_page;

static void prepare_interior(void) {
  bool is_zero;
  world_begin(C);
  schedule_as(A);
  shared_block = theap_allocate_aligned(theap_current(), RUN * SLICE, 2 * SLICE, 8, &is_zero);
  interior_page = page_map_page(shared_block);
  schedule_as(0);
}
static void free_interior(void) { // once all is done nothing leads to the page, so that it is looked at here
  if (atomic_get_acquire(&interior_page->owner) != 0) theap_free(theap_current(), shared_block);
}
static void grow(void) {
  uint8_t* p = world_address(held[0]);
  if (!theap_expand(theap_current(), p, (RUN + 4) * SLICE)) return;
  world_assert(model_is_committed(p, (RUN + 4) * SLICE));
  world_assert(theap_usable_size(p) >= (RUN + 4) * SLICE);
  memset(p + RUN * SLICE, 0x55, 4 * SLICE);
}

// ---- commits ----------------------------------------------------------------------------------------------

static void prepare_commit_ahead(void) {
  world_begin(C);
  schedule_as(C);
  world_take(SMALL);
  option_set(option_page_commit_on_demand, 0);
  schedule_as(0);
}

static void take_and_give_back_small(void) {
  world_free(world_take(SMALL));
  theap_collect(theap_current(), true);
}

// ---- purges -----------------------------------------------------------------------------------------------

enum { DELAY = 100 };

// Some slices wait for their purge.
static void prepare_waiting(void) {
  world_begin(C);
  option_set(option_purge_delay, DELAY);
  schedule_as(A);
  held[0] = world_take(RUN * SLICE);
  held[1] = world_take(RUN * SLICE);
  held[2] = world_take(SMALL);
  world_free(held[0]);
  model_clock_ms += DELAY;
  schedule_as(0);
}
static void purge_due(void) { arena_purge(&subproc_main()->arenas, false, &world_self()->hands); }
static void purge_all(void) { arena_purge(&subproc_main()->arenas, true, &world_self()->hands); }
static void purge_by_timer(void) { arena_purge(&subproc_main()->arenas, false, NULL); }
static void take_waiting(void) {
  int block = world_take(RUN * SLICE);
  world_check(block);
}

// The first round makes them old, the second one purges them.
static void prepare_old(void) {
  prepare_waiting();
  schedule_as(A);
  purge_due();
  model_clock_ms += DELAY;
  schedule_as(0);
}
// From here on pages give their memory back as they are freed.
static void prepare_old_without_delay(void) {
  prepare_old();
  option_set(option_purge_delay, 0);
}
static void grow_beyond_all(void) {
  arena_growth = (arena_growth_t){0, 0};
  stats_process.committed.peak = stats_process.committed.current;
  arena_purge_before_growth(the_arena(), RUN * SLICE, &world_self()->hands);
}
// What is free and was waited for has no memory: no mark is lost.
static void judge_purged(void) {
  model_clock_ms += DELAY;
  schedule_as(B);
  for (int i = 0; i < 6; i++) {
    purge_due();
    model_clock_ms += DELAY;
  }
  if (arena_purge_is_waiting(&subproc_main()->arenas))
    schedule_fail("what waits for its purge waits for ever");
  for (size_t word = 0; word < the_arena()->word_count; word++)
    if ((the_arena()->free[word] & (the_arena()->committed[word] | the_arena()->begun[word])) != 0)
      schedule_fail("free slices keep their memory");
  schedule_as(0);
  world_end((world_loss_t){0});
}

// ---- records ----------------------------------------------------------------------------------------------

typedef struct MI_ALIGNED(64) record_s {
  struct record_s* next;
  uint32_t holder;
} record_t;

static record_t records[3];
static uint64_t stack;

static record_t* pop(void) {
  record_t* record = record_pop(&stack, offsetof(record_t, next));
  if (record == NULL) return NULL;
  if (record->holder != 0) schedule_fail("a record is taken twice");
  record->holder = schedule_self();
  return record;
}
static void push(record_t* record) {
  if (record == NULL) return;
  record->holder = 0;
  record_push(&stack, record, (void**)&record->next);
}
static void prepare_records(void) {
  for (size_t i = 0; i < 3; i++) record_push(&stack, &records[i], (void**)&records[i].next);
}
static void pop_one(void) { pop(); }
static void pop_two_push_first(void) {
  record_t* one = pop();
  pop();
  push(one);
}
static void pop_push(void) { push(pop()); }
static void judge_records(void) {
  size_t left = 0, holders = 0;
  while (record_pop(&stack, offsetof(record_t, next)) != NULL) left++;
  for (size_t i = 0; i < 3; i++) holders += records[i].holder != 0;
  if (left + holders != 3) schedule_fail("%zu records on the stack, %zu taken", left, holders);
}

const scenario_t scenarios_slices[] = {
    {"claim-vs-claim",
     "three threads claim from the last free slices",
     prepare_nearly_full,
     {take_small, take_run, take_medium},
     end_well,
     0,
     0},
    {"medium-vs-release",
     "a medium page is looked for in vain while a hole for it opens",
     prepare_full,
     {free_last_run, NULL, take_medium},
     end_well,
     0,
     3},
    {"run-vs-release",
     "a run is looked for in vain while one opens",
     prepare_full,
     {free_last_run, NULL, take_run},
     end_well,
     0,
     3},
    {"note-vs-claim",
     "two look for a run in vain while one opens: what the first notes of its first look the second believes",
     prepare_full,
     {free_last_run, take_run, take_run},
     end_well,
     0,
     0},
    {"last-vs-release",
     "the last free slice of a word is taken while others of the word come back",
     prepare_one_left,
     {free_last_run, take_small, NULL},
     end_well,
     0,
     3},
    {"one-vs-release",
     "the arena is full, and gets a free slice just then",
     prepare_full,
     {free_last_run, take_small, NULL},
     end_well,
     0,
     0},
    {"release-vs-release",
     "two neighbours are released while a run is looked for",
     prepare_full,
     {free_held, free_other_held, take_and_free_run},
     end_well,
     0,
     0},
    {"claim-across-words",
     "runs across words overlap: one gets all of it, the others nothing",
     prepare_across,
     {claim_across, claim_across, claim_across},
     end_well,
     0,
     0},
    {"first-arena",
     "two threads begin at once: records, the first arena",
     prepare_nothing,
     {start_and_take_small, start_and_take_medium, NULL},
     judge_one_arena,
     0,
     1},
    {"one-arena",
     "two threads want an arena: one is made",
     prepare_threads,
     {add_arena, add_arena, NULL},
     judge_one_arena,
     0,
     0},
    {"commit-ahead",
     "slices are committed ahead of need by two threads",
     prepare_commit_ahead,
     {take_small, take_small, NULL},
     end_well,
     0,
     0},
    {"commit-ahead-of-freed",
     "the same, and one gives its slices back",
     prepare_commit_ahead,
     {take_small, take_and_give_back_small, NULL},
     end_well,
     0,
     0},
    {"huge-free-twice",
     "two threads free the same huge block",
     prepare_huge,
     {free_shared, free_shared, NULL},
     judge_huge,
     0,
     3},
    {"interior-free-twice",
     "the same, by an address inside of it",
     prepare_interior,
     {free_interior, free_interior, NULL},
     judge_huge,
     0,
     0},
    {"kept-free-twice",
     "the same, a block whose page is kept for the next one",
     prepare_kept,
     {free_shared, free_shared, NULL},
     judge_kept,
     0,
     3},
    {"huge-free-by-nobody",
     "the same, one of them has no heap",
     prepare_huge,
     {free_shared, free_shared_by_nobody, NULL},
     end_well,
     0,
     0},
    {"huge-growth",
     "a huge block grows in place while others take what is behind it",
     prepare_huge,
     {grow, take_run, take_medium},
     end_well,
     0,
     0},
    {"purge-vs-claim",
     "slices are purged that others take",
     prepare_old,
     {purge_due, take_waiting, NULL},
     judge_purged,
     0,
     0},
    {"purge-vs-purge-at-once",
     "slices are purged that another takes, and gives back without their memory",
     prepare_old_without_delay,
     {purge_due, take_and_free_run, NULL},
     end_well,
     0,
     0},
    {"purge-all-vs-claim",
     "the same, all that is free at once",
     prepare_waiting,
     {purge_all, take_waiting, NULL},
     judge_purged,
     0,
     0},
    {"purge-vs-free",
     "the last purge of an arena while slices begin to wait for theirs",
     prepare_old,
     {NULL, purge_due, free_other_held},
     judge_purged,
     0,
     0},
    {"purge-vs-timer",
     "two threads purge, a third frees",
     prepare_old,
     {purge_all, purge_by_timer, free_other_held},
     judge_purged,
     0,
     0},
    {"purge-all-vs-free",
     "all is purged while a run waits for its purge, and goes back",
     prepare_old,
     {purge_all, free_other_held, NULL},
     judge_purged,
     0,
     0},
    {"growth-vs-free",
     "more is committed than ever while a run goes back",
     prepare_waiting,
     {grow_beyond_all, free_other_held, NULL},
     judge_purged,
     0,
     0},
    {"record-stack",
     "records are taken, and given back out of turn",
     prepare_records,
     {pop_one, pop_two_push_first, pop_push},
     judge_records,
     0,
     3},
    {0},
};
