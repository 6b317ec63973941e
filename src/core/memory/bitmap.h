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

// Runs of any length; most lie in one word.
void bitmap_set_words(uint64_t* bitmap, size_t start, size_t count);
void bitmap_clear_words(uint64_t* bitmap, size_t start, size_t count);
size_t bitmap_next_word(const uint64_t* bitmap, size_t at, size_t end, bool value);

MI_INLINE bool bitmap_is_in_word(size_t start, size_t count) {
  return start % BITMAP_WORD_BITS + count <= BITMAP_WORD_BITS;
}
MI_INLINE uint64_t bitmap_mask(size_t start, size_t count) {
  return bits_mask(start % BITMAP_WORD_BITS, count);
}

#if defined(__OPTIMIZE_SIZE__) // files built for size don't have the short cut in each place
#define bitmap_set   bitmap_set_words
#define bitmap_clear bitmap_clear_words
#else
MI_INLINE void bitmap_set(uint64_t* bitmap, size_t start, size_t count) {
  uint64_t* word = &bitmap[start / BITMAP_WORD_BITS];
  if (MI_UNLIKELY(!bitmap_is_in_word(start, count))) {
    bitmap_set_words(bitmap, start, count);
  } else if ((atomic_get_relaxed(word) & bitmap_mask(start, count)) != bitmap_mask(start, count)) {
    atomic_or_seq_cst(word, bitmap_mask(start, count));
  }
}

MI_INLINE void bitmap_clear(uint64_t* bitmap, size_t start, size_t count) {
  uint64_t* word = &bitmap[start / BITMAP_WORD_BITS];
  if (MI_UNLIKELY(!bitmap_is_in_word(start, count))) {
    bitmap_clear_words(bitmap, start, count);
  } else if ((atomic_get_relaxed(word) & bitmap_mask(start, count)) != 0) {
    atomic_and_acq_rel(word, ~bitmap_mask(start, count));
  }
}
#endif

// Sets one bit; true when it was clear before. Costs a load when it is set already.
bool bitmap_word_set(uint64_t* bitmap, size_t index);

// A summary has a bit per word of a bitmap, set when there may be anything in that word. Who sets bits of a
// word sets the summary's afterwards (bitmap_word_set); who finds a word empty calls this.
void bitmap_summary_clear(uint64_t* summary, const uint64_t* bitmap, size_t word);

// Where the run of set bits that ends before `end` begins, looked for as far as `limit`.
size_t bitmap_run_begin(const uint64_t* bitmap, size_t end, size_t limit);

// Set bits in the run.
size_t bitmap_count(const uint64_t* bitmap, size_t start, size_t count);

// The next index in [at, end) whose bit is `value`; `end` if there is none.
MI_INLINE size_t bitmap_next(const uint64_t* bitmap, size_t at, size_t end, bool value) {
  if (at >= end) return end;
  uint64_t word = atomic_get_relaxed(&bitmap[at / BITMAP_WORD_BITS]);
  word = (value ? word : ~word) >> at % BITMAP_WORD_BITS;
  if (MI_LIKELY(word != 0))
    at += bits_lowest(word);
  else
    at = bitmap_next_word(bitmap, bits_align_down(at, BITMAP_WORD_BITS) + BITMAP_WORD_BITS, end, value);
  return at < end ? at : end;
}

// Are all bits of the run `value`?
MI_INLINE bool bitmap_is_all(const uint64_t* bitmap, size_t start, size_t count, bool value) {
  return bitmap_next(bitmap, start, start + count, !value) == start + count;
}

#endif
