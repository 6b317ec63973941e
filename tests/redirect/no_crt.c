// A program without any C runtime that takes its memory from the system by itself, as Go programs do.
//
// usage: redirect-no-crt
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

void no_crt_entry(void);
void no_crt_entry(void) {
  HMODULE mimalloc = LoadLibraryA("mimalloc.dll");
  volatile char* memory = VirtualAlloc(NULL, 4096, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  if (memory != NULL) memory[0] = 1;
  ExitProcess(mimalloc == NULL || memory == NULL);
}
