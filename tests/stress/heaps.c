// Heaps under stress: threads that make heaps, allocate in each other's, hand blocks over, free them elsewhere, delete and
// destroy heaps while others hold blocks of them, and end. Contents are verified. On Windows others are killed in the
// middle of it.
//
//   heaps [--seed N] [--threads N] [--heaps N] [--rounds N] [--seconds N]
//
// Rules that programs have to keep are kept by a word per heap: nobody allocates in a heap that is being deleted or
// destroyed, and nobody touches a block of one that is being destroyed. Freeing while a heap is being deleted is allowed,
// and happens.
#include "support/test_data.h"
#include "support/test_thread.h"

#include <mimalloc-stats.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(_WIN32)
#include "support/terminate.h"
#endif

enum {
  THREADS_MAX = 64,
  HEAPS_MAX = 1000,
  OWN_BLOCKS = 300,
  EXCHANGE_SLOTS = 1000,
  STEPS = 4000,
  LIVES_MAX = 1 << 22
};

// One life of a heap. `word`: who is inside, and what has become of it.
#define ALLOCATOR ((uint64_t)1)
#define TOUCHER   ((uint64_t)1 << 16)
#define INSIDE    (((uint64_t)1 << 32) - 1)
#define DELETED   ((uint64_t)1 << 32) // or about to be: its blocks live on
#define DESTROYED ((uint64_t)1 << 33)
typedef struct life_s {
  uint64_t word;
  mi_heap_t* heap;
} life_t;

static life_t lives[LIVES_MAX];
static uint32_t life_count;
static uint32_t slots[HEAPS_MAX]; // the present life in each
static size_t heap_count;

// A block, and the life of the heap that it was made in.
typedef struct item_s {
  char* block;
  size_t size;
  uint64_t tag;
  uint32_t life;
} item_t;

static item_t* exchange[EXCHANGE_SLOTS];
static size_t allocated, handed_over, checked, lost, deleted, destroyed, threads_run, killed;

static void count(size_t* counter) { __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED); }

static void fail(const char* what, const void* block, size_t detail) {
  fprintf(stderr, "heaps: %s, %p, detail %lu\n", what, block, (unsigned long)detail);
  fflush(stderr);
  abort();
}

// ---- going in and out -----------------------------------------------------------------------------------------

