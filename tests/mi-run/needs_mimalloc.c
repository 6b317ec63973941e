// A program that was linked to mimalloc.dll: prints where it found it.
#include <stdio.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

__declspec(dllimport) int mi_version(void);

int main(void) {
  char path[1024];
  GetModuleFileNameA(GetModuleHandleA("mimalloc.dll"), path, sizeof(path));
  printf("version %d path %s\n", mi_version(), path);
  return 0;
}
