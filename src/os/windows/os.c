#include "os/os.h"
#include "base/atomics.h"
#include "base/bits.h"
#include "base/text.h"
#include "teb.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

// Only functions that Windows XP x64 / Server 2003 had are imported; newer or undocumented ones are looked up
// once and have a fallback. GetProcAddress takes the loader lock, which DllMain holds anyway; os_init is the
// only caller that may run outside of it, and it never waits for another thread while it does.

typedef BOOLEAN(NTAPI* shutdown_in_progress_t)(void);
typedef DWORD(WINAPI* process_of_thread_t)(HANDLE);

typedef struct memory_counters_s { // PROCESS_MEMORY_COUNTERS of psapi.h, which isn't needed otherwise
  DWORD cb;
  DWORD PageFaultCount;
  SIZE_T PeakWorkingSetSize, WorkingSetSize;
  SIZE_T QuotaPeakPagedPoolUsage, QuotaPagedPoolUsage, QuotaPeakNonPagedPoolUsage, QuotaNonPagedPoolUsage;
  SIZE_T PagefileUsage, PeakPagefileUsage;
} memory_counters_t;
typedef BOOL(WINAPI* get_memory_info_t)(HANDLE, memory_counters_t*, DWORD);

static size_t page_size;
static size_t processor_count;
static size_t mapping_limit;
static uint32_t start_ms;
static shutdown_in_progress_t shutdown_in_progress;
static process_of_thread_t process_of_thread;

// Through a generic function pointer, since a cast from FARPROC straight to another type is a warning.
static void (*lookup(const char* module, const char* name))(void) {
  HMODULE handle = GetModuleHandleA(module);
  return handle == NULL ? NULL : (void (*)(void))GetProcAddress(handle, name);
}

MI_COLD void os_init(void) {
  if (atomic_get_acquire(&page_size) != 0) return;
  SYSTEM_INFO info;
  GetSystemInfo(&info);
  processor_count = info.dwNumberOfProcessors;
  start_ms = GetTickCount();
  mapping_limit = lookup("ntdll.dll", "wine_get_version") != NULL ? 65530 : SIZE_MAX;
  process_of_thread = (process_of_thread_t)lookup("kernel32.dll", "GetProcessIdOfThread"); // Vista
  shutdown_in_progress = (shutdown_in_progress_t)lookup("ntdll.dll", "RtlDllShutdownInProgress");
  atomic_set_release(&page_size, (size_t)info.dwPageSize);
}

size_t os_page_size(void) { return page_size; }
size_t os_processor_count(void) { return processor_count; }
size_t os_mapping_limit(void) { return mapping_limit; }

// ---- memory ---------------------------------------------------------------------------------------------

// Malloc and free don't change what GetLastError tells, even if a first attempt of theirs failed.
static void* allocate(void* address, size_t size, DWORD type, DWORD protection) {
  DWORD error = GetLastError();
  void* p = VirtualAlloc(address, size, type, protection);
  if (p == NULL) SetLastError(error);
  return p;
}

static bool release(void* address, size_t size, DWORD type) {
  DWORD error = GetLastError();
  bool ok = VirtualFree(address, size, type) != 0;
  if (!ok) SetLastError(error);
  return ok;
}

void* os_reserve(size_t size) { return allocate(NULL, size, MEM_RESERVE, PAGE_NOACCESS); }

void* os_reserve_at(void* address, size_t size) {
  void* p = allocate(address, size, MEM_RESERVE, PAGE_NOACCESS);
  if (p != NULL && p != address) { // not documented to happen
    release(p, 0, MEM_RELEASE);
    return NULL;
  }
  return p;
}

// Did the last commit of any thread that failed do so for want of memory? That is a hint, and saves a place
// per thread. Wine doesn't tell the system's limit of commits, which Windows reports, from others.
static bool is_short_of_memory;

static void* commit(void* address, size_t size, DWORD type) {
  DWORD error = GetLastError();
  void* p = VirtualAlloc(address, size, type, PAGE_READWRITE);
  if (p == NULL) {
    DWORD why = GetLastError();
    // Of a range that is reserved already; with a reservation it may be address space that lacks.
    bool is_short = why == ERROR_COMMITMENT_LIMIT || (why == ERROR_NOT_ENOUGH_MEMORY && type == MEM_COMMIT);
    atomic_set_relaxed(&is_short_of_memory, is_short);
    SetLastError(error);
  }
  return p;
}

