// Memory that must come back, and memory that must not be taken: what matters is the course of RSS and of what is
// committed, not time.
#include "../harness/bench.h"

// A block and its size in one word, for slots that threads exchange: addresses have 47 bits, sizes here 16.
typedef uint64_t slot_t;
static slot_t slot_of(void* p, size_t size) { return (uint64_t)(uintptr_t)p | ((uint64_t)size << 48); }
static void* slot_block(slot_t s) { return (void*)(uintptr_t)(s & 0xFFFFFFFFFFFFu); }
static size_t slot_size(slot_t s) { return (size_t)(s >> 48); }
static slot_t slot_new(size_t size) { return slot_of(block_new(size), size); }
static void slot_end(slot_t s) { block_end(slot_block(s), slot_size(s)); }

static double slots_mib(const slot_t* slots, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; i++) sum += (double)slot_size(slots[i]);
  return sum / 1048576;
}

static void slots_end(slot_t* slots, size_t count) {
  for (size_t i = 0; i < count; i++) {
    slot_end(slots[i]);
    slots[i] = 0;
  }
  bench_checked(count);
}

// ---- what threads leave behind ----

typedef struct leave_s {
  slot_t* left; // of all threads that ever ran
  uint64_t round;
  size_t least, most, temporary;
  host_semaphore_t ready, go, full, end;
} leave_t;

static void leaver(void* arg) {
  const worker_t* w = arg;
  leave_t* l = w->own;
  const params_t* p = w->params;
  rng_t rng = rng_make(l->round * p->threads + w->number);
  slot_t temporary[256];
  size_t kept = 0;
  slot_t* mine = l->left + (l->round * p->threads + w->number) * p->blocks;
  host_semaphore_post(&l->ready);
  host_semaphore_wait(&l->go);
  for (size_t i = 0; i < l->temporary; i++) temporary[i] = slot_new(rng_size(&rng, 16, 4096));
  while (kept < p->blocks) mine[kept++] = slot_new(l->least + rng_below(&rng, l->most - l->least + 1));
  for (size_t i = 0; i < l->temporary; i++) slot_end(temporary[i]);
  bench_checked(l->temporary);
  host_semaphore_post(&l->full);
  host_semaphore_wait(&l->end);
}

static void meet(uint64_t threads, host_semaphore_t* arrived, host_semaphore_t* on) {
  for (uint64_t i = 0; i < threads; i++) host_semaphore_wait(arrived);
  for (uint64_t i = 0; i < threads; i++) host_semaphore_post(on);
}

// Rounds of threads that leave blocks; between them the main thread allocates and frees.
static void leave(const params_t* p, leave_t* l, size_t main_blocks) {
  enum { MAIN_MOST = 256 };
  size_t count = (size_t)(p->rounds * p->threads * p->blocks);
  slot_t own[MAIN_MOST] = {0};
  rng_t rng = rng_make(1);
  uint64_t every = p->rounds / 20 > 0 ? p->rounds / 20 : 1;
  worker_t* workers = host_table(p->threads * sizeof *workers);
  host_semaphore_t* all[] = {&l->ready, &l->go, &l->full, &l->end};
  for (unsigned i = 0; i < sizeof all / sizeof *all; i++) host_semaphore_init(all[i]);
  l->left = host_table(count * sizeof *l->left);
  memset(l->left, 1, count * sizeof *l->left); // touched now, so that it isn't counted as growth
  // The first rounds warm up what is bounded anyway.
  double rss = 0, commit = 0;
  bench_start();
  for (l->round = 0; l->round < p->rounds; l->round++) {
    if (l->round == p->rounds / 20) {
      rss = bench_rss_mib();
      commit = bench_commit_mib();
    }
    // All of a round live at the same time, however few processors there are.
    bench_workers_start(workers, p, p->threads, leaver, l);
    meet(p->threads, &l->ready, &l->go);
    meet(p->threads, &l->full, &l->end);
    for (unsigned i = 0; i < p->threads; i++) host_thread_join(&workers[i].thread);
    for (size_t i = 0; i < main_blocks; i++) {
      if (own[i] != 0) slot_end(own[i]);
      own[i] = slot_new(rng_size(&rng, 16, 4096));
    }
    if (l->round % every == 0) bench_sample("round");
  }
  bench_stop(p->rounds * p->threads);
  bench_figure("live_mib", slots_mib(l->left, count));
  bench_figure("rss_growth_mib", bench_rss_mib() - rss);
  bench_figure("commit_growth_mib", bench_commit_mib() - commit);
  slots_end(l->left, count);
  slots_end(own, main_blocks);
  bench_sample("all freed");
  if (bench_traits.collect != NULL) bench_traits.collect();
  bench_sample("collected");
  bench_figure("rss_left_mib", bench_rss_mib());
}

