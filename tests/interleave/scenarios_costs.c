// What a thread that is alone pays for sharing: atomic changes (a read and a write in one), each of which takes a cache line
// from the other processors. No order of threads matters here; the counts are exact, the same in each run, and what
// docs/design.md tells.
#include "interleave/scenarios.h"
#include "interleave/world.h"
#include "api/alloc_fast.h"

#define LARGE ((size_t)20 * SLICE_SIZE) // goes back to its arena when it is freed
#define KEPT  ((size_t)2 * SLICE_SIZE)  // its page is kept for the next one
enum { SMALL = 1024, PAGES = 32, BLOCKS = PAGES * SLICE_SIZE / SMALL, TURNS = 8 };

static void* blocks[BLOCKS];

// As a program has it: what is freed waits for its purge.
static void prepare_alone(void) {
  world_begin(A);
  option_set(option_purge_delay, 1000);
}
static void do_nothing(void) {}

static void* take(size_t size) {
  bool is_zero;
  void* p = block_malloc_fast(theap_current(), size);
  if (p == NULL) p = theap_allocate(theap_current(), size, &is_zero);
  world_assert(p != NULL);
  return p;
}
static void give(void* p) {
  if (!block_free_fast(p)) world_assert(theap_free(theap_current(), p) == FREE_DONE);
}

static void pair_large(void) { give(take(LARGE)); }
static void pair_kept(void) { give(take(KEPT)); }
static void fill_and_empty_pages(void) {
  for (int i = 0; i < BLOCKS; i++) blocks[i] = take(SMALL);
  for (int i = 0; i < BLOCKS; i++) give(blocks[i]);
}

// The first turn pays for what is made once: arenas, tables, commits.
static void check_turns(void (*turn)(void), uint64_t most) {
  schedule_as(A);
  turn();
  for (int i = 0; i < TURNS; i++) {
    uint64_t before = schedule_changes();
    turn();
    uint64_t changes = schedule_changes() - before;
    if (changes > most)
      schedule_fail("%llu atomic changes, %llu at most were expected", (unsigned long long)changes,
                    (unsigned long long)most);
  }
  schedule_as(0);
  world_end((world_loss_t){0});
}
// The claim, the mark of a huge page, the owner's word, the mark again, the release.
static void judge_large(void) { check_turns(pair_large, 5); }
// The owner's word, which a second free finds taken.
static void judge_kept(void) { check_turns(pair_kept, 1); }
// Each page: the claim, the owner's word when it is full, and again at its first free, the release. Some are the thread's own
// business: what it tells the process's statistics now and then.
static void judge_pages(void) { check_turns(fill_and_empty_pages, PAGES * 9 / 2); }

const scenario_t scenarios_costs[] = {{"cost-of-large-pair",
                                       "a block that goes back to its arena is taken and freed",
                                       prepare_alone,
                                       {do_nothing, NULL, NULL},
                                       judge_large,
                                       0,
                                       0},
                                      {"cost-of-kept-pair",
                                       "a block whose page a thread keeps is taken and freed",
                                       prepare_alone,
                                       {do_nothing, NULL, NULL},
                                       judge_kept,
                                       0,
                                       0},
                                      {"cost-of-page",
                                       "pages are filled and emptied",
                                       prepare_alone,
                                       {do_nothing, NULL, NULL},
                                       judge_pages,
                                       0,
                                       0},
                                      {0}};
