#include "support/os_faults.h"
#include "os/os.h"
#include "base/atomics.h"
#include "base/bits.h"

// All of it is read and written atomically: the timer calls the system whenever it likes.
static size_t calls[OS_CALL_KINDS + 1]; // the last counts all kinds
static size_t injected;
static size_t refused_release;
static uint32_t fail_kind;   // os_call_t
static size_t fail_first;    // 0: none
static uint32_t fail_later;  // bool
static size_t random_one_in; // 0: not at random
static uint64_t random_seed;

const char* os_faults_name(os_call_t kind) {
  static const char* const names[] = {"os_reserve",
                                      "os_reserve_at",
                                      "os_reserve_and_commit",
                                      "os_commit",
                                      "os_decommit",
                                      "os_reset",
                                      "os_release",
                                      "any"};
  return names[kind];
}

static void arm(os_call_t kind, size_t n, bool later) {
  for (size_t i = 0; i <= OS_CALL_KINDS; i++) atomic_set_relaxed(&calls[i], 0);
  atomic_set_relaxed(&injected, 0);
  atomic_set_relaxed(&fail_kind, (uint32_t)kind);
  atomic_set_relaxed(&fail_later, (uint32_t)later);
  atomic_set_relaxed(&random_one_in, (size_t)0);
  atomic_set_release(&fail_first, n);
}

static size_t waits; // that are still granted

void os_faults_none(void) {
  atomic_set_relaxed(&waits, (size_t)0);
  arm(OS_CALL_ANY, 0, false);
}
void os_faults_grant_waits(size_t count) { atomic_set_relaxed(&waits, count); }
void os_faults_fail_nth(os_call_t kind, size_t n) { arm(kind, n, false); }
void os_faults_fail_from(os_call_t kind, size_t n) { arm(kind, n, true); }

void os_faults_fail_at_random(os_call_t kind, size_t one_in, uint64_t seed) {
  arm(kind, 0, false);
  atomic_set_relaxed(&random_seed, seed);
  atomic_set_release(&random_one_in, one_in);
}

size_t os_faults_calls(os_call_t kind) { return atomic_get_relaxed(&calls[kind]); }
size_t os_faults_injected(void) { return atomic_get_relaxed(&injected); }
size_t os_faults_refused_release(void) { return atomic_get_relaxed(&refused_release); }

static bool must_fail(os_call_t kind) {
  size_t of_kind = atomic_add_relaxed(&calls[kind], 1) + 1;
  size_t of_any = atomic_add_relaxed(&calls[OS_CALL_ANY], 1) + 1;
  size_t first = atomic_get_acquire(&fail_first), one_in = atomic_get_acquire(&random_one_in);
  uint32_t wanted = atomic_get_relaxed(&fail_kind);
  if ((first == 0 && one_in == 0) || (wanted != OS_CALL_ANY && wanted != (uint32_t)kind)) return false;
  size_t n = wanted == OS_CALL_ANY ? of_any : of_kind;
  if (one_in != 0) {
    if (bits_mix((uintptr_t)(n + atomic_get_relaxed(&random_seed) * 1000003)) % one_in != 0) return false;
  } else if (n != first && !(atomic_get_relaxed(&fail_later) != 0 && n > first)) {
    return false;
  }
  atomic_add_relaxed(&injected, 1);
  return true;
}

// The linker sends each call of os_x to __wrap_os_x and each call of __real_os_x to the true one.
void* __real_os_reserve(size_t size);
void* __real_os_reserve_at(void* address, size_t size);
void* __real_os_reserve_and_commit(size_t size);
bool __real_os_commit(void* start, size_t size);
bool __real_os_decommit(void* start, size_t size);
bool __real_os_reset(void* start, size_t size);
bool __real_os_release(void* base, size_t size);

void* __wrap_os_reserve(size_t size);
void* __wrap_os_reserve_at(void* address, size_t size);
void* __wrap_os_reserve_and_commit(size_t size);
bool __wrap_os_commit(void* start, size_t size);
bool __wrap_os_decommit(void* start, size_t size);
bool __wrap_os_wait_for_memory(uint32_t ms);
bool __wrap_os_reset(void* start, size_t size);
bool __wrap_os_release(void* base, size_t size);

void* __wrap_os_reserve(size_t size) { return must_fail(OS_CALL_RESERVE) ? NULL : __real_os_reserve(size); }
void* __wrap_os_reserve_at(void* address, size_t size) {
  return must_fail(OS_CALL_RESERVE_AT) ? NULL : __real_os_reserve_at(address, size);
}
void* __wrap_os_reserve_and_commit(size_t size) {
  return must_fail(OS_CALL_RESERVE_AND_COMMIT) ? NULL : __real_os_reserve_and_commit(size);
}
bool __wrap_os_commit(void* start, size_t size) {
  return !must_fail(OS_CALL_COMMIT) && __real_os_commit(start, size);
}
bool __wrap_os_wait_for_memory(uint32_t ms) {
  MI_UNUSED(ms);
  if (atomic_get_relaxed(&waits) == 0) return false;
  atomic_sub_relaxed(&waits, 1);
  return true;
}
bool __wrap_os_decommit(void* start, size_t size) {
  return !must_fail(OS_CALL_DECOMMIT) && __real_os_decommit(start, size);
}
bool __wrap_os_reset(void* start, size_t size) {
  return !must_fail(OS_CALL_RESET) && __real_os_reset(start, size);
}
bool __wrap_os_release(void* base, size_t size) {
  if (must_fail(OS_CALL_RELEASE)) {
    atomic_add_relaxed(&refused_release, size);
    return false;
  }
  return __real_os_release(base, size);
}
