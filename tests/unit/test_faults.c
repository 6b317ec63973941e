// Every allocation path survives a failure of each operating system call: the caller gets NULL or a good block, nothing
// is lost, later calls work.
//
// Each run is a forked child with an untouched allocator: it arms the fault, goes through a scenario, disarms, goes
// through it again (now nothing may fail), frees all, unloads the library, and looks at the books:
//   - each slice of an arena belongs to a page or is free
//   - what the statistics say is reserved and committed is what the operating system layer knows to be
//   - after the unload nothing is reserved, except what it was refused to release
// A first run without a fault counts the calls; then each of them fails alone, and then it and all that follow.
#include "support/check.h"
#include "support/os_faults.h"
#include "support/test_data.h"
#include "support/test_thread.h"

#include "core/arenas/arena.h"
#include "core/memory/bitmap.h"
#include "core/stats/stats.h"
#include "lifecycle/runtime.h"
#include "os_posix.h"

#include <mimalloc.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

// ---- blocks of a run ------------------------------------------------------------------------------------------------

enum { BLOCKS_MAX = 4096 };

typedef struct kept_s {
  char* p;
  size_t size, checked; // contents beyond `checked` bytes aren't ours to look at (sparse huge blocks)
} kept_t;

static kept_t kept[BLOCKS_MAX];
static size_t kept_count;
static bool must_succeed; // nothing is armed

enum { ARENAS_MAX = 64 };
static arena_t* arenas_seen[ARENAS_MAX];
static size_t arenas_seen_count;

static void die(const char* what, size_t detail) {
  fprintf(stderr, "  failed: %s (%zu)\n", what, detail);
  fflush(stderr);
  _exit(1);
}

