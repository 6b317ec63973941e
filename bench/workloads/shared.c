// Random sizes in one thread and in several; blocks that go from thread to thread; threads that come and go.
#include "../harness/bench.h"

typedef struct slot_s {
  void* block;
  size_t size;
} slot_t;

static slot_t slot_new(rng_t* rng, size_t least, size_t most) {
  slot_t s = {.size = rng_size(rng, least, most)};
  s.block = block_new(s.size);
  return s;
}

// ---- random sizes ----

static void random_worker(void* arg) {
  const worker_t* w = arg;
  const params_t* p = w->params;
  slot_t* slots = (slot_t*)w->own + w->number * p->blocks;
  rng_t rng = rng_make(w->number);
  uint64_t ops = p->ops / p->threads;
  for (uint64_t i = 0; i < p->blocks; i++) slots[i] = slot_new(&rng, 8, p->size);
  for (uint64_t i = 0; i < ops; i++) {
    slot_t* s = &slots[rng_below(&rng, p->blocks)];
    block_end(s->block, s->size);
    *s = slot_new(&rng, 8, p->size);
  }
  if (w->number == 0) bench_sample(NULL);
  for (uint64_t i = 0; i < p->blocks; i++) block_end(slots[i].block, slots[i].size);
  bench_checked(ops + p->blocks);
}

static void random_sizes(const params_t* p) {
  slot_t* slots = host_table(p->threads * p->blocks * sizeof *slots);
  bench_start();
  bench_workers(p, (unsigned)p->threads, random_worker, slots);
  bench_stop((p->ops / p->threads + p->blocks) * p->threads);
}

// ---- server: objects handed to successor threads ----

typedef struct chain_s {
  slot_t* slots;
  uint64_t generation;
  rng_t rng;
} chain_t;

static void server_thread(void* arg) {
  const worker_t* w = arg;
  const params_t* p = w->params;
  chain_t* chain = (chain_t*)w->own + w->number;
  uint64_t ops = p->ops / p->threads / p->rounds;
  for (uint64_t i = 0; i < ops; i++) {
    slot_t* s = &chain->slots[rng_below(&chain->rng, p->blocks)];
    block_end(s->block, s->size);
    *s = slot_new(&chain->rng, 16, p->size);
  }
  bench_checked(ops);
}

static void server(const params_t* p) {
  chain_t* chains = host_table(p->threads * sizeof *chains);
  worker_t* workers = host_table(p->threads * sizeof *workers);
  for (unsigned i = 0; i < p->threads; i++) {
    chains[i].rng = rng_make(i);
    chains[i].slots = host_table(p->blocks * sizeof(slot_t));
    for (uint64_t k = 0; k < p->blocks; k++) chains[i].slots[k] = slot_new(&chains[i].rng, 16, p->size);
  }
  bench_start();
  // Each thread's successor starts when it has ended; the chains don't wait for each other's ends for long, as all
  // do the same work.
  for (uint64_t round = 0; round < p->rounds; round++) {
    for (unsigned i = 0; i < p->threads; i++) {
      if (round > 0) host_thread_join(&workers[i].thread);
      workers[i] = (worker_t){.params = p, .number = i, .own = chains};
      host_thread_start(&workers[i].thread, server_thread, &workers[i]);
    }
  }
  for (unsigned i = 0; i < p->threads; i++) host_thread_join(&workers[i].thread);
  bench_stop(p->ops / p->threads / p->rounds * p->threads * p->rounds);
  for (unsigned i = 0; i < p->threads; i++) {
    for (uint64_t k = 0; k < p->blocks; k++) block_end(chains[i].slots[k].block, chains[i].slots[k].size);
  }
}

// ---- producers and consumers ----

enum { RING = 64, BATCH = 128 };

typedef struct ring_s {
  slot_t batches[RING][BATCH];
  _Alignas(128) uint64_t written;
  _Alignas(128) uint64_t read;
} ring_t;

static void produce(const params_t* p, ring_t* ring, uint64_t batches, rng_t* rng) {
  for (uint64_t i = 0; i < batches; i++) {
    while (i - __atomic_load_n(&ring->read, __ATOMIC_ACQUIRE) == RING) host_yield();
    for (unsigned k = 0; k < BATCH; k++) ring->batches[i % RING][k] = slot_new(rng, 16, p->size);
    __atomic_store_n(&ring->written, i + 1, __ATOMIC_RELEASE);
  }
}

static void consume(ring_t* ring, uint64_t batches) {
  for (uint64_t i = 0; i < batches; i++) {
    while (__atomic_load_n(&ring->written, __ATOMIC_ACQUIRE) == i) host_yield();
    for (unsigned k = 0; k < BATCH; k++)
      block_end(ring->batches[i % RING][k].block, ring->batches[i % RING][k].size);
    __atomic_store_n(&ring->read, i + 1, __ATOMIC_RELEASE);
  }
  bench_checked(batches * BATCH);
}

static void pipe_worker(void* arg) {
  const worker_t* w = arg;
  const params_t* p = w->params;
  ring_t* ring = (ring_t*)w->own + w->number / 2;
  uint64_t batches = p->ops / (p->threads / 2) / BATCH;
  rng_t rng = rng_make(w->number);
  if (w->number % 2 == 0) {
    produce(p, ring, batches, &rng);
  } else {
    consume(ring, batches);
  }
}

