// The memory functions of a DLL without a C runtime, against the real ones: every small size, every alignment, every
// overlap, and sizes around the borders of their cases. Meson compiles nocrt.c with the names below.
#include "support/check.h"

void* nocrt_memmove(void* to, const void* from, size_t size);
void* nocrt_memcpy(void* restrict to, const void* restrict from, size_t size);
void* nocrt_memset(void* to, int byte, size_t size);
int nocrt_memcmp(const void* left, const void* right, size_t size);

enum { ROOM = 8192, SMALL = 300 };
static unsigned char source[ROOM], expected[ROOM], actual[ROOM];

static const size_t large_sizes[] = {511,  512,  1000, 2015, 2016, 2047, 2048, 2049,
                                     2050, 2063, 2064, 2080, 4000, 4096, 4099};
enum { LARGE_COUNT = sizeof(large_sizes) / sizeof(large_sizes[0]), SIZE_COUNT = SMALL + LARGE_COUNT };

static size_t size_number(size_t i) { return i < SMALL ? i : large_sizes[i - SMALL]; }

static void fill(void) {
  uint32_t x = 12345;
  for (size_t i = 0; i < ROOM; i++) {
    x = x * 1664525u + 1013904223u;
    source[i] = (unsigned char)(x >> 24);
  }
}

static void copies_between_buffers(void** state) {
  (void)state;
  fill();
  for (size_t i = 0; i < SIZE_COUNT; i++) {
    size_t size = size_number(i);
    for (size_t to = 64; to < 64 + 17; to++) {
      size_t from = 64 + (to * 7 + i) % 17;
      memset(expected, 0xAA, ROOM);
      memset(actual, 0xAA, ROOM);
      memcpy(expected + to, source + from, size);
      assert_ptr_equal(nocrt_memcpy(actual + to, source + from, size), actual + to);
      if (memcmp(expected, actual, ROOM) != 0)
        fail_msg("memcpy of %u bytes, to +%u, from +%u", (unsigned)size, (unsigned)to, (unsigned)from);
    }
  }
}

static void moves_within_a_buffer(void** state) {
  (void)state;
  static const int distances[] = {0,  1,  2,  3,  7,  8,  9,  15,  16,  17,   31,
                                  32, 33, 47, 48, 63, 64, 65, 100, 128, 2000, 2100};
  fill();
  for (size_t i = 0; i < SIZE_COUNT; i++) {
    size_t size = size_number(i);
    for (size_t d = 0; d < 2 * sizeof(distances) / sizeof(distances[0]); d++) {
      int distance = d % 2 ? distances[d / 2] : -distances[d / 2];
      for (size_t shift = 0; shift < 16; shift += i < SMALL ? 1 : 5) {
        size_t from = 2200 - (size > 4000 ? 100 : 0) + shift, to = (size_t)((int)from + distance);
        if (to + size > ROOM) continue;
        memcpy(expected, source, ROOM);
        memcpy(actual, source, ROOM);
        memmove(expected + to, expected + from, size);
        assert_ptr_equal(nocrt_memmove(actual + to, actual + from, size), actual + to);
        if (memcmp(expected, actual, ROOM) != 0)
          fail_msg("memmove of %u bytes by %d from +%u", (unsigned)size, distance, (unsigned)from);
      }
    }
  }
}

static void sets(void** state) {
  (void)state;
  for (size_t i = 0; i < SIZE_COUNT; i++) {
    size_t size = size_number(i);
    for (size_t to = 64; to < 64 + 17; to++) {
      int byte = (int)(i * 31 + to);
      memset(expected, 0x55, ROOM);
      memset(actual, 0x55, ROOM);
      memset(expected + to, byte, size);
      assert_ptr_equal(nocrt_memset(actual + to, byte, size), actual + to);
      if (memcmp(expected, actual, ROOM) != 0)
        fail_msg("memset of %u bytes at +%u", (unsigned)size, (unsigned)to);
    }
  }
}

static int sign(int x) { return (x > 0) - (x < 0); }

static void compares(void** state) {
  (void)state;
  fill();
  for (size_t size = 0; size < SMALL; size++) {
    size_t at = 3 + size % 13;
    memcpy(actual + 5, source + at, size);
    assert_int_equal(nocrt_memcmp(actual + 5, source + at, size), 0);
    for (size_t i = 0; i < size; i++) {
      unsigned char was = actual[5 + i];
      actual[5 + i] = (unsigned char)(was + 1 + i % 255);
      assert_int_equal(sign(nocrt_memcmp(actual + 5, source + at, size)),
                       sign(memcmp(actual + 5, source + at, size)));
      actual[5 + i] = was;
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(copies_between_buffers),
      cmocka_unit_test(moves_within_a_buffer),
      cmocka_unit_test(sets),
      cmocka_unit_test(compares),
  };
  return check_run(tests);
}
