// Costs that must not grow: with the heap's size, with the number of threads, with what a thread took over. Each is
// run at several sizes, a process for each; what one operation costs should be the same at all of them.
#include "../harness/bench.h"

static size_t block_count(const params_t* p) { return (size_t)((p->mib << 20) / p->size); }

// Pairs of malloc and free of one size: the average without, then the pauses with a clock around each.
static void time_pairs(size_t size, uint64_t ops) {
  pauses_t pauses = {0};
  bench_start();
  for (uint64_t i = 0; i < ops; i++) block_end(block_new(size), size);
  bench_stop(ops);
  for (uint64_t i = 0; i < ops; i++) {
    uint64_t begun = host_pause_clock_ns();
    void* b = bench_malloc(size);
    bench_free(b);
    pauses_add(&pauses, host_pause_clock_ns() - begun);
  }
  bench_checked(ops);
  bench_pauses(&pauses);
}

// Fills the table with blocks, and tells what one cost.
static void fill(void** blocks, size_t count, size_t size) {
  pauses_t pauses = {0};
  uint64_t cpu = host_cpu_ns();
  for (size_t i = 0; i < count; i++) {
    // Every 16th call is timed, so that the clock doesn't become the workload.
    if (i % 16 != 0) {
      blocks[i] = block_new(size);
      continue;
    }
    uint64_t begun = host_pause_clock_ns();
    blocks[i] = bench_malloc(size);
    pauses_add(&pauses, host_pause_clock_ns() - begun);
    if (blocks[i] == NULL) bench_no_memory(size);
    block_mark(blocks[i], size);
  }
  bench_figure("fill_cpu_ns", (double)(host_cpu_ns() - cpu) / (double)count);
  bench_figure("fill_pause_max_us", (double)pauses.top[0] / 1e3);
}

static void drop(void** blocks, size_t count, size_t size) {
  uint64_t checked = 0, cpu = host_cpu_ns();
  for (size_t i = 0; i < count; i++) {
    if (blocks[i] == NULL) continue;
    block_end(blocks[i], size);
    checked++;
  }
  bench_checked(checked);
  bench_figure("drop_cpu_ns", (double)(host_cpu_ns() - cpu) / (double)(checked > 0 ? checked : 1));
}

static void half_empty(const params_t* p) {
  size_t count = block_count(p);
  void** blocks = host_table(count * sizeof *blocks);
  fill(blocks, count, p->size);
  for (size_t i = 0; i < count; i += 2) {
    block_end(blocks[i], p->size);
    blocks[i] = NULL;
  }
  bench_sample(NULL);
  time_pairs(2000, p->ops);
  drop(blocks, count, p->size);
}

static void full_heap(const params_t* p) {
  size_t count = block_count(p);
  void** blocks = host_table(count * sizeof *blocks);
  fill(blocks, count, p->size);
  bench_sample(NULL);
  time_pairs(2000, p->ops);
  drop(blocks, count, p->size);
}

// ---- large blocks in full address space ----

typedef struct claim_s {
  void** blocks;
  size_t count; // of each thread
} claim_t;

static void claim_worker(void* arg) {
  const worker_t* w = arg;
  const claim_t* claim = w->own;
  void** mine = claim->blocks + w->number * claim->count;
  rng_t rng = rng_make(w->number);
  uint64_t ops = w->params->ops / w->params->threads;
  size_t size = w->params->size;
  for (uint64_t i = 0; i < ops; i++) {
    void** slot = &mine[rng_below(&rng, claim->count)];
    block_end(*slot, size);
    *slot = block_new(size);
  }
  bench_checked(ops);
}

static void large_in_full(const params_t* p) {
  claim_t claim;
  claim.count = block_count(p) / p->threads;
  size_t count = claim.count * p->threads;
  if (claim.count == 0) bench_skip("more threads than blocks");
  claim.blocks = host_table(count * sizeof(void*));
  fill(claim.blocks, count, p->size);
  bench_sample(NULL);
  bench_start();
  bench_workers(p, (unsigned)p->threads, claim_worker, &claim);
  bench_stop(p->ops / p->threads * p->threads);
  drop(claim.blocks, count, p->size);
}