static void orphan_blocks(const params_t* p) {
  leave_t l = {.least = p->size, .most = p->size, .temporary = 20};
  leave(p, &l, 64);
}

static void generations(const params_t* p) {
  leave_t l = {.least = 8, .most = 2 * p->size, .temporary = 100};
  leave(p, &l, 0);
}

// ---- memory of those who sleep ----

typedef struct idle_s {
  host_semaphore_t ready, go, end;
  slot_t* slots;
  size_t count; // of each thread, or of all
} idle_t;

static void idle_owner_thread(void* arg) {
  const worker_t* w = arg;
  idle_t* idle = w->own;
  for (size_t i = 0; i < idle->count; i++) idle->slots[i] = slot_new(w->params->size);
  host_semaphore_post(&idle->ready);
  host_semaphore_wait(&idle->go);
}

static void idle_owner(const params_t* p) {
  idle_t idle = {.count = (size_t)((p->mib << 20) / p->size)};
  idle.slots = host_table(idle.count * sizeof *idle.slots);
  memset(idle.slots, 1, idle.count * sizeof *idle.slots);
  host_semaphore_init(&idle.ready);
  host_semaphore_init(&idle.go);
  worker_t w = {.params = p, .own = &idle};
  bench_start();
  host_thread_start(&w.thread, idle_owner_thread, &w);
  host_semaphore_wait(&idle.ready);
  bench_sample("allocated");
  slots_end(idle.slots, idle.count);
  bench_sample("freed");
  bench_stop(idle.count);
  host_sleep_ms((unsigned)p->wait);
  bench_sample("waited");
  bench_figure("rss_waited_mib", bench_rss_mib());
  if (bench_traits.collect != NULL) bench_traits.collect();
  bench_sample("collected");
  bench_figure("rss_collected_mib", bench_rss_mib());
  for (size_t i = 0; i < idle.count; i++) idle.slots[i] = slot_new(p->size);
  bench_sample("allocated again");
  bench_figure("rss_again_mib", bench_rss_mib());
  slots_end(idle.slots, idle.count);
  host_semaphore_post(&idle.go);
  host_thread_join(&w.thread);
  bench_sample("owner ended");
}

static void pool_thread(void* arg) {
  const worker_t* w = arg;
  idle_t* idle = w->own;
  rng_t rng = rng_make(w->number);
  uint64_t ops = w->params->ops / w->params->threads, checked = 0;
  for (uint64_t i = 0; i < ops; i++) {
    slot_t fresh = slot_new(rng_size(&rng, 16, w->params->size));
    slot_t old = __atomic_exchange_n(&idle->slots[rng_below(&rng, idle->count)], fresh, __ATOMIC_ACQ_REL);
    if (old != 0) {
      slot_end(old);
      checked++;
    }
  }
  bench_checked(checked);
  host_semaphore_post(&idle->ready);
  host_semaphore_wait(&idle->go);
}

static void pool(const params_t* p) {
  idle_t idle = {.count = (size_t)p->blocks};
  worker_t* workers = host_table(p->threads * sizeof *workers);
  idle.slots = host_table(idle.count * sizeof *idle.slots);
  host_semaphore_init(&idle.ready);
  host_semaphore_init(&idle.go);
  bench_start();
  bench_workers_start(workers, p, p->threads, pool_thread, &idle);
  for (unsigned i = 0; i < p->threads; i++) host_semaphore_wait(&idle.ready);
  bench_stop(p->ops / p->threads * p->threads);
  bench_sample("live");
  bench_figure("live_mib", slots_mib(idle.slots, idle.count));
  for (size_t i = 0; i < idle.count; i++) {
    if (idle.slots[i] == 0) continue;
    slot_end(idle.slots[i]);
    bench_checked(1);
  }
  bench_sample("freed");
  host_sleep_ms((unsigned)p->wait);
  bench_sample("waited");
  bench_figure("rss_waited_mib", bench_rss_mib());
  if (bench_traits.collect != NULL) bench_traits.collect();
  bench_sample("collected");
  bench_figure("rss_collected_mib", bench_rss_mib());
  for (unsigned i = 0; i < p->threads; i++) host_semaphore_post(&idle.go);
  for (unsigned i = 0; i < p->threads; i++) host_thread_join(&workers[i].thread);
  host_sleep_ms((unsigned)p->wait);
  bench_sample("threads ended");
  bench_figure("rss_ended_mib", bench_rss_mib());
}

