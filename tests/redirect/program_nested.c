// Somebody records every call of VirtualAlloc and its like, and takes the memory for its records from malloc: the
// allocator is called again from inside of its own system calls, on the same thread. It must serve that call.
//
//   redirect-nested DLL
//
// Prints "ok nested" or "not ok nested: why". Whoever starts it must be ready for it to hang.
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

static void* (*allocate)(size_t size);
static void (*release)(void* block);

// ---- the recorder ---------------------------------------------------------------------------------------

static DWORD inside; // a TLS index: nested calls aren't recorded
static volatile LONG record_count, failures;

static void record(void) {
  if (TlsGetValue(inside) != NULL) return;
  TlsSetValue(inside, (void*)1);
  // Sizes that need pages of their own kinds, up to one of those that take memory from the system for themselves.
  for (size_t size = 16; size <= 1u << 21; size *= 8) {
    unsigned char* block = allocate(size);
    if (block == NULL) {
      InterlockedIncrement(&failures);
      continue;
    }
    memset(block, 0xA5, size);
    release(block);
  }
  InterlockedIncrement(&record_count);
  TlsSetValue(inside, NULL);
}

static LPVOID WINAPI recorded_alloc(LPVOID address, SIZE_T size, DWORD type, DWORD protect) {
  record();
  LPVOID result = VirtualAlloc(address, size, type, protect);
  record();
  return result;
}
static BOOL WINAPI recorded_free(LPVOID address, SIZE_T size, DWORD type) {
  record();
  BOOL result = VirtualFree(address, size, type);
  record();
  return result;
}
static BOOL WINAPI recorded_protect(LPVOID address, SIZE_T size, DWORD protect, DWORD* old) {
  record();
  return VirtualProtect(address, size, protect, old);
}

// Puts `function` into the import slot that is called `name`.
static bool replace(uint8_t* module, const char* name, void* function) {
  const IMAGE_NT_HEADERS* headers = (const IMAGE_NT_HEADERS*)(module + ((IMAGE_DOS_HEADER*)module)->e_lfanew);
  uint32_t rva = headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT].VirtualAddress;
  for (IMAGE_IMPORT_DESCRIPTOR* import = (IMAGE_IMPORT_DESCRIPTOR*)(module + rva); import->Name != 0;
       import++) {
    const IMAGE_THUNK_DATA* names = (const IMAGE_THUNK_DATA*)(module + import->OriginalFirstThunk);
    void** slots = (void**)(module + import->FirstThunk);
    for (size_t i = 0; names[i].u1.AddressOfData != 0; i++) {
      const IMAGE_IMPORT_BY_NAME* by_name = (const IMAGE_IMPORT_BY_NAME*)(module + names[i].u1.AddressOfData);
      DWORD protection;
      if (strcmp((const char*)by_name->Name, name) != 0) continue;
      if (!VirtualProtect(&slots[i], sizeof(void*), PAGE_READWRITE, &protection)) return false;
      slots[i] = function;
      return VirtualProtect(&slots[i], sizeof(void*), protection, &protection);
    }
  }
  return false;
}

// ---- what the program does meanwhile --------------------------------------------------------------------

enum { BLOCKS = 2000, THREADS = 3 };

static void use_memory(void) {
  static const size_t sizes[] = {16, 1000, 5000, 60000, 300000, 2000000};
  for (unsigned round = 0; round < 3; round++) {
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
      void* blocks[BLOCKS] = {NULL};
      size_t count = sizes[k] > 100000 ? 40 : BLOCKS;
      for (size_t i = 0; i < count; i++) {
        blocks[i] = allocate(sizes[k]);
        if (blocks[i] == NULL)
          InterlockedIncrement(&failures);
        else
          memset(blocks[i], 1, 16);
      }
      for (size_t i = 0; i < count; i++) release(blocks[i]);
    }
  }
}

static DWORD WINAPI run(void* arg) {
  (void)arg;
  use_memory();
  return 0;
}

int main(int count, char** arguments) {
  if (count != 2) {
    printf("usage: redirect-nested DLL\n");
    return 100;
  }
  HMODULE dll = LoadLibraryA(arguments[1]);
  allocate = (void* (*)(size_t))(uintptr_t)GetProcAddress(dll, "mi_malloc");
  release = (void (*)(void*))(uintptr_t)GetProcAddress(dll, "mi_free");
  void (*collect)(bool) = (void (*)(bool))(uintptr_t)GetProcAddress(dll, "mi_collect");
  inside = TlsAlloc();
  if (allocate == NULL || release == NULL || collect == NULL || inside == TLS_OUT_OF_INDEXES) {
    printf("not ok nested: %s can't be used\n", arguments[1]);
    return 100;
  }
  bool is_recorded = replace((uint8_t*)dll, "VirtualAlloc", (void*)(uintptr_t)recorded_alloc) &&
                     replace((uint8_t*)dll, "VirtualFree", (void*)(uintptr_t)recorded_free);
  replace((uint8_t*)dll, "VirtualProtect", (void*)(uintptr_t)recorded_protect);
  use_memory();
  HANDLE threads[THREADS];
  for (size_t i = 0; i < THREADS; i++) threads[i] = CreateThread(NULL, 0, run, NULL, 0, NULL);
  use_memory();
  WaitForMultipleObjects(THREADS, threads, TRUE, INFINITE);
  collect(true);
  const char* problem = !is_recorded        ? "the DLL doesn't import VirtualAlloc and VirtualFree"
                        : failures != 0     ? "an allocation failed"
                        : record_count < 10 ? "there were no system calls to speak of"
                                            : NULL;
  if (problem == NULL)
    printf("ok nested\n");
  else
    printf("not ok nested: %s\n", problem);
  return problem != NULL;
}
