// Many heaps, threads and sub-processes: what each of them costs should not depend on how many others there are.
#include "../harness/bench.h"

static double since_us(uint64_t begun) { return (double)(host_pause_clock_ns() - begun) / 1e3; }

static void* block_in(const bench_heaps_t* api, void* heap, size_t size) {
  void* b = api->malloc(heap, size);
  if (b == NULL) bench_no_memory(size);
  block_mark(b, size);
  return b;
}

static void* heap_made(const bench_heaps_t* api) {
  void* heap = api->create();
  if (heap == NULL) bench_no_memory(0);
  return heap;
}

// Heaps of one block each.
typedef struct heaps_s {
  void **heaps, **blocks;
  size_t count, size;
} heaps_t;

static heaps_t heaps_made(const bench_heaps_t* api, const params_t* p) {
  heaps_t h = {.count = (size_t)p->heaps, .size = (size_t)p->size};
  h.heaps = host_table(h.count * sizeof *h.heaps);
  h.blocks = host_table(h.count * sizeof *h.blocks);
  for (size_t i = 0; i < h.count; i++) {
    h.heaps[i] = heap_made(api);
    h.blocks[i] = block_in(api, h.heaps[i], h.size);
  }
  return h;
}

static void heaps_destroyed(const bench_heaps_t* api, const heaps_t* h) {
  for (size_t i = 0; i < h->count; i++) {
    block_verify(h->blocks[i], h->size);
    api->destroy(h->heaps[i]);
  }
  bench_checked(h->count);
}

// Oldest first, which is the far end of whatever list they are in.
static void destroy_heaps(const params_t* p) {
  const bench_heaps_t* api = bench_heaps();
  uint64_t begun = host_pause_clock_ns();
  heaps_t h = heaps_made(api, p);
  bench_figure("new_us", since_us(begun) / (double)h.count);
  bench_start();
  heaps_destroyed(api, &h);
  bench_stop(h.count);
  h = heaps_made(api, p);
  begun = host_pause_clock_ns();
  for (size_t i = 0; i < h.count; i++) api->delete_heap(h.heaps[i]);
  bench_figure("delete_us", since_us(begun) / (double)h.count);
  for (size_t i = 0; i < h.count; i++) block_end(h.blocks[i], h.size);
}

// ---- threads that all use the same heaps ----

typedef struct shared_s {
  const bench_heaps_t* api;
  void* heaps[2];
  host_semaphore_t ready, go;
} shared_t;

static void shared_thread(void* arg) {
  worker_t* w = arg;
  shared_t* s = w->own;
  void* blocks[2];
  for (unsigned i = 0; i < 2; i++) blocks[i] = block_in(s->api, s->heaps[i], (size_t)w->params->size);
  host_semaphore_post(&s->ready);
  host_semaphore_wait(&s->go);
  for (unsigned i = 0; i < 2; i++) block_end(blocks[i], (size_t)w->params->size);
  bench_checked(2);
}

// Heaps number 0 and `heaps` - 1 have the same place in a thread's table of 64, so that a thread which uses them in turns
// has to look for its part of the heap each time.
static void shared_heap(const params_t* p) {
  shared_t s = {.api = bench_heaps()};
  worker_t* workers = host_table((p->threads + 1) * sizeof *workers);
  for (uint64_t i = 0; i < p->heaps; i++) {
    void* heap = heap_made(s.api);
    if (i == 0) s.heaps[0] = heap;
    s.heaps[1] = heap;
  }
  for (unsigned i = 0; i < 2; i++) block_end(block_in(s.api, s.heaps[i], p->size), p->size);
  host_semaphore_init(&s.ready);
  host_semaphore_init(&s.go);
  bench_workers_start(workers, p, (unsigned)p->threads, shared_thread, &s);
  for (unsigned i = 0; i < p->threads; i++) host_semaphore_wait(&s.ready);
  bench_start();
  for (uint64_t i = 0; i < p->ops; i++) block_end(block_in(s.api, s.heaps[i % 2], p->size), p->size);
  bench_stop(p->ops);
  bench_checked(p->ops);
  for (unsigned i = 0; i < p->threads; i++) host_semaphore_post(&s.go);
  for (unsigned i = 0; i < p->threads; i++) host_thread_join(&workers[i].thread);
}

// ---- heaps that a thread uses once, and another deletes ----

typedef struct once_s {
  const params_t* params;
  const bench_heaps_t* api;
  void* heap;
  host_semaphore_t begin, done;
} once_t;

