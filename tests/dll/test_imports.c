// A program that names everything that programs may import from mimalloc.dll: that it starts shows that the loader found
// all of it, and GetProcAddress has to find the same.
#include "imports.h"

#include <stdio.h>
#include <windows.h>

int main(void) {
  HMODULE dll = GetModuleHandleA("mimalloc.dll");
  size_t missing = 0;
  if (dll == NULL || import_count < 190) {
    printf("FAILED: mimalloc.dll %p, %u names\n", (void*)dll, (unsigned)import_count);
    return 1;
  }
  for (size_t i = 0; i < import_count; i++) {
    FARPROC found = GetProcAddress(dll, imports[i].name);
    if (found != NULL && (import_function_t*)found == *imports[i].entry) continue;
    printf("FAILED: %s: %p by GetProcAddress, %p by the import table\n", imports[i].name,
           (void*)(ULONG_PTR)found, (void*)(ULONG_PTR)*imports[i].entry);
    missing++;
  }
  printf("%u names, %u missing or different\n", (unsigned)import_count, (unsigned)missing);
  return missing != 0;
}
