#include "api_check.h"

#include <stdlib.h>

#define KIB(n) ((size_t)(n)*1024)
#define MIB(n) (KIB(n) * 1024)

const size_t api_sizes[] = {0,
                            1,
                            2,
                            3,
                            7,
                            8,
                            9,
                            12,
                            15,
                            16,
                            17,
                            24,
                            31,
                            32,
                            33,
                            48,
                            63,
                            64,
                            65,
                            96,
                            100,
                            112,
                            127,
                            128,
                            129,
                            159,
                            160,
                            161,
                            200,
                            255,
                            256,
                            257,
                            320,
                            511,
                            512,
                            513,
                            1000,
                            1023,
                            1024,
                            1025,
                            1280,
                            2000,
                            2048,
                            2049,
                            4000,
                            4096,
                            4097,
                            5000,
                            8191,
                            8192,
                            8193,
                            10000,
                            16384,
                            16385,
                            20000,
                            32768,
                            32769,
                            40000,
                            KIB(64) - 1,
                            KIB(64),
                            KIB(64) + 1,
                            80000,
                            100000,
                            KIB(128),
                            131073,
                            200000,
                            KIB(256),
                            KIB(256) + 1,
                            400000,
                            KIB(512) - 1,
                            KIB(512),
                            KIB(512) + 1,
                            600000,
                            MIB(1) - 1,
                            MIB(1),
                            MIB(1) + 1,
                            1500000,
                            MIB(2),
                            3000000,
                            MIB(4),
                            MIB(4) + 1,
                            5000000,
                            MIB(8) + 123,
                            MIB(16),
                            MIB(20) + 1};
const size_t api_size_count = sizeof(api_sizes) / sizeof(api_sizes[0]);

const size_t api_impossible_sizes[] = {(size_t)PTRDIFF_MAX + 1,
                                       (size_t)PTRDIFF_MAX + 2,
                                       SIZE_MAX / 2 + MIB(1),
                                       SIZE_MAX - MIB(64),
                                       SIZE_MAX - KIB(64),
                                       SIZE_MAX - KIB(64) + 1,
                                       SIZE_MAX - KIB(4),
                                       SIZE_MAX - KIB(4) + 1,
                                       SIZE_MAX - 128,
                                       SIZE_MAX - 16,
                                       SIZE_MAX - 15,
                                       SIZE_MAX - 8,
                                       SIZE_MAX - 7,
                                       SIZE_MAX - 1,
                                       SIZE_MAX};
const size_t api_impossible_size_count = sizeof(api_impossible_sizes) / sizeof(api_impossible_sizes[0]);

size_t api_opaque(size_t value) {
  __asm__ volatile("" : "+r"(value));
  return value;
}

void* api_opaque_pointer(const volatile void* p) {
  __asm__ volatile("" : "+r"(p));
  return (void*)(uintptr_t)p;
}

size_t api_natural_alignment(size_t size) { return size <= 8 ? 8 : 16; }

void api_check_block(void* p, size_t size, size_t alignment) {
  if (p == NULL) fail_msg("no block of %zu bytes, aligned to %zu", size, alignment);
  if ((uintptr_t)p % alignment != 0)
    fail_msg("block %p of %zu bytes is not aligned to %zu", p, size, alignment);
  size_t usable = mi_usable_size(p);
  if (usable < size) fail_msg("block %p: usable size %zu is less than %zu", p, usable, size);
  if (!mi_is_in_heap_region(p)) fail_msg("block %p of %zu bytes is in no heap region", p, size);
  pattern_fill(p, size, (uintptr_t)p);
}

void api_check_contents(const void* p, size_t size, const void* born) {
  size_t wrong = pattern_mismatch(p, size, (uintptr_t)born);
  if (wrong != SIZE_MAX) fail_msg("block %p (was at %p): byte %zu of %zu changed", p, born, wrong, size);
}

void api_check_zero(const void* p, size_t size) {
  if (p == NULL) fail_msg("no block of %zu zeroed bytes", size);
  size_t wrong = pattern_nonzero(p, size);
  if (wrong != SIZE_MAX) fail_msg("block %p: byte %zu of %zu is not zero", p, wrong, size);
}

bool api_is_freed(void* p, size_t count) {
  size_t usable = mi_usable_size(p);
  if (TEST_SECURE || usable == 0) return usable == 0; // 0: or its page went with it
  bool again = false;
  void** blocks = calloc(count, sizeof(void*));
  assert_non_null(blocks);
  for (size_t i = 0; i < count; i++) {
    blocks[i] = mi_malloc(usable);
    assert_non_null(blocks[i]);
    again = again || blocks[i] == p;
  }
  for (size_t i = 0; i < count; i++) mi_free(blocks[i]);
  free(blocks);
  return again;
}

void api_make_dirt(size_t size) {
  enum { BLOCKS = 40 };
  void* blocks[BLOCKS];
  size_t count = size > MIB(1) ? 2 : size > KIB(32) ? 6 : BLOCKS;
  for (size_t i = 0; i < count; i++) {
    blocks[i] = mi_malloc(size);
    assert_non_null(blocks[i]);
    memset(blocks[i], 0xA5, mi_usable_size(blocks[i]));
  }
  for (size_t i = 0; i < count; i++) mi_free(blocks[i]);
}