#define REQUIRE(condition, detail)                                                                           \
  do {                                                                                                       \
    if (!(condition)) die(#condition, (size_t)(detail));                                                     \
  } while (0)

static bool failure_is_allowed(void) { return !must_succeed && os_faults_injected() > 0; }

static void note_arena(const void* p) {
  const page_t* page = page_map_page(p);
  if (page->is_outside) return;
  arena_t* arena = page->arena;
  size_t i = 0;
  while (i < arenas_seen_count && arenas_seen[i] != arena) i++;
  if (i < arenas_seen_count) return;
  REQUIRE(arenas_seen_count < ARENAS_MAX, i);
  arenas_seen[arenas_seen_count++] = arena;
}

// Takes note of a fresh block; NULL is fine after an injected fault.
static char* keep_sparse(void* p, size_t size, size_t alignment, size_t checked) {
  if (p == NULL) {
    REQUIRE(failure_is_allowed(), size);
    return NULL;
  }
  REQUIRE(kept_count < BLOCKS_MAX, kept_count);
  REQUIRE((uintptr_t)p % alignment == 0, (uintptr_t)p);
  REQUIRE(mi_usable_size(p) >= size, mi_usable_size(p));
  note_arena(p);
  REQUIRE(os_posix_is_committed(p, size > 0 ? size : 1), size);
  pattern_fill_sampled(p, checked, (uintptr_t)p);
  kept[kept_count++] = (kept_t){.p = p, .size = size, .checked = checked};
  return p;
}

// Touching every page of large blocks would take most of the time.
static char* keep(void* p, size_t size, size_t alignment) {
  return keep_sparse(p, size, alignment, size < 100000 ? size : 100000);
}

static void check_and_free(kept_t* block) {
  if (block->p == NULL) return;
  REQUIRE(pattern_mismatch_sampled(block->p, block->checked, (uintptr_t)block->p) == SIZE_MAX, block->size);
  mi_free(block->p);
  block->p = NULL;
}

static void free_all(void) {
  for (size_t i = 0; i < kept_count; i += 2) check_and_free(&kept[i]); // leaves holes first
  for (size_t i = 1; i < kept_count; i += 2) check_and_free(&kept[i]);
  kept_count = 0;
}

// ---- scenarios ------------------------------------------------------------------------------------------------------

static void several(size_t count, size_t size) {
  for (size_t i = 0; i < count; i++) keep(mi_malloc(size), size, size > 8 ? 16 : 8);
}

static void scenario_small(void) {
  for (size_t size = 1; size <= 8192; size = size * 2 + 3) several(60, size);
}
static void scenario_medium(void) { several(150, 20000); }
static void scenario_large(void) { several(40, 300000); }
static void scenario_huge(void) { several(12, 3 * MI_MIB + 5); }

// Beyond what an arena takes: a reservation of its own.
static void scenario_giant(void) {
  for (size_t i = 0; i < 2; i++) {
    size_t size = 2500 * MI_MIB + i;
    keep_sparse(mi_malloc(size), size, 16, 100);
    keep_sparse(mi_malloc_aligned(size, 64 * MI_MIB), size, 64 * MI_MIB, 100);
  }
}

static void scenario_aligned(void) {
  for (size_t alignment = 1; alignment <= 4 * MI_MIB; alignment *= 4) {
    keep(mi_malloc_aligned(100, alignment), 100, alignment);
    keep(mi_malloc_aligned(70000, alignment), 70000, alignment);
    keep(mi_malloc_aligned(MI_MIB, alignment), MI_MIB, alignment);
    char* p = mi_malloc_aligned_at(5000, alignment, 24);
    if (p != NULL) REQUIRE(((uintptr_t)p + 24) % alignment == 0, alignment);
    keep(p, 5000, 1);
  }
  for (size_t alignment = 16 * MI_MIB; alignment <= MI_GIB; alignment *= 8) {
    keep(mi_malloc_aligned(1000, alignment), 1000, alignment);
    keep(mi_zalloc_aligned(3 * MI_MIB, alignment), 3 * MI_MIB, alignment);
  }
  void* p = &p;
  int error = mi_posix_memalign(&p, 4096, 100000);
  REQUIRE(error == 0 || (error == ENOMEM && failure_is_allowed()), error);
  if (error == 0) keep(p, 100000, 4096);
}

// Used memory that was given back (or whose giving back failed) must read as zero again.
static void scenario_zeroed(void) {
  static const size_t sizes[] = {16, 1000, 9000, 70000, 400000, 2 * MI_MIB};
  for (size_t round = 0; round < 3; round++) {
    for (size_t k = 0; k < 6; k++) {
      char* blocks[8] = {NULL};
      size_t count = sizes[k] < 400000 ? 8 : 2;
      for (size_t i = 0; i < count; i++) {
        blocks[i] = round == 0 ? mi_malloc(sizes[k]) : mi_calloc(1, sizes[k]);
        if (blocks[i] == NULL) {
          REQUIRE(failure_is_allowed(), sizes[k]);
          continue;
        }
        if (round > 0) REQUIRE(pattern_nonzero(blocks[i], sizes[k]) == SIZE_MAX, sizes[k]);
        note_arena(blocks[i]);
        memset(blocks[i], 0xAB, sizes[k]);
      }
      for (size_t i = 0; i < count; i++) mi_free(blocks[i]);
    }
    mi_collect(true); // purges
  }
}

static void scenario_zeroed_reset(void) {
  mi_option_set(mi_option_purge_decommits, 0);
  scenario_zeroed();
}

// Purges on the way, not on demand.
static void scenario_purged_soon(void) {
  mi_option_set(mi_option_purge_delay, 0);
  for (size_t i = 0; i < 8; i++) {
    several(3, MI_MIB);
    several(10, 50000);
    free_all();
  }
}

static void scenario_realloc(void) {
  for (size_t step = 0; step < 2; step++) {
    size_t size = 10, filled = 0;
    char* p = NULL;
    for (; size < 12 * MI_MIB; size = size * 3 + step) {
      char* q = mi_realloc(p, size);
      if (q == NULL) {
        REQUIRE(failure_is_allowed(), size);
        break; // the old block is still there
      }
      note_arena(q);
      REQUIRE(pattern_mismatch(q, filled, 5) == SIZE_MAX, size);
      pattern_fill(q, size, 5);
      p = q;
      filled = size;
    }
    while (filled > 20) {
      p = mi_realloc(p, filled / 5);
      REQUIRE(p != NULL, filled); // a smaller size never fails: the old block would do
      filled /= 5;
      REQUIRE(pattern_mismatch(p, filled, 5) == SIZE_MAX, filled);
    }
    REQUIRE(p == NULL || pattern_mismatch(p, filled, 5) == SIZE_MAX, filled);
    mi_free(p);
    // The form that frees on failure.
    p = mi_malloc(5000);
    if (p != NULL) p = mi_reallocf(p, 5 * MI_MIB);
    if (p == NULL) REQUIRE(failure_is_allowed(), 5 * MI_MIB);
    mi_free(p);
  }
}

enum { THREAD_BLOCKS = 40 };
typedef struct worker_s {
  test_thread_t thread;
  char* blocks[THREAD_BLOCKS];
} worker_t;

static void run_worker(void* arg) {
  worker_t* worker = arg;
  for (size_t i = 0; i < THREAD_BLOCKS; i++) {
    size_t size = 50 + i * 2000;
    worker->blocks[i] = mi_malloc(size);
    if (worker->blocks[i] != NULL) pattern_fill(worker->blocks[i], size, i);
  }
}

static void scenario_threads(void) {
  for (size_t round = 0; round < 4; round++) {
    worker_t workers[2] = {0};
    for (size_t i = 0; i < 2;
         i++) { // one after the other, so that the calls come in the same order every time
      test_thread_start(&workers[i].thread, run_worker, &workers[i]);
      test_thread_join(&workers[i].thread);
    }
    for (size_t i = 0; i < 2 * THREAD_BLOCKS; i++) {
      size_t k = i % THREAD_BLOCKS, size = 50 + k * 2000;
      char* p = workers[i / THREAD_BLOCKS].blocks[k];
      if (p == NULL) {
        REQUIRE(failure_is_allowed(), size);
      } else {
        REQUIRE(pattern_mismatch(p, size, k) == SIZE_MAX, size);
        note_arena(p);
        mi_free(p);
      }
    }
  }
}

// A thread without a heap of its own.
static void scenario_late(void) {
  keep(mi_malloc(100), 100, 16);
  runtime_thread_detach();
  several(30, 100);
  several(5, 100000);
  several(2, 2 * MI_MIB);
}

static const struct scenario_s {
  const char* name;
  void (*run)(void);
} scenarios[] = {
    {"small blocks", scenario_small},
    {"medium blocks", scenario_medium},
    {"large blocks", scenario_large},
    {"huge blocks", scenario_huge},
    {"giant blocks", scenario_giant},
    {"aligned blocks", scenario_aligned},
    {"zeroed blocks, purge decommits", scenario_zeroed},
    {"zeroed blocks, purge resets", scenario_zeroed_reset},
    {"purge without delay", scenario_purged_soon},
    {"realloc", scenario_realloc},
    {"threads", scenario_threads},
    {"detached thread", scenario_late},
};

// ---- one run --------------------------------------------------------------------------------------------------------

typedef struct shared_s { // between a child and its parent
  size_t calls[OS_CALL_KINDS + 1];
} shared_t;

static shared_t* shared;

static void check_books(size_t at) {
  os_posix_balance_t balance = os_posix_balance();
  REQUIRE((size_t)stats_process.reserved.current == balance.reserved, at);
  if ((size_t)stats_process.committed.current != balance.committed) {
    fprintf(stderr, "  counted %lld committed bytes, but there are %zu\n",
            (long long)stats_process.committed.current, balance.committed);
    die("the committed bytes in the statistics are wrong", at);
  }
}

static bool count_slices(page_t* page, void* arg) {
  if (!page->is_outside) *(size_t*)arg += page->slice_count;
  return true;
}

// Each slice of the arenas belongs to a page or is free.
static void check_slices(size_t at) {
  size_t taken = 0, in_pages = 0;
  for (size_t i = 0; i < arenas_seen_count; i++) {
    arena_t* arena = arenas_seen[i];
    taken += arena->slice_count - bitmap_count(arena->free, 0, arena->slice_count);
  }
  arena_visit_pages(&subproc_main()->arenas, &count_slices, &in_pages);
  if (taken != in_pages) {
    fprintf(stderr, "  %zu slices of the arenas are taken, but there are pages on %zu\n", taken, in_pages);
    die("slices were lost", at);
  }
}

static void run_in_child(void (*run)(void), os_call_t kind, size_t n, bool and_later) {
  must_succeed = n == 0;
  mi_option_set(mi_option_purge_delay, 1000000); // purges come on demand, not by the clock
  if (n == 0) {
    os_faults_none();
  } else if (and_later) {
    os_faults_fail_from(kind, n);
  } else {
    os_faults_fail_nth(kind, n);
  }
  run();
  check_books(1);
  // With the fault still armed everything can be freed.
  free_all();
  mi_collect(true);
  check_books(2);
  check_slices(2);
  // As many calls as in the run without faults; in secure builds chance has a say in which blocks wait, and pages with them.
  bool may_come_short = MI_SECURE && n > shared->calls[kind] / 2;
  if (n > 0 && !may_come_short) REQUIRE(os_faults_injected() > 0, n);
  if (n == 0) {
    for (int k = 0; k <= OS_CALL_KINDS; k++) shared->calls[k] = os_faults_calls((os_call_t)k);
  }

  os_faults_none();
  must_succeed = true;
  run();
  free_all();
  mi_collect(true);
  check_books(3);
  check_slices(3);
  runtime_process_unload();
  os_posix_balance_t balance = os_posix_balance();
  if (balance.reserved != os_faults_refused_release()) {
    fprintf(stderr, "  %zu reservations of %zu bytes are left (%zu were refused)\n", balance.reservations,
            balance.reserved, os_faults_refused_release());
    die("memory was lost", balance.reserved);
  }
}

// Returns whether the child ended well.
static bool run_scenario(const struct scenario_s* scenario, os_call_t kind, size_t n, bool and_later) {
  fflush(NULL);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    alarm(60);
    signal(SIGSEGV, SIG_DFL); // not cmocka's: it would go on with the other cases, here in the child
    signal(SIGABRT, SIG_DFL);
    run_in_child(scenario->run, kind, n, and_later);
    _exit(0);
  }
  int status = 0;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
  fprintf(stderr, "  %s, %s call %zu%s fails: ended with %s %d\n", scenario->name, os_faults_name(kind), n,
          and_later ? " and all later" : "", WIFSIGNALED(status) ? "signal" : "exit code",
          WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
  return false;
}

static void test_scenario(void** state) {
  const struct scenario_s* scenario = *state;
  size_t failed = 0, runs = 0;
  if (!run_scenario(scenario, OS_CALL_ANY, 0, false)) fail_msg("%s fails without any fault", scenario->name);
  size_t calls[OS_CALL_KINDS + 1];
  memcpy(calls, shared->calls, sizeof(calls));
  assert_true(calls[OS_CALL_ANY] > 0);
  for (int kind = 0; kind < OS_CALL_KINDS; kind++) {
    // All of the first calls, then ever fewer: later ones come from the same places.
    for (size_t n = 1; n <= calls[kind]; n += n < 16 ? 1 : n / 4) {
      failed += !run_scenario(scenario, (os_call_t)kind, n, false);
      failed += !run_scenario(scenario, (os_call_t)kind, n, true);
      runs += 2;
    }
  }
  for (size_t n = 1; n <= calls[OS_CALL_ANY];
       n += n < 12 ? 1 : n / 4) { // the system gives nothing at all from there on
    failed += !run_scenario(scenario, OS_CALL_ANY, n, true);
    runs++;
  }
  printf("%s: %zu runs; calls:", scenario->name, runs);
  for (int kind = 0; kind < OS_CALL_KINDS; kind++)
    printf(" %s %zu", os_faults_name((os_call_t)kind), calls[kind]);
  printf("\n");
  if (failed > 0) fail_msg("%s: %zu of %zu runs failed", scenario->name, failed, runs);
}

int main(void) {
  setenv("MIMALLOC_FIXED_ADDRESSES", "1", 1); // as many calls of the system in each run
  enum { SCENARIOS = sizeof(scenarios) / sizeof(scenarios[0]) };
  shared = mmap(NULL, sizeof(shared_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 99;
  static struct CMUnitTest tests[SCENARIOS];
  for (size_t i = 0; i < SCENARIOS; i++) {
    tests[i] = (struct CMUnitTest){.name = scenarios[i].name,
                                   .test_func = test_scenario,
                                   .initial_state = (void*)(uintptr_t)&scenarios[i]};
  }
  return check_run(tests);
}
