// Threads that allocate, resize, hand over, check and free blocks of random sizes; threads that end and leave
// blocks to their successors. Any damage, any block given out twice, any lost hand-over ends the program with
// a message.
//
//   stress [--seed N] [--threads N] [--rounds N] [--seconds N] [--observers N]
//
// Observers ask, while the others work, what any thread may ask at any time: statistics, sizes of blocks that
// are being handed over, whose an address is, options.
//
// The work is a function of the seed; how the threads interleave is not.
#include "support/test_data.h"
#include "support/test_thread.h"

#include <mimalloc.h>
#include <mimalloc-stats.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
  THREADS_MAX = 64,
  OWN_BLOCKS = 200,
  EXCHANGE_SLOTS = 500,
  STEPS = 3000,
  SIZE_MIN = 8,
  SIZE_LARGEST = 1 << 20
};

// A block tells what it holds: its size, and a tag that its contents follow from.
typedef struct header_s {
  size_t size;
  uint64_t tag;
} header_t;

static header_t* exchange[EXCHANGE_SLOTS]; // swapped atomically: who takes a block out has it
static size_t handed_over, checked, resized, threads_run;

static void fail(const char* what, const header_t* block, size_t detail) {
  fprintf(stderr, "stress: %s, block %p, detail %zu\n", what, (const void*)block, detail);
  fflush(stderr);
  abort();
}

static void fill(header_t* block, size_t size, uint64_t tag) {
  block->size = size;
  if (size <= sizeof(header_t)) return; // no room for contents
  block->tag = tag;
  pattern_fill_sampled(block + 1, size - sizeof(header_t), tag ^ size);
}

static void check(const header_t* block) {
  size_t size = block->size;
  if (size < SIZE_MIN || size > SIZE_LARGEST) fail("the size was overwritten", block, size);
  if (mi_usable_size(block) < size) fail("the usable size is too small", block, size);
  if (size > sizeof(header_t)) {
    size_t wrong = pattern_mismatch_sampled(block + 1, size - sizeof(header_t), block->tag ^ size);
    if (wrong != SIZE_MAX) fail("the contents were overwritten", block, wrong);
  }
  __atomic_fetch_add(&checked, 1, __ATOMIC_RELAXED);
}

static header_t* allocate(test_random_t* random) {
  size_t kind = test_random_below(random, 100);
  // Mostly small blocks, as in programs; one in a hundred up to the largest size.
  size_t largest = kind == 0 ? SIZE_LARGEST : kind < 10 ? 32 * 1024 : 1024;
  size_t size = test_random_size(random, SIZE_MIN, largest);
  uint64_t tag = test_random_next(random);
  header_t* block;
  if (kind % 10 == 3) {
    block = mi_calloc(1, size);
    if (block != NULL) {
      size_t wrong = pattern_nonzero(block, size);
      if (wrong != SIZE_MAX) fail("zeroed memory isn't zero", block, wrong);
    }
  } else if (kind % 20 == 7) {
    size_t alignment = (size_t)1 << test_random_below(random, 14);
    block = mi_malloc_aligned(size, alignment);
    if (((uintptr_t)block & (alignment - 1)) != 0) fail("not aligned", block, alignment);
  } else {
    block = mi_malloc(size);
  }
  if (block == NULL) fail("out of memory", block, size);
  fill(block, size, tag);
  return block;
}

static header_t* resize(header_t* block, test_random_t* random) {
  size_t old_size = block->size;
  uint64_t old_tag = old_size > sizeof(header_t) ? block->tag : 0;
  size_t largest = old_size < SIZE_LARGEST / 2 ? old_size * 2 : SIZE_LARGEST;
  size_t size = test_random_size(random, SIZE_MIN, largest);
  block = mi_realloc(block, size);
  if (block == NULL) fail("out of memory", block, size);
  if (size > sizeof(header_t) && old_size > sizeof(header_t)) {
    size_t kept = (size < old_size ? size : old_size) - sizeof(header_t);
    size_t wrong = pattern_mismatch(block + 1, kept < 64 ? kept : 64, old_tag ^ old_size);
    if (wrong != SIZE_MAX) fail("resizing changed the contents", block, wrong);
  }
  fill(block, size, test_random_next(random));
  __atomic_fetch_add(&resized, 1, __ATOMIC_RELAXED);
  return block;
}

static void release(header_t* block) {
  if (block == NULL) return;
  check(block);
  mi_free(block);
}

// ---- observers --------------------------------------------------------------------------------------------

enum { OBSERVERS_MAX = 8 };
static uint32_t observers_stop;
static size_t observations;

static void observe(void* arg) {
  test_random_t random = {(uintptr_t)arg};
  static char text[OBSERVERS_MAX][64 * 1024];
  while (__atomic_load_n(&observers_stop, __ATOMIC_ACQUIRE) == 0) {
    // A block that is its holder's while we look: taken out of the exchange, looked at, put back.
    size_t slot = test_random_below(&random, EXCHANGE_SLOTS);
    header_t* block = __atomic_exchange_n(&exchange[slot], NULL, __ATOMIC_ACQ_REL);
    if (block != NULL) {
      check(block);
      if (!mi_is_in_heap_region(block)) fail("not the allocator's", block, 0);
      (void)mi_check_owned(block);
      block = __atomic_exchange_n(&exchange[slot], block, __ATOMIC_ACQ_REL);
      if (block != NULL) mi_free(block);
    }
    if (mi_stats_get_json(sizeof(text[0]), text[(uintptr_t)arg]) == NULL) fail("no statistics", NULL, 0);
    size_t elapsed, user, system, rss, peak_rss, commit, peak_commit, faults;
    mi_process_info(&elapsed, &user, &system, &rss, &peak_rss, &commit, &peak_commit, &faults);
    mi_option_set(mi_option_purge_delay, (long)test_random_below(&random, 100));
    mi_collect(test_random_below(&random, 10) == 0);
    __atomic_fetch_add(&observations, 1, __ATOMIC_RELAXED);
  }
}

