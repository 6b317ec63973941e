// The frame around a workload: parameters, measurement, result.
#include "bench.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { SAMPLES_MAX = 512, FIGURES_MAX = 32 };

typedef struct sample_s {
  const char* label;
  uint64_t ns;
  host_memory_t memory;
} sample_t;

static sample_t samples[SAMPLES_MAX];
static unsigned sample_count;
static struct {
  const char* name;
  double value;
} figures[FIGURES_MAX];
static unsigned figure_count;
static uint64_t looking_ns,
    looking_cpu_ns; // spent on samples since bench_start, and no work of the workload's
static uint64_t origin_ns, begun_ns, begun_cpu_ns, wall_ns, cpu_ns, ops_done, checks, commit_peak;
static const workload_t* running;
static host_memory_t memory_begun, memory_end;

static const workload_t* const tables[] = {bench_small,  bench_shared, bench_forms, bench_time,
                                           bench_growth, bench_memory, bench_holes, bench_many};

static void look(host_memory_t* memory) {
  host_memory(memory);
  uint64_t most = memory->commit > memory->commit_peak ? memory->commit : memory->commit_peak;
  if (most > commit_peak) commit_peak = most;
}

void bench_start(void) {
  looking_ns = looking_cpu_ns = 0;
  begun_cpu_ns = host_cpu_ns();
  begun_ns = host_now_ns();
}

void bench_stop(uint64_t ops) {
  uint64_t wall = host_now_ns() - begun_ns, cpu = host_cpu_ns() - begun_cpu_ns;
  wall_ns += wall > looking_ns ? wall - looking_ns : 0;
  cpu_ns += cpu > looking_cpu_ns ? cpu - looking_cpu_ns : 0;
  ops_done += ops;
  look(&memory_end);
}

void bench_sample(const char* label) {
  host_memory_t memory;
  uint64_t now = host_now_ns(), cpu = host_cpu_ns();
  look(&memory);
  looking_ns += host_now_ns() - now;
  looking_cpu_ns += host_cpu_ns() - cpu;
  if (label == NULL) return;
  if (sample_count == SAMPLES_MAX) {
    fprintf(stderr, "bench: more than %d samples\n", SAMPLES_MAX);
    exit(2);
  }
  samples[sample_count++] = (sample_t){label, host_now_ns(), memory};
}

uint64_t bench_baseline_kib(void) {
  host_memory(&memory_begun);
  return memory_begun.rss;
}

void bench_figure(const char* name, double value) {
  if (figure_count == FIGURES_MAX) abort();
  figures[figure_count].name = name;
  figures[figure_count++].value = value;
}

void bench_wrong(const char* what, const void* block, size_t size) {
  fprintf(stderr, "bench: WRONG: %s: block %p of %zu bytes (allocator: %s)\n", what, block, size,
          bench_traits.name);
  exit(3);
}

void bench_no_memory(size_t size) {
  fprintf(stderr, "bench: no memory for a block of %zu bytes (allocator: %s)\n", size, bench_traits.name);
  exit(4);
}

void bench_skip(const char* why) {
  printf("{\"workload\":\"%s\",\"allocator\":\"%s\",\"skipped\":\"%s\"}\n", running->name, bench_traits.name,
         why);
  exit(0);
}

const bench_heaps_t* bench_heaps(void) {
  if (bench_traits.heaps == NULL)
    bench_skip("this allocator lacks heaps, sub-processes or their statistics (mi_heap_new and so on)");
  return bench_traits.heaps;
}

void bench_reserved(uint64_t mib) {
  if (mib != 0 && bench_heaps()->reserve((size_t)mib << 20, false, false) != 0)
    bench_no_memory((size_t)mib << 20);
}

double bench_rss_mib(void) {
  host_memory_t memory;
  host_memory(&memory);
  return (double)memory.rss / 1024;
}

double bench_commit_mib(void) {
  host_memory_t memory;
  host_memory(&memory);
  return (double)memory.commit / 1024;
}

