// In front of every source of the interleaving tests, the core's included (compiled with -include): each
// atomic operation tells the scheduler of the address first, which may let another thread go on there. The
// core itself knows nothing of it.
//
// A function-like macro isn't expanded inside of itself, so the builtin that it ends with is the compiler's.
#ifndef TESTS_INTERLEAVE_POINTS_H
#define TESTS_INTERLEAVE_POINTS_H

typedef enum point_kind_e {
  POINT_READ,
  POINT_STORE,
  POINT_CHANGE, // reads and writes at once, or orders in another way what the thread stored before
  POINT_FENCE   // a compiler's: nobody else sees anything, but a thread may be killed there
} point_kind_t;

// Returns `address`.
void* schedule_point(const volatile void* address, point_kind_t kind);
// The same for a store that others may see late, as a processor's store buffer has it, of `size` bytes.
void* schedule_store(const volatile void* address, unsigned size);

#define POINT_AT(p, kind) ((__typeof__(p))schedule_point((p), kind))
#define POINT_STORE_AT(p, order)                                                                             \
  ((__typeof__(p))((order) == __ATOMIC_SEQ_CST ? schedule_point((p), POINT_CHANGE)                           \
                                               : schedule_store((p), sizeof(*(p)))))
#define __atomic_load_n(p, order)        __atomic_load_n(POINT_AT(p, POINT_READ), order)
#define __atomic_store_n(p, x, order)    __atomic_store_n(POINT_STORE_AT(p, order), x, order)
#define __atomic_exchange_n(p, x, order) __atomic_exchange_n(POINT_AT(p, POINT_CHANGE), x, order)
#define __atomic_fetch_add(p, x, order)  __atomic_fetch_add(POINT_AT(p, POINT_CHANGE), x, order)
#define __atomic_fetch_sub(p, x, order)  __atomic_fetch_sub(POINT_AT(p, POINT_CHANGE), x, order)
#define __atomic_fetch_or(p, x, order)   __atomic_fetch_or(POINT_AT(p, POINT_CHANGE), x, order)
#define __atomic_fetch_and(p, x, order)  __atomic_fetch_and(POINT_AT(p, POINT_CHANGE), x, order)
#define __atomic_compare_exchange_n(p, e, d, weak, success, failure)                                         \
  __atomic_compare_exchange_n(POINT_AT(p, POINT_CHANGE), e, d, weak, success, failure)
#define __atomic_signal_fence(order) ((void)schedule_point(0, POINT_FENCE), __atomic_signal_fence(order))

#endif
