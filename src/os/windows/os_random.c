// Random numbers. The system's generator is in ADVAPI32, which isn't loaded for its sake (it brings three C
// runtimes along): it is asked where it is there already. Else what the kernel made at random for this
// process is mixed with what changes fast: the process's cookie, where the system put stacks, heaps and
// modules, the processor's generator and its clock.
#include "os/os.h"
#include "base/bits.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

typedef BOOLEAN(APIENTRY* gen_random_t)(PVOID, ULONG);
typedef LONG(NTAPI* query_process_t)(HANDLE, ULONG, PVOID, ULONG, PULONG);

static uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

#if defined(__x86_64__) || defined(__i386__)
static bool processor_random(uint64_t* value) {
  unsigned a = 1, b, c = 0, d;
  __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  if ((c >> 30 & 1) == 0) return false;
  for (int i = 0; i < 16; i++) {
    size_t random;
    unsigned char ok;
    __asm__ volatile("rdrand %0; setc %1" : "=r"(random), "=qm"(ok)::"cc");
    if (ok) {
      *value ^= random;
      return true;
    }
  }
  return false;
}
static uint64_t processor_clock(void) { return __builtin_ia32_rdtsc(); }
#else
static bool processor_random(uint64_t* value) {
  MI_UNUSED(value);
  return false;
}
static uint64_t processor_clock(void) { return 0; }
#endif

// Mixes into `random` what the kernel, the process's layout, clocks and the processor's generator have.
static void stir(uint64_t random[2]) {
  HMODULE ntdll = GetModuleHandleA("ntdll.dll");
  query_process_t query =
      ntdll == NULL ? NULL
                    : (query_process_t)(void (*)(void))GetProcAddress(ntdll, "NtQueryInformationProcess");
  enum { PROCESS_COOKIE = 36 };
  ULONG cookie = 0;
  if (query != NULL) query(GetCurrentProcess(), PROCESS_COOKIE, &cookie, sizeof(cookie), NULL);
  LARGE_INTEGER counter;
  FILETIME time;
  QueryPerformanceCounter(&counter);
  GetSystemTimeAsFileTime(&time);
  uint64_t sources[] = {cookie,
                        (uint64_t)counter.QuadPart,
                        processor_clock(),
                        (uint64_t)time.dwHighDateTime << 32 | time.dwLowDateTime,
                        (uint64_t)GetCurrentProcessId() << 32 | GetCurrentThreadId(),
                        (uint64_t)(uintptr_t)&cookie,
                        (uint64_t)(uintptr_t)os_random,
                        (uint64_t)(uintptr_t)GetProcessHeap(),
                        (uint64_t)(uintptr_t)ntdll};
  for (unsigned i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
    random[0] = mix(random[0] + sources[i] + 0x9e3779b97f4a7c15u);
    random[1] = mix(random[1] ^ random[0] ^ sources[i] << 17);
  }
  processor_random(&random[0]);
  processor_random(&random[1]);
}

void os_random(uint64_t random[2]) {
  DWORD error = GetLastError(); // a first malloc comes here
  HMODULE advapi = GetModuleHandleA("advapi32.dll");
  gen_random_t gen_random =
      advapi == NULL ? NULL : (gen_random_t)(void (*)(void))GetProcAddress(advapi, "SystemFunction036");
  random[0] = random[1] = 0;
  if (gen_random != NULL) gen_random(random, 2 * sizeof(uint64_t));
  stir(random);
  SetLastError(error);
}

uint64_t os_random_place(void) {
  DWORD error = GetLastError();
  uint64_t random[2] = {0, 0};
  stir(random);
  SetLastError(error);
  return random[0];
}
