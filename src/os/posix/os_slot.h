// The native build is for tests, sanitizers and instruction counts: plain thread-local storage is the right
// slot there.
#ifndef OS_POSIX_SLOT_H
#define OS_POSIX_SLOT_H

#include "base/attributes.h"

extern __thread void* os_slot_value __attribute__((tls_model("local-exec")));

MI_INLINE void* os_slot_get_fast(void) { return os_slot_value; }
MI_INLINE bool os_slot_is_fast(void) { return true; }
MI_INLINE void* os_slot_get(void) { return os_slot_value; }
MI_INLINE bool os_slot_set(void* value) {
  os_slot_value = value;
  return true;
}
MI_INLINE void os_stack_probe(void) {} // nobody catches a stack overflow here
bool os_slot_init(void);
void os_slot_free(void);

#endif
