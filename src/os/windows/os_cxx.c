// The C++ runtime: linked into the same module, or a DLL. Which DLL, when a process has several? The one that
// the caller's module imports from; if it imports from none, any that is there.
//
// Exceptions of MinGW's runtimes find their way by unwinding information, which our functions have in 64-bit
// code, as the ABI demands it of everybody, but not on x86. Those of Microsoft's follow the chain of handlers
// there.
#include "os/os.h"

#include "base/text.h"

#include <windows.h>

typedef void new_handler_t(void);
typedef new_handler_t* get_handler_t(void);
typedef int __cdecl call_new_handler_t(size_t size);
typedef void __cdecl throw_t(void);

extern new_handler_t* _ZSt15get_new_handlerv(void) __attribute__((weak));
extern void _ZSt17__throw_bad_allocv(void) __attribute__((weak));

#define GNU_HANDLER     "_ZSt15get_new_handlerv"
#define GNU_THROW       "_ZSt17__throw_bad_allocv"
#define MICROSOFT_THROW "?_Xbad_alloc@std@@YAXXZ"

typedef struct cxx_runtime_s {
  const char* dll;
  const char* throw_name;
  const char* c_runtime; // Microsoft's: keeps the new-handler; NULL: GNU_HANDLER does
} cxx_runtime_t;

static const cxx_runtime_t runtimes[] = {
    {"libstdc++-6.dll", GNU_THROW, NULL},
    {"msvcp140.dll", MICROSOFT_THROW, "ucrtbase.dll"},
    {"libc++.dll", GNU_THROW, NULL},
    {"msvcp140d.dll", MICROSOFT_THROW, "ucrtbased.dll"},
    {"msvcp120.dll", MICROSOFT_THROW, "msvcr120.dll"},
    {"msvcp110.dll", MICROSOFT_THROW, "msvcr110.dll"},
    {"msvcp100.dll", MICROSOFT_THROW, "msvcr100.dll"},
};
enum { COUNT = sizeof(runtimes) / sizeof(runtimes[0]) };

static void* function_of(const char* dll, const char* name) {
  union {
    FARPROC function;
    void* address;
  } found = {NULL};
  HMODULE module = GetModuleHandleA(dll);
  if (module != NULL) found.function = GetProcAddress(module, name);
  return found.address;
}

// The import table of the module that `address` lies in; NULL when there is none, or the address is in no
// module.
static const IMAGE_IMPORT_DESCRIPTOR* imports_around(const void* address, const uint8_t** base) {
  MEMORY_BASIC_INFORMATION info;
  if (VirtualQuery(address, &info, sizeof(info)) == 0 || info.Type != MEM_IMAGE) return NULL;
  *base = (const uint8_t*)info.AllocationBase;
  if (VirtualQuery(*base, &info, sizeof(info)) == 0 || info.Protect == PAGE_NOACCESS) return NULL;
  const IMAGE_DOS_HEADER* dos = (const IMAGE_DOS_HEADER*)*base;
  const IMAGE_NT_HEADERS* headers = (const IMAGE_NT_HEADERS*)(*base + dos->e_lfanew);
  const IMAGE_DATA_DIRECTORY* directory =
      &headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT];
  if (dos->e_magic != IMAGE_DOS_SIGNATURE || headers->Signature != IMAGE_NT_SIGNATURE) return NULL;
  return directory->VirtualAddress == 0 ? NULL
                                        : (const IMAGE_IMPORT_DESCRIPTOR*)(*base + directory->VirtualAddress);
}

static bool is_imported(const IMAGE_IMPORT_DESCRIPTOR* imports, const uint8_t* base, const char* dll) {
  for (; imports != NULL && imports->Name != 0; imports++) {
    if (text_equal_ignoring_case((const char*)(base + imports->Name), dll)) return true;
  }
  return false;
}

// NULL: none in this process.
static const cxx_runtime_t* runtime_of(const void* caller) {
  const uint8_t* base = NULL;
  const IMAGE_IMPORT_DESCRIPTOR* imports = imports_around(caller, &base);
  const cxx_runtime_t* loaded = NULL;
  for (size_t i = 0; i < COUNT; i++) {
    if (GetModuleHandleA(runtimes[i].dll) == NULL) continue;
    if (is_imported(imports, base, runtimes[i].dll)) return &runtimes[i];
    if (loaded == NULL) loaded = &runtimes[i];
  }
  return loaded;
}

// ---- the contract ---------------------------------------------------------------------------------------

static bool call_handler(new_handler_t* handler) {
  if (handler != NULL) handler();
  return handler != NULL;
}

// (Called by their names: GCC emits a weak reference as such only then.)
bool os_cxx_call_new_handler(const void* caller, size_t size) {
  if (_ZSt15get_new_handlerv != NULL) return call_handler(_ZSt15get_new_handlerv());
  const cxx_runtime_t* runtime = runtime_of(caller);
  if (runtime == NULL) return false;
  if (runtime->c_runtime != NULL) {
    call_new_handler_t* call = (call_new_handler_t*)function_of(runtime->c_runtime, "_callnewh");
    return call != NULL && call(size) != 0;
  }
  get_handler_t* get_handler = (get_handler_t*)function_of(runtime->dll, GNU_HANDLER);
  return get_handler != NULL && call_handler(get_handler());
}

void os_cxx_throw_bad_alloc(const void* caller) {
  bool has_tables = sizeof(void*) == 8; // for unwinding
  if (_ZSt17__throw_bad_allocv != NULL) {
    if (has_tables) _ZSt17__throw_bad_allocv();
    return;
  }
  const cxx_runtime_t* runtime = runtime_of(caller);
  if (runtime == NULL || (runtime->c_runtime == NULL && !has_tables)) return;
  throw_t* throw_it = (throw_t*)function_of(runtime->dll, runtime->throw_name);
  if (throw_it != NULL) throw_it();
}