void* os_reserve_and_commit(size_t size) { return commit(NULL, size, MEM_RESERVE | MEM_COMMIT); }
bool os_commit(void* start, size_t size) { return commit(start, size, MEM_COMMIT) != NULL; }

// The process's block names the loader lock, a critical section, at an offset unchanged since NT 4.
static bool holds_loader_lock(void) {
  uint8_t* peb = (uint8_t*)teb_read(TEB_PEB);
  CRITICAL_SECTION* lock = *(CRITICAL_SECTION**)(void*)(peb + PEB_LOADER_LOCK);
  return lock == NULL || lock->OwningThread == (HANDLE)(uintptr_t)GetCurrentThreadId();
}

bool os_wait_for_memory(uint32_t ms) {
  if (!atomic_get_relaxed(&is_short_of_memory) || os_is_exiting() || holds_loader_lock()) return false;
  Sleep(ms);
  return true;
}
bool os_decommit(void* start, size_t size) { return release(start, size, MEM_DECOMMIT); }

// What is reset leaves the working set when the system needs memory; not locked, it is put out at once by VirtualUnlock, as
// that one's documentation says.
bool os_reset(void* start, size_t size) {
  if (allocate(start, size, MEM_RESET, PAGE_READWRITE) == NULL) return false;
  DWORD error = GetLastError();
  VirtualUnlock(start, size);
  SetLastError(error);
  return true;
}

bool os_protect(void* start, size_t size, bool accessible) {
  DWORD error = GetLastError(), before;
  bool ok = VirtualProtect(start, size, accessible ? PAGE_READWRITE : PAGE_NOACCESS, &before) != 0;
  if (!ok) SetLastError(error);
  return ok;
}

// The right to lock pages has to be granted to the account and then switched on; ntdll does the latter
// without ADVAPI32.
MI_COLD void* os_reserve_large(size_t size, int numa_node) {
  typedef SIZE_T(WINAPI * large_page_minimum_t)(void);
  typedef LONG(NTAPI * adjust_privilege_t)(ULONG privilege, BOOLEAN enable, BOOLEAN for_thread,
                                           PBOOLEAN was_enabled);
  typedef LPVOID(WINAPI * virtual_alloc_numa_t)(HANDLE process, LPVOID address, SIZE_T size, DWORD type,
                                                DWORD protection, DWORD node);
  enum { LOCK_MEMORY_PRIVILEGE = 4 };
  large_page_minimum_t large_page_minimum =
      (large_page_minimum_t)lookup("kernel32.dll", "GetLargePageMinimum"); // 2003 SP1
  adjust_privilege_t adjust_privilege = (adjust_privilege_t)lookup("ntdll.dll", "RtlAdjustPrivilege");
  SIZE_T minimum = large_page_minimum == NULL ? 0 : large_page_minimum();
  if (minimum == 0 || size % minimum != 0 || adjust_privilege == NULL) return NULL;
  BOOLEAN was_enabled;
  if (adjust_privilege(LOCK_MEMORY_PRIVILEGE, TRUE, FALSE, &was_enabled) != 0) return NULL;
  DWORD type = MEM_RESERVE | MEM_COMMIT | MEM_LARGE_PAGES;
  if (numa_node >= 0) {
    virtual_alloc_numa_t alloc_numa =
        (virtual_alloc_numa_t)lookup("kernel32.dll", "VirtualAllocExNuma"); // Vista
    if (alloc_numa != NULL)
      return alloc_numa(GetCurrentProcess(), NULL, size, type, PAGE_READWRITE, (DWORD)numa_node);
  }
  return allocate(NULL, size, type, PAGE_READWRITE);
}

bool os_release(void* base, size_t size) {
  MI_UNUSED(size); // Windows releases what was reserved in one call, all of it
  return release(base, 0, MEM_RELEASE);
}

// ---- time and environment -------------------------------------------------------------------------------

uint32_t os_clock_ms(void) { return GetTickCount(); }