// ---- threads that take over what another left, and end ----

typedef struct heir_s {
  void** blocks;
  size_t count, size;
  bool allocates;
  uint64_t first_ns, end_ns, end_cpu_ns;
} heir_t;

static void heir_fills(void* arg) {
  heir_t* h = arg;
  for (size_t i = 0; i < h->count; i++) h->blocks[i] = block_new(h->size);
}

static void heir_runs(void* arg) {
  heir_t* h = arg;
  if (h->allocates) {
    uint64_t begun = host_pause_clock_ns();
    void* b = block_new(h->size);
    h->first_ns = host_pause_clock_ns() - begun;
    block_end(b, h->size);
  }
  h->end_ns = host_now_ns();
  h->end_cpu_ns = host_cpu_ns();
}

static void heirs(const params_t* p, heir_t* h, bool allocate, const char* wall, const char* cpu,
                  const char* first) {
  unsigned count = (unsigned)p->ops;
  double* values = host_table(3 * count * sizeof *values);
  h->allocates = allocate;
  for (unsigned i = 0; i < count; i++) {
    host_thread_t t;
    host_thread_start(&t, heir_runs, h);
    host_thread_join(&t);
    values[i] = (double)(host_now_ns() - h->end_ns) / 1e3;
    values[count + i] = (double)(host_cpu_ns() - h->end_cpu_ns) / 1e3;
    values[2 * count + i] = (double)h->first_ns / 1e3;
  }
  bench_figure(wall, bench_median(values, count));
  bench_figure(cpu, bench_median(values + count, count));
  if (first != NULL) bench_figure(first, bench_median(values + 2 * count, count));
}

static void thread_exit(const params_t* p) {
  heir_t h = {.count = block_count(p), .size = p->size};
  h.blocks = host_table((h.count + 1) * sizeof(void*));
  host_thread_t t;
  host_thread_start(&t, heir_fills, &h);
  host_thread_join(&t);
  bench_sample(NULL);
  bench_start();
  heirs(p, &h, true, "exit_us", "exit_cpu_us", "first_malloc_us");
  bench_stop(p->ops);
  heirs(p, &h, false, "empty_exit_us", "empty_exit_cpu_us", NULL);
  drop(h.blocks, h.count, h.size);
}

// ---- calls that look at all threads ----

typedef struct sleepers_s {
  host_semaphore_t ready, go;
} sleepers_t;

enum { SLEEPER_BLOCKS = 20, HALF_BYTES = 512 };

static void sleeper(void* arg) {
  worker_t* w = arg;
  sleepers_t* s = w->own;
  rng_t rng = rng_make(w->number);
  void* blocks[SLEEPER_BLOCKS];
  size_t sizes[SLEEPER_BLOCKS];
  for (unsigned i = 0; i < SLEEPER_BLOCKS; i++) {
    sizes[i] = rng_size(&rng, 16, 2048);
    blocks[i] = block_new(sizes[i]);
  }
  host_semaphore_post(&s->ready);
  host_semaphore_wait(&s->go);
  for (unsigned i = 0; i < SLEEPER_BLOCKS; i++) block_end(blocks[i], sizes[i]);
  bench_checked(SLEEPER_BLOCKS);
}

static worker_t* sleepers_start(const params_t* p, sleepers_t* s) {
  worker_t* workers = host_table((p->threads + 1) * sizeof *workers);
  host_semaphore_init(&s->ready);
  host_semaphore_init(&s->go);
  bench_workers_start(workers, p, p->threads, sleeper, s);
  for (unsigned i = 0; i < p->threads; i++) host_semaphore_wait(&s->ready);
  return workers;
}

static void sleepers_end(const params_t* p, sleepers_t* s, worker_t* workers) {
  for (unsigned i = 0; i < p->threads; i++) host_semaphore_post(&s->go);
  for (unsigned i = 0; i < p->threads; i++) host_thread_join(&workers[i].thread);
}

