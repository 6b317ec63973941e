// Finding free slices in an arena, claiming them and letting go of them.
#include "core/arenas/arena_slices.h"

bool slices_try_claim(arena_t* arena, size_t start, size_t count, arena_hold_t* hold) {
  size_t claimed = 0;
  while (claimed < count) {
    size_t part = bitmap_claim_part(arena->free, start + claimed, count - claimed);
    if (part == 0) {
      slices_let_go(arena, start, claimed, hold);
      return false;
    }
    claimed += part;
    hold_run(hold, arena, start, claimed);
  }
  return true;
}

void slices_let_go(arena_t* arena, size_t start, size_t count, arena_hold_t* hold) {
  while (count > 0) { // a word of the bitmap at a time, which is what can be lost
    size_t part = BITMAP_WORD_BITS - start % BITMAP_WORD_BITS;
    if (part > count) part = count;
    hold_run(hold, arena, start + part, count - part);
    slices_release(arena, start, part);
    start += part;
    count -= part;
  }
}

static size_t claim_one(arena_t* arena, arena_hold_t* hold) {
  size_t hint = atomic_get_relaxed(&arena->search_hint);
  for (size_t i = 0; i < arena->word_count; i++) {
    size_t word = hint + i;
    if (word >= arena->word_count) word -= arena->word_count;
    for (;;) {
      uint64_t seen = atomic_get_relaxed(&arena->free[word]);
      if (seen == 0) break;
      unsigned bit = bits_lowest(seen);
      if (bitmap_word_try_claim(&arena->free[word], (uint64_t)1 << bit)) {
        hold_run(hold, arena, word * BITMAP_WORD_BITS + bit, 1);
        if (i != 0) atomic_set_relaxed(&arena->search_hint, word);
        return word * BITMAP_WORD_BITS + bit;
      }
    }
  }
  return ARENA_NOT_FOUND;
}

// Runs of 8 are bytes and runs of 64 are words of the bitmap: no search across words, less fragmentation.
static size_t claim_byte(arena_t* arena, arena_hold_t* hold) {
  for (size_t word = 0; word < arena->word_count; word++) {
    uint64_t seen = atomic_get_relaxed(&arena->free[word]);
    for (unsigned bit = 0; bit < BITMAP_WORD_BITS && seen != 0; bit += 8) {
      uint64_t mask = (uint64_t)0xFF << bit;
      size_t start = word * BITMAP_WORD_BITS + bit;
      if ((seen & mask) == mask && slices_try_claim(arena, start, 8, hold)) return start;
    }
  }
  return ARENA_NOT_FOUND;
}

static size_t claim_word(arena_t* arena, arena_hold_t* hold) {
  for (size_t word = 0; word < arena->word_count; word++) {
    size_t start = word * BITMAP_WORD_BITS;
    if (atomic_get_relaxed(&arena->free[word]) == ~(uint64_t)0 &&
        slices_try_claim(arena, start, BITMAP_WORD_BITS, hold))
      return start;
  }
  return ARENA_NOT_FOUND;
}

static size_t claim_run_in(arena_t* arena, size_t from, size_t to, size_t count, size_t alignment_slices,
                           arena_hold_t* hold) {
  size_t base_slice = (size_t)((uintptr_t)arena->base >> SLICE_SHIFT);
  size_t at = from;
  while (at < to) {
    at = bitmap_next(arena->free, at, to, true);
    if (at >= to) break;
    size_t start = bits_align_up(base_slice + at, alignment_slices) - base_slice;
    if (start >= to || count > to - start) break;
    size_t run_end = bitmap_next(arena->free, start, start + count, false);
    if (run_end == start + count) {
      if (slices_try_claim(arena, start, count, hold)) return start;
      at = start; // somebody was faster with a part of it: look again
    } else {
      at = run_end;
    }
  }
  return ARENA_NOT_FOUND;
}

// Long runs start their search a quarter into the arena, away from the small pages that fill it from the
// front.
static size_t claim_run(arena_t* arena, size_t count, size_t alignment_slices, arena_hold_t* hold) {
  size_t quarter = arena->slice_count / 4;
  size_t start = claim_run_in(arena, quarter, arena->slice_count, count, alignment_slices, hold);
  if (start == ARENA_NOT_FOUND)
    start = claim_run_in(arena, 0, arena->slice_count, count, alignment_slices, hold);
  return start;
}

size_t arena_claim(arena_t* arena, size_t count, size_t alignment_slices, arena_hold_t* hold) {
  if (alignment_slices <= 1) {
    if (count == 1) return claim_one(arena, hold);
    if (count == PAGE_MEDIUM_SLICES) return claim_byte(arena, hold);
    if (count == PAGE_LARGE_SLICES) return claim_word(arena, hold);
  }
  return claim_run(arena, count, alignment_slices, hold);
}
