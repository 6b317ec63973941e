// Coroutines, choices, and the search over them.
// long because all of it works on one record, that of the run
#include "interleave/schedule.h"
#include "interleave/image.h"
#include "interleave/model.h"
#include "core/report/counters.h"
#include "os/os.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

enum {
  STACK_SIZE = 256 * 1024,
  DEPTH_MAX = 1 << 16,
  SEGMENTS_MAX = 4096,
  ADDRESSES = 1 << 14,      // places of the table of addresses
  STORES_MAX = 64,          // that wait
  POINTS_MAX = 1000 * 1000, // of one run: more is taken for an endless loop
  FIRST_ID = 1000,
  BOUND = 2
};

typedef enum thread_state_e { RUNS, WAITS, ENDED, KILLED } thread_state_t;

typedef struct store_s { // that others needn't have seen yet
  uint8_t* address;
  unsigned size;
  uint64_t before, after;
} store_t;

typedef struct coroutine_s {
  ucontext_t context;
  uint8_t* stack;
  void* slot;
  thread_state_t state;
  const uint32_t* waits_for;
  bool has_yielded;
  bool has_begun;
  bool is_late; // the others see what was before its stores
  store_t stores[STORES_MAX];
  unsigned store_count;
} coroutine_t;

typedef struct segment_s {
  unsigned thread;
  uint64_t points; // UINT64_MAX: until it ends, waits or yields
  enum { SWITCHED, SWITCHED_LATE, SWITCHED_KILLED } how;
} segment_t;

typedef struct address_s {
  uintptr_t address;
  uint64_t run; // to which the next two belong
  uint8_t readers, writers;
  bool is_shared;  // worth a preemption
  bool was_shared; // found in this search, for the next
} address_t;

// All that must outlive a run: not in static memory, which is brought back.
typedef struct keep_s {
  coroutine_t threads[SCHEDULE_THREADS + 1];
  ucontext_t main;
  jmp_buf judge;
  bool is_judging, failed;
  char failure[1024];
  unsigned self;     // 0: the test
  bool is_scheduled; // points are points
  uint64_t run, points_total, points_of_run, points_of_segment;
  uint64_t changes; // of the judge's or the preparation's as well
  unsigned preemptions, bound, kills, killable;
  struct {
    uint16_t choice, count;
  } path[DEPTH_MAX];
  size_t depth, length;
  segment_t taken[SEGMENTS_MAX]; // this run's
  size_t taken_count;
  segment_t given[SEGMENTS_MAX]; // a schedule to follow
  size_t given_count, given_at;
  bool is_given, is_given_used;
  address_t addresses[ADDRESSES];
  bool is_any_new;
  const scenario_t* scenario;
} keep_t;

static keep_t* keep;

uint64_t schedule_changes(void) { return keep->changes; }
unsigned schedule_self(void) { return keep->self; }
uint32_t schedule_id(unsigned number) { return FIRST_ID + number; }
bool schedule_is_killed(unsigned number) { return keep->threads[number].state == KILLED; }

// ---- what a run says of itself ----------------------------------------------------------------------------

static void segment_print(char* text, size_t capacity) {
  size_t length = 0;
  text[0] = 0;
  for (size_t i = 0; i <= keep->taken_count && length + 32 < capacity; i++) {
    segment_t at = i < keep->taken_count
                       ? keep->taken[i]
                       : (segment_t){keep->self, UINT64_MAX, SWITCHED}; // the last one is still going on
    if (at.thread == 0) break;
    length += (size_t)snprintf(text + length, capacity - length, "%s%c", i == 0 ? "" : ".",
                               'A' + (int)at.thread - 1);
    if (at.points != UINT64_MAX)
      length += (size_t)snprintf(text + length, capacity - length, "%llu", (unsigned long long)at.points);
    const char* how = at.how == SWITCHED_KILLED ? "x" : at.how == SWITCHED_LATE ? "l" : "";
    length += (size_t)snprintf(text + length, capacity - length, "%s", how);
  }
}

static void say_failure(const char* text) {
  char schedule[2048];
  segment_print(schedule, sizeof(schedule));
  printf("%s: %s\n  run %llu; again: --scenario %s --schedule %s\n", keep->scenario->name, text,
         (unsigned long long)keep->run, keep->scenario->name, schedule);
  fflush(stdout);
}