typedef struct worker_s {
  test_thread_t thread;
  uint64_t seed;
  header_t* inherited[OWN_BLOCKS]; // of the predecessor; the successor frees them
} worker_t;

static void work(void* arg) {
  worker_t* worker = arg;
  test_random_t random = {worker->seed};
  header_t* own[OWN_BLOCKS] = {NULL};
  for (size_t step = 0; step < STEPS; step++) {
    size_t i = test_random_below(&random, OWN_BLOCKS);
    switch (test_random_below(&random, 8)) {
    case 0: // hand one over, take another one
    case 1: {
      size_t slot = test_random_below(&random, EXCHANGE_SLOTS);
      own[i] = __atomic_exchange_n(&exchange[slot], own[i], __ATOMIC_ACQ_REL);
      if (own[i] != NULL) {
        check(own[i]);
        __atomic_fetch_add(&handed_over, 1, __ATOMIC_RELAXED);
      }
      break;
    }
    case 2:
      if (own[i] != NULL) {
        check(own[i]);
        own[i] = resize(own[i], &random);
      }
      break;
    case 3:
      release(worker->inherited[i]);
      worker->inherited[i] = NULL;
      break;
    default:
      release(own[i]);
      own[i] = allocate(&random);
    }
  }
  for (size_t i = 0; i < OWN_BLOCKS; i++) {
    release(worker->inherited[i]);
    worker->inherited[i] = own[i]; // this thread ends and leaves its blocks
  }
  __atomic_fetch_add(&threads_run, 1, __ATOMIC_RELAXED);
}

static unsigned long long number(int argc, char** argv, const char* name, unsigned long long otherwise) {
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], name) == 0) {
      char* end;
      unsigned long long value = strtoull(argv[i + 1], &end, 0);
      if (*end == 0 && argv[i + 1][0] != 0) return value;
      fprintf(stderr, "stress: %s takes a number, not '%s'\n", name, argv[i + 1]);
      exit(2);
    }
  }
  return otherwise;
}

static void check_arguments(int argc, char** argv) {
  static const char* const names[] = {"--seed", "--threads", "--rounds", "--seconds", "--observers"};
  for (int i = 1; i < argc; i += 2) {
    bool known = false;
    for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
      known = known || strcmp(argv[i], names[k]) == 0;
    if (!known || i + 1 == argc) {
      fprintf(stderr, "usage: stress [--seed N] [--threads N] [--rounds N] [--seconds N] [--observers N]\n");
      exit(2);
    }
  }
}

int main(int argc, char** argv) {
  check_arguments(argc, argv);
  uint64_t seed = number(argc, argv, "--seed", 20260101);
  size_t threads = (size_t)number(argc, argv, "--threads", 8);
  size_t rounds = (size_t)number(argc, argv, "--rounds", SIZE_MAX);
  time_t seconds = (time_t)number(argc, argv, "--seconds", rounds == SIZE_MAX ? 2 : 1000000);
  size_t observers = (size_t)number(argc, argv, "--observers", 0);
  if (observers > OBSERVERS_MAX) {
    fprintf(stderr, "stress: --observers takes 0 to %d\n", OBSERVERS_MAX);
    return 2;
  }
  if (threads < 1 || threads > THREADS_MAX) {
    fprintf(stderr, "stress: --threads takes 1 to %d\n", THREADS_MAX);
    return 2;
  }
  printf("stress: --seed %llu --threads %zu\n", (unsigned long long)seed, threads);
  fflush(stdout);

  static worker_t workers[THREADS_MAX];
  static test_thread_t watching[OBSERVERS_MAX];
  for (size_t i = 0; i < observers; i++) test_thread_start(&watching[i], observe, (void*)i);
  test_random_t random = {seed};
  time_t start = time(NULL);
  size_t round = 0;
  for (; round < rounds && (round < 2 || time(NULL) - start < seconds); round++) {
    for (size_t i = 0; i < threads; i++) {
      workers[i].seed = test_random_next(&random);
      test_thread_start(&workers[i].thread, work, &workers[i]);
    }
    for (size_t i = 0; i < threads; i++) test_thread_join(&workers[i].thread);
    // A successor inherits from another thread's predecessor, too.
    for (size_t i = 0; i + 1 < threads; i += 2) {
      for (size_t k = 0; k < OWN_BLOCKS; k++) {
        header_t* block = workers[i].inherited[k];
        workers[i].inherited[k] = workers[i + 1].inherited[k];
        workers[i + 1].inherited[k] = block;
      }
    }
  }
  __atomic_store_n(&observers_stop, 1u, __ATOMIC_RELEASE);
  for (size_t i = 0; i < observers; i++) test_thread_join(&watching[i]);
  for (size_t i = 0; i < threads; i++) {
    for (size_t k = 0; k < OWN_BLOCKS; k++) release(workers[i].inherited[k]);
  }
  for (size_t i = 0; i < EXCHANGE_SLOTS; i++) release(exchange[i]);
  printf("stress: %zu rounds, %zu threads, %zu blocks handed over, %zu resized, %zu checked\n", round,
         threads_run, handed_over, resized, checked);
  if (observers > 0) printf("stress: %zu observers looked %zu times\n", observers, observations);
  if (observers > 0 && observations == 0) fail("nobody observed", NULL, 0);
  if (handed_over < threads * round || threads_run != threads * round)
    fail("too little was done", NULL, handed_over);
  return 0;
}
