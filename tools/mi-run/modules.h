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

enum { PROCESSES_SHOWN = 16 };

typedef struct processes_found_s {
  uint32_t count;
  uint32_t pids[PROCESSES_SHOWN]; // the first ones
} processes_found_t;

// The processes, but mi-run's own, whose program file has this name; ".exe" may be missing from it.
processes_found_t processes_find(const wchar_t* name);

#endif