static void producer_consumer(const params_t* p) {
  if (p->threads % 2 != 0 || p->threads == 0) bench_skip("the number of threads must be even");
  ring_t* rings = host_table(p->threads / 2 * sizeof *rings);
  bench_start();
  bench_workers(p, (unsigned)p->threads, pipe_worker, rings);
  bench_stop(p->ops / (p->threads / 2) / BATCH * BATCH * (p->threads / 2));
}

// ---- stress: all sizes, blocks handed over through shared places ----

enum { HANDED = 1024 };

typedef struct stress_s {
  slot_t* own;
  void* handed[HANDED]; // a block whose first word is its size
} stress_t;

// A block for handing over: its size is in it, and the mark behind that.
static void* parcel_new(rng_t* rng, size_t most) {
  size_t size = rng_size(rng, 32, most);
  char* p = bench_malloc(size);
  if (p == NULL) bench_no_memory(size);
  memcpy(p, &size, sizeof size);
  block_mark(p + 16, size - 16);
  return p;
}

static void parcel_end(char* p) {
  size_t size;
  memcpy(&size, p, sizeof size);
  block_verify(p + 16, size - 16);
  bench_free(p);
}

static void stress_worker(void* arg) {
  const worker_t* w = arg;
  const params_t* p = w->params;
  stress_t* shared = w->own;
  slot_t* slots = shared->own + w->number * p->blocks;
  rng_t rng = rng_make(w->number);
  uint64_t ops = p->ops / p->threads;
  for (uint64_t i = 0; i < ops; i++) {
    if (rng_below(&rng, 4) == 0) {
      void* old = __atomic_exchange_n(&shared->handed[rng_below(&rng, HANDED)], parcel_new(&rng, p->size / 8),
                                      __ATOMIC_ACQ_REL);
      if (old != NULL) parcel_end(old);
      continue;
    }
    slot_t* s = &slots[rng_below(&rng, p->blocks)];
    if (s->block != NULL) block_end(s->block, s->size);
    *s = slot_new(&rng, 8, p->size);
  }
  if (w->number == 0) bench_sample(NULL);
  for (uint64_t i = 0; i < p->blocks; i++) {
    if (slots[i].block != NULL) block_end(slots[i].block, slots[i].size);
  }
  bench_checked(ops);
}

static void stress(const params_t* p) {
  stress_t* shared = host_table(sizeof *shared);
  shared->own = host_table(p->threads * p->blocks * sizeof(slot_t));
  bench_start();
  bench_workers(p, (unsigned)p->threads, stress_worker, shared);
  for (unsigned i = 0; i < HANDED; i++) {
    if (shared->handed[i] != NULL) parcel_end(shared->handed[i]);
  }
  bench_stop(p->ops / p->threads * p->threads);
}

// ---- threads that come and go ----

static void churn_thread(void* arg) {
  const worker_t* w = arg;
  const params_t* p = w->params;
  enum { BLOCKS_MOST = 512 };
  slot_t slots[BLOCKS_MOST];
  rng_t rng = rng_make(w->number);
  uint64_t count = p->blocks < BLOCKS_MOST ? p->blocks : BLOCKS_MOST;
  for (uint64_t i = 0; i < count; i++) slots[i] = slot_new(&rng, 8, p->size);
  for (uint64_t i = 0; i < count; i++) block_end(slots[i].block, slots[i].size);
  bench_checked(count);
}

static void churn(const params_t* p) {
  worker_t* workers = host_table(p->threads * sizeof *workers);
  bench_start();
  for (uint64_t i = 0; i < p->ops; i++) {
    worker_t* w = &workers[i % p->threads];
    if (i >= p->threads) host_thread_join(&w->thread);
    *w = (worker_t){.params = p, .number = (unsigned)i};
    host_thread_start(&w->thread, churn_thread, w);
  }
  for (uint64_t i = 0; i < p->threads && i < p->ops; i++) host_thread_join(&workers[i].thread);
  bench_stop(p->ops);
}

const workload_t bench_shared[] = {
    {"random", random_sizes, "ops=15000000 threads=1 blocks=4000 size=4096", "ops=5000 threads=2 blocks=100",
     "blocks of random sizes, 8 bytes to 4 KiB, replaced at random, each thread its own"},
    {"server", server, "ops=4000000 threads=4 blocks=2000 size=1024 rounds=100",
     "ops=5000 rounds=5 blocks=100", "objects handed to successor threads; threads come and go"},
    {"pipe", producer_consumer, "ops=4000000 threads=2 size=512", "ops=5000",
     "producers and consumers: every block is freed by another thread"},
    {"stress", stress, "ops=1000000 threads=4 blocks=200 size=1048576", "ops=2000 blocks=20",
     "8 bytes to 1 MiB, blocks also handed from thread to thread"},
    {"churn", churn, "ops=2000 threads=10 blocks=100 size=2048", "ops=30 blocks=10",
     "threads that allocate a little, free it and end, ten at a time"},
    {"churn-empty", churn, "ops=2000 threads=10 blocks=0 size=2048", "ops=30",
     "threads that do nothing, ten at a time: what churn costs without allocation"},
    {0}};