static void once_thread(void* arg) {
  once_t* o = arg;
  for (uint64_t i = 0; i < o->params->heaps; i++) {
    host_semaphore_wait(&o->begin);
    block_end(block_in(o->api, o->heap, (size_t)o->params->size), (size_t)o->params->size);
    host_semaphore_post(&o->done);
  }
  host_semaphore_wait(&o->begin);
}

static void heaps_used_once(const params_t* p) {
  once_t o = {.params = p, .api = bench_heaps()};
  uint64_t rss = 0, space = 0, first = p->heaps / 20;
  host_memory_t memory;
  host_thread_t t;
  host_semaphore_init(&o.begin);
  host_semaphore_init(&o.done);
  host_thread_start(&t, once_thread, &o);
  bench_start();
  for (uint64_t i = 0; i < p->heaps; i++) {
    if (i == first) {
      host_memory(&memory);
      rss = memory.rss;
      space = host_address_space_kib();
    }
    o.heap = heap_made(o.api);
    host_semaphore_post(&o.begin);
    host_semaphore_wait(&o.done);
    o.api->delete_heap(o.heap);
  }
  bench_stop(p->heaps);
  host_memory(&memory);
  bench_figure("rss_growth_mib", ((double)memory.rss - (double)rss) / 1024);
  bench_figure("space_growth_mib", ((double)host_address_space_kib() - (double)space) / 1024);
  host_semaphore_post(&o.begin);
  host_thread_join(&t);
  bench_checked(p->heaps);
}

// ---- giving memory back ----

static void collect_heaps(const params_t* p) {
  const bench_heaps_t* api = bench_heaps();
  if (bench_traits.collect == NULL) bench_skip("this allocator has no call that gives memory back");
  bench_reserved(p->reserved);
  heaps_t h = heaps_made(api, p);
  bench_start();
  for (uint64_t i = 0; i < p->ops; i++) bench_traits.collect();
  bench_stop(p->ops);
  heaps_destroyed(api, &h);
}

typedef struct victims_s {
  void** blocks; // of each
  host_semaphore_t ready, go;
} victims_t;

static void victim(void* arg) {
  worker_t* w = arg;
  victims_t* v = w->own;
  v->blocks[w->number] = block_new((size_t)w->params->size);
  host_semaphore_post(&v->ready);
  host_semaphore_wait(&v->go);
  host_thread_die();
}

// All die at once, so that none is there whose start finds out about some of them.
static void collect_killed(const params_t* p) {
  if (bench_traits.collect == NULL) bench_skip("this allocator has no call that gives memory back");
  victims_t v = {.blocks = host_table((p->threads + 1) * sizeof(void*))};
  worker_t* workers = host_table((p->threads + 1) * sizeof *workers);
  host_semaphore_init(&v.ready);
  host_semaphore_init(&v.go);
  bench_workers_start(workers, p, (unsigned)p->threads, victim, &v);
  for (unsigned i = 0; i < p->threads; i++) host_semaphore_wait(&v.ready);
  for (unsigned i = 0; i < p->threads; i++) host_semaphore_post(&v.go);
  for (unsigned i = 0; i < p->threads; i++) host_thread_join(&workers[i].thread);
  uint64_t begun = host_pause_clock_ns();
  bench_traits.collect();
  bench_figure("first_ms", since_us(begun) / 1e3);
  bench_start();
  for (uint64_t i = 0; i < p->ops; i++) bench_traits.collect();
  bench_stop(p->ops);
  for (unsigned i = 0; i < p->threads; i++) block_end(v.blocks[i], (size_t)p->size);
  bench_checked(p->threads);
}

// ---- a small heap beside a large one ----

static void small_heap(const params_t* p) {
  const bench_heaps_t* api = bench_heaps();
  size_t count = (size_t)((p->mib << 20) / p->size);
  void** blocks = host_table(count * sizeof *blocks);
  for (size_t i = 0; i < count; i++) {
    blocks[i] = bench_malloc((size_t)p->size); // address space, and hardly memory
    if (blocks[i] == NULL) bench_no_memory((size_t)p->size);
  }
  void* heap = heap_made(api);
  void* block = block_in(api, heap, 100);
  uint64_t begun = host_pause_clock_ns();
  for (uint64_t i = 0; i < p->ops; i++) {
    if (!api->stats_of(heap)) bench_wrong("no statistics of a heap", heap, 0);
  }
  bench_figure("stats_us", since_us(begun) / (double)p->ops);
  bench_start();
  for (uint64_t i = 0; i < p->ops; i++) api->collect(heap, true);
  bench_stop(p->ops);
  block_end(block, 100);
  bench_checked(1);
  api->delete_heap(heap);
  for (size_t i = 0; i < count; i++) bench_free(blocks[i]);
}

