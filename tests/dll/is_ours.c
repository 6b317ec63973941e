#include "is_ours.h"
#include <stdio.h>
#include <windows.h>

#ifdef STATIC_OVERRIDE
is_ours_t mi_is_in_heap_region;
#endif

is_ours_t* find_is_ours(void) {
  HMODULE dll = GetModuleHandleA("mimalloc.dll");
#ifdef STATIC_OVERRIDE
  if (dll == NULL) return mi_is_in_heap_region;
  puts("mimalloc.dll is in the process, too");
  return NULL;
#else
  if (dll != NULL) return (is_ours_t*)(void*)GetProcAddress(dll, "mi_is_in_heap_region");
  puts("mimalloc.dll is not in the process");
  return NULL;
#endif
}