static void idle_process_thread(void* arg) {
  const worker_t* w = arg;
  idle_t* idle = w->own;
  slot_t* mine = idle->slots + w->number * idle->count;
  rng_t rng = rng_make(w->number);
  for (size_t i = 0; i < idle->count; i++) mine[i] = slot_new(rng_size(&rng, 16, w->params->size));
  host_semaphore_post(&idle->ready);
  host_semaphore_wait(&idle->go);
  slots_end(mine, idle->count);
  host_semaphore_post(&idle->ready);
  host_semaphore_wait(&idle->end);
}

// Everybody frees what they have, then nobody calls the allocator any more.
static void idle_process(const params_t* p) {
  idle_t idle = {.count = (size_t)p->blocks};
  worker_t* workers = host_table(p->threads * sizeof *workers);
  idle.slots = host_table(idle.count * p->threads * sizeof *idle.slots);
  host_semaphore_init(&idle.ready);
  host_semaphore_init(&idle.go);
  host_semaphore_init(&idle.end);
  bench_start();
  bench_workers_start(workers, p, p->threads, idle_process_thread, &idle);
  for (unsigned i = 0; i < p->threads; i++) host_semaphore_wait(&idle.ready);
  bench_sample("live");
  bench_figure("live_mib", slots_mib(idle.slots, (size_t)(p->blocks * p->threads)));
  for (unsigned i = 0; i < p->threads; i++) host_semaphore_post(&idle.go);
  for (unsigned i = 0; i < p->threads; i++) host_semaphore_wait(&idle.ready);
  bench_stop(p->blocks * p->threads);
  bench_sample("freed");
  bench_figure("rss_freed_mib", bench_rss_mib());
  for (int i = 0; i < 8; i++) {
    host_sleep_ms((unsigned)p->wait / 8);
    bench_sample("idle");
  }
  bench_figure("rss_idle_mib", bench_rss_mib());
  bench_figure("commit_idle_mib", bench_commit_mib());
  for (unsigned i = 0; i < p->threads; i++) host_semaphore_post(&idle.end);
  for (unsigned i = 0; i < p->threads; i++) host_thread_join(&workers[i].thread);
}

// ---- what is committed for little ----

typedef struct little_s {
  host_semaphore_t there, begin, ready, go;
  uint64_t payload;
} little_t;

// All threads are there, with stacks and all, before the first allocates: so that isn't counted.
static void little_begins(little_t* l) {
  host_semaphore_post(&l->there);
  host_semaphore_wait(&l->begin);
}

static void little_has(little_t* l, uint64_t payload) {
  __atomic_fetch_add(&l->payload, payload, __ATOMIC_RELAXED);
  host_semaphore_post(&l->ready);
  host_semaphore_wait(&l->go);
}

// One block of each of eight sizes per doubling, from `size` to 512 KiB.
static void classes_thread(void* arg) {
  const worker_t* w = arg;
  enum { SIZES_MOST = 8 * 24 };
  void* blocks[SIZES_MOST];
  size_t sizes[SIZES_MOST], count = 0;
  uint64_t payload = 0;
  little_begins(w->own);
  for (size_t base = w->params->size; base < 512 * 1024; base *= 2) {
    for (size_t step = 1; step <= 8; step++) {
      sizes[count] = base + base * step / 8;
      blocks[count] = block_new(sizes[count]);
      payload += sizes[count++];
    }
  }
  little_has(w->own, payload);
  for (size_t i = 0; i < count; i++) block_end(blocks[i], sizes[i]);
  bench_checked(count);
}

static void few_thread(void* arg) {
  const worker_t* w = arg;
  enum { BLOCKS_MOST = 256 };
  slot_t slots[BLOCKS_MOST];
  size_t count = w->params->blocks < BLOCKS_MOST ? (size_t)w->params->blocks : BLOCKS_MOST;
  rng_t rng = rng_make(w->number);
  uint64_t payload = 0;
  little_begins(w->own);
  for (size_t i = 0; i < count; i++) {
    slots[i] = slot_new(rng_size(&rng, 16, w->params->size));
    payload += slot_size(slots[i]);
  }
  little_has(w->own, payload);
  slots_end(slots, count);
}

