#include "crt_modules.h"
#include "base/atomics.h"
#include <windows.h>

typedef struct crt_module_s {
  const char* name;
  bool is_debug;
} crt_module_t;

// The likely ones first.
static const crt_module_t table[] = {
    {"msvcrt.dll", false},           {"ucrtbase.dll", false},         {"ucrtbased.dll", true},
    {"msvcr120.dll", false},         {"msvcr120d.dll", true},         {"msvcr110.dll", false},
    {"msvcr110d.dll", true},         {"msvcr100.dll", false},         {"msvcr100d.dll", true},
    {"msvcr90.dll", false},          {"msvcr90d.dll", true},          {"msvcr80.dll", false},
    {"msvcr80d.dll", true},          {"msvcr71.dll", false},          {"msvcr71d.dll", true},
    {"msvcr70.dll", false},          {"msvcr70d.dll", true},          {"msvcrtd.dll", true},
    {"msvcr120_app.dll", false},     {"msvcr120_clr0400.dll", false}, {"msvcr100_clr0400.dll", false},
    {"ucrtbase_clr0400.dll", false},
};
enum { COUNT = sizeof(table) / sizeof(table[0]) };
_Static_assert(COUNT <= CRT_MODULES_MAX, "raise CRT_MODULES_MAX");

static const char* const function_names[CRT_FUNCTION_COUNT] = {
    [CRT_ERRNO] = "_errno",
    [CRT_GET_HEAP_HANDLE] = "_get_heap_handle",
    [CRT_FREE_DBG] = "_free_dbg",
    [CRT_MSIZE_DBG] = "_msize_dbg",
};

static HMODULE handles[COUNT];                     // of those seen so far, pinned
static void* functions[COUNT][CRT_FUNCTION_COUNT]; // theirs, written before the handle

typedef LONG NTAPI ldr_lock_t(ULONG flags, ULONG* disposition, ULONG_PTR* cookie);
typedef LONG NTAPI ldr_unlock_t(ULONG flags, ULONG_PTR cookie);

static ldr_lock_t* ldr_lock; // NULL before crt_modules_never_wait
static ldr_unlock_t* ldr_unlock;

size_t crt_modules_count(void) { return COUNT; }
const char* crt_modules_name(size_t index) { return table[index].name; }
bool crt_modules_is_debug(size_t index) { return table[index].is_debug; }

bool crt_modules_is_known(size_t index) { return atomic_get_acquire(&handles[index]) != NULL; }

static void* lookup(HMODULE handle, const char* name) {
  union {
    FARPROC function;
    void* address;
  } found = {GetProcAddress(handle, name)};
  return found.address;
}

void* crt_modules_handle(size_t index) {
  HMODULE handle = atomic_get_acquire(&handles[index]);
  if (handle != NULL) return (void*)handle;
  DWORD error = GetLastError(); // free and malloc must not change it
  if (GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_PIN, table[index].name, &handle)) {
    for (size_t i = 0; i < CRT_FUNCTION_COUNT; i++)
      atomic_set_relaxed(&functions[index][i], lookup(handle, function_names[i]));
    atomic_set_release(&handles[index], handle);
  } else {
    handle = NULL;
  }
  SetLastError(error);
  return (void*)handle;
}

static void find_unknown(void) {
  for (size_t i = 0; i < COUNT; i++) crt_modules_handle(i);
}

void crt_modules_never_wait(void) {
  HMODULE ntdll = GetModuleHandleA("ntdll.dll");
  if (ntdll == NULL) return;
  ldr_unlock = (ldr_unlock_t*)lookup(ntdll, "LdrUnlockLoaderLock");
  atomic_set_release(&ldr_lock, (ldr_lock_t*)lookup(ntdll, "LdrLockLoaderLock"));
}

void crt_modules_find_new(void) {
  enum { TRY_ONLY = 2, TAKEN = 1 };
  ldr_lock_t* lock = atomic_get_acquire(&ldr_lock);
  ULONG disposition = 0;
  ULONG_PTR cookie;
  if (lock == NULL || ldr_unlock == NULL) {
    find_unknown();
  } else if (lock(TRY_ONLY, &disposition, &cookie) >= 0 && disposition == TAKEN) {
    find_unknown();
    ldr_unlock(0, cookie);
  }
}

void* crt_modules_function(size_t index, crt_function_t function) {
  return crt_modules_handle(index) == NULL ? NULL : atomic_get_relaxed(&functions[index][function]);
}