static bool go_in(life_t* life, uint64_t as, uint64_t forbidden) {
  uint64_t word = __atomic_load_n(&life->word, __ATOMIC_ACQUIRE);
  do {
    if ((word & forbidden) != 0) return false;
  } while (
      !__atomic_compare_exchange_n(&life->word, &word, word + as, true, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
  return true;
}
static void go_out(life_t* life, uint64_t as) { __atomic_fetch_sub(&life->word, as, __ATOMIC_ACQ_REL); }

static bool begin_allocating(life_t* life) { return go_in(life, ALLOCATOR, DELETED | DESTROYED); }
static bool begin_touching(life_t* life) { return go_in(life, TOUCHER, DESTROYED); }

// The end of a life, by one thread: deletion when nobody allocates, destruction when nobody is inside at all.
static bool begin_end(life_t* life, uint64_t as) {
  uint64_t word = __atomic_load_n(&life->word, __ATOMIC_ACQUIRE);
  uint64_t inside = as == DELETED ? TOUCHER - 1 : INSIDE;
  if ((word & (inside | DELETED | DESTROYED)) != 0) return false;
  return __atomic_compare_exchange_n(&life->word, &word, word | as, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE);
}

static uint32_t new_life(void) {
  uint32_t number = __atomic_fetch_add(&life_count, 1, __ATOMIC_RELAXED);
  if (number >= LIVES_MAX) fail("too many heaps for this test: fewer seconds, please", NULL, number);
  lives[number].heap = mi_heap_new();
  if (lives[number].heap == NULL) fail("no heap", NULL, number);
  return number;
}

static void end_heap(size_t slot, bool destroys) {
  uint32_t number = __atomic_load_n(&slots[slot], __ATOMIC_ACQUIRE);
  life_t* life = &lives[number];
  if (!begin_end(life, destroys ? DESTROYED : DELETED)) return;
  __atomic_store_n(&slots[slot], new_life(), __ATOMIC_RELEASE); // others find it while the old one goes
  if (destroys) {
    mi_heap_destroy(life->heap);
    count(&destroyed);
  } else {
    mi_heap_delete(life->heap);
    count(&deleted);
  }
}

// ---- blocks -------------------------------------------------------------------------------------------------------

static void check(const item_t* item) {
  if (mi_usable_size(item->block) < item->size) fail("the usable size is too small", item->block, item->size);
  size_t wrong = pattern_mismatch_sampled(item->block, item->size, item->tag);
  if (wrong != SIZE_MAX) fail("the contents were overwritten", item->block, wrong);
  count(&checked);
}

static size_t any_size(test_random_t* random) {
  size_t kind = test_random_below(random, 200);
  return test_random_size(random, 1, kind == 0 ? 2 << 20 : kind < 20 ? 32 * 1024 : 1024);
}

static item_t* allocate(test_random_t* random) {
  uint32_t number = __atomic_load_n(&slots[test_random_below(random, heap_count)], __ATOMIC_ACQUIRE);
  life_t* life = &lives[number];
  if (!begin_allocating(life)) return NULL; // it is going
  item_t* item = mi_malloc(sizeof(item_t));
  size_t size = any_size(random);
  char* block;
  switch (test_random_below(random, 6)) {
  case 0:
    block = mi_heap_zalloc(life->heap, size);
    if (block != NULL && pattern_nonzero(block, size) != SIZE_MAX)
      fail("zeroed memory isn't zero", block, size);
    break;
  case 1: {
    size_t alignment = (size_t)1 << test_random_below(random, 14);
    block = mi_heap_malloc_aligned(life->heap, size, alignment);
    if (((uintptr_t)block & (alignment - 1)) != 0) fail("not aligned", block, alignment);
    break;
  }
  case 2: {
    mi_theap_t* theap = mi_heap_theap(life->heap);
    block = theap == NULL ? NULL : mi_theap_malloc(theap, size);
    break;
  }
  default:
    block = mi_heap_malloc(life->heap, size);
  }
  if (block == NULL || item == NULL) fail("out of memory", block, size);
  if (mi_heap_of(block) != life->heap) fail("in another heap", block, size);
  *item = (item_t){block, size, test_random_next(random), number};
  pattern_fill_sampled(block, size, item->tag);
  go_out(life, ALLOCATOR);
  count(&allocated);
  return item;
}

// Frees the block, unless its heap was destroyed meanwhile.
static void release(item_t* item) {
  if (item == NULL) return;
  life_t* life = &lives[item->life];
  if (begin_touching(life)) {
    check(item);
    mi_free(item->block);
    go_out(life, TOUCHER);
  } else {
    count(&lost);
  }
  mi_free(item);
}

static item_t* resize(item_t* item, test_random_t* random) {
  life_t* from = &lives[item->life];
  uint32_t number = __atomic_load_n(&slots[test_random_below(random, heap_count)], __ATOMIC_ACQUIRE);
  life_t* to = &lives[number];
  if (!begin_touching(from)) {
    release(item);
    return NULL;
  }
  check(item);
  if (begin_allocating(to)) {
    size_t size = any_size(random);
    char* block = mi_heap_realloc(to->heap, item->block, size);
    if (block == NULL) fail("out of memory", item->block, size);
    // Where it stayed it is in its old heap; when that was deleted, in the main one, and it may be either while it goes.
    mi_heap_t* in = mi_heap_of(block);
    if (in == to->heap) {
      item->life = number;
    } else if (block != item->block) {
      fail("moved into another heap", block, size);
    }
    item->block = block;
    item->size = size;
    item->tag = test_random_next(random);
    pattern_fill_sampled(block, size, item->tag);
    go_out(to, ALLOCATOR);
  }
  go_out(from, TOUCHER);
  return item;
}

// ---- threads ------------------------------------------------------------------------------------------------------

typedef struct worker_s {
  test_thread_t thread;
  uint64_t seed;
  item_t* own[OWN_BLOCKS]; // goes on to the successor
} worker_t;

static void work(void* arg) {
  worker_t* worker = arg;
  test_random_t random = {worker->seed};
  item_t** own = worker->own;
  for (size_t step = 0; step < STEPS; step++) {
    size_t i = test_random_below(&random, OWN_BLOCKS);
    size_t what = test_random_below(&random, 1000);
    if (what < 500) {
      release(own[i]);
      own[i] = allocate(&random);
    } else if (what < 750) {
      size_t slot = test_random_below(&random, EXCHANGE_SLOTS);
      own[i] = __atomic_exchange_n(&exchange[slot], own[i], __ATOMIC_ACQ_REL);
      if (own[i] != NULL) count(&handed_over);
    } else if (what < 850) {
      release(own[i]);
      own[i] = NULL;
    } else if (what < 950) {
      if (own[i] != NULL) own[i] = resize(own[i], &random);
    } else if (what < 980) {
      end_heap(test_random_below(&random, heap_count), what % 2 == 0);
    } else if (what < 998) {
      life_t* life =
          &lives[__atomic_load_n(&slots[test_random_below(&random, heap_count)], __ATOMIC_ACQUIRE)];
      if (begin_allocating(life)) {
        mi_heap_collect(life->heap, what % 8 == 0);
        go_out(life, ALLOCATOR);
      }
    } else {
      mi_collect(what % 2 == 0);
    }
  }
  count(&threads_run);
}

#if defined(_WIN32)
// Threads that are killed have heaps to themselves: what they were inside of is never left.
enum { VICTIM_HEAPS = 4 };
typedef struct victim_s {
  mi_heap_t* heaps[VICTIM_HEAPS];
  uint64_t seed;
  size_t steps;
} victim_t;

static DWORD WINAPI suffer(void* arg) {
  victim_t* victim = arg;
  test_random_t random = {victim->seed};
  void* blocks[64] = {NULL};
  for (;;) {
    size_t i = test_random_below(&random, 64);
    mi_free(blocks[i]);
    blocks[i] = mi_heap_malloc(victim->heaps[test_random_below(&random, VICTIM_HEAPS)], any_size(&random));
    if (blocks[i] == NULL) fail("out of memory", NULL, 0);
    memset(blocks[i], 1, 1);
    if (test_random_below(&random, 500) == 0) mi_heap_collect(victim->heaps[0], true);
    if (__atomic_add_fetch(&victim->steps, 1, __ATOMIC_RELAXED) == SIZE_MAX) return 0; // never: it is killed
  }
}

// A killed thread's stack stays: under Wine 3 MiB each, of the 2 GiB that a 32-bit process has.
#define KILLS_MAX (sizeof(void*) == 4 ? (size_t)200 : SIZE_MAX)

static void kill_some(test_random_t* random) {
  for (size_t i = 0; i < 3 && killed < KILLS_MAX; i++) {
    victim_t victim = {.seed = test_random_next(random)};
    for (size_t k = 0; k < VICTIM_HEAPS; k++) victim.heaps[k] = mi_heap_new();
    HANDLE thread = CreateThread(NULL, 0, suffer, &victim, 0, NULL);
    if (thread == NULL) fail("no thread", NULL, GetLastError());
    size_t steps = 50 + test_random_below(random, 2000);
    while (__atomic_load_n(&victim.steps, __ATOMIC_RELAXED) < steps) SwitchToThread();
    if (!test_terminate_in_code(thread, 0)) fail("can't be killed", NULL, GetLastError());
    CloseHandle(thread);
    count(&killed);
    for (size_t k = 0; k < VICTIM_HEAPS; k++) {
      if (k % 2 == 0) {
        mi_heap_destroy(victim.heaps[k]);
      } else {
        mi_heap_delete(victim.heaps[k]);
      }
    }
  }
}
#else
static void kill_some(test_random_t* random) { (void)random; } // POSIX has no such thing
#endif

static bool count_heap(mi_heap_t* heap, void* arg) {
  (void)heap;
  count(arg);
  return true;
}

// ---- the program ----------------------------------------------------------------------------------------------------

static const char* const names[] = {"--seed", "--threads", "--heaps", "--rounds", "--seconds"};
enum { NAMES = 5 };

static int read_arguments(int argc, char** argv, unsigned long long values[NAMES]) {
  for (int i = 1; i < argc; i += 2) {
    size_t known = NAMES;
    for (size_t k = 0; k < NAMES; k++) {
      if (strcmp(argv[i], names[k]) == 0) known = k;
    }
    char* end = "?";
    if (known < NAMES && i + 1 < argc) values[known] = strtoull(argv[i + 1], &end, 0);
    if (*end == 0) continue;
    fprintf(stderr, "usage: heaps [--seed N] [--threads 1..%d] [--heaps 1..%d] [--rounds N] [--seconds N]\n",
            THREADS_MAX, HEAPS_MAX);
    return 2;
  }
  return 0;
}

int main(int argc, char** argv) {
  unsigned long long values[NAMES] = {20260101, 8, 200, 0, 5};
  if (read_arguments(argc, argv, values) != 0) return 2;
  size_t threads = (size_t)values[1];
  heap_count = (size_t)values[2];
  if (threads < 1 || threads > THREADS_MAX || heap_count < 1 || heap_count > HEAPS_MAX) {
    fprintf(stderr, "heaps: --threads takes 1 to %d, --heaps 1 to %d\n", THREADS_MAX, HEAPS_MAX);
    return 2;
  }
  printf("heaps: --seed %llu --threads %llu --heaps %llu\n", values[0], values[1], values[2]);
  fflush(stdout);

  for (size_t i = 0; i < heap_count; i++) slots[i] = new_life();
  static worker_t workers[THREADS_MAX];
  test_random_t random = {values[0]};
  time_t start = time(NULL);
  size_t round = 0;
  for (; values[3] != 0 ? round < values[3] : round < 2 || time(NULL) - start < (time_t)values[4]; round++) {
    for (size_t i = 0; i < threads; i++) {
      workers[i].seed = test_random_next(&random);
      test_thread_start(&workers[i].thread, work, &workers[i]);
    }
    kill_some(&random);
    for (size_t i = 0; i < threads; i++) test_thread_join(&workers[i].thread);
  }
  for (size_t i = 0; i < heap_count; i++) end_heap(i, i % 2 == 0);
  for (size_t i = 0; i < heap_count; i++) mi_heap_delete(lives[slots[i]].heap);
  for (size_t i = 0; i < threads; i++) {
    for (size_t k = 0; k < OWN_BLOCKS; k++) release(workers[i].own[k]);
  }
  for (size_t i = 0; i < EXCHANGE_SLOTS; i++) release(exchange[i]);

  printf("heaps: %lu rounds, %lu threads, %lu blocks, %lu handed over, %lu checked, %lu gone with their "
         "heap, %lu heaps "
         "deleted, %lu destroyed, %lu threads killed\n",
         (unsigned long)round, (unsigned long)threads_run, (unsigned long)allocated,
         (unsigned long)handed_over, (unsigned long)checked, (unsigned long)lost, (unsigned long)deleted,
         (unsigned long)destroyed, (unsigned long)killed);
  if (threads_run != threads * round || deleted < round || destroyed < round || checked < allocated / 10 ||
      lost == 0)
    fail("too little was done", NULL, checked);
  size_t heaps = 0;
  mi_subproc_visit_heaps(mi_subproc_main(), count_heap, &heaps);
  if (heaps != 1) fail("heaps are left", NULL, heaps);
  mi_collect(true);
  mi_stats_t_decl(stats);
  mi_stats_get(&stats);
  if (killed == 0 && stats.malloc_huge.current != 0)
    fail("huge blocks are left", NULL, (size_t)stats.malloc_huge.current);
  if (killed == 0 && stats.malloc_normal.current > 1 << 20)
    fail("blocks are left", NULL, (size_t)stats.malloc_normal.current);
  return 0;
}
