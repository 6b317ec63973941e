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

static HMODULE handles[COUNT]; // of those seen so far, pinned

size_t crt_modules_count(void) { return COUNT; }
const char* crt_modules_name(size_t index) { return table[index].name; }
bool crt_modules_is_debug(size_t index) { return table[index].is_debug; }

bool crt_modules_is_known(size_t index) { return atomic_get_relaxed(&handles[index]) != NULL; }

void* crt_modules_handle(size_t index) {
  HMODULE handle = atomic_get_relaxed(&handles[index]);
  if (handle != NULL) return (void*)handle;
  DWORD error = GetLastError(); // free and malloc must not change it
  if (GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_PIN, table[index].name, &handle)) {
    atomic_set_relaxed(&handles[index], handle);
  } else {
    handle = NULL;
  }
  SetLastError(error);
  return (void*)handle;
}

void* crt_modules_function(size_t index, const char* function) {
  HMODULE handle = (HMODULE)crt_modules_handle(index);
  if (handle == NULL) return NULL;
  DWORD error = GetLastError();
  union {
    FARPROC function;
    void* address;
  } found = {GetProcAddress(handle, function)};
  SetLastError(error);
  return found.address;
}