void schedule_fail(const char* format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(keep->failure, sizeof(keep->failure), format, args);
  va_end(args);
  keep->failed = true;
  keep->is_scheduled = false;
  say_failure(keep->failure);
  if (keep->self != 0 && !keep->is_judging) setcontext(&keep->main);
  longjmp(keep->judge, 1);
}

static void on_fault(int signal) {
  say_failure(signal == SIGSEGV || signal == SIGBUS ? "access to memory that isn't there" : "a trap");
  _exit(1);
}

// ---- choices ----------------------------------------------------------------------------------------------

static unsigned choose(unsigned count) {
  if (count <= 1) return 0;
  size_t at = keep->depth++;
  if (at < keep->length) {
    if (keep->path[at].count == count) return keep->path[at].choice;
    printf("%s: the same choices led elsewhere: the scenario isn't deterministic\n", keep->scenario->name);
    exit(2);
  }
  if (at == DEPTH_MAX) schedule_fail("more than %d choices", DEPTH_MAX);
  keep->path[at].choice = 0;
  keep->path[at].count = (uint16_t)count;
  keep->length = at + 1;
  return 0;
}

// To the next path; false: that was the last.
static bool next_path(void) {
  while (keep->length > 0) {
    size_t last = keep->length - 1;
    if (++keep->path[last].choice < keep->path[last].count) return true;
    keep->length--;
  }
  return false;
}

static bool is_dead_number(uint32_t id) {
  return id > FIRST_ID && id <= FIRST_ID + SCHEDULE_THREADS && keep->threads[id - FIRST_ID].state == KILLED;
}

// The test itself outlives all; a coroutine that ended is a thread that is gone.
bool schedule_is_dead(uint32_t id) {
  if (id == FIRST_ID) return false;
  if (id < FIRST_ID || id > FIRST_ID + SCHEDULE_THREADS) return true;
  return is_dead_number(id);
}

static bool can_run(unsigned number) {
  const coroutine_t* at = &keep->threads[number];
  if (at->state == RUNS) return true;
  return at->state == WAITS && (*at->waits_for == 0 || is_dead_number(*at->waits_for));
}

static unsigned others_that_can(unsigned list[SCHEDULE_THREADS], bool with_yielded) {
  unsigned count = 0;
  for (unsigned i = 1; i <= SCHEDULE_THREADS; i++)
    if (i != keep->self && can_run(i) && (with_yielded || !keep->threads[i].has_yielded)) list[count++] = i;
  return count;
}

// ---- stores that wait -------------------------------------------------------------------------------------

static uint64_t value_get(const store_t* store) {
  uint64_t value = 0;
  memcpy(&value, store->address, store->size);
  return value;
}
static void value_set(const store_t* store, uint64_t value) { memcpy(store->address, &value, store->size); }

static void stores_hide(coroutine_t* thread) {
  for (unsigned i = 0; i < thread->store_count; i++) {
    thread->stores[i].after = value_get(&thread->stores[i]);
    value_set(&thread->stores[i], thread->stores[i].before);
  }
  thread->is_late = true;
}

// The thread goes on, or the run is over: now they are seen, and take the place of what others wrote there
// meanwhile.
static void stores_show(coroutine_t* thread) {
  if (!thread->is_late) return;
  for (unsigned i = 0; i < thread->store_count; i++) value_set(&thread->stores[i], thread->stores[i].after);
  thread->is_late = false;
  thread->store_count = 0;
}

// ---- switching --------------------------------------------------------------------------------------------

static void segment_end(uint64_t points, unsigned how) {
  if (keep->self == 0) return;
  if (keep->taken_count == SEGMENTS_MAX) schedule_fail("more than %d switches", SEGMENTS_MAX);
  keep->taken[keep->taken_count++] = (segment_t){keep->self, points, how};
  keep->points_of_segment = 0;
}

static void go_to(unsigned number) { // 0: the test
  coroutine_t* from = &keep->threads[keep->self];
  coroutine_t* to = &keep->threads[number];
  unsigned before = keep->self;
  from->slot = model_slot;
  model_slot = to->slot;
  keep->self = number;
  to->state = RUNS;
  if (!from->is_late) from->store_count = 0; // seen by whoever goes on
  stores_show(to);
  if (before == 0) {
    swapcontext(&keep->main, &to->context);
  } else if (number == 0) {
    keep->is_scheduled = false;
    swapcontext(&from->context, &keep->main);
  } else {
    swapcontext(&from->context, &to->context);
  }
}

