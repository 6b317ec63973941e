// Takes a block from the DLL, which is ours as the DLL is linked with libmimalloc-crt.a, and frees it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

char* linked_dll_copy(const char* text);

typedef _Bool is_ours_t(const void* p);

int main(void) {
  HMODULE dll = GetModuleHandleA("mimalloc.dll");
  is_ours_t* is_ours = dll == NULL ? NULL : (is_ours_t*)(void*)GetProcAddress(dll, "mi_is_in_heap_region");
  char* text = linked_dll_copy("text");
  if (is_ours == NULL || !is_ours(text) || strcmp(text, "text") != 0) return 1;
  free(text);
  printf("ok\n");
  return 0;
}
