// The thread's heap pointer in a TlsAlloc slot, read straight from the thread environment block (TEB).
// The first 64 slots lie in the TEB itself: gs:[0x1480 + 8 i] on x64, fs:[0xE10 + 4 i] on x86, unchanged
// since NT 4; x18 + 0x1480 + 8 i on arm64.
#ifndef OS_WINDOWS_SLOT_H
#define OS_WINDOWS_SLOT_H

#include "teb.h"

// Offset of our slot in the TEB, or 0 when the slot isn't one of the first 64 and the slow accessor must be
// used.
extern uint32_t os_slot_teb_offset;

MI_INLINE void* os_slot_get_fast(void) {
  size_t offset = os_slot_teb_offset;
  return MI_UNLIKELY(offset == 0) ? NULL : teb_read(offset);
}

// Whatever os_slot_get_fast says is so: NULL, then, is the slot's value.
MI_INLINE bool os_slot_is_fast(void) { return os_slot_teb_offset != 0; }

#define STACK_PROBE "8192"
MI_INLINE void os_stack_probe(void) {
  // Page by page: the guard page below the stack in use moves down one page at a time.
#if defined(__x86_64__)
  __asm__ volatile("testl %%eax, -4096(%%rsp)\n\ttestl %%eax, -" STACK_PROBE "(%%rsp)" ::: "cc", "memory");
#elif defined(__aarch64__)
  __asm__ volatile(
      "sub x16, sp, #1, lsl #12\n\tldr xzr, [x16]\n\tsub x16, x16, #1, lsl #12\n\tldr xzr, [x16]" ::
          : "x16", "memory");
#else
  __asm__ volatile("testl %%eax, -4096(%%esp)\n\ttestl %%eax, -" STACK_PROBE "(%%esp)" ::: "cc", "memory");
#endif
}

bool os_slot_init(void);
void os_slot_free(void);
void* os_slot_get(void);
bool os_slot_set(void* value);

#endif
