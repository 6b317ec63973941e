// Bitmaps that several threads change at once: every change is an atomic operation on one 64-bit word, so a
// thread that dies half-way through a run leaves a valid bitmap.
#ifndef CORE_MEMORY_BITMAP_H
#define CORE_MEMORY_BITMAP_H

#include "base/atomics.h"
#include "base/bits.h"

#define BITMAP_WORD_BITS 64

// Clears the bits of `mask` if all of them are set. Whoever clears a bit owns what it stands for.
bool bitmap_word_try_claim(uint64_t* word, uint64_t mask);

// The same for the first bits of a run, as many as lie in one word. Returns how many it cleared, 0 if not all
// were set.
size_t bitmap_claim_part(uint64_t* bitmap, size_t start, size_t count);

void bitmap_set(uint64_t* bitmap, size_t start, size_t count);
void bitmap_clear(uint64_t* bitmap, size_t start, size_t count);

// Sets one bit; true when it was clear before. Costs a load when it is set already.
bool bitmap_word_set(uint64_t* bitmap, size_t index);

// A summary has a bit per word of a bitmap, set when there may be anything in that word. Who sets bits of a
// word sets the summary's afterwards (bitmap_word_set); who finds a word empty calls this.
void bitmap_summary_clear(uint64_t* summary, const uint64_t* bitmap, size_t word);

// Set bits in the run.
size_t bitmap_count(const uint64_t* bitmap, size_t start, size_t count);

// The next index in [at, end) whose bit is `value`; `end` if there is none.
size_t bitmap_next(const uint64_t* bitmap, size_t at, size_t end, bool value);

#endif
