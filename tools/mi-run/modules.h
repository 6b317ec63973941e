// Which DLLs another process has.
#ifndef MI_RUN_MODULES_H
#define MI_RUN_MODULES_H

#include <stdbool.h>
#include <stdint.h>
#include <wchar.h>

typedef struct modules_found_s {
  bool ours;           // the very file
  uint64_t base;       // where, if so
  wchar_t* other;      // path of another DLL with the same file name, or NULL
  unsigned long error; // the process could not be asked: why; else 0
} modules_found_t;

// Call it for a process whose loader has finished its first work; before, there is no list.
modules_found_t modules_find(uint32_t pid, const wchar_t* dll);

#endif