// The next thread of a schedule that is followed; false: as one likes.
static bool given_next(unsigned* number) {
  if (!keep->is_given) return false;
  if (keep->is_given_used) keep->given_at++;
  keep->is_given_used = true;
  if (keep->given_at >= keep->given_count) return false;
  *number = keep->given[keep->given_at].thread;
  if (can_run(*number)) return true;
  printf("the schedule doesn't fit: %c can't go on\n", 'A' + (int)*number - 1);
  exit(2);
}

// The running thread can't go on, or doesn't want to: all others are tried. It has the last word if nobody
// else can.
static void switch_away(void) {
  unsigned list[SCHEDULE_THREADS], number;
  if (given_next(&number)) {
    if (number != keep->self) go_to(number);
    return;
  }
  unsigned count = others_that_can(list, false);
  if (count == 0) {
    count = others_that_can(list, true);
    for (unsigned i = 0; i < count; i++) keep->threads[list[i]].has_yielded = false;
  }
  if (count > 0) {
    go_to(list[choose(count)]);
    return;
  }
  if (keep->self != 0 && keep->threads[keep->self].state == RUNS) return;
  for (unsigned i = 1; i <= SCHEDULE_THREADS; i++)
    if (keep->threads[i].state == WAITS)
      schedule_fail("%c waits for a lock that nobody will open", 'A' + (int)i - 1);
  go_to(0);
}

void schedule_yield(void) {
  if (!keep->is_scheduled) return;
  segment_end(UINT64_MAX, SWITCHED);
  if (++keep->points_of_run > POINTS_MAX) schedule_fail("no end after %d points", POINTS_MAX);
  keep->threads[keep->self].has_yielded = true;
  keep->threads[keep->self].store_count = 0;
  switch_away();
}

void schedule_wait(const uint32_t* owner) {
  while (*owner != 0 && !is_dead_number(*owner)) {
    if (*owner == schedule_id(keep->self)) schedule_fail("a thread waits for a lock that it holds");
    if (!keep->is_scheduled) schedule_fail("the test waits for a lock of thread %u", *owner);
    keep->threads[keep->self].state = WAITS;
    keep->threads[keep->self].waits_for = owner;
    segment_end(UINT64_MAX, SWITCHED);
    switch_away();
  }
}

static void end_here(bool is_kill) {
  segment_end(is_kill ? keep->points_of_segment : UINT64_MAX, is_kill ? SWITCHED_KILLED : SWITCHED);
  keep->threads[keep->self].state = is_kill ? KILLED : ENDED;
  switch_away();
  abort(); // nobody comes back
}

static void run_thread(void) {
  keep->scenario->threads[keep->self - 1]();
  end_here(false);
}

// ---- points -----------------------------------------------------------------------------------------------

static address_t* address_find(uintptr_t address) {
  for (size_t at = address * 0x9e3779b97f4a7c15u >> 50, tries = 0; tries < ADDRESSES; at++, tries++) {
    address_t* found = &keep->addresses[at % ADDRESSES];
    if (found->address == address) return found;
    if (found->address != 0) continue;
    found->address = address;
    return found;
  }
  schedule_fail("more than %d addresses", ADDRESSES);
}

// Notes who uses it. Is it worth a preemption?
static bool address_use(uintptr_t address, point_kind_t kind) {
  address_t* at = address_find(address & ~(uintptr_t)7);
  uint8_t self = (uint8_t)(1u << keep->self);
  if (at->run != keep->run) {
    at->run = keep->run;
    at->readers = at->writers = 0;
  }
  if (kind != POINT_READ) {
    at->writers |= self;
  } else {
    at->readers |= self;
  }
  unsigned users = at->readers | at->writers;
  if (!at->is_shared && !at->was_shared && at->writers != 0 && (users & (users - 1)) != 0) {
    at->was_shared = true;
    keep->is_any_new = true;
  }
  return at->is_shared;
}

static void addresses_share(void) {
  for (size_t i = 0; i < ADDRESSES; i++) keep->addresses[i].is_shared |= keep->addresses[i].was_shared;
  keep->is_any_new = false;
}

static bool is_counter(const volatile void* address) {
  return (const volatile char*)address >= (const volatile char*)&stats_process &&
         (const volatile char*)address < (const volatile char*)(&stats_process + 1);
}

