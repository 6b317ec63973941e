// Atomics with the memory order in the name, so that each use states what it relies on.
#ifndef BASE_ATOMICS_H
#define BASE_ATOMICS_H

#include "base/attributes.h"

#define atomic_get_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define atomic_get_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
// As atomic_get_relaxed, for an aligned word that is read to be compared, once: compilers make a plain one the
// comparison's operand, which saves an instruction.
#if defined(__SANITIZE_THREAD__) || defined(__atomic_load_n) // tests/interleave
#define atomic_compared(p) atomic_get_relaxed(p)
#else
#define atomic_compared(p) (*(p))
#endif
#define atomic_set_relaxed(p, x)  __atomic_store_n((p), (x), __ATOMIC_RELAXED)
#define atomic_set_release(p, x)  __atomic_store_n((p), (x), __ATOMIC_RELEASE)
#define atomic_swap_acq_rel(p, x) __atomic_exchange_n((p), (x), __ATOMIC_ACQ_REL)
#define atomic_add_relaxed(p, x)  __atomic_fetch_add((p), (x), __ATOMIC_RELAXED)
#define atomic_sub_relaxed(p, x)  __atomic_fetch_sub((p), (x), __ATOMIC_RELAXED)
#define atomic_add_acq_rel(p, x)  __atomic_fetch_add((p), (x), __ATOMIC_ACQ_REL)
#define atomic_sub_acq_rel(p, x)  __atomic_fetch_sub((p), (x), __ATOMIC_ACQ_REL)
#define atomic_or_acq_rel(p, x)   __atomic_fetch_or((p), (x), __ATOMIC_ACQ_REL)
#define atomic_and_acq_rel(p, x)  __atomic_fetch_and((p), (x), __ATOMIC_ACQ_REL)
#define atomic_or_relaxed(p, x)   __atomic_fetch_or((p), (x), __ATOMIC_RELAXED)
#define atomic_and_relaxed(p, x)  __atomic_fetch_and((p), (x), __ATOMIC_RELAXED)
// On failure *expected holds the value seen.
#define atomic_cas_acq_rel(p, expected, desired)                                                             \
  __atomic_compare_exchange_n((p), (expected), (desired), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
#define atomic_cas_weak_release(p, expected, desired)                                                        \
  __atomic_compare_exchange_n((p), (expected), (desired), true, __ATOMIC_RELEASE, __ATOMIC_RELAXED)
#define atomic_cas_weak_acq_rel(p, expected, desired)                                                        \
  __atomic_compare_exchange_n((p), (expected), (desired), true, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
// Sequentially consistent, where two threads each write one word and read the other's.
// Puts `item` in front of a list that others only put something in front of, or take whole; `link`: its member.
#define atomic_push(list, item, link)                                                                        \
  do {                                                                                                       \
    __typeof__(*(list)) first_ = atomic_get_relaxed(list);                                                   \
    do {                                                                                                     \
      (item)->link = first_;                                                                                 \
    } while (!atomic_cas_weak_release((list), &first_, (item)));                                             \
  } while (0)

#define atomic_get_seq_cst(p)     __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define atomic_swap_seq_cst(p, x) __atomic_exchange_n((p), (x), __ATOMIC_SEQ_CST)
#define atomic_add_seq_cst(p, x)  __atomic_fetch_add((p), (x), __ATOMIC_SEQ_CST)
#define atomic_or_seq_cst(p, x)   __atomic_fetch_or((p), (x), __ATOMIC_SEQ_CST)
#define atomic_and_seq_cst(p, x)  __atomic_fetch_and((p), (x), __ATOMIC_SEQ_CST)
#define atomic_cas_weak_seq_cst(p, expected, desired)                                                        \
  __atomic_compare_exchange_n((p), (expected), (desired), true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)

// A compiler-only fence: code before it stays before it (one thread against itself, not against others).
#define atomic_compiler_fence() __atomic_signal_fence(__ATOMIC_SEQ_CST)
// Behind an atomic exchange or the like: no later load comes before it. On x86 none does in any case.
#if defined(__x86_64__) || defined(__i386__)
#define atomic_fence_after_exchange() ((void)0)
#else
#define atomic_fence_after_exchange() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#endif
// Reads before it are done before all that follows; writes after it are seen after all that came before.
#define atomic_fence_acquire() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define atomic_fence_release() __atomic_thread_fence(__ATOMIC_RELEASE)

MI_INLINE void atomic_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#else
  atomic_compiler_fence();
#endif
}

#endif
