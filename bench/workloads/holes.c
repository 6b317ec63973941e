// Address space. In use, with holes in it: what it costs to find room for a block that may be longer than most of them, and
// to free one while much of what was freed waits to be given back. Free: blocks that grow into it. Reserved, and not in use.
#include "../harness/bench.h"

enum { BATCH = 64, MARKED = 16 };

typedef struct asked_s {
  size_t size, align;
} asked_t;

static void* asked_new(const asked_t* asked) {
  void* b = asked->align == 0 ? bench_malloc(asked->size) : bench_traits.aligned(asked->align, asked->size);
  if (b == NULL) bench_no_memory(asked->size);
  if (asked->align != 0 && (uintptr_t)b % asked->align != 0) bench_wrong("not aligned", b, asked->size);
  return b;
}

static void asked_free(const asked_t* asked, void* b) {
  if (asked->align == 0) {
    bench_free(b);
  } else {
    bench_traits.aligned_free(b);
  }
}

// The first call does what was put off, so it is told apart.
static void time_first(const asked_t* asked) {
  uint64_t begun = host_pause_clock_ns();
  void* b = asked_new(asked);
  bench_figure("first_us", (double)(host_pause_clock_ns() - begun) / 1e3);
  asked_free(asked, b);
}

// Blocks that are all there at once, so that free is timed without malloc.
static void time_batch(const asked_t* asked) {
  void* blocks[BATCH];
  uint64_t begun = host_pause_clock_ns();
  for (unsigned i = 0; i < BATCH; i++) blocks[i] = asked_new(asked);
  bench_figure("malloc_ns", (double)(host_pause_clock_ns() - begun) / BATCH);
  for (unsigned i = 0; i < BATCH; i++) block_mark(blocks[i], asked->size);
  for (unsigned i = 0; i < BATCH; i++) block_verify(blocks[i], asked->size);
  begun = host_pause_clock_ns();
  for (unsigned i = 0; i < BATCH; i++) asked_free(asked, blocks[i]);
  bench_figure("free_ns", (double)(host_pause_clock_ns() - begun) / BATCH);
  bench_checked(BATCH);
}

static void time_asked(const asked_t* asked, uint64_t ops) {
  pauses_t pauses = {0};
  bench_start();
  for (uint64_t i = 0; i < ops; i++) asked_free(asked, asked_new(asked));
  bench_stop(ops);
  for (uint64_t i = 0; i < ops; i++) {
    uint64_t begun = host_pause_clock_ns();
    asked_free(asked, asked_new(asked));
    pauses_add(&pauses, host_pause_clock_ns() - begun);
  }
  bench_pauses(&pauses);
}

// Few blocks are marked: the rest takes address space, and hardly memory.
static void among_holes(const params_t* p) {
  if (p->align != 0 && bench_traits.aligned == NULL) bench_skip("this allocator has no aligned blocks");
  bench_reserved(p->reserved);
  asked_t asked = {(size_t)p->claim, (size_t)p->align};
  size_t count = (size_t)((p->mib << 20) / p->size);
  void** blocks = host_table(count * sizeof *blocks);
  uint64_t cpu = host_cpu_ns(), checked = 0;
  for (size_t i = 0; i < count; i++) {
    blocks[i] = bench_malloc(p->size);
    if (blocks[i] == NULL) bench_no_memory(p->size);
    if (i % MARKED == 0) block_mark(blocks[i], p->size);
  }
  bench_figure("fill_cpu_ns", (double)(host_cpu_ns() - cpu) / (double)count);
  for (size_t i = 0; i < count; i += p->every) {
    if (i % MARKED == 0) block_verify(blocks[i], p->size);
    bench_free(blocks[i]);
    blocks[i] = NULL;
  }
  bench_sample(NULL);
  time_first(&asked);
  time_batch(&asked);
  time_asked(&asked, p->ops);
  for (size_t i = 0; i < count; i++) {
    if (blocks[i] == NULL) continue;
    if (i % MARKED == 0) block_verify(blocks[i], p->size);
    checked += i % MARKED == 0;
    bench_free(blocks[i]);
  }
  bench_checked(checked);
}

// ---- a block that grows ----

// Only its ends are written to: what it costs beyond that are copies.
static void grow(const params_t* p) {
  size_t size = (size_t)p->size, most = (size_t)(p->mib << 20), moves = 0;
  uint64_t steps = 0;
  char* b = block_new(size);
  bench_start();
  while (size < most) {
    size_t next = size + size / 100 * (size_t)p->percent;
    if (next > most) next = most;
    uintptr_t before = (uintptr_t)b;
    block_verify(b, size);
    b = bench_realloc(b, next);
    if (b == NULL) bench_no_memory(next);
    moves += (uintptr_t)b != before;
    size = next;
    block_mark(b, size);
    steps++;
  }
  bench_stop(steps);
  bench_sample(NULL);
  bench_figure("steps", (double)steps);
  bench_figure("moves", (double)moves);
  block_end(b, size);
  bench_checked(steps);
}

// ---- address space that nobody uses yet ----

static void reserve(const params_t* p) {
  block_end(block_new(p->size), p->size);
  double before = bench_commit_mib();
  bench_start();
  bench_reserved(p->reserved);
  bench_stop(1);
  bench_figure("commit_growth_mib", bench_commit_mib() - before);
  block_end(block_new(p->size), p->size);
  bench_checked(1);
}

const workload_t bench_holes[] = {
    {"among-holes", among_holes, "mib=16384 size=1048576 every=2 claim=2097152 align=0 reserved=0 ops=2000",
     "mib=64 ops=10",
     "malloc(`claim`), aligned to `align`, and free after one of `every` blocks of `size` bytes was freed; "
     "`reserved` MiB in advance are one arena"},
    {"grow", grow, "mib=2048 size=1048576 percent=100", "mib=8 percent=10",
     "a block that grows from `size` bytes to `mib` MiB, by `percent` at a time"},
    {"reserve", reserve, "reserved=65536 size=64", "reserved=64",
     "what is committed for `reserved` MiB of address space that nobody uses yet"},
    {0}};
