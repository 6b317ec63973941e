// Fragmentation: a heap that grows, is thinned out at random, and is then wanted for other sizes. What counts is RSS
// in proportion to what is live, at the end of each phase.
#include "../harness/bench.h"

typedef struct piece_s {
  void* block;
  size_t size;
} piece_t;

typedef struct store_s {
  piece_t* pieces;
  size_t count, room, live;
  uint64_t allocated;
  rng_t rng;
} store_t;

static void store_grow(store_t* h, size_t to_bytes, size_t least, size_t most) {
  while (h->live < to_bytes && h->count < h->room) {
    piece_t piece = {.size = rng_size(&h->rng, least, most)};
    piece.block = block_new(piece.size);
    h->live += piece.size;
    h->pieces[h->count++] = piece;
    h->allocated++;
  }
}

static void store_thin(store_t* h, size_t to_bytes) {
  uint64_t checked = 0;
  while (h->live > to_bytes && h->count > 0) {
    piece_t* piece = &h->pieces[rng_below(&h->rng, h->count)];
    block_end(piece->block, piece->size);
    h->live -= piece->size;
    *piece = h->pieces[--h->count];
    checked++;
  }
  bench_checked(checked);
}

// The sizes of one round are not those of the next; a tenth of each round's heap stays for ever.
static void fragmentation(const params_t* p) {
  static const size_t mixes[][2] = {{16, 256}, {200, 2000}, {1500, 16000}, {24, 90}, {64, 65536}};
  store_t h = {.room = (size_t)(p->mib << 20) / 40, .rng = rng_make(1)};
  size_t full = (size_t)(p->mib << 20), least = full / 10;
  double worst = 0, sum = 0;
  h.pieces = host_table(h.room * sizeof *h.pieces);
  memset(h.pieces, 1, h.room * sizeof *h.pieces); // touched now: the table is large beside what is live
  double own = (double)bench_baseline_kib() * 1024;
  bench_start();
  for (uint64_t round = 0; round < p->rounds; round++) {
    const size_t* mix = mixes[round % (sizeof mixes / sizeof *mixes)];
    store_grow(&h, full, mix[0], mix[1]);
    bench_sample("grown");
    store_thin(&h, least);
    bench_sample("thinned");
    host_memory_t memory;
    host_memory(&memory);
    double ratio = ((double)memory.rss * 1024 - own) / (double)h.live;
    sum += ratio;
    if (ratio > worst) worst = ratio;
  }
  bench_stop(h.allocated);
  bench_figure("rss_per_live_mean", sum / (double)p->rounds);
  bench_figure("rss_per_live_worst", worst);
  store_thin(&h, 0);
  bench_sample("empty");
}

// ---- cost of an operation in a heap of a given size ----

static void heap_size(const params_t* p) {
  store_t h = {.room = (size_t)(p->mib << 20) / 256, .rng = rng_make(1)};
  h.pieces = host_table(h.room * sizeof *h.pieces);
  pauses_t pauses = {0};
  store_grow(&h, (size_t)(p->mib << 20), 16, p->size);
  bench_sample(NULL);
  for (int timed = 0; timed < 2; timed++) {
    if (!timed) bench_start();
    for (uint64_t i = 0; i < p->ops; i++) {
      piece_t* piece = &h.pieces[rng_below(&h.rng, h.count)];
      block_verify(piece->block, piece->size);
      uint64_t begun = timed ? host_pause_clock_ns() : 0;
      bench_free(piece->block);
      piece->size = rng_size(&h.rng, 16, p->size);
      piece->block = bench_malloc(piece->size);
      if (timed) pauses_add(&pauses, host_pause_clock_ns() - begun);
      if (piece->block == NULL) bench_no_memory(piece->size);
      block_mark(piece->block, piece->size);
    }
    if (!timed) bench_stop(p->ops);
  }
  bench_checked(2 * p->ops);
  bench_pauses(&pauses);
  store_thin(&h, 0);
}

const workload_t bench_time[] = {
    {"fragmentation", fragmentation, "mib=50 rounds=10", "mib=1 rounds=3",
     "a heap grows, is thinned out at random, and is wanted for other sizes next"},
    {"heap-size", heap_size, "mib=256 size=8192 ops=1000000", "mib=1 ops=1000",
     "blocks of random sizes replaced at random in a heap of `mib` MiB"},
    {0}};
