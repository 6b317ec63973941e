// Size classes ("bins"): 8 bytes, then 16-byte steps up to 128, then four per doubling up to 1 KiB (at most
// 20% of a block unused), then eight (at most 11%: larger blocks are where the memory is).
// Every class above 8 bytes is a multiple of 16, as x64 code expects of malloc.
#ifndef CORE_PAGES_SIZE_CLASS_H
#define CORE_PAGES_SIZE_CLASS_H

#include "base/bits.h"

#define SMALL_WORDS    128               // sizes up to this many 8-byte words take the direct table
#define SMALL_SIZE_MAX (SMALL_WORDS * 8) // 1 KiB
// Above this a block has a page of its own. Such a page has exactly the slices that it needs, and its memory
// is anybody's once it is freed, where a page of a class waits for blocks of its class and thread: with classes
// up to 512 KiB four threads that allocate at random up to 1 MiB commit 2.5 times as much. Secure builds have
// them all the same: their reuse is delayed there, and what is written to a freed one is noticed, neither of which a page of
// one block does.
#define LARGE_DOUBLINGS (MI_SECURE ? 9 : 6) // from 1 KiB on
#define LARGE_SIZE_MAX  ((size_t)MI_KIB << LARGE_DOUBLINGS)

// Bin 1 is 8 bytes, bins 2..9 are 16..128 in steps of 16, bins 10..21 four per doubling up to 1 KiB, then
// eight per doubling up to LARGE_SIZE_MAX; bin 0 isn't used.
#define BIN_LINEAR_LAST 9
#define BIN_SMALL_LAST  (BIN_LINEAR_LAST + 4 * 3)
#define BIN_LAST        (BIN_SMALL_LAST + 8 * LARGE_DOUBLINGS)
#define BIN_HUGE        (BIN_LAST + 1)
#define BIN_COUNT       (BIN_HUGE + 1)

// The bin for a block of `size` bytes; BIN_HUGE when it needs a page of its own.
MI_INLINE unsigned size_class_bin(size_t size) {
  if (size <= 8) return 1;
  if (size <= 128) return 1 + (unsigned)((size + 15) / 16);
  if (size > LARGE_SIZE_MAX) return BIN_HUGE;
  size_t last = size - 1;
  unsigned high = bits_highest(last);
  if (size <= SMALL_SIZE_MAX)
    return BIN_LINEAR_LAST + 1 + (high - 7) * 4 + (unsigned)((last >> (high - 2)) & 3);
  return BIN_SMALL_LAST + 1 + (high - 10) * 8 + (unsigned)((last >> (high - 3)) & 7);
}

// Block size of bin 1..BIN_LAST, bytes.
MI_INLINE size_t size_class_size(unsigned bin) {
  if (bin <= 1) return 8;
  if (bin <= BIN_LINEAR_LAST) return (size_t)(bin - 1) * 16;
  if (bin <= BIN_SMALL_LAST) {
    unsigned step = bin - (BIN_LINEAR_LAST + 1);
    return (size_t)(5 + (step & 3)) << (step / 4 + 5);
  }
  unsigned step = bin - (BIN_SMALL_LAST + 1);
  return (size_t)(9 + (step & 7)) << (step / 8 + 7);
}

#endif
