#include "core/memory/bitmap.h"

bool bitmap_word_try_claim(uint64_t* word, uint64_t mask) {
  uint64_t seen = atomic_get_relaxed(word);
  while ((seen & mask) == mask) {
    if (atomic_cas_weak_acq_rel(word, &seen, seen & ~mask)) return true;
  }
  return false;
}

// A run of bits, one bitmap word at a time: for (run_t run = run_of(start, count); run_next(&run);)
typedef struct run_s {
  size_t at, end; // what is left after the current word
  size_t word;    // the current word, and which bits of it
  uint64_t mask;
} run_t;

static run_t run_of(size_t start, size_t count) { return (run_t){.at = start, .end = start + count}; }

static bool run_next(run_t* run) {
  if (run->at >= run->end) return false;
  size_t bit = run->at % BITMAP_WORD_BITS, count = BITMAP_WORD_BITS - bit;
  if (count > run->end - run->at) count = run->end - run->at;
  run->word = run->at / BITMAP_WORD_BITS;
  run->mask = bits_mask(bit, count);
  run->at += count;
  return true;
}

void bitmap_set_words(uint64_t* bitmap, size_t start, size_t count) {
  for (run_t run = run_of(start, count); run_next(&run);) {
    if ((atomic_get_relaxed(&bitmap[run.word]) & run.mask) != run.mask)
      atomic_or_seq_cst(&bitmap[run.word], run.mask);
  }
}

void bitmap_clear_words(uint64_t* bitmap, size_t start, size_t count) {
  for (run_t run = run_of(start, count); run_next(&run);) {
    if ((atomic_get_relaxed(&bitmap[run.word]) & run.mask) != 0)
      atomic_and_acq_rel(&bitmap[run.word], ~run.mask);
  }
}

bool bitmap_word_set(uint64_t* bitmap, size_t index) {
  uint64_t mask = (uint64_t)1 << index % BITMAP_WORD_BITS, *word = &bitmap[index / BITMAP_WORD_BITS];
  return (atomic_get_seq_cst(word) & mask) == 0 && (atomic_or_seq_cst(word, mask) & mask) == 0;
}

void bitmap_summary_clear(uint64_t* summary, const uint64_t* bitmap, size_t word) {
  uint64_t mask = (uint64_t)1 << word % BITMAP_WORD_BITS, *at = &summary[word / BITMAP_WORD_BITS];
  if ((atomic_get_relaxed(at) & mask) == 0) return;
  atomic_and_seq_cst(at, ~mask);
  if (atomic_get_seq_cst(&bitmap[word]) != 0) atomic_or_seq_cst(at, mask); // somebody came in between
}

size_t bitmap_run_begin(const uint64_t* bitmap, size_t end, size_t limit) {
  while (end > limit) {
    size_t last = end - 1, bit = last % BITMAP_WORD_BITS;
    uint64_t clear = ~atomic_get_relaxed(&bitmap[last / BITMAP_WORD_BITS]) << (BITMAP_WORD_BITS - 1 - bit);
    end = last - bit;
    if (clear == 0) continue;
    end = last - (BITMAP_WORD_BITS - 1 - bits_highest(clear)) + 1;
    break;
  }
  return end > limit ? end : limit;
}

size_t bitmap_count(const uint64_t* bitmap, size_t start, size_t count) {
  size_t total = 0;
  for (run_t run = run_of(start, count); run_next(&run);)
    total += bits_count(atomic_get_relaxed(&bitmap[run.word]) & run.mask);
  return total;
}

size_t bitmap_claim_part(uint64_t* bitmap, size_t start, size_t count) {
  run_t run = run_of(start, count);
  return run_next(&run) && bitmap_word_try_claim(&bitmap[run.word], run.mask) ? run.at - start : 0;
}

size_t bitmap_next_word(const uint64_t* bitmap, size_t at, size_t end, bool value) {
  for (; at < end; at += BITMAP_WORD_BITS) {
    uint64_t word = atomic_get_relaxed(&bitmap[at / BITMAP_WORD_BITS]);
    if (!value) word = ~word;
    if (word != 0) return at + bits_lowest(word);
  }
  return end;
}
