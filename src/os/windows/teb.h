// The thread environment block (TEB), read straight from where the segment register points.
#ifndef OS_WINDOWS_TEB_H
#define OS_WINDOWS_TEB_H

#include "base/attributes.h"

// Offset of a field that differs between x64 and x86.
#define TEB_FIELD(x64, x86) (MI_64BIT ? (x64) : (x86))

// Offsets unchanged since NT 4.
#define TEB_STACK_BASE TEB_FIELD(0x08, 0x04) // NT_TIB.StackBase
#define TEB_FIBER_DATA TEB_FIELD(0x20, 0x10) // NT_TIB.FiberData
#define TEB_PEB        TEB_FIELD(0x60, 0x30) // the process environment block

// The pointer at that offset.
MI_INLINE void* teb_read(size_t offset) {
  void* value;
#if defined(__x86_64__)
  __asm__ volatile("movq %%gs:(%1), %0" : "=r"(value) : "r"(offset));
#elif defined(__i386__)
  __asm__ volatile("movl %%fs:(%1), %0" : "=r"(value) : "r"(offset));
#else
#error "unknown processor: no TEB offset"
#endif
  return value;
}

#endif
