// Threads killed at every instruction. A thread does one thing with its heap, one machine instruction at a time, and dies
// after the n-th, for each n: no destructor, no notice. Then another thread reaps it, and nothing may be damaged: the
// blocks of both are as they were, all of them can be freed, and what can't be found again is what the dead one had in
// its hands. Every store of the slow paths is tried out that way, in the order in which the compiler put them.
#include "support/check.h"
#include "support/test_data.h"

#include "core/arenas/arena.h"
#include "core/memory/bitmap.h"
#include "core/report/options.h"
#include "core/stats/stats.h"
#include "core/memory/sysmem.h"
#include "core/heaps/theap.h"
#include "core/heaps/theap_pages.h"

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

// Blocks of the victim, of the survivor and of a third thread. What is freed is taken out of the table first: should
// the victim die on the way, nobody knows whether it is free.
typedef struct owned_s {
  char* p;
  size_t size;
} owned_t;

enum { EACH = 24, FULL = 1400, NO_THREAD = 0x7FFFFFF0 };
static const size_t sizes[EACH] = {8,      16,     32,     32,     100,    100,    1000,    1000,
                                   3000,   5000,   5000,   8000,   20000,  20000,  60000,   70000,
                                   200000, 300000, 400000, 700000, 700000, 900000, 1200000, 9000};
static owned_t victims[EACH], survivors[EACH], thirds[EACH];
static char* full[FULL]; // more of the victim: pages without room
static theap_t *victim, *survivor;

static char* take(theap_t* theap, size_t size) {
  bool is_zero;
  char* p = theap_allocate(theap, size, &is_zero);
  assert_non_null(p);
  if (is_zero) assert_int_equal(pattern_nonzero(p, size < 4096 ? size : 4096), SIZE_MAX);
  return p;
}

static void fill(theap_t* theap, owned_t* owned) {
  for (size_t i = 0; i < EACH; i++) {
    owned[i] = (owned_t){take(theap, sizes[i]), sizes[i]};
    pattern_fill_sampled(owned[i].p, sizes[i], i);
  }
}

static char* give(owned_t* owned, size_t i) {
  char* p = owned[i].p;
  owned[i].p = NULL;
  return p;
}

static void check_and_free(owned_t* owned) {
  for (size_t i = 0; i < EACH; i++) {
    if (owned[i].p == NULL) continue;
    assert_int_equal(pattern_mismatch_sampled(owned[i].p, owned[i].size, i), SIZE_MAX);
    assert_int_equal(theap_free(survivor, give(owned, i)), FREE_DONE);
  }
}

static void world_begin(void) {
  survivor = theap_acquire();
  victim = theap_acquire();
  assert_true(survivor != NULL && victim != NULL);
  fill(survivor, survivors);
  fill(victim, victims);
  for (size_t i = 0; i < EACH; i++) thirds[i].p = NULL;
  for (size_t i = 0; i < FULL; i++) full[i] = NULL;
}

typedef struct loss_s {
  size_t pages;  // that are still there although all known blocks were freed
  size_t slices; // that are neither free nor in a page
} loss_t;

static bool count_page(page_t* page, void* arg) {
  loss_t* loss = arg;
  loss->pages++;
  loss->slices -= page->slice_count;
  return true;
}

// The victim is dead: all that it had is found, checked and freed, and used again. What is left then is lost.
static loss_t world_end(void) {
  arena_t* arena = page_map_page(survivors[0].p)->arena;
  theap_reap(survivor, SIZE_MAX);
  check_and_free(victims);
  check_and_free(thirds);
  for (size_t i = 0; i < FULL; i++) theap_free(survivor, full[i]);
  fill(survivor, victims);
  check_and_free(survivors);
  check_and_free(victims);
  theap_collect(survivor, true);
  loss_t loss = {.slices = arena->slice_count - bitmap_count(arena->free, 0, arena->slice_count) -
                           arena->info_slices};
  arena_visit_pages(&count_page, &loss);
  arena_release_all();
  page_map_release();
  theap_reset_all();
  sysmem_release_metadata();
  stats_process = (stats_process_t){0};
  return loss;
}

// ---- what the victim does ---------------------------------------------------------------------------------

static bool is_zero;
static void* volatile result;
static char* freed;

static void allocate_small(void) { result = theap_allocate(victim, 2000, &is_zero); }
static void allocate_tiny(void) { result = theap_allocate(victim, 48, &is_zero); }
static void allocate_medium(void) { result = theap_allocate(victim, 40000, &is_zero); }
static void allocate_large(void) { result = theap_allocate(victim, 130000, &is_zero); }
static void allocate_huge(void) { result = theap_allocate(victim, 3000000, &is_zero); }
static void allocate_at_offset(void) { result = theap_allocate_aligned(victim, 3000, 65536, 40, &is_zero); }
static void grow_huge(void) { is_zero = theap_expand(victim, victims[22].p, 5000000); }

static void take_small(void) { freed = give(victims, 8); }
static void take_medium(void) { freed = give(victims, 14); }
static void take_huge(void) { freed = give(victims, 19); }
static void take_other_small(void) { freed = give(survivors, 4); }
static void take_other_huge(void) { freed = give(survivors, 20); }
static void free_taken(void) { theap_free(victim, freed); }

// Large pages beyond what a theap keeps: they go back to the arena one by one.
static void take_large(void) {
  theap_free(victim, give(victims, 15));
  theap_free(victim, give(victims, 16));
  freed = give(victims, 17);
}

