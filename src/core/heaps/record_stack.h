// Stacks of type-stable records that wait for use, with a change count against ABA: no lock, nothing to wait
// for under the loader lock. A thread killed between taking a record and using it loses it, nothing more.
#ifndef CORE_HEAPS_RECORD_STACK_H
#define CORE_HEAPS_RECORD_STACK_H

#include "base/atomics.h"

// Records are 64-byte aligned, so an address needs 41 of the 64 bits on x64 (core/memory/sysmem.c refuses
// higher ones), 26 on x86; the rest counts changes.
#define RECORD_ADDRESS_SHIFT 6
#if MI_64BIT
#define RECORD_ADDRESS_BITS 41
#else
#define RECORD_ADDRESS_BITS 26
#endif
#define RECORD_ADDRESS_MASK (((uint64_t)1 << RECORD_ADDRESS_BITS) - 1)

MI_INLINE void* record_top(uint64_t word) {
  return (void*)(uintptr_t)((word & RECORD_ADDRESS_MASK) << RECORD_ADDRESS_SHIFT);
}
MI_INLINE uint64_t record_word(uint64_t before, const void* record) {
  uint64_t changes = (before >> RECORD_ADDRESS_BITS) + 1;
  return changes << RECORD_ADDRESS_BITS | (uint64_t)(uintptr_t)record >> RECORD_ADDRESS_SHIFT;
}

// `link`: the record's pointer to the next one.
MI_INLINE void record_push(uint64_t* stack, void* record, void** link) {
  uint64_t word = atomic_get_relaxed(stack);
  do {
    atomic_set_relaxed(link, record_top(word));
  } while (!atomic_cas_weak_acq_rel(stack, &word, record_word(word, record)));
}

// `link_offset`: where in a record its link is. NULL when the stack is empty.
MI_INLINE void* record_pop(uint64_t* stack, size_t link_offset) {
  uint64_t word = atomic_get_acquire(stack);
  for (;;) {
    void* record = record_top(word);
    if (record == NULL) return NULL;
    // The record may be popped by another thread meanwhile: its memory stays valid, and the count makes the
    // swap fail.
    void* next = atomic_get_relaxed((void**)((uint8_t*)record + link_offset));
    if (atomic_cas_weak_acq_rel(stack, &word, record_word(word, next))) return record;
  }
}

#endif
