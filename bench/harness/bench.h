/**
 * What workloads share. A workload is a function that does a fixed amount of work (by count, never by time), marks the
 * contents of its blocks and verifies them. It sets up, calls bench_start, works, calls bench_stop, tidies up. One
 * process runs one workload, so that peaks are its own; the last line it prints is a JSON object.
 */
#ifndef BENCH_H
#define BENCH_H

#include "alloc.h"
#include "../host/host.h"
#include <string.h>

/** How much to do. A workload names those it reads, with their values, in its entry of the table. */
typedef struct params_s {
  uint64_t ops;     /**< operations in all threads together, or repetitions */
  uint64_t threads; /**< threads that work at the same time */
  uint64_t mib;     /**< live memory */
  uint64_t size;    /**< bytes of a block */
  uint64_t blocks;  /**< live blocks, of each thread if there are several */
  uint64_t rounds;
  uint64_t wait;  /**< milliseconds of doing nothing */
  uint64_t every; /**< of so many blocks one is freed before */
  uint64_t claim; /**< bytes of a block that is asked for then */
  uint64_t align; /**< its alignment; 0: none */
  uint64_t heaps;
  uint64_t subprocs; /**< sub-processes */
  uint64_t reserved; /**< MiB of address space that is reserved in advance */
  uint64_t percent;  /**< by which a block grows */
  uint64_t half;     /**< MiB of blocks, every second of which is freed before */
} params_t;

typedef struct workload_s {
  const char* name;
  void (*run)(const params_t* p);
  const char* usual; /**< values of the parameters */
  const char* tiny;  /**< changed values, for a test that it works */
  const char* what;
} workload_t;

/** Each file of workloads/ ends with its entries, the last one's name NULL. */
extern const workload_t bench_small[], bench_shared[], bench_forms[], bench_time[], bench_growth[],
    bench_memory[], bench_holes[], bench_many[];

void bench_start(void);
/** `ops`: operations done since bench_start. */
void bench_stop(uint64_t ops);
/** Reads the memory now: for the peak of what is committed, and as a point of the course over time if labelled. The time
    this takes isn't counted. One thread at a time. */
void bench_sample(const char* label);
/** What the process has by now is the workload's own, not the allocator's. Returns its RSS. */
uint64_t bench_baseline_kib(void);
/** One more figure for the result. `name` ends with its unit. */
void bench_figure(const char* name, double value);
/** Ends the process with code 3. */
_Noreturn void bench_wrong(const char* what, const void* block, size_t size);
/** Ends the process with code 4: the allocator had no memory. */
_Noreturn void bench_no_memory(size_t size);
/** Ends the process: this workload means nothing for this allocator or on this system, because `why`. */
_Noreturn void bench_skip(const char* why);
/** Heaps, sub-processes and so on; ends the process, as bench_skip, if the allocator has none. */
const bench_heaps_t* bench_heaps(void);
/** Reserves so many MiB of address space; ends the process, as bench_skip, if the allocator has no way to. */
void bench_reserved(uint64_t mib);
/** What the process has now, and what is promised to it. */
double bench_rss_mib(void), bench_commit_mib(void);
/** Sorts `values`. */
double bench_median(double* values, unsigned count);
/** Adds a thread's number of verified blocks. */
void bench_checked(uint64_t count);

/* ---- random numbers (xorshift) ---- */

typedef struct rng_s {
  uint64_t state;
} rng_t;

static inline rng_t rng_make(uint64_t seed) { return (rng_t){(seed + 1) * 0x9E3779B97F4A7C15u}; }

static inline uint64_t rng_next(rng_t* r) {
  r->state ^= r->state >> 12;
  r->state ^= r->state << 25;
  r->state ^= r->state >> 27;
  return r->state * 0x2545F4914F6CDD1Du;
}

/** 0 to `below` - 1; `below` at most 2^32. */
static inline uint64_t rng_below(rng_t* r, uint64_t below) { return ((rng_next(r) >> 32) * below) >> 32; }

/** From `least` to `most`, small ones as often per doubling as large ones. */
static inline size_t rng_size(rng_t* r, size_t least, size_t most) {
  int doublings = 0;
  while ((most >> doublings) > least) doublings++;
  size_t base = least << rng_below(r, (uint64_t)doublings + 1);
  size_t size = base + (size_t)rng_below(r, base);
  return size < most ? size : most;
}

/* ---- contents ---- */
/* A mark depends on the block's address and on the size its owner remembers, so blocks that overlap or move show. */

static inline uint64_t mark_of(const void* p, size_t size) {
  return ((uint64_t)(uintptr_t)p ^ size) * 0x9E3779B97F4A7C15u;
}

static inline void block_mark(void* p, size_t size) {
  uint64_t mark = mark_of(p, size);
  if (size >= 8) {
    memcpy(p, &mark, 8);
    memcpy((char*)p + size - 8, &mark, 8);
  } else {
    memcpy(p, &mark, size);
  }
}

static inline void block_verify(const void* p, size_t size) {
  uint64_t mark = mark_of(p, size), head = 0, tail = 0;
  if (size >= 8) {
    memcpy(&head, p, 8);
    memcpy(&tail, (const char*)p + size - 8, 8);
    /* The two overlap below 16 bytes; the tail was written last. */
    if (tail != mark || (size >= 16 && head != mark)) bench_wrong("contents changed", p, size);
  } else {
    memcpy(&head, p, size);
    memcpy(&tail, &mark, size);
    if (head != tail) bench_wrong("contents changed", p, size);
  }
}

static inline void* block_new(size_t size) {
  void* p = bench_malloc(size);
  if (p == NULL) bench_no_memory(size);
  block_mark(p, size);
  return p;
}

/** Verifies and frees. */
static inline void block_end(void* p, size_t size) {
  block_verify(p, size);
  bench_free(p);
}

/* ---- pauses ---- */
/* The longest calls. The longest of all may be the system's doing; the tenth longest hardly. */

enum { PAUSES = 10 };
typedef struct pauses_s {
  uint64_t top[PAUSES]; /* longest first */
} pauses_t;

static inline void pauses_add(pauses_t* pauses, uint64_t ns) {
  if (ns <= pauses->top[PAUSES - 1]) return;
  int i = PAUSES - 1;
  for (; i > 0 && pauses->top[i - 1] < ns; i--) pauses->top[i] = pauses->top[i - 1];
  pauses->top[i] = ns;
}
void bench_pauses(const pauses_t* pauses);

/* ---- threads ---- */

typedef struct worker_s {
  host_thread_t thread;
  const params_t* params;
  unsigned number;
  void* own;
} worker_t;

/** Starts `run(worker)` in `count` threads, in each with its number and `own`. `workers` has room for them. */
void bench_workers_start(worker_t* workers, const params_t* p, unsigned count, void (*run)(void*), void* own);

/** Runs `run(worker)` in `count` threads, in each with its number and `own`, and waits for their end. */
void bench_workers(const params_t* p, unsigned count, void (*run)(void*), void* own);

#endif