static void collect_all(const params_t* p) {
  if (bench_traits.collect == NULL) bench_skip("this allocator has no call that gives memory back");
  sleepers_t s;
  worker_t* workers = sleepers_start(p, &s);
  bench_start();
  for (uint64_t i = 0; i < p->ops; i++) bench_traits.collect();
  bench_stop(p->ops);
  sleepers_end(p, &s, workers);
}

// Blocks that stay, in pages with room for as many. What the program has besides when memory runs out.
static void** half_begin(const params_t* p, size_t* count) {
  *count = (size_t)((p->half << 20) / HALF_BYTES);
  void** blocks = host_table((*count + 1) * sizeof *blocks);
  for (size_t i = 0; i < *count; i++) blocks[i] = block_new(HALF_BYTES);
  for (size_t i = 0; i < *count; i += 2) {
    block_end(blocks[i], HALF_BYTES);
    blocks[i] = NULL;
  }
  return blocks;
}

static void out_of_memory(const params_t* p) {
  sleepers_t s;
  bench_reserved(p->reserved);
  worker_t* workers = sleepers_start(p, &s);
  size_t half_count;
  void** half = half_begin(p, &half_count);
  size_t most = block_count(p) * 4, count = 0;
  void** blocks = host_table(most * sizeof *blocks);
  if (!host_limit_commit(p->mib << 10)) bench_skip("this system can't limit the memory of a process");
  while (count < most && (blocks[count] = bench_malloc(p->size)) != NULL)
    block_mark(blocks[count++], p->size);
  if (count == most) bench_wrong("four times the limit was allocated", blocks[0], p->size);
  pauses_t pauses = {0};
  bench_start();
  for (uint64_t i = 0; i < p->ops; i++) {
    uint64_t begun = host_pause_clock_ns();
    void* b = bench_malloc(p->size);
    pauses_add(&pauses, host_pause_clock_ns() - begun);
    // The allocator may find some more memory where it hadn't looked.
    if (b != NULL && count < most) {
      block_mark(b, p->size);
      blocks[count++] = b;
    }
  }
  bench_stop(p->ops);
  bench_figure("served_mib", (double)count * (double)p->size / 1048576);
  bench_pauses(&pauses);
  for (size_t i = 0; i < count; i++) block_end(blocks[i], p->size);
  bench_checked(count);
  block_end(block_new(p->size), p->size);
  for (size_t i = 1; i < half_count; i += 2) block_end(half[i], HALF_BYTES);
  sleepers_end(p, &s, workers);
}

const workload_t bench_growth[] = {
    {"half-empty", half_empty, "mib=256 size=512 ops=400000", "mib=2 ops=1000",
     "malloc(2000) and free while every second block of the heap is free"},
    {"full-heap", full_heap, "mib=1024 size=8000 ops=400000", "mib=2 ops=1000",
     "malloc(2000) and free in a heap of full pages; fill: what building it cost per block"},
    {"large-in-full", large_in_full, "mib=16384 size=1048576 threads=1 ops=100000",
     "mib=64 ops=200 threads=2",
     "a large block freed and another allocated while the rest of the address space in use is full"},
    {"thread-exit", thread_exit, "mib=1024 size=8000 ops=50", "mib=2 ops=3",
     "threads that allocate one block and end, after one that left a heap behind; empty: threads that "
     "allocate nothing"},
    {"collect", collect_all, "threads=1000 ops=5", "threads=4 ops=2",
     "giving memory back by force while threads sleep that have a few blocks each"},
    {"out-of-memory", out_of_memory, "threads=500 mib=64 size=8000 ops=1000 half=0 reserved=0",
     "threads=4 mib=16 ops=10 half=1 reserved=64",
     "a malloc that fails while threads sleep that have a few blocks each, there is a half-empty heap of "
     "`half` MiB, and so much is reserved"},
    {0}};
