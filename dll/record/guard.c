#include "guard.h"

#include "base/atomics.h"
#include "base/bits.h"
#include "base/memory.h"
#include "os/os.h"
#include "store.h"

#define PAGE        ((size_t)4096)
#define CLASSES     17u   // queues by pages; the last one: all larger runs
#define QUEUE_MIN   1024u // freed runs of a class that wait at least
#define FRONT_BYTES 32u   // in front of a block that are watched
#define PATTERN     0xFD
#define FRESH       0xD0 // of a block's bytes that nobody has set

typedef struct queue_s {
  uint32_t first, last, count;
} queue_t;

static uintptr_t base;
static size_t memory_size, used; // used: bytes that runs were made of
static bool places_exactly;
static uint32_t live, live_most; // blocks
static os_lock_t lock;
static queue_t queues[CLASSES];
static store_t runs;    // run `number` is the one before it
static store_t numbers; // of the run of each page, a uint32_t

static guard_run_t* at(uint32_t number) { return (guard_run_t*)runs.base + (number - 1); }
static unsigned class_of(size_t pages) { return pages < CLASSES - 1 ? (unsigned)pages : CLASSES - 1; }

bool guard_start(size_t memory, bool is_exact, uint32_t most) {
  live_most = most;
  memory = bits_align_up(memory, MI_MIB);
  base = (uintptr_t)os_reserve(memory);
  memory_size = memory;
  places_exactly = is_exact;
  return base != 0 && store_open(&numbers, memory / PAGE * sizeof(uint32_t)) &&
         store_open(&runs, memory / (2 * PAGE) * sizeof(guard_run_t));
}

bool guard_is_inside(const void* p) { return (uintptr_t)p - base < memory_size && base != 0; }

guard_run_t* guard_find(uintptr_t address) {
  size_t page = (address - base) / PAGE;
  if (address - base >= memory_size || page * sizeof(uint32_t) >= atomic_get_acquire(&numbers.committed))
    return NULL;
  uint32_t number = atomic_get_acquire((uint32_t*)numbers.base + page);
  return number == 0 ? NULL : at(number);
}

// ---- runs -----------------------------------------------------------------------------------------------

static guard_run_t* make(size_t pages) {
  size_t size = (pages + 1) * PAGE;
  if (size > memory_size - used) return NULL;
  guard_run_t* run = store_take(&runs, sizeof(*run));
  size_t first = used / PAGE;
  // The pages' numbers lie side by side as the runs do: what is taken is what follows.
  if (run == NULL) return NULL;
  while (numbers.used < (first + pages + 1) * sizeof(uint32_t)) {
    if (store_take(&numbers, MI_MIB / 16) == NULL) return NULL;
  }
  run->start = base + used;
  run->pages = (uint32_t)pages;
  used += size;
  uint32_t number = (uint32_t)(run - (guard_run_t*)runs.base) + 1;
  for (size_t i = 0; i <= pages; i++) atomic_set_release((uint32_t*)numbers.base + first + i, number);
  return run;
}

// The one that was freed longest ago, of those that have waited.
static guard_run_t* take_old(size_t pages) {
  queue_t* queue = &queues[class_of(pages)];
  if (queue->count <= QUEUE_MIN) return NULL;
  guard_run_t* run = at(queue->first);
  if (run->pages < pages) return NULL; // of the larger ones only the first is looked at
  queue->first = run->next;
  queue->count--;
  return run;
}

static void put(guard_run_t* run) {
  uint32_t number = (uint32_t)(run - (guard_run_t*)runs.base) + 1;
  queue_t* queue = &queues[class_of(run->pages)];
  run->next = 0;
  if (queue->count == 0)
    queue->first = number;
  else
    at(queue->last)->next = number;
  queue->last = number;
  queue->count++;
}

static void* place(guard_run_t* run, size_t size, size_t alignment, bool zero, uint32_t stack) {
  size_t bytes = run->pages * PAGE;
  uintptr_t end = run->start + bytes, address = bits_align_down(end - size, alignment);
  if (!zero) mem_fill((void*)address, FRESH, size);
  mem_fill((void*)(address + size), PATTERN, end - address - size);
  size_t front = address - run->start < FRONT_BYTES ? address - run->start : FRONT_BYTES;
  mem_fill((void*)(address - front), PATTERN, front);
  run->address = address;
  run->size = size;
  run->allocated_at = stack;
  run->allocated_by = os_thread_id();
  run->freed_at = 0;
  atomic_set_release(&run->state, (uint32_t)GUARD_LIVE);
  return (void*)address;
}

void* guard_allocate(size_t size, size_t alignment, bool zero, uint32_t stack) {
  if (alignment > PAGE || size > memory_size / 2) return NULL;
  // An object's size is a multiple of its alignment: the least that the size allows is what the language promises.
  if (alignment == 0) alignment = places_exactly ? 1 : size >= 16 ? 16 : 8;
  size_t pages = (size + PAGE - 1) / PAGE;
  if (pages == 0) pages = 1;
  os_lock_acquire(&lock);
  guard_run_t* run = atomic_get_relaxed(&live) >= live_most ? NULL : make(pages);
  if (run == NULL && atomic_get_relaxed(&live) < live_most) run = take_old(pages);
  if (run != NULL) run->state = GUARD_UNUSED;
  os_lock_release(&lock);
  if (run == NULL) return NULL;
  if (!os_commit((void*)run->start, run->pages * PAGE)) return NULL; // out of memory: the run is lost
  atomic_add_relaxed(&live, 1);
  return place(run, size, alignment, zero, stack);
}

bool guard_free(guard_run_t* run, uint32_t stack) {
  uint32_t expected = GUARD_LIVE;
  if (!atomic_cas_acq_rel(&run->state, &expected, (uint32_t)GUARD_FREED)) return false;
  atomic_sub_relaxed(&live, 1);
  run->freed_at = stack;
  run->freed_by = os_thread_id();
  run->freed_ms = os_clock_ms();
  os_decommit((void*)run->start, run->pages * PAGE);
  os_lock_acquire(&lock);
  put(run);
  os_lock_release(&lock);
  return true;
}

bool guard_is_overwritten(const guard_run_t* run, intptr_t* where) {
  const uint8_t *block = (const uint8_t*)run->address, *end = (const uint8_t*)run->start + run->pages * PAGE;
  for (const uint8_t* p = block + run->size; p < end; p++) {
    if (*p != PATTERN) {
      *where = p - block;
      return true;
    }
  }
  size_t front = run->address - run->start < FRONT_BYTES ? run->address - run->start : FRONT_BYTES;
  for (size_t i = 1; i <= front; i++) {
    if (block[-(intptr_t)i] != PATTERN) {
      *where = -(intptr_t)i;
      return true;
    }
  }
  return false;
}

void guard_visit(void (*visit)(const guard_run_t* run)) {
  size_t count = atomic_get_acquire(&runs.used) / sizeof(guard_run_t);
  for (size_t i = 0; i < count; i++) visit((const guard_run_t*)runs.base + i);
}
