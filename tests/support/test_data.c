#include "support/test_data.h"

#include <string.h>

enum { END_BYTES = 64, SAMPLE_STEP = 4096, SAMPLE_BYTES = 8 };

uint64_t test_random_next(test_random_t* random) {
  uint64_t x = random->state += 0x9E3779B97F4A7C15u; // splitmix64: every seed, 0 too, is a good one
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

size_t test_random_below(test_random_t* random, size_t limit) {
  return limit == 0 ? 0 : (size_t)(test_random_next(random) % limit);
}

size_t test_random_size(test_random_t* random, size_t smallest, size_t largest) {
  unsigned doublings = 0;
  while (smallest << (doublings + 1) <= largest) doublings++;
  size_t low = smallest << test_random_below(random, doublings + 1);
  size_t high = low <= largest / 2 ? low * 2 : largest + 1;
  return low + test_random_below(random, high - low);
}

static uint64_t pattern_word(size_t index, uint64_t tag) {
  uint64_t x = (tag + index) * 0x9E3779B97F4A7C15u;
  return x ^ (x >> 32);
}

static unsigned char pattern_byte(size_t offset, uint64_t tag) {
  return (unsigned char)(pattern_word(offset / 8, tag) >> (offset % 8 * 8));
}

static void fill_range(unsigned char* bytes, size_t start, size_t end, uint64_t tag) {
  size_t i = start;
  for (; i < end && (i % 8 != 0 || end - i < 8); i++) bytes[i] = pattern_byte(i, tag);
  for (; end - i >= 8; i += 8) { // little-endian, as every machine that this runs on
    uint64_t word = pattern_word(i / 8, tag);
    memcpy(bytes + i, &word, 8);
  }
  for (; i < end; i++) bytes[i] = pattern_byte(i, tag);
}

static size_t check_range(const unsigned char* bytes, size_t start, size_t end, uint64_t tag) {
  size_t i = start;
  for (; i < end && (i % 8 != 0 || end - i < 8); i++) {
    if (bytes[i] != pattern_byte(i, tag)) return i;
  }
  for (uint64_t word; end - i >= 8; i += 8) {
    memcpy(&word, bytes + i, 8);
    if (word != pattern_word(i / 8, tag)) break; // the loop below finds the byte
  }
  for (; i < end; i++) {
    if (bytes[i] != pattern_byte(i, tag)) return i;
  }
  return SIZE_MAX;
}

void pattern_fill(void* p, size_t size, uint64_t tag) { fill_range(p, 0, size, tag); }
size_t pattern_mismatch(const void* p, size_t size, uint64_t tag) { return check_range(p, 0, size, tag); }

// The i-th of the ranges that a sampled pattern touches; false when there are no more.
static bool sampled_range(size_t size, size_t i, size_t* start, size_t* end) {
  if (size <= 2 * END_BYTES) {
    *start = 0;
    *end = size;
    return i == 0;
  }
  if (i == 0) {
    *start = 0;
    *end = END_BYTES;
    return true;
  }
  if (i == 1) {
    *start = size - END_BYTES;
    *end = size;
    return true;
  }
  *start = (i - 1) * SAMPLE_STEP;
  *end = *start + SAMPLE_BYTES;
  return *end <= size - END_BYTES;
}

void pattern_fill_sampled(void* p, size_t size, uint64_t tag) {
  size_t start, end;
  for (size_t i = 0; sampled_range(size, i, &start, &end); i++) fill_range(p, start, end, tag);
}

size_t pattern_mismatch_sampled(const void* p, size_t size, uint64_t tag) {
  size_t start, end;
  for (size_t i = 0; sampled_range(size, i, &start, &end); i++) {
    size_t wrong = check_range(p, start, end, tag);
    if (wrong != SIZE_MAX) return wrong;
  }
  return SIZE_MAX;
}

size_t pattern_nonzero(const void* p, size_t size) {
  const unsigned char* bytes = p;
  size_t i = 0;
  for (; i < size && (uintptr_t)(bytes + i) % 8 != 0; i++) {
    if (bytes[i] != 0) return i;
  }
  for (uint64_t word; size - i >= 8; i += 8) {
    memcpy(&word, bytes + i, 8);
    if (word != 0) break;
  }
  for (; i < size; i++) {
    if (bytes[i] != 0) return i;
  }
  return SIZE_MAX;
}