// ---- sub-processes ----

static void subprocs_made(const bench_heaps_t* api, bench_subproc_t* subprocs, size_t count) {
  for (size_t i = 0; i < count; i++) {
    subprocs[i] = api->subproc_new();
    if (subprocs[i].id == NULL) bench_no_memory(0);
  }
}

static void stats_of_all(const params_t* p) {
  const bench_heaps_t* api = bench_heaps();
  bench_subproc_t* subprocs = host_table((p->subprocs + 1) * sizeof *subprocs);
  subprocs_made(api, subprocs, (size_t)p->subprocs);
  void* block = block_new(100);
  bench_start();
  for (uint64_t i = 0; i < p->ops; i++) {
    if (!api->stats()) bench_wrong("no statistics", subprocs, 0);
  }
  bench_stop(p->ops);
  for (uint64_t i = 0; i < p->subprocs; i++) api->subproc_destroy(subprocs[i]);
  block_end(block, 100);
  bench_checked(1);
}

typedef struct member_s {
  const params_t* params;
  const bench_heaps_t* api;
  bench_subproc_t subproc;
} member_t;

static void member_thread(void* arg) {
  member_t* m = arg;
  rng_t rng = rng_make(1);
  m->api->subproc_join(m->subproc);
  for (uint64_t i = 0; i < m->params->blocks; i++) {
    size_t size = rng_size(&rng, 16, (size_t)m->params->size);
    void* b = block_new(size);
    if (i % 2 == 0) block_end(b, size); // the others go with the sub-process
  }
  bench_checked(m->params->blocks / 2);
}

static void subproc_ends(const params_t* p) {
  member_t m = {.params = p, .api = bench_heaps()};
  bench_subproc_t* others = host_table((p->subprocs + 1) * sizeof *others);
  subprocs_made(m.api, others, (size_t)p->subprocs);
  double made_us = 0;
  for (uint64_t i = 0; i < p->rounds; i++) {
    host_thread_t t;
    uint64_t begun = host_pause_clock_ns();
    subprocs_made(m.api, &m.subproc, 1);
    made_us += since_us(begun);
    host_thread_start(&t, member_thread, &m);
    host_thread_join(&t);
    bench_start();
    m.api->subproc_destroy(m.subproc);
    bench_stop(1);
  }
  bench_figure("new_us", made_us / (double)p->rounds);
  for (uint64_t i = 0; i < p->subprocs; i++) m.api->subproc_destroy(others[i]);
}

const workload_t bench_many[] = {
    {"heap-destroy", destroy_heaps, "heaps=10000 size=64", "heaps=20",
     "heaps of one block each, destroyed oldest first; new, delete: what these take"},
    {"shared-heap", shared_heap, "threads=500 heaps=65 size=64 ops=100000", "threads=4 ops=100",
     "malloc and free in heaps that are not in the thread's table, and that sleeping threads use, too"},
    {"heap-once", heaps_used_once, "heaps=5000 size=64", "heaps=40",
     "heaps that one thread uses once and another one deletes: what stays after the first twentieth"},
    {"collect-heaps", collect_heaps, "heaps=10000 reserved=65536 size=64 ops=5", "heaps=20 reserved=64 ops=2",
     "giving memory back by force with heaps of one block each and so much reserved"},
    {"collect-killed", collect_killed, "threads=4000 size=64 ops=5", "threads=4 ops=2",
     "giving memory back by force after threads were killed that had a block each"},
    {"small-heap", small_heap, "mib=8192 size=131072 ops=1000", "mib=16 ops=10",
     "statistics and collection of a heap of one block beside a main heap of `mib`"},
    {"stats-subprocs", stats_of_all, "subprocs=5000 ops=10", "subprocs=10 ops=2",
     "statistics of the calling thread's sub-process while there are others"},
    {"subproc-end", subproc_ends, "rounds=200 subprocs=0 blocks=1000 size=2048",
     "rounds=3 subprocs=3 blocks=20",
     "the end of a sub-process in which a thread allocated `blocks`, while there are others"},
    {0}};
