// Size classes ("bins"): 8 bytes, then 16-byte steps up to 128, then four per doubling (at most 20% of a
// block unused). Every class above 8 bytes is a multiple of 16, as x64 code expects of malloc.
#ifndef CORE_SIZE_CLASS_H
#define CORE_SIZE_CLASS_H

#include "base/bits.h"

#define SMALL_WORDS    128               // sizes up to this many 8-byte words take the direct table
#define SMALL_SIZE_MAX (SMALL_WORDS * 8) // 1 KiB
#define LARGE_SIZE_MAX (512 * MI_KIB)    // above this a block has a page of its own

// Bin 1 is 8 bytes, bins 2..9 are 16..128 in steps of 16, bins 10.. four per doubling, 58 at the end; bin 0
// isn't used.
#define BIN_LINEAR_MAX 9                         // the bin of 128 bytes
#define BIN_LAST       (BIN_LINEAR_MAX + 4 * 12) // 128 B -> 512 KiB is 12 doublings
#define BIN_HUGE       (BIN_LAST + 1)
#define BIN_COUNT      (BIN_HUGE + 1)

// The bin for a block of `size` bytes; BIN_HUGE when it needs a page of its own.
MI_INLINE unsigned size_class_bin(size_t size) {
  if (size <= 8) return 1;
  if (size <= 128) return 1 + (unsigned)((size + 15) / 16);
  if (size > LARGE_SIZE_MAX) return BIN_HUGE;
  size_t last = size - 1;             // 128..512Ki-1
  unsigned high = bits_highest(last); // 7..18
  return BIN_LINEAR_MAX + 1 + (high - 7) * 4 + (unsigned)((last >> (high - 2)) & 3);
}

// Block size of bin 1..BIN_LAST, bytes.
MI_INLINE size_t size_class_size(unsigned bin) {
  if (bin <= 1) return 8;
  if (bin <= BIN_LINEAR_MAX) return (size_t)(bin - 1) * 16;
  unsigned step = bin - (BIN_LINEAR_MAX + 1);
  return (size_t)(5 + (step & 3)) << (step / 4 + 5);
}

#endif
