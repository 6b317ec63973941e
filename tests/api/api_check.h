// What every test of the public functions needs: sizes worth trying, and checks of one block.
#ifndef TESTS_API_CHECK_H
#define TESTS_API_CHECK_H

#include "support/check.h"
#include "support/test_data.h"

#include <mimalloc.h>

// Both sides of every border that a size class, a kind of page or the system may have, up to 20 MiB.
extern const size_t api_sizes[];
extern const size_t api_size_count;

// A size that can't be had: more than PTRDIFF_MAX, one that wraps when anything is added to it, ...
extern const size_t api_impossible_sizes[];
extern const size_t api_impossible_size_count;

// The value, unknown to the compiler: otherwise it warns of the very mistakes that a test makes on purpose.
size_t api_opaque(size_t value);
void* api_opaque_pointer(const volatile void* p);

// Fails unless `p` is a block of at least `size` bytes at a multiple of `alignment`; fills it (tag: its address).
void api_check_block(void* p, size_t size, size_t alignment);
// Fails unless the first `size` bytes still are what api_check_block wrote into a block at `born`.
void api_check_contents(const void* p, size_t size, const void* born);
void api_check_zero(const void* p, size_t size);

// The alignment that every block of `size` bytes has unasked.
size_t api_natural_alignment(size_t size);

// Bytes of a block that the program doesn't get: secure builds have a canary there.
enum { API_TAIL = TEST_SECURE ? 8 : 0 };

// Was the block freed? Secure builds tell of one that waits to be used again; in others it comes back, which is looked for
// in `count` blocks.
bool api_is_freed(void* p, size_t count);

// Leaves freed blocks with non-zero contents behind, of every size up to `largest`, so that the next blocks of these
// sizes are reused ones.
void api_make_dirt(size_t size);

#endif
