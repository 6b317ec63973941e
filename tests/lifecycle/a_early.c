// A DLL that is initialised before mimalloc.dll and so detaches after it, and that allocates in every call of
// its DllMain: before mimalloc's process attach, before its thread attach, after its thread detach and after
// its process detach. It imports nothing of mimalloc.dll, which would be initialised first then; it finds the
// functions where the loader has mapped them already. (The "a_" sorts its import library before b_user's: GNU
// ld orders import tables by path.)
#include "loaded.h"
#include "support/test_data.h"

#include <stdio.h>
#include <string.h>

__declspec(dllexport) long early_errors(void);
__declspec(dllexport) bool early_is_first(void);

static loaded_t dll;
static DWORD slot;
static volatile LONG errors, thread_attaches, thread_detaches;
static char* process_block;
static void* volatile left_over; // by the last thread that detached

static void expect(bool condition) {
  if (!condition) InterlockedIncrement(&errors);
}

long early_errors(void) { return errors; }

// Where the loader keeps the order in which modules were initialised. The offsets are those of every Windows
// since XP.
#if defined(__x86_64__)
enum { PEB_LDR = 0x18, LDR_INITIALIZATION_ORDER = 0x30, LINK_TO_BASE = 0x10 };
static char* peb(void) {
  char* address;
  __asm__("movq %%gs:0x60, %0" : "=r"(address));
  return address;
}
#else
enum { PEB_LDR = 0x0C, LDR_INITIALIZATION_ORDER = 0x1C, LINK_TO_BASE = 0x08 };
static char* peb(void) {
  char* address;
  __asm__("movl %%fs:0x30, %0" : "=r"(address));
  return address;
}
#endif

bool early_is_first(void) {
  LIST_ENTRY* head = (LIST_ENTRY*)(*(char**)(peb() + PEB_LDR) + LDR_INITIALIZATION_ORDER);
  HMODULE self = NULL;
  GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
                     (LPCSTR)(uintptr_t)&early_is_first, &self);
  for (LIST_ENTRY* link = head->Flink; link != head; link = link->Flink) {
    HMODULE module = *(HMODULE*)((char*)link + LINK_TO_BASE);
    if (module == self) return true;
    if (module == dll.module) return false;
  }
  return false;
}

static char* filled(size_t size, uint64_t tag) {
  char* p = dll.malloc(size);
  expect(p != NULL);
  if (p != NULL) pattern_fill(p, size, tag);
  return p;
}

static void checked_free(char* p, size_t size, uint64_t tag) {
  expect(p != NULL && pattern_mismatch(p, size, tag) == SIZE_MAX);
  dll.free(p);
}

// Blocks of every kind come and go, and one is resized.
static void work(uint64_t tag) {
  char* small = filled(40, tag);
  char* medium = filled(20000, tag);
  char* large = filled(400000, tag);
  char* huge = filled(2000000, tag);
  small = dll.realloc(small, 4000);
  checked_free(small, 40, tag);
  checked_free(huge, 2000000, tag);
  checked_free(medium, 20000, tag);
  checked_free(large, 400000, tag);
}

static void say(const char* text) {
  DWORD written;
  WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), text, (DWORD)strlen(text), &written, NULL);
}

BOOL WINAPI DllMain(HINSTANCE instance, DWORD reason, LPVOID reserved);
BOOL WINAPI DllMain(HINSTANCE instance, DWORD reason, LPVOID reserved) {
  (void)instance;
  char text[160];
  switch (reason) {
  case DLL_PROCESS_ATTACH:
    dll.module = GetModuleHandleA("mimalloc.dll");
    if (!loaded_find_functions(&dll)) return FALSE;
    slot = TlsAlloc();
    process_block = filled(12345, 1);
    work(2);
    break;
  case DLL_THREAD_ATTACH:
    TlsSetValue(slot, filled(700, 3));
    work(4);
    InterlockedIncrement(&thread_attaches);
    break;
  case DLL_THREAD_DETACH: {
    char* p = TlsGetValue(slot);
    if (p != NULL) checked_free(p, 700, 3);
    TlsSetValue(slot, NULL);
    work(5);
    char* left = filled(900, 6);
    left = InterlockedExchangePointer(&left_over, left);
    if (left != NULL) checked_free(left, 900, 6);
    InterlockedIncrement(&thread_detaches);
    break;
  }
  case DLL_PROCESS_DETACH:
    checked_free(process_block, 12345, 1);
    if (left_over != NULL) checked_free(left_over, 900, 6);
    work(7);
    snprintf(text, sizeof(text),
             "early: process detach (%s), %ld thread attaches, %ld thread detaches, %ld errors\n",
             reserved != NULL ? "exit" : "unload", thread_attaches, thread_detaches, errors);
    say(text);
    break;
  }
  return TRUE;
}