static void follow_given(void) {
  if (keep->given_at >= keep->given_count) return;
  const segment_t* segment = &keep->given[keep->given_at];
  if (keep->points_of_segment != segment->points) return;
  if (segment->how == SWITCHED_KILLED) end_here(true);
  segment_end(keep->points_of_segment, segment->how);
  if (segment->how == SWITCHED_LATE) stores_hide(&keep->threads[keep->self]);
  unsigned number;
  if (given_next(&number)) go_to(number);
}

void* schedule_point(const volatile void* address, point_kind_t kind) {
  void* same = (void*)(uintptr_t)address;
  if (keep != NULL && kind == POINT_CHANGE) keep->changes++;
  if (keep == NULL || !keep->is_scheduled || keep->self == 0 || is_counter(address)) return same;
  coroutine_t* thread = &keep->threads[keep->self];
  bool is_worth = kind != POINT_FENCE && address_use((uintptr_t)address, kind) && thread->has_begun;
  thread->has_begun = true;
  for (unsigned i = 1; i <= SCHEDULE_THREADS; i++)
    if (i != keep->self) keep->threads[i].has_yielded = false;
  keep->points_total++;
  if (++keep->points_of_run > POINTS_MAX) schedule_fail("no end after %d points", POINTS_MAX);
  if (keep->is_given) {
    follow_given();
  } else if (keep->preemptions < keep->bound) {
    unsigned list[SCHEDULE_THREADS], count = is_worth ? others_that_can(list, true) : 0;
    unsigned ways = thread->store_count > 0 ? 2 : 1; // late as well
    bool may_kill = kind != POINT_READ && keep->kills == 0 && (keep->killable >> (keep->self - 1) & 1) != 0;
    unsigned choice = choose(1 + count * ways + (may_kill ? 1 : 0));
    if (choice > 0) {
      keep->preemptions++;
      if (choice > count * ways) {
        keep->kills++;
        end_here(true);
      }
      bool is_late = choice > count;
      segment_end(keep->points_of_segment, is_late ? SWITCHED_LATE : SWITCHED);
      if (is_late) stores_hide(thread);
      go_to(list[(choice - 1) % count]);
    }
  }
  if (kind == POINT_CHANGE) thread->store_count = 0;
  keep->points_of_segment++;
  return same;
}

void* schedule_store(const volatile void* address, unsigned size) {
  void* same = schedule_point(address, POINT_STORE);
  if (keep == NULL || !keep->is_scheduled || keep->self == 0) return same;
  address_t* shared = address_find((uintptr_t)address & ~(uintptr_t)7);
  coroutine_t* thread = &keep->threads[keep->self];
  if (!shared->is_shared && !keep->is_given) return same;
  for (unsigned i = 0; i < thread->store_count; i++)
    if (thread->stores[i].address == same) return same; // what was before the first of them counts
  if (thread->store_count == STORES_MAX) thread->store_count = 0;
  store_t* store = &thread->stores[thread->store_count++];
  *store = (store_t){.address = same, .size = size};
  store->before = value_get(store);
  return same;
}

// ---- a scenario -------------------------------------------------------------------------------------------

void schedule_as(unsigned number) {
  keep->threads[keep->self].slot = model_slot;
  keep->self = number;
  model_slot = keep->threads[number].slot;
}

static __attribute__((noinline)) bool judged(void (*judge)(void)) {
  keep->is_judging = true;
  if (setjmp(keep->judge) == 0) {
    judge();
    schedule_as(0);
  }
  keep->is_judging = false;
  keep->self = 0;
  return !keep->failed;
}

typedef struct before_s { // of the threads, as the preparation left them
  void* slots[SCHEDULE_THREADS + 1];
} before_t;

static __attribute__((noinline)) void coroutine_make(coroutine_t* thread) {
  getcontext(&thread->context);
  thread->context.uc_stack.ss_sp = thread->stack;
  thread->context.uc_stack.ss_size = STACK_SIZE;
  thread->context.uc_link = NULL;
  makecontext(&thread->context, run_thread, 0);
}

