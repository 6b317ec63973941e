// Where is mimalloc: in the DLL, or with STATIC_OVERRIDE in the program itself and nowhere else?
#ifndef TESTS_DLL_IS_OURS_H
#define TESTS_DLL_IS_OURS_H

#include <stdbool.h>
#include <stdio.h>
#include <windows.h>

typedef bool is_ours_t(const void* p);

#ifdef STATIC_OVERRIDE
#ifdef __cplusplus
extern "C"
#endif
    is_ours_t mi_is_in_heap_region;
#endif

// NULL when it is in the wrong place.
static inline is_ours_t* find_is_ours(void) {
  HMODULE dll = GetModuleHandleA("mimalloc.dll");
#ifdef STATIC_OVERRIDE
  if (dll == NULL) return mi_is_in_heap_region;
  printf("mimalloc.dll is in the process, too\n");
  return NULL;
#else
  if (dll != NULL) return (is_ours_t*)(void*)GetProcAddress(dll, "mi_is_in_heap_region");
  printf("mimalloc.dll is not in the process\n");
  return NULL;
#endif
}

#endif
