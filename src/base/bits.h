// Bit and alignment arithmetic.
#ifndef BASE_BITS_H
#define BASE_BITS_H

#include "base/attributes.h"

MI_INLINE bool bits_is_power_of_two(size_t x) { return x != 0 && (x & (x - 1)) == 0; }

// `alignment` must be a power of two; the result wraps when x is within alignment of SIZE_MAX.
MI_INLINE size_t bits_align_up(size_t x, size_t alignment) { return (x + alignment - 1) & ~(alignment - 1); }
MI_INLINE size_t bits_align_down(size_t x, size_t alignment) { return x & ~(alignment - 1); }
MI_INLINE bool bits_is_aligned(const void* p, size_t alignment) {
  return ((uintptr_t)p & (alignment - 1)) == 0;
}

MI_INLINE size_t bits_divide_up(size_t x, size_t divisor) { return (x + divisor - 1) / divisor; }

// Index of the highest set bit; x must not be 0.
MI_INLINE unsigned bits_highest(uint64_t x) { return 63u - (unsigned)__builtin_clzll(x); }

// Index of the lowest set bit; x must not be 0.
MI_INLINE unsigned bits_lowest(uint64_t x) { return (unsigned)__builtin_ctzll(x); }

// Set bits: pairs, fours and bytes are summed side by side (not every processor that we run on has an
// instruction for it).
MI_INLINE unsigned bits_count(uint64_t x) {
  x -= x >> 1 & 0x5555555555555555u;
  x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return (unsigned)(x * 0x0101010101010101u >> 56);
}

// How many bits from `start` on are set without a gap.
MI_INLINE unsigned bits_run(uint64_t x, unsigned start) {
  uint64_t unset = ~(x >> start);
  return unset == 0 ? 64 : bits_lowest(unset);
}

// A mask of `count` (1..64) bits from bit `start`; start + count must not exceed 64.
MI_INLINE uint64_t bits_mask(size_t start, size_t count) {
  return (count >= 64 ? ~(uint64_t)0 : (((uint64_t)1 << count) - 1)) << start;
}

// *total = count * size; true when the product does not fit.
MI_INLINE bool bits_multiply_overflows(size_t count, size_t size, size_t* total) {
  return __builtin_mul_overflow(count, size, total);
}

MI_INLINE uintptr_t bits_mix(uintptr_t x) {
#if MI_64BIT
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
#else
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
#endif
}

#endif