static bool run_once(const before_t* before) {
  const scenario_t* scenario = keep->scenario;
  keep->run++;
  keep->points_of_run = keep->points_of_segment = 0;
  keep->preemptions = keep->kills = 0;
  keep->depth = keep->taken_count = keep->given_at = 0;
  keep->is_given_used = false;
  for (unsigned i = 0; i <= SCHEDULE_THREADS; i++) {
    coroutine_t* thread = &keep->threads[i];
    thread->slot = before->slots[i];
    thread->state = i > 0 && scenario->threads[i - 1] != NULL ? RUNS : ENDED;
    thread->has_yielded = thread->has_begun = thread->is_late = false;
    thread->store_count = 0;
    if (thread->state == RUNS) coroutine_make(thread);
  }
  keep->self = 0;
  model_slot = before->slots[0];
  keep->is_scheduled = true;
  switch_away(); // comes back when all have ended, or at a failure
  keep->is_scheduled = false;
  keep->self = 0;
  model_slot = keep->threads[0].slot;
  return !keep->failed && judged(scenario->judge);
}

static bool parse(const char* text) {
  keep->given_count = 0;
  while (*text != 0) {
    if (keep->given_count == SEGMENTS_MAX || *text < 'A' || *text >= 'A' + SCHEDULE_THREADS) return false;
    segment_t* segment = &keep->given[keep->given_count++];
    *segment = (segment_t){(unsigned)(*text++ - 'A' + 1), UINT64_MAX, SWITCHED};
    if (*text >= '0' && *text <= '9') segment->points = strtoull(text, (char**)(uintptr_t)&text, 10);
    if (*text == 'x') segment->how = SWITCHED_KILLED, text++;
    if (*text == 'l') segment->how = SWITCHED_LATE, text++;
    if (*text == '.') text++;
  }
  return keep->given_count > 0;
}

schedule_result_t schedule_scenario(const scenario_t* scenario, int bound, const char* text) {
  image_restore(IMAGE_BEGIN);
  keep->scenario = scenario;
  keep->failed = keep->is_any_new = false;
  keep->run = keep->points_total = keep->taken_count = 0;
  keep->bound = bound >= 0 ? (unsigned)bound : scenario->bound > 0 ? (unsigned)scenario->bound : BOUND;
  keep->killable = scenario->killable;
  keep->is_given = text != NULL;
  if (text != NULL && !parse(text)) {
    printf("'%s' is no schedule: segments like A12, B or A3x, with dots between them\n", text);
    exit(2);
  }
  memset(keep->addresses, 0, sizeof(keep->addresses));
  for (unsigned i = 0; i <= SCHEDULE_THREADS; i++)
    keep->threads[i].slot = NULL, keep->threads[i].state = RUNS;
  model_slot = NULL;
  keep->self = 0;
  schedule_result_t result = {0};
  result.failed = !judged(scenario->prepare);
  before_t before;
  for (unsigned i = 0; i <= SCHEDULE_THREADS; i++) before.slots[i] = keep->threads[i].slot;
  before.slots[0] = model_slot;
  image_take(IMAGE_PREPARED);
  bool is_first = true;
  for (bool goes_on = !result.failed; goes_on;) {
    if (!is_first) image_restore(IMAGE_PREPARED);
    is_first = false;
    result.failed = !run_once(&before);
    goes_on = !result.failed && text == NULL && next_path();
    if (goes_on || result.failed || text != NULL || !keep->is_any_new) continue;
    addresses_share(); // once more, with points at these, too
    keep->length = 0;
    goes_on = true;
  }
  result.runs = keep->run;
  result.points = keep->points_total;
  keep->length = 0;
  return result;
}

void schedule_begin(void) {
  model_begin();
  keep = mmap(NULL, sizeof(keep_t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (keep == MAP_FAILED) abort();
  uint8_t* stacks = mmap(NULL, (size_t)STACK_SIZE * (SCHEDULE_THREADS + 2), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stacks == MAP_FAILED) abort();
  for (unsigned i = 0; i <= SCHEDULE_THREADS; i++) keep->threads[i].stack = stacks + (size_t)i * STACK_SIZE;
  stack_t alternate = {.ss_sp = stacks + (size_t)(SCHEDULE_THREADS + 1) * STACK_SIZE, .ss_size = STACK_SIZE};
  struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK};
  sigaltstack(&alternate, NULL);
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
  sigaction(SIGILL, &action, NULL);
  sigaction(SIGFPE, &action, NULL);
  image_init();
  image_take(IMAGE_BEGIN);
}