// What GetEnvironmentVariable returned: the value's length, or 0 with an error code when it is empty or not
// set.
static bool environment_result(DWORD length, size_t capacity, DWORD error_before) {
  bool is_set = length > 0 ? length < capacity : GetLastError() != ERROR_ENVVAR_NOT_FOUND;
  SetLastError(error_before); // a missing variable sets it, and the program may be about to look at its own
  return is_set;
}

bool os_environment(const char* name, char* value, size_t capacity) {
  DWORD error = GetLastError();
  SetLastError(ERROR_SUCCESS); // an empty value returns 0 and leaves this as it is
  if (capacity > 0) value[0] = 0;
  return environment_result(GetEnvironmentVariableA(name, value, (DWORD)capacity), capacity, error);
}

bool os_environment_wide(const wchar_t* name, wchar_t* value, size_t capacity) {
  DWORD error = GetLastError();
  SetLastError(ERROR_SUCCESS); // an empty value returns 0 and leaves this as it is
  if (capacity > 0) value[0] = 0;
  return environment_result(GetEnvironmentVariableW(name, value, (DWORD)capacity), capacity, error);
}

// The name of a "NAME=value" in ASCII; false when it isn't of that kind or doesn't fit. "=C:=C:\\folder" has
// none.
static bool variable_name(const wchar_t* variable, char* name, size_t capacity) {
  size_t length = 0;
  for (; variable[length] != 0 && variable[length] != L'='; length++) {
    if (length + 1 >= capacity || variable[length] >= 0x7F) return false;
    name[length] = (char)variable[length];
  }
  name[length] = 0;
  return length > 0;
}

MI_COLD void os_environment_names(const char* prefix, void (*visit)(void* context, const char* name),
                                  void* context) {
  DWORD error = GetLastError();
  wchar_t* variables = GetEnvironmentStringsW();
  char name[64];
  for (const wchar_t* at = variables; at != NULL && *at != 0;) {
    if (variable_name(at, name, sizeof(name)) && text_begins_ignoring_case(name, prefix))
      visit(context, name);
    while (*at++ != 0) {}
  }
  if (variables != NULL) FreeEnvironmentStringsW(variables);
  SetLastError(error);
}

void os_write_error(const char* text, size_t length) {
  DWORD error = GetLastError();
  HANDLE handle = GetStdHandle(STD_ERROR_HANDLE);
  DWORD written;
  if (handle != NULL && handle != INVALID_HANDLE_VALUE)
    WriteFile(handle, text, (DWORD)length, &written, NULL);
  SetLastError(error);
}

static uint64_t filetime_ms(FILETIME time) {
  return ((uint64_t)time.dwHighDateTime << 32 | time.dwLowDateTime) / 10000; // from 100 ns
}

MI_COLD void os_process_usage(os_process_usage_t* usage) {
  *usage = (os_process_usage_t){0};
  usage->elapsed_ms = GetTickCount() - start_ms;
  FILETIME created, exited, kernel, user;
  if (GetProcessTimes(GetCurrentProcess(), &created, &exited, &kernel, &user)) {
    usage->user_ms = filetime_ms(user);
    usage->system_ms = filetime_ms(kernel);
  }
  get_memory_info_t get_memory_info = (get_memory_info_t)lookup("kernel32.dll", "K32GetProcessMemoryInfo");
  if (get_memory_info == NULL)
    get_memory_info = (get_memory_info_t)lookup("psapi.dll", "GetProcessMemoryInfo");
  memory_counters_t counters = {.cb = sizeof(counters)};
  if (get_memory_info != NULL && get_memory_info(GetCurrentProcess(), &counters, sizeof(counters))) {
    usage->current_rss = counters.WorkingSetSize;
    usage->peak_rss = counters.PeakWorkingSetSize;
    usage->current_commit = counters.PagefileUsage;
    usage->peak_commit = counters.PeakPagefileUsage;
    usage->page_faults = counters.PageFaultCount;
  }
}

size_t os_path_max(void) { return MAX_PATH; }

size_t os_full_path(const char* name, char* path, size_t capacity) {
  DWORD length = GetFullPathNameA(name, (DWORD)capacity, path, NULL);
  return length < capacity ? length : 0;
}

void os_abort(void) {
  TerminateProcess(GetCurrentProcess(), 3); // what abort() of the C runtimes exits with
  for (;;) Sleep(0);
}

// ---- threads --------------------------------------------------------------------------------------------

uint32_t os_thread_id(void) { return GetCurrentThreadId(); }

