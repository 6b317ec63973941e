// What a Windows process has, whoever asked for it.
#ifndef SUPPORT_HOLDINGS_H
#define SUPPORT_HOLDINGS_H

#include <stddef.h>
#include <windows.h>

// By so much the reserved memory of a process may grow once in a while: a part more of Wine's process heap, which Wine 10's UCRT
// works on.
enum { WINE_HEAP_GROWS_BY = 0xFD0000 };

typedef struct private_memory_s {
  size_t reserved, committed; // bytes
} private_memory_t;

static inline private_memory_t private_memory_now(void) {
  private_memory_t memory = {0};
  MEMORY_BASIC_INFORMATION info;
  for (char* at = NULL; VirtualQuery(at, &info, sizeof(info)) == sizeof(info);
       at = (char*)info.BaseAddress + info.RegionSize) {
    if (info.State == MEM_RESERVE) memory.reserved += info.RegionSize;
    if (info.State == MEM_COMMIT && info.Type == MEM_PRIVATE) memory.committed += info.RegionSize;
    if ((char*)info.BaseAddress + info.RegionSize < at) break;
  }
  return memory;
}

#endif
