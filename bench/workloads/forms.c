// Other forms of allocation: growing, zeroed, aligned; and large blocks.
#include "../harness/bench.h"

// ---- realloc ----

typedef struct text_s {
  uint32_t* words;
  size_t count, room;
} text_t;

static void text_check(const text_t* t) {
  for (size_t i = 0; i < t->count; i += 1 + t->count / 64) {
    if (t->words[i] != (uint32_t)i) bench_wrong("contents lost by realloc", t->words, t->room * 4);
  }
}

// Some grow by half, as vectors do, some by a few bytes, as strings do; each to a length of its own.
static void realloc_growth(const params_t* p) {
  enum { TEXTS = 64 };
  text_t texts[TEXTS] = {0};
  rng_t rng = rng_make(1);
  uint64_t checked = 0;
  bench_start();
  for (uint64_t done = 0; done < p->ops; done++) {
    unsigned which = (unsigned)rng_below(&rng, TEXTS);
    text_t* t = &texts[which];
    size_t limit = which % 16 == 0 ? p->size : p->size / 256;
    size_t room = which % 2 == 0 ? t->room + t->room / 2 + 4 : t->room + 8;
    if (room * 4 > limit) {
      text_check(t);
      checked++;
      bench_free(t->words);
      *t = (text_t){0};
      continue;
    }
    t->words = bench_realloc(t->words, room * 4);
    if (t->words == NULL) bench_no_memory(room * 4);
    t->room = room;
    for (; t->count < room; t->count++) t->words[t->count] = (uint32_t)t->count;
  }
  bench_stop(p->ops);
  for (unsigned i = 0; i < TEXTS; i++) {
    text_check(&texts[i]);
    bench_free(texts[i].words);
  }
  bench_checked(checked + TEXTS);
}

// ---- calloc and aligned ----

static void zeroed(const params_t* p) {
  enum { SLOTS = 1024 };
  void* blocks[SLOTS] = {0};
  size_t sizes[SLOTS] = {0};
  rng_t rng = rng_make(1);
  bench_start();
  for (uint64_t i = 0; i < p->ops; i++) {
    unsigned which = (unsigned)rng_below(&rng, SLOTS);
    if (blocks[which] != NULL) block_end(blocks[which], sizes[which]);
    size_t size = rng_size(&rng, 16, p->size), at = (size_t)rng_below(&rng, size);
    const char* b = blocks[which] = bench_calloc(size, 1);
    if (b == NULL) bench_no_memory(size);
    if (b[0] != 0 || b[at] != 0 || b[size / 2] != 0 || b[size - 1] != 0)
      bench_wrong("calloc's memory isn't 0", b, size);
    // Dirty where the next one looks.
    block_mark(blocks[which], size);
    ((char*)blocks[which])[size / 2] |= size > 32 ? 1 : 0;
    sizes[which] = size;
  }
  bench_stop(p->ops);
  for (unsigned i = 0; i < SLOTS; i++) {
    if (blocks[i] != NULL) block_end(blocks[i], sizes[i]);
  }
  bench_checked(p->ops);
}

static void aligned(const params_t* p) {
  enum { SLOTS = 4096 };
  if (bench_traits.aligned == NULL) bench_skip("this allocator has no aligned allocation");
  void** blocks = host_table(SLOTS * sizeof *blocks);
  size_t* sizes = host_table(SLOTS * sizeof *sizes);
  rng_t rng = rng_make(1);
  bench_start();
  for (uint64_t i = 0; i < p->ops; i++) {
    unsigned which = (unsigned)rng_below(&rng, SLOTS);
    if (blocks[which] != NULL) {
      block_verify(blocks[which], sizes[which]);
      bench_traits.aligned_free(blocks[which]);
    }
    // The size is a multiple of the alignment, as C's aligned_alloc once demanded.
    size_t align = (size_t)16 << rng_below(&rng, 5), size = align * (1 + (size_t)rng_below(&rng, 8));
    if (rng_below(&rng, 64) == 0) align = size = 4096;
    void* b = bench_traits.aligned(align, size);
    if (b == NULL) bench_no_memory(size);
    if ((uintptr_t)b % align != 0) bench_wrong("not aligned", b, size);
    block_mark(b, size);
    blocks[which] = b;
    sizes[which] = size;
  }
  bench_stop(p->ops);
  for (unsigned i = 0; i < SLOTS; i++) {
    if (blocks[i] != NULL) bench_traits.aligned_free(blocks[i]);
  }
  bench_checked(p->ops);
}

// ---- large blocks ----

static void touch(void* block, size_t size) {
  for (size_t at = 0; at < size; at += 4096) ((volatile char*)block)[at] = 1;
  block_mark(block, size);
}

// Like the frames and buffers of a program that works on pictures: every page is written to.
static void large(const params_t* p) {
  enum { SLOTS = 20 };
  void* blocks[SLOTS] = {0};
  size_t sizes[SLOTS] = {0}, live = 0, peak = 0;
  rng_t rng = rng_make(1);
  bench_start();
  for (uint64_t i = 0; i < p->ops; i++) {
    unsigned which = (unsigned)rng_below(&rng, SLOTS);
    if (blocks[which] != NULL) block_end(blocks[which], sizes[which]);
    live -= sizes[which];
    sizes[which] = (size_t)(p->size / 5 + rng_below(&rng, p->size * 4 / 5));
    live += sizes[which];
    if (live > peak) peak = live;
    blocks[which] = bench_malloc(sizes[which]);
    if (blocks[which] == NULL) bench_no_memory(sizes[which]);
    touch(blocks[which], sizes[which]);
    if (i % 32 == 19) bench_sample(NULL);
  }
  bench_stop(p->ops);
  bench_figure("live_peak_mib", (double)peak / 1048576);
  for (unsigned i = 0; i < SLOTS; i++) {
    if (blocks[i] != NULL) block_end(blocks[i], sizes[i]);
  }
  bench_checked(p->ops);
}

const workload_t bench_forms[] = {
    {"realloc", realloc_growth, "ops=300000 size=4194304", "ops=5000 size=262144",
     "arrays and texts that grow by half or by a few bytes, to 16 KiB, some to 4 MiB"},
    {"calloc", zeroed, "ops=1500000 size=16384", "ops=2000", "zeroed blocks of 16 bytes to 16 KiB"},
    {"aligned", aligned, "ops=12000000", "ops=5000", "blocks aligned to 16 to 256 bytes, some to 4096"},
    {"large", large, "ops=400 size=26214400", "ops=40 size=4000000",
     "blocks of 5 to 25 MiB, every page of which is written to, one thread"},
    {0}};
