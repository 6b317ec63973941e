#include "os/os.h"
#include "stack.h"
#include "teb.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

uintptr_t stack_end(uintptr_t stack_pointer) {
  uintptr_t end = (uintptr_t)os_stack_base();
  if (MI_LIKELY(stack_pointer < end && stack_pointer >= (uintptr_t)teb_read(TEB_STACK_LIMIT))) return end;
  MEMORY_BASIC_INFORMATION info; // a stack that the program made itself
  if (VirtualQuery((const void*)stack_pointer, &info, sizeof(info)) == 0) return stack_pointer;
  return (uintptr_t)info.BaseAddress + info.RegionSize;
}
