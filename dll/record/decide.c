#include "blocks.h"
#include "sample.h"
#include "twins.h"

// What each call looks at is here, so that it is reached without a detour.
uint32_t* blocks_buckets;
unsigned blocks_bucket_bits;
sample_cell_t sample_cells[CELLS];
bool twins_are_sampled;

// What a sample doesn't concern goes straight on: nearly everything, so this is in the way of each call. `size`: what is
// asked for, if it allocates; `block`: argument 0.
MI_INLINE uintptr_t decide_by_sample(unsigned kind, size_t size, uintptr_t block) {
  if (kind == TWIN_NEW || kind == TWIN_RESIZE) {
    if (MI_UNLIKELY(sample_takes(size))) return TWIN_TAKEN;
    if (kind == TWIN_NEW) return TWIN_PASSED;
  } else if (kind != TWIN_FREE) {
    return kind == TWIN_SIZE || kind == TWIN_OWNS ? TWIN_PASSED : TWIN_HANDLED;
  }
  return MI_UNLIKELY(blocks_may_have(block)) ? TWIN_HANDLED : TWIN_PASSED;
}

uintptr_t twins_decide(const twin_t* twin, const uintptr_t* all) {
  if (!twins_are_sampled) return TWIN_TAKEN;
  const uintptr_t* arguments = all + twin->is_in_heap;
  bool is_sized = twin->kind == TWIN_NEW || twin->kind == TWIN_RESIZE;
  uintptr_t decided = decide_by_sample(twin->kind, is_sized ? twin_size(twin, arguments) : 0, arguments[0]);
  return decided == TWIN_PASSED ? (uintptr_t)twin->original : decided;
}

// ---- the functions that programs call most ------------------------------------------------------------------
// Their arguments stay in registers.

#if TWINS_HAVE_QUICK
static MI_NOINLINE uintptr_t handle(const twin_t* twin, uintptr_t a, uintptr_t b, uintptr_t decided) {
  const uintptr_t all[TWIN_ARGUMENTS] = {a, b};
  return twins_handle(twin, all, decided);
}

MI_INLINE uintptr_t quick(const twin_t* twin, unsigned kind, size_t size, const void* caller, uintptr_t a,
                          uintptr_t b) {
  if (MI_LIKELY(!images_is_self(
          (uintptr_t)caller))) { // else an export called another: the outer one's twin sees to it
    uintptr_t decided = twins_are_sampled ? decide_by_sample(kind, size, a) : TWIN_TAKEN;
    if (MI_UNLIKELY(decided != TWIN_PASSED)) return handle(twin, a, b, decided);
  }
  uintptr_t result = ((twin_short_call_t*)(uintptr_t)twin->original)(a, b);
  __asm__ volatile("" : "+r"(result)); // called, not jumped to: what it calls must find us as its caller
  return result;
}

#define SIZE_0(a, b)       a
#define SIZE_1(a, b)       b
#define SIZE_NONE(a, b)    0
#define SIZE_PRODUCT(a, b) twin_product(a, b)
#define QUICK(function, kind, size)                                                                          \
  uintptr_t twin_quick_##function(uintptr_t a, uintptr_t b) {                                                \
    return quick(&twins[TWIN_NUMBER_##function], TWIN_##kind, SIZE_##size(a, b),                             \
                 __builtin_return_address(0), a, b);                                                         \
  }
TWINS_QUICK(QUICK)
#endif
