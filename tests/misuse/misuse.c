#include "misuse.h"
#include "support/test_data.h"
#include "support/test_thread.h"

#include <stdarg.h>
#include <stdlib.h>
#if !defined(_WIN32)
#include <sys/resource.h>
#endif

static const group_t* const groups[] = {&group_control,    &group_double_free,   &group_bad_free,
                                        &group_overflow,   &group_underflow,     &group_after_free,
                                        &group_forged,     &group_size_mismatch, &group_realloc,
                                        &group_arithmetic, &group_open};
enum { GROUPS = sizeof(groups) / sizeof(groups[0]) };

// ---- the world --------------------------------------------------------------------------------------------

typedef struct watched_s {
  unsigned char* p; // NULL: forgotten
  size_t size;
  uint64_t tag;
} watched_t;

enum { WATCHED_MAX = 20000, FORBIDDEN_MAX = 16 };
static watched_t watched[WATCHED_MAX];
static size_t watched_count;
static struct {
  uintptr_t start, end;
  const char* what;
} forbidden[FORBIDDEN_MAX];
static size_t forbidden_count;

__attribute__((aligned(4096))) unsigned char attacker[256 * 1024];

static bool was_reported, was_refused;
static char noticed_harm[300];

static void count_output(const char* text, void* arg) {
  (void)arg;
  fputs(text, stderr);
  if (strstr(text, "error") != NULL) was_reported = true;
}

void* hide(const volatile void* p) {
  __asm__ volatile("" : "+r"(p));
  return (void*)(uintptr_t)p;
}

static void verdict(int code, const char* text) {
  printf("%s\n", text);
  fflush(NULL);
  _Exit(code); // no destructors, no statistics: the heap may be in any state
}

void harm(const char* format, ...) {
  char text[300];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  verdict(VERDICT_HARM, text);
  __builtin_unreachable();
}

void harm_unless_noticed(const char* format, ...) {
  if (noticed_harm[0] != 0) return; // the first tells most
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(noticed_harm, sizeof(noticed_harm), format, arguments);
  va_end(arguments);
}

void refused(void) { was_refused = true; }

void no_case(const char* why) {
  verdict(VERDICT_NO_CASE, why);
  __builtin_unreachable();
}

void forbid(const void* start, size_t size, const char* what) {
  if (forbidden_count == FORBIDDEN_MAX) no_case("too much is forbidden");
  forbidden[forbidden_count].start = (uintptr_t)start;
  forbidden[forbidden_count].end = (uintptr_t)start + size;
  forbidden[forbidden_count++].what = what;
}

// A block that malloc just returned.
static void check_place(const void* p, size_t size) {
  uintptr_t start = (uintptr_t)p, end = start + (size == 0 ? 1 : size);
  for (size_t i = 0; i < forbidden_count; i++) {
    if (start < forbidden[i].end && end > forbidden[i].start)
      harm("malloc returns %p: %s", p, forbidden[i].what);
  }
  for (size_t i = 0; i < watched_count; i++) {
    uintptr_t other = (uintptr_t)watched[i].p;
    if (other == 0) continue;
    if (start == other) harm("malloc returns %p, which is in use", p);
    if (start < other + watched[i].size && end > other)
      harm("malloc returns %p, which overlaps %p in use (%zu bytes)", p, (void*)watched[i].p,
           watched[i].size);
  }
  if (!mi_is_in_heap_region(p)) harm("malloc returns %p, which is not the allocator's", p);
}

void* keep_this(void* p, size_t size) {
  if (p == NULL) no_case("malloc returned NULL");
  if (watched_count == WATCHED_MAX) no_case("too many blocks");
  check_place(p, size);
  watched_t* w = &watched[watched_count++];
  w->p = p;
  w->size = size;
  w->tag = watched_count * 0x9E3779B97F4A7C15u;
  pattern_fill_sampled(p, size, w->tag);
  return p;
}

void* keep(size_t size) { return keep_this(mi_malloc(size), size); }

void keep_many(size_t size, size_t count) {
  for (size_t i = 0; i < count; i++) keep(size);
}

size_t plenty(size_t size) {
  return size <= 8192 ? 65536 / (size < 64 ? 64 : size) : size <= 65536 ? 30 : size <= 524288 ? 20 : 4;
}

void keep_neighbours(size_t size) { keep_many(size, size <= 8192 ? 30 : 3); }

static bool has_contents(const watched_t* w) {
  return w->p == NULL || pattern_mismatch_sampled(w->p, w->size, w->tag) == SIZE_MAX;
}