void* os_stack_base(void) { return teb_read(TEB_STACK_BASE); }

// Ids of threads are the whole system's: the id of a dead thread of ours may belong to another process by
// now.
static bool is_of_other_process(uint32_t id) {
  if (process_of_thread == NULL) return false;
  HANDLE handle = OpenThread(THREAD_QUERY_LIMITED_INFORMATION, FALSE, id);
  if (handle == NULL) return false;
  DWORD process = process_of_thread(handle);
  CloseHandle(handle);
  return process != 0 && process != GetCurrentProcessId();
}

bool os_thread_is_dead(uint32_t id) {
  DWORD error = GetLastError();
  HANDLE handle = OpenThread(SYNCHRONIZE, FALSE, id);
  bool is_dead;
  if (handle != NULL) {
    is_dead = WaitForSingleObject(handle, 0) == WAIT_OBJECT_0; // ended, but somebody holds a handle to it
    CloseHandle(handle);
    if (!is_dead) is_dead = is_of_other_process(id);
  } else if (GetLastError() == ERROR_ACCESS_DENIED) {
    is_dead = is_of_other_process(id);
  } else {
    is_dead = GetLastError() == ERROR_INVALID_PARAMETER; // no such thread; anything else is no evidence
  }
  SetLastError(error);
  return is_dead;
}

// (By its times it could be told, too. But a thread that the end of the process finds in GetThreadTimes takes all of it along under
// Wine, before its end is told: glibc's sscanf, which Wine uses there, can't be unwound.)
uint64_t os_thread_watch(void) {
  DWORD error = GetLastError();
  HANDLE handle, process = GetCurrentProcess();
  bool ok =
      DuplicateHandle(process, GetCurrentThread(), process, &handle, 0, FALSE, DUPLICATE_SAME_ACCESS) != 0;
  SetLastError(error);
  return ok ? (uint64_t)(uintptr_t)handle : 0;
}

void os_thread_unwatch(uint64_t watch) {
  DWORD error = GetLastError();
  CloseHandle((HANDLE)(uintptr_t)watch);
  SetLastError(error);
}

bool os_thread_is_another(uint32_t id, uint64_t watch) {
  MI_UNUSED(id);
  MI_UNUSED(watch);
  return false; // the id is still its
}

bool os_is_exiting(void) { return shutdown_in_progress != NULL && shutdown_in_progress(); }

void os_yield(void) { SwitchToThread(); }

#define LOCK_SPINS 200
// After so many yields, twice, four times as many and so on, and then after each LOCK_CHECK: is the holder alive?
#define LOCK_FIRST_CHECK 32
#define LOCK_CHECK       1024

// SRW locks and critical sections are no use here: at process exit the system kills all other threads first,
// wherever they are, and whoever then waits for what they held waits for ever (or is killed too).
bool os_lock_acquire(os_lock_t* lock) {
  uint32_t self = GetCurrentThreadId();
  for (unsigned spins = 0;; spins++) {
    uint32_t open = 0;
    if (atomic_get_relaxed(&lock->owner) == 0 && atomic_cas_acq_rel(&lock->owner, &open, self)) return false;
    if (spins < LOCK_SPINS) {
      atomic_pause();
      continue;
    }
    if (os_is_exiting()) { // the holder is dead: the lock is ours
      atomic_set_relaxed(&lock->owner, self);
      return true;
    }
    uint32_t holder = atomic_get_relaxed(&lock->owner);
    unsigned yields = spins - LOCK_SPINS;
    bool asks = yields >= LOCK_FIRST_CHECK && (bits_is_power_of_two(yields) || yields % LOCK_CHECK == 0);
    if (asks && holder != 0 && os_thread_is_dead(holder) && atomic_cas_acq_rel(&lock->owner, &holder, self))
      return true;
    // Yielding alone never lets a thread of lower priority run that holds the lock.
    if (yields % 64 == 63) {
      Sleep(1);
    } else {
      SwitchToThread();
    }
  }
}

bool os_lock_try(os_lock_t* lock) {
  uint32_t open = 0;
  return atomic_cas_acq_rel(&lock->owner, &open, (uint32_t)GetCurrentThreadId());
}

void os_lock_release(os_lock_t* lock) { atomic_set_release(&lock->owner, 0u); }