static int by_size(const void* a, const void* b) {
  double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

double bench_median(double* values, unsigned count) {
  qsort(values, count, sizeof *values, by_size);
  return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

void bench_pauses(const pauses_t* pauses) {
  bench_figure("pause_max_us", (double)pauses->top[0] / 1e3);
  bench_figure("pause_tenth_us", (double)pauses->top[PAUSES - 1] / 1e3);
}

void bench_checked(uint64_t count) { __atomic_fetch_add(&checks, count, __ATOMIC_RELAXED); }

void bench_workers_start(worker_t* workers, const params_t* p, unsigned count, void (*run)(void*),
                         void* own) {
  for (unsigned i = 0; i < count; i++) {
    workers[i] = (worker_t){.params = p, .number = i, .own = own};
    host_thread_start(&workers[i].thread, run, &workers[i]);
  }
}

void bench_workers(const params_t* p, unsigned count, void (*run)(void*), void* own) {
  worker_t* workers = host_table(count * sizeof(worker_t));
  bench_workers_start(workers, p, count, run, own);
  for (unsigned i = 0; i < count; i++) host_thread_join(&workers[i].thread);
}

// In the order of params_t, which consists of them.
static const char* const param_names[] = {"ops",    "threads",  "mib",      "size",    "blocks",
                                          "rounds", "wait",     "every",    "claim",   "align",
                                          "heaps",  "subprocs", "reserved", "percent", "half"};
enum { PARAMS = sizeof param_names / sizeof *param_names };
_Static_assert(sizeof(params_t) == PARAMS * sizeof(uint64_t), "each parameter has a name");

static uint64_t* param_named(params_t* p, const char* name, size_t length) {
  for (unsigned i = 0; i < PARAMS; i++) {
    if (strlen(param_names[i]) == length && memcmp(param_names[i], name, length) == 0)
      return (uint64_t*)p + i;
  }
  return NULL;
}

// Whether `text` ("ops=1000 threads=2") sets `name`, which needn't end with a 0.
static bool names_param(const char* text, const char* name, size_t length) {
  for (const char* at = text; (at = strstr(at, "=")) != NULL; at++) {
    const char* begin = at;
    while (begin > text && begin[-1] != ' ') begin--;
    if ((size_t)(at - begin) == length && memcmp(begin, name, length) == 0) return true;
  }
  return false;
}

// Sets parameters from words "name=value". Only those that the workload reads may be set.
static void params_set(params_t* p, const workload_t* w, const char* text) {
  while (*text != 0) {
    const char* equals = strchr(text, '=');
    char* end = NULL;
    uint64_t* value = equals != NULL ? param_named(p, text, (size_t)(equals - text)) : NULL;
    if (value == NULL || !names_param(w->usual, text, (size_t)(equals - text))) {
      fprintf(stderr, "bench: workload '%s' has no parameter '%s'; it has: %s\n", w->name, text, w->usual);
      exit(2);
    }
    *value = strtoull(equals + 1, &end, 10);
    if (end == equals + 1 || (*end != 0 && *end != ' ')) {
      fprintf(stderr, "bench: '%s' is not name=NUMBER\n", text);
      exit(2);
    }
    text = *end == ' ' ? end + 1 : end;
  }
}

static void print_result(const workload_t* w, const params_t* p) {
  printf("{\"workload\":\"%s\",\"allocator\":\"%s\",\"params\":{", w->name, bench_traits.name);
  params_t copy = *p;
  const char* comma = "";
  for (unsigned i = 0; i < PARAMS; i++) {
    size_t length = strlen(param_names[i]);
    if (!names_param(w->usual, param_names[i], length)) continue;
    printf("%s\"%s\":%" PRIu64, comma, param_names[i], *param_named(&copy, param_names[i], length));
    comma = ",";
  }
  printf("},\"ops\":%" PRIu64 ",\"wall_ns\":%" PRIu64 ",\"cpu_ns\":%" PRIu64 ",\"checks\":%" PRIu64, ops_done,
         wall_ns, cpu_ns, checks);
  printf(",\"rss_begun_kib\":%" PRIu64 ",\"rss_peak_kib\":%" PRIu64 ",\"rss_end_kib\":%" PRIu64,
         memory_begun.rss, memory_end.rss_peak, memory_end.rss);
  printf(",\"commit_begun_kib\":%" PRIu64 ",\"commit_peak_kib\":%" PRIu64 ",\"commit_end_kib\":%" PRIu64,
         memory_begun.commit, commit_peak, memory_end.commit);
  printf(",\"figures\":{");
  for (unsigned i = 0; i < figure_count; i++) {
    printf("%s\"%s\":%.3f", i > 0 ? "," : "", figures[i].name, figures[i].value);
  }
  printf("},\"samples\":[");
  for (unsigned i = 0; i < sample_count; i++) {
    printf("%s{\"label\":\"%s\",\"ms\":%.1f,\"rss_kib\":%" PRIu64 ",\"commit_kib\":%" PRIu64 "}",
           i > 0 ? "," : "", samples[i].label, (double)(int64_t)(samples[i].ns - origin_ns) / 1e6,
           samples[i].memory.rss, samples[i].memory.commit);
  }
  printf("]}\n");
}

static const workload_t* workload_named(const char* name) {
  for (unsigned t = 0; t < sizeof tables / sizeof *tables; t++) {
    for (const workload_t* w = tables[t]; w->name != NULL; w++) {
      if (strcmp(w->name, name) == 0) return w;
    }
  }
  return NULL;
}

static void print_list(void) {
  for (unsigned t = 0; t < sizeof tables / sizeof *tables; t++) {
    for (const workload_t* w = tables[t]; w->name != NULL; w++) {
      printf("%s\t%s\t%s\t%s\n", w->name, w->usual, w->tiny, w->what);
    }
  }
}

int main(int count, char** arguments) {
  if (count >= 2 && strcmp(arguments[1], "--list") == 0) {
    print_list();
    return 0;
  }
  if (count < 2 || arguments[1][0] == '-') {
    printf("usage: bench WORKLOAD [--tiny] [NAME=NUMBER...]   runs a workload; the last line is its result "
           "in JSON\n"
           "       bench --list                               workload, parameters, values of --tiny, "
           "meaning\n");
    return count == 2 && strcmp(arguments[1], "--help") == 0 ? 0 : 2;
  }
  const workload_t* w = workload_named(arguments[1]);
  if (w == NULL) {
    fprintf(stderr, "bench: no workload '%s'; see bench --list\n", arguments[1]);
    return 2;
  }
  params_t p = {0};
  params_set(&p, w, w->usual);
  for (int i = 2; i < count; i++)
    params_set(&p, w, strcmp(arguments[i], "--tiny") == 0 ? w->tiny : arguments[i]);
  running = w;
  host_memory(&memory_begun);
  origin_ns = host_now_ns();
  w->run(&p);
  print_result(w, &p);
  return 0;
}