static void free_by_survivor(void) {
  for (size_t i = 0; i < EACH; i += 2) theap_free(survivor, give(victims, i));
  for (size_t i = 1; i < EACH; i += 2) theap_free(survivor, give(survivors, i));
}
static void collect(void) { theap_collect(victim, false); }
static void collect_all(void) { theap_collect(victim, true); }
static void purge(void) { arena_purge(true, &victim->hands); }
static void give_back(void) { theap_give_back(victim); }

// Pages without room, in some of which the survivor has freed a block since.
static void fill_pages(void) {
  for (size_t i = 0; i < FULL; i++) full[i] = take(victim, 120);
  for (size_t i = 100; i < FULL; i += 500) {
    theap_free(survivor, full[i]);
    full[i] = NULL;
  }
}
static void drain(void) { mailbox_drain(victim); }
static void take_of_full(void) {
  fill_pages();
  freed = full[10];
  full[10] = NULL;
}
static void survivor_fills(void) { // the next free goes to a page whose owner wants to be told
  for (size_t i = 0; i < FULL; i++) full[i] = take(survivor, 120);
  freed = full[10];
  full[10] = NULL;
}

static theap_t* fill_third(void) {
  theap_t* third = theap_acquire();
  assert_non_null(third);
  fill(third, thirds);
  third->holder = THEAP_HOLDER(THEAP_OWNED, NO_THREAD, theap_holder_number(third->holder)); // dead by now
  return third;
}
static void make_orphan(void) { theap_give_back(fill_third()); }
static void absorb(void) { theap_absorb_one(victim); }
static void adopt(void) { theap_acquire(); }
static void make_dead(void) { fill_third(); }
static void reap(void) { theap_reap(victim, SIZE_MAX); }

typedef struct act_s {
  const char* name;
  void (*prepare)(void); // by the test's thread, or NULL
  void (*run)(void);     // by the victim
  size_t pages;          // that hold what it may have in its hands: a block, or a list of them just taken
} act_t;

static const act_t acts[] = {
    {"allocate from a page", NULL, allocate_small, 1},
    {"allocate, new page", NULL, allocate_tiny, 1},
    {"allocate, new medium page", NULL, allocate_medium, 1},
    {"allocate, new large page", NULL, allocate_large, 1},
    {"allocate, huge", NULL, allocate_huge, 1},
    {"allocate at an offset", NULL, allocate_at_offset, 1},
    {"grow a huge block", NULL, grow_huge, 1},
    {"free", take_small, free_taken, 1},
    {"free, medium page", take_medium, free_taken, 1},
    {"free, large page", take_large, free_taken, 1},
    {"free, huge", take_huge, free_taken, 1},
    {"free, from a full page", take_of_full, free_taken, 1},
    {"free, another's", take_other_small, free_taken, 1},
    {"free, another's full page", survivor_fills, free_taken, 1},
    {"free, another's huge", take_other_huge, free_taken, 1},
    {"drain the mailbox", fill_pages, drain, 1},
    {"collect", free_by_survivor, collect, 1},
    {"collect all", free_by_survivor, collect_all, 1},
    {"purge", free_by_survivor, purge, 1},
    {"give back at the thread's end", free_by_survivor, give_back, 1},
    {"absorb an orphan", make_orphan, absorb, 1},
    {"adopt an orphan", make_orphan, adopt, 0},
    {"reap a dead thread", make_dead, reap, 1},
};

// ---- dying ------------------------------------------------------------------------------------------------

static uint32_t victim_id;
static bool survived;

static void* run_victim(void* arg) {
  const act_t* act = arg;
  victim_id = os_thread_id();
  atomic_set_release(&victim->holder,
                     THEAP_HOLDER(THEAP_OWNED, victim_id, theap_holder_number(victim->holder)));
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

// About as many deaths as asked for, spread over all of its instructions; short acts at each of them.
static void test_all(void** state) {
  MI_UNUSED(state);
  const char* text = getenv("MI_TEST_COUNT");
  size_t wanted = text != NULL && atoi(text) > 0 ? (size_t)atoi(text) : 16;
  for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
    const act_t* act = &acts[i];
    loss_t loss;
    assert_false(die_after(act, UINT64_MAX - 1, &loss));
    uint64_t length = steps;
    if (length == 0) {
      print_message("no single steps: this machine, or what it runs in, ignores the processor's trap flag\n");
      skip();
    }
    assert_true(length > 20); // all of it
    uint64_t stride = length < 200 ? 1 : length / wanted + 1;
    size_t deaths = 0, with_slices = 0, most_pages = 0, most_slices = 0;
    for (uint64_t n = i % stride; n < length && die_after(act, n, &loss); n += stride) {
      deaths++;
      if (loss.slices > 0) with_slices++;
      if (loss.pages > most_pages) most_pages = loss.pages;
      if (loss.slices > most_slices) most_slices = loss.slices;
    }
    printf("%-30s %6llu instructions, killed after %4zu of them: pages left <= %zu, slices lost %zu times, "
           "<= %zu\n",
           act->name, (unsigned long long)length, deaths, most_pages, with_slices, most_slices);
    assert_true(most_pages <= act->pages);
    // Between claiming slices and writing them down, and between striking them out and letting them go.
    assert_true(with_slices * 4 <= deaths + 8);
    assert_true(most_slices <= PAGE_LARGE_SLICES);
  }
}

int main(void) {
  os_init();
  options_init();
  option_set(option_arena_reserve, 64 * 1024); // KiB: purges look at all of it
  struct sigaction action = {.sa_handler = on_step};
  sigaction(SIGTRAP, &action, NULL);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_all)};
  return check_run(tests);
}
