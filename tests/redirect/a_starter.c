// A DLL that is initialised before mimalloc.dll and starts a thread then, which allocates from the program's runtime as soon
// as it can. Without a runtime of its own. (The "a_" sorts its import library before z_mimalloc.a, a
// copy of libmimalloc.dll.a: GNU ld orders import tables by path.)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "support/runtime.h"

static BOOL was_hooked;
static HANDLE thread;
static void* block;

static void* find_malloc(void) { return (void*)GetProcAddress(GetModuleHandleA(TEST_RUNTIME), "malloc"); }

static DWORD WINAPI allocate(void* arg) {
  (void)arg;
  void*(__cdecl * allocate_now)(size_t) = (void*(__cdecl*)(size_t))find_malloc();
  block = allocate_now(100);
  return 0;
}

// Had the runtime's malloc been redirected already when this DLL was initialised?
__declspec(dllexport) BOOL starter_came_late(void);
BOOL starter_came_late(void) { return was_hooked; }

// What the thread got.
__declspec(dllexport) void* starter_block(void);
void* starter_block(void) {
  WaitForSingleObject(thread, INFINITE);
  CloseHandle(thread);
  return block;
}

BOOL WINAPI starter_entry(HINSTANCE module, DWORD reason, LPVOID reserved);
BOOL WINAPI starter_entry(HINSTANCE module, DWORD reason, LPVOID reserved) {
  (void)module, (void)reserved;
  if (reason == DLL_PROCESS_ATTACH) {
    was_hooked = *(const unsigned char*)find_malloc() == 0xE9;
    thread = CreateThread(NULL, 0, allocate, NULL, 0, NULL);
    Sleep(50); // nothing depends on it: it gives a thread that could run now the time to do so
  }
  return TRUE;
}
