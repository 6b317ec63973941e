// Deterministic random numbers, and contents that a block can be filled with and checked against.
#ifndef TESTS_TEST_DATA_H
#define TESTS_TEST_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct test_random_s {
  uint64_t state;
} test_random_t;

uint64_t test_random_next(test_random_t* random);
size_t test_random_below(test_random_t* random, size_t limit); // 0..limit-1
size_t test_random_size(test_random_t* random, size_t smallest,
                        size_t largest); // each doubling equally likely

// Contents depend on `tag` and on the place, so that shifted, swapped and torn blocks are noticed.
void pattern_fill(void* p, size_t size, uint64_t tag);
// The offset of the first wrong byte, or SIZE_MAX when all are right.
size_t pattern_mismatch(const void* p, size_t size, uint64_t tag);
// The same on 64 bytes at both ends and some bytes of each 4 KiB between them.
void pattern_fill_sampled(void* p, size_t size, uint64_t tag);
size_t pattern_mismatch_sampled(const void* p, size_t size, uint64_t tag);

// The offset of the first byte that isn't zero, or SIZE_MAX.
size_t pattern_nonzero(const void* p, size_t size);

#endif
