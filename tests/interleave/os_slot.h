// The per-thread slot of the interleaving tests: a thread is a coroutine there, and this the slot of the
// running one.
#ifndef TESTS_INTERLEAVE_OS_SLOT_H
#define TESTS_INTERLEAVE_OS_SLOT_H

#include "base/attributes.h"

extern void* model_slot; // the scheduler swaps it

MI_INLINE void* os_slot_get_fast(void) { return model_slot; }
MI_INLINE void* os_slot_get(void) { return model_slot; }
MI_INLINE bool os_slot_set(void* value) {
  model_slot = value;
  return true;
}
MI_INLINE void os_stack_probe(void) {}
bool os_slot_init(void);
void os_slot_free(void);

#endif
