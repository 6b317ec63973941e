#include "../host.h"
#include <windows.h>
#include <psapi.h>
#include <stdio.h>
#include <stdlib.h>

enum { STACK_BYTES = 64 * 1024 };

static volatile LONG64 own_kib; // tables

_Noreturn static void fail(const char* what) {
  fprintf(stderr, "bench: %s (error %lu)\n", what, GetLastError());
  exit(2);
}

uint64_t host_now_ns(void) {
  static LARGE_INTEGER frequency;
  LARGE_INTEGER now;
  if (frequency.QuadPart == 0) QueryPerformanceFrequency(&frequency);
  QueryPerformanceCounter(&now);
  uint64_t ticks = (uint64_t)now.QuadPart, per_second = (uint64_t)frequency.QuadPart;
  return ticks / per_second * 1000000000u + ticks % per_second * 1000000000u / per_second;
}

uint64_t host_cpu_ns(void) {
  FILETIME created, ended, kernel, user;
  GetProcessTimes(GetCurrentProcess(), &created, &ended, &kernel, &user);
  uint64_t k = ((uint64_t)kernel.dwHighDateTime << 32) | kernel.dwLowDateTime;
  uint64_t u = ((uint64_t)user.dwHighDateTime << 32) | user.dwLowDateTime;
  return (k + u) * 100;
}

// Windows counts a thread's CPU time in ticks of the scheduler: too coarse for one call.
uint64_t host_pause_clock_ns(void) { return host_now_ns(); }

// Wine does not count what is committed, so that is added up from the address space.
static uint64_t walked_commit_kib(void) {
  MEMORY_BASIC_INFORMATION region;
  uint64_t bytes = 0;
  for (char* at = NULL; VirtualQuery(at, &region, sizeof region) != 0;
       at = (char*)region.BaseAddress + region.RegionSize) {
    if (region.State == MEM_COMMIT && region.Type == MEM_PRIVATE) bytes += region.RegionSize;
  }
  return bytes / 1024;
}

uint64_t host_address_space_kib(void) {
  MEMORY_BASIC_INFORMATION region;
  uint64_t bytes = 0;
  for (char* at = NULL; VirtualQuery(at, &region, sizeof region) != 0;
       at = (char*)region.BaseAddress + region.RegionSize) {
    if (region.State != MEM_FREE) bytes += region.RegionSize;
  }
  return bytes / 1024;
}

static bool on_wine(void) {
  return GetProcAddress(GetModuleHandleA("ntdll.dll"), "wine_get_version") != NULL;
}

void host_memory(host_memory_t* memory) {
  PROCESS_MEMORY_COUNTERS counters = {.cb = sizeof counters};
  if (!GetProcessMemoryInfo(GetCurrentProcess(), &counters, sizeof counters)) fail("GetProcessMemoryInfo");
  uint64_t own = (uint64_t)own_kib, commit = counters.PagefileUsage / 1024,
           peak = counters.PeakPagefileUsage / 1024;
  if (on_wine()) {
    commit = walked_commit_kib();
    peak = 0;
  }
  memory->rss = counters.WorkingSetSize / 1024;
  memory->rss_peak = counters.PeakWorkingSetSize / 1024;
  memory->commit = commit > own ? commit - own : 0;
  memory->commit_peak = peak > own ? peak - own : 0;
}

void* host_table(size_t bytes) {
  void* p = VirtualAlloc(NULL, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  if (p == NULL) fail("no memory for a workload's table");
  InterlockedExchangeAdd64(&own_kib, (LONG64)((bytes + 4095) / 4096 * 4));
  return p;
}

static DWORD WINAPI thread_main(void* arg) {
  host_thread_t* t = arg;
  t->run(t->arg);
  return 0;
}

void host_thread_start(host_thread_t* t, void (*run)(void*), void* arg) {
  t->run = run;
  t->arg = arg;
  HANDLE thread = CreateThread(NULL, STACK_BYTES, thread_main, t, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
  if (thread == NULL) fail("a thread can't be started");
  t->handle = (uintptr_t)thread;
}

void host_thread_join(host_thread_t* t) {
  if (WaitForSingleObject((HANDLE)t->handle, INFINITE) != WAIT_OBJECT_0) fail("a thread can't be waited for");
  CloseHandle((HANDLE)t->handle);
}

_Noreturn void host_thread_die(void) {
  for (;;) TerminateThread(GetCurrentThread(), 0);
}

void host_semaphore_init(host_semaphore_t* s) {
  HANDLE handle = CreateSemaphoreA(NULL, 0, LONG_MAX, NULL);
  if (handle == NULL) fail("a semaphore can't be made");
  s->handle[0] = (uintptr_t)handle;
}

void host_semaphore_post(host_semaphore_t* s) { ReleaseSemaphore((HANDLE)s->handle[0], 1, NULL); }
void host_semaphore_wait(host_semaphore_t* s) { WaitForSingleObject((HANDLE)s->handle[0], INFINITE); }
void host_yield(void) { SwitchToThread(); }
void host_sleep_ms(unsigned ms) { Sleep(ms); }
bool host_limit_commit(uint64_t kib_more) { return false; }
