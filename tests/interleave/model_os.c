#include "interleave/model.h"
#include "interleave/schedule.h"
#include "base/bits.h"
#include "os/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MODEL_BASE ((uintptr_t)1 << 36)
enum { UNIT = 16 * 1024, UNITS = MODEL_SIZE / UNIT, RESERVATIONS = 64, DECOMMITTED = 0xDD, RESET = 0xD7 };

void* model_slot;
uint32_t model_clock_ms = 1000;
bool model_commits_fail;
unsigned model_messages;
char model_message[256];
void (*model_on_decommit)(const void* start, size_t size);

typedef struct reservation_s {
  uint8_t* base;
  size_t size;
} reservation_t;

static reservation_t reservations[RESERVATIONS];
static size_t reservation_count;
static uint8_t* next_free = (uint8_t*)MODEL_BASE;
static uint8_t committed[UNITS];

void model_begin(void) {
  void* p = mmap((void*)MODEL_BASE, MODEL_SIZE, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (p != (void*)MODEL_BASE) {
    fprintf(stderr, "no address space for the model at %p\n", (void*)MODEL_BASE);
    exit(2);
  }
}

uint8_t* model_memory(void) { return (uint8_t*)MODEL_BASE; }

static size_t unit_of(const void* p) { return ((uintptr_t)p - MODEL_BASE) / UNIT; }

bool model_is_reserved(const void* start, size_t size) {
  for (size_t i = 0; i < reservation_count; i++) {
    const reservation_t* at = &reservations[i];
    if ((const uint8_t*)start >= at->base && (size_t)((const uint8_t*)start - at->base) + size <= at->size)
      return true;
  }
  return false;
}

bool model_is_committed(const void* start, size_t size) {
  if (size == 0 || !model_is_reserved(start, size)) return false;
  for (size_t i = unit_of(start); i <= unit_of((const uint8_t*)start + size - 1); i++)
    if (!committed[i]) return false;
  return true;
}

size_t model_committed_bytes(void) {
  size_t count = 0;
  for (size_t i = 0; i < UNITS; i++) count += committed[i];
  return count * UNIT;
}

// ---- memory -----------------------------------------------------------------------------------------------

void os_init(void) {}
size_t os_page_size(void) { return 4096; }
size_t os_processor_count(void) { return 2; }
size_t os_mapping_limit(void) { return SIZE_MAX; }

// Addresses are never given twice: fresh ones read as zero.
void* os_reserve(size_t size) {
  schedule_point(&next_free, POINT_CHANGE);
  size_t alignment = size >= 4 * MI_MIB ? 4 * MI_MIB : OS_GRANULARITY;
  uint8_t* p = (uint8_t*)bits_align_up((uintptr_t)next_free, alignment);
  if (reservation_count == RESERVATIONS || size > MODEL_SIZE ||
      (size_t)(p - model_memory()) > MODEL_SIZE - bits_align_up(size, OS_GRANULARITY))
    return NULL;
  next_free = p + bits_align_up(size, OS_GRANULARITY);
  reservations[reservation_count++] = (reservation_t){p, size};
  return p;
}

void* os_reserve_at(void* address, size_t size) {
  MI_UNUSED(address);
  MI_UNUSED(size);
  return NULL;
}

static void mark(const void* start, size_t size, bool is_committed) {
  for (size_t i = 0; i < bits_divide_up(size, UNIT); i++) committed[unit_of(start) + i] = is_committed;
}

void* os_reserve_and_commit(size_t size) {
  void* p = model_commits_fail ? NULL : os_reserve(size);
  if (p != NULL) mark(p, size, true);
  return p;
}

static void check_units(const char* call, const void* start, size_t size) {
  if (size == 0 || ((uintptr_t)start | size) % UNIT != 0 || !model_is_reserved(start, size))
    schedule_fail("%s of %zu bytes at %p", call, size, start);
}

bool os_commit(void* start, size_t size) {
  check_units("os_commit", start, size);
  schedule_point(&committed[unit_of(start)], POINT_CHANGE);
  if (model_commits_fail) return false;
  for (size_t at = 0; at < size; at += UNIT) {
    uint8_t* unit = (uint8_t*)start + at;
    if (!committed[unit_of(unit)] && unit[0] == DECOMMITTED) memset(unit, 0, UNIT);
    committed[unit_of(unit)] = true;
  }
  return true;
}

bool os_decommit(void* start, size_t size) {
  check_units("os_decommit", start, size);
  schedule_point(&committed[unit_of(start)], POINT_CHANGE);
  if (model_on_decommit != NULL) model_on_decommit(start, size);
  memset(start, DECOMMITTED, size);
  mark(start, size, false);
  return true;
}

bool os_reset(void* start, size_t size) {
  bool is_whole = size != 0 && ((uintptr_t)start | size) % os_page_size() == 0;
  if (!is_whole || !model_is_committed(start, size))
    schedule_fail("os_reset of %zu bytes at %p", size, start);
  for (size_t at = 0; at < size; at += os_page_size()) { // what is remembered of it is lost
    schedule_point((uint8_t*)start + at, POINT_CHANGE);
    memset((uint8_t*)start + at, RESET, 64);
    memset((uint8_t*)start + at + os_page_size() - 64, RESET, 64);
  }
  return true;
}

bool os_release(void* base, size_t size) {
  for (size_t i = 0; i < reservation_count; i++) {
    if (reservations[i].base != base || reservations[i].size != size) continue;
    reservations[i] = reservations[--reservation_count];
    memset(base, DECOMMITTED, 64);
    mark(base, size, false);
    return true;
  }
  schedule_fail("os_release of %zu bytes at %p, which was not reserved", size, base);
}

bool os_wait_for_memory(uint32_t ms) {
  MI_UNUSED(ms);
  return false;
}
bool os_protect(void* start, size_t size, bool accessible) {
  MI_UNUSED(start);
  MI_UNUSED(size);
  MI_UNUSED(accessible);
  return true;
}
void* os_reserve_large(size_t size, int numa_node) {
  MI_UNUSED(size);
  MI_UNUSED(numa_node);
  return NULL;
}

// ---- the rest ---------------------------------------------------------------------------------------------

uint32_t os_clock_ms(void) { return model_clock_ms; }
bool os_environment(const char* name, char* value, size_t capacity) {
  MI_UNUSED(name);
  MI_UNUSED(value);
  MI_UNUSED(capacity);
  return false;
}
void os_environment_names(const char* prefix, void (*visit)(void* context, const char* name), void* context) {
  MI_UNUSED(prefix);
  MI_UNUSED(visit);
  MI_UNUSED(context);
}
void os_random(uint64_t random[2]) { random[0] = 0x243f6a8885a308d3u, random[1] = 0x13198a2e03707344u; }
uint64_t os_random_place(void) { return 0x243f6a8885a308d3u; }
void os_write_error(const char* text, size_t length) {
  model_messages++;
  snprintf(model_message, sizeof(model_message), "%.*s", (int)length, text);
}
os_log_t os_log_write(const char* variable, const char* text, size_t length) {
  MI_UNUSED(variable);
  MI_UNUSED(text);
  MI_UNUSED(length);
  return OS_LOG_NONE;
}
void os_process_usage(os_process_usage_t* usage) { memset(usage, 0, sizeof(*usage)); }
MI_NORETURN void os_abort(void) { schedule_fail("os_abort: %s", model_message); }
void os_set_errno(int code) { MI_UNUSED(code); }

uint32_t os_thread_id(void) { return schedule_id(schedule_self()); }
bool os_thread_is_dead(uint32_t id) { return schedule_is_dead(id); }
uint64_t os_thread_watch(void) { return os_thread_id(); }
void os_thread_unwatch(uint64_t watch) { MI_UNUSED(watch); }
bool os_thread_is_another(uint32_t id, uint64_t watch) { return id != watch; }
void* os_stack_base(void) { return (void*)UINTPTR_MAX; }
bool os_is_exiting(void) { return false; }
void os_yield(void) { schedule_yield(); }

bool os_lock_try(os_lock_t* lock) {
  schedule_point(&lock->owner, POINT_CHANGE);
  if (lock->owner != 0) return false;
  lock->owner = os_thread_id();
  return true;
}

bool os_lock_acquire(os_lock_t* lock) {
  schedule_point(&lock->owner, POINT_CHANGE);
  schedule_wait(&lock->owner);
  bool is_taken_over = lock->owner != 0;
  lock->owner = os_thread_id();
  return is_taken_over;
}

void os_lock_release(os_lock_t* lock) {
  schedule_store(&lock->owner, sizeof(lock->owner));
  if (lock->owner != os_thread_id()) schedule_fail("a lock is opened by a thread that doesn't hold it");
  lock->owner = 0;
}

bool os_slot_init(void) { return true; }
void os_slot_free(void) {}