void check_contents(void) {
  for (size_t i = 0; i < watched_count; i++) {
    if (!has_contents(&watched[i]))
      harm_unless_noticed("a block in use, %p, lost its contents", (void*)watched[i].p);
  }
}

static watched_t* find(const void* p) {
  for (size_t i = watched_count; i-- > 0;) { // the latest
    if (watched[i].p == p) return &watched[i];
  }
  no_case("a block that nobody keeps");
}

void forget(void* p) { find(p)->p = NULL; }

void release(void* p) {
  watched_t* w = find(p);
  if (!has_contents(w)) harm_unless_noticed("a block in use, %p, lost its contents", p);
  w->p = NULL;
  mi_free(p);
}

void fill_with_attacker(void* at, size_t size) {
  uint64_t address = (uintptr_t)attacker + 0x10430; // no byte of it is zero where it matters
  volatile unsigned char* to = hide(at);
  for (size_t i = 0; i < size; i++)
    to[i] = (unsigned char)(address >> (((uintptr_t)to + i) % sizeof(void*)) * 8);
}

void in_thread(void (*run)(void* arg), void* arg) {
  test_thread_t thread;
  test_thread_start(&thread, run, arg);
  test_thread_join(&thread);
}

static void free_it(void* p) { mi_free(p); }
void free_in_thread(void* p) { in_thread(free_it, p); }

// ---- verdicts ---------------------------------------------------------------------------------------------

void probe(size_t size, size_t count) {
  for (size_t i = 0; i < count; i++) {
    void* p = mi_malloc(size);
    if (p == NULL) {
      harm_unless_noticed("malloc has no memory any more");
      return;
    }
    keep_this(p, size);
  }
}

static size_t probed_size;
static void probe_some(void* arg) {
  (void)arg;
  probe(probed_size, plenty(probed_size));
}

static void release_all(void) {
  for (size_t i = 0; i < watched_count; i++) {
    if (watched[i].p != NULL) release(watched[i].p);
  }
  watched_count = 0;
}

void judge(size_t size) {
  probed_size = size;
  check_contents();
  probe(size, 2 * plenty(size));
  in_thread(probe_some, NULL);
  check_contents();
  release_all();
  mi_collect(true);
  probe(size, plenty(size));
  check_contents();
  release_all();
  mi_collect(true);
  if (noticed_harm[0] != 0) harm("%s", noticed_harm);
  if (was_reported || was_refused) verdict(VERDICT_REFUSED, was_reported ? "reported" : "refused");
  verdict(VERDICT_SILENT, "nothing was said");
  __builtin_unreachable();
}

// ---- main -------------------------------------------------------------------------------------------------

// A loop without end is found by the processor time it takes; Windows has no such limit, there the runner
// sets one.
static void limit_processor_time(void) {
#if !defined(_WIN32)
  setrlimit(RLIMIT_CPU, &(struct rlimit){.rlim_cur = 2, .rlim_max = 3});
#endif
}

static int list(void) {
  for (size_t g = 0; g < GROUPS; g++) {
    for (size_t i = 0; i < groups[g]->count; i++)
      printf("%s\t%s\n", groups[g]->title, groups[g]->cases[i].name);
  }
  return 0;
}

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "--list") == 0) return list();
  if (argc == 2 && strcmp(argv[1], "--first-address") == 0) { // for a case that compares runs
    printf("%p\n", mi_malloc(SMALL));
    return 0;
  }
  if (argc != 2 || argv[1][0] == '-') {
    fprintf(stderr,
            "usage: misuse CASE | --list\n"
            "Exit codes: %d refused, %d silent, %d harm, %d the case could not be made.\n",
            VERDICT_REFUSED, VERDICT_SILENT, VERDICT_HARM, VERDICT_NO_CASE);
    return 2;
  }
  limit_processor_time();
  mi_register_output(count_output, NULL);
  mi_option_enable(mi_option_show_errors);
  forbid(attacker, sizeof(attacker), "the attacker's");
  for (size_t g = 0; g < GROUPS; g++) {
    for (size_t i = 0; i < groups[g]->count; i++) {
      const case_t* c = &groups[g]->cases[i];
      if (strcmp(c->name, argv[1]) == 0) {
        c->run(c);
        judge(c->size);
      }
    }
  }
  fprintf(stderr, "misuse: no case is called %s; --list tells all\n", argv[1]);
  return 2;
}
