// The thread environment block (TEB), read straight from where a segment register points, on arm64 x18.
#ifndef OS_WINDOWS_TEB_H
#define OS_WINDOWS_TEB_H

#include "base/attributes.h"

// Offset of a field that differs between 64 and 32 bits.
#define TEB_FIELD(x64, x86) (MI_64BIT ? (x64) : (x86))

// Offsets unchanged since NT 4.
#define TEB_STACK_BASE  TEB_FIELD(0x08, 0x04) // NT_TIB.StackBase
#define TEB_STACK_LIMIT TEB_FIELD(0x10, 0x08) // NT_TIB.StackLimit: the lowest address in use
#define TEB_SELF        TEB_FIELD(0x30, 0x18) // NT_TIB.Self: where the block lies
#define TEB_FIBER_DATA  TEB_FIELD(0x20, 0x10) // NT_TIB.FiberData
#define TEB_PEB         TEB_FIELD(0x60, 0x30) // the process environment block

#define PEB_LOADER_LOCK TEB_FIELD(0x110, 0xA0) // in the process environment block

// The pointer at that offset.
MI_INLINE void* teb_read(size_t offset) {
  void* value;
#if defined(__x86_64__)
  __asm__ volatile("movq %%gs:(%1), %0" : "=r"(value) : "r"(offset));
#elif defined(__i386__)
  __asm__ volatile("movl %%fs:(%1), %0" : "=r"(value) : "r"(offset));
#elif defined(__aarch64__)
  __asm__ volatile("ldr %0, [x18, %1]" : "=r"(value) : "r"(offset));
#else
#error "unknown processor: no TEB offset"
#endif
  return value;
}

#endif