static void little(const params_t* p, void (*run)(void*)) {
  little_t l = {.payload = 0};
  worker_t* workers = host_table(p->threads * sizeof *workers);
  host_semaphore_init(&l.there);
  host_semaphore_init(&l.begin);
  host_semaphore_init(&l.ready);
  host_semaphore_init(&l.go);
  bench_workers_start(workers, p, p->threads, run, &l);
  for (unsigned i = 0; i < p->threads; i++) host_semaphore_wait(&l.there);
  double rss = bench_rss_mib(), commit = bench_commit_mib();
  bench_start();
  for (unsigned i = 0; i < p->threads; i++) host_semaphore_post(&l.begin);
  for (unsigned i = 0; i < p->threads; i++) host_semaphore_wait(&l.ready);
  bench_sample("live");
  double payload = (double)l.payload / 1048576;
  bench_figure("payload_mib", payload);
  bench_figure("commit_mib", bench_commit_mib() - commit);
  bench_figure("rss_mib", bench_rss_mib() - rss);
  for (unsigned i = 0; i < p->threads; i++) host_semaphore_post(&l.go);
  for (unsigned i = 0; i < p->threads; i++) host_thread_join(&workers[i].thread);
  bench_stop(p->threads);
  bench_sample("threads ended");
}

// Of a heap one block in `rounds` stays, at random.
static void thinned(const params_t* p) {
  size_t count = (size_t)((p->mib << 20) / p->size), freed = 0;
  slot_t* slots = host_table(count * sizeof *slots);
  rng_t rng = rng_make(1);
  for (size_t i = 0; i < count; i++) slots[i] = slot_new(p->size);
  for (size_t i = 0; i < count; i++) {
    if (rng_below(&rng, p->rounds) == 0) continue;
    slot_end(slots[i]);
    slots[i] = 0;
    freed++;
  }
  bench_checked(freed);
  bench_figure("live_mib", slots_mib(slots, count));
  bench_figure("rss_freed_mib", bench_rss_mib());
  bench_start();
  if (bench_traits.collect != NULL) bench_traits.collect();
  bench_stop(1);
  bench_figure("rss_collected_mib", bench_rss_mib());
  for (size_t i = 0; i < count; i++) {
    if (slots[i] == 0) slots[i] = slot_new(p->size);
  }
  bench_figure("rss_again_mib", bench_rss_mib());
  slots_end(slots, count);
}

static void one_of_each(const params_t* p) { little(p, classes_thread); }
static void many_threads(const params_t* p) { little(p, few_thread); }

const workload_t bench_memory[] = {
    {"orphan-blocks", orphan_blocks, "rounds=900 threads=3 blocks=1 size=500", "rounds=20",
     "threads that each leave one long-lived block of `size` bytes; the main thread allocates in between"},
    {"generations", generations, "rounds=200 threads=8 blocks=8 size=1500", "rounds=20",
     "generations of threads that leave live blocks, of `size` bytes on average"},
    {"idle-owner", idle_owner, "mib=400 size=100 wait=500", "mib=2 wait=1",
     "blocks of a thread that sleeps, freed by another, which then needs as much itself"},
    {"pool", pool, "threads=200 blocks=40000 size=8192 ops=4000000 wait=500",
     "threads=4 blocks=100 ops=2000 wait=1",
     "a pool of threads that free each other's blocks, a bounded number of them live; then all is freed and "
     "they sleep"},
    {"idle-process", idle_process, "threads=4 blocks=200000 size=4096 wait=4000", "blocks=1000 wait=8",
     "everything is freed, then nobody calls the allocator any more"},
    {"thinned", thinned, "mib=256 size=2000 rounds=8", "mib=2",
     "what a full collection leaves of a heap of which one block in `rounds` stays, and what it takes"},
    {"one-of-each", one_of_each, "threads=16 size=65536", "threads=2",
     "what is committed for one block of each size from `size` to 512 KiB in each thread"},
    {"many-threads", many_threads, "threads=2000 blocks=24 size=4096", "threads=20",
     "what is committed for threads with a few small blocks each"},
    {0}};
