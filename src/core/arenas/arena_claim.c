// Finding free slices in an arena, claiming them and letting go of them.
//
//   claim   summary of free words -> word -> compare-and-swap; runs: chunk by chunk, where `fits` says that one may be
//   release free bits -> summary -> fits -> open: each a load when it is set already
#include "core/arenas/arena_slices.h"

static void set_fits(arena_t* arena, size_t chunk, uint32_t kinds) {
  uint8_t* fits = &arena->fits[chunk];
  if ((atomic_get_seq_cst(fits) & kinds) != kinds) atomic_or_seq_cst(fits, (uint8_t)kinds);
}

void slices_release(arena_t* arena, size_t start, size_t count) {
  bitmap_set(arena->free, start, count);
  size_t last = (start + count - 1) / BITMAP_WORD_BITS;
  for (size_t word = start / BITMAP_WORD_BITS; word <= last; word++) bitmap_word_set(arena->free_summary, word);
  size_t first_chunk = start / CHUNK_SLICES, last_chunk = (start + count - 1) / CHUNK_SLICES;
  for (size_t chunk = first_chunk; chunk <= last_chunk; chunk++) set_fits(arena, chunk, FITS_ALL);
  if (first_chunk > 0) set_fits(arena, first_chunk - 1, FITS_ALL & ~(FITS_BYTE | FITS_WORD)); // runs that end here
  bitmap_word_set(arena->set->open, arena->index);
}

bool slices_try_claim(arena_t* arena, size_t start, size_t count, arena_hold_t* hold) {
  size_t claimed = 0;
  while (claimed < count) {
    size_t part = bitmap_claim_part(arena->free, start + claimed, count - claimed);
    if (part == 0) {
      slices_let_go(arena, start, claimed, hold);
      return false;
    }
    size_t word = (start + claimed) / BITMAP_WORD_BITS;
    claimed += part;
    hold_run(hold, arena, start, claimed);
    if (atomic_get_relaxed(&arena->free[word]) == 0) bitmap_summary_clear(arena->free_summary, arena->free, word);
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

static size_t chunk_count(const arena_t* arena) { return bits_divide_up(arena->word_count, CHUNK_WORDS); }

static size_t claim_one(arena_t* arena, arena_hold_t* hold) {
  for (size_t chunk = 0; chunk < chunk_count(arena); chunk++) {
    for (;;) {
      uint64_t words = atomic_get_relaxed(&arena->free_summary[chunk]);
      if (words == 0) break;
      size_t word = chunk * CHUNK_WORDS + bits_lowest(words);
      uint64_t seen = atomic_get_relaxed(&arena->free[word]);
      if (seen == 0) {
        bitmap_summary_clear(arena->free_summary, arena->free, word);
        continue;
      }
      size_t slice = word * BITMAP_WORD_BITS + bits_lowest(seen);
      if (slices_try_claim(arena, slice, 1, hold)) return slice;
    }
  }
  return ARENA_NOT_FOUND;
}

// ---- runs, one chunk at a time ----------------------------------------------------------------------------

typedef struct wanted_s {
  size_t count, alignment; // slices
  uint32_t kind;           // FITS_*; 0: longer runs than the hints know
} wanted_t;

// Runs of 8 are bytes and runs of 64 are words of the bitmap: no search across words, less fragmentation.
static size_t claim_bytes_in(arena_t* arena, size_t from, size_t to, arena_hold_t* hold) {
  for (size_t word = from / BITMAP_WORD_BITS; word * BITMAP_WORD_BITS < to; word++) {
    uint64_t seen = atomic_get_relaxed(&arena->free[word]);
    for (unsigned bit = 0; bit < BITMAP_WORD_BITS && seen != 0; bit += 8) {
      uint64_t mask = (uint64_t)0xFF << bit;
      size_t start = word * BITMAP_WORD_BITS + bit;
      if ((seen & mask) == mask && slices_try_claim(arena, start, 8, hold)) return start;
    }
  }
  return ARENA_NOT_FOUND;
}

static size_t claim_words_in(arena_t* arena, size_t from, size_t to, arena_hold_t* hold) {
  for (size_t word = from / BITMAP_WORD_BITS; word * BITMAP_WORD_BITS < to; word++) {
    if (atomic_get_relaxed(&arena->free[word]) == ~(uint64_t)0 &&
        slices_try_claim(arena, word * BITMAP_WORD_BITS, BITMAP_WORD_BITS, hold))
      return word * BITMAP_WORD_BITS;
  }
  return ARENA_NOT_FOUND;
}

// Runs that start in [from, to); they may end behind it.
static size_t claim_run_in(arena_t* arena, size_t from, size_t to, const wanted_t* wanted, arena_hold_t* hold) {
  size_t base_slice = (size_t)((uintptr_t)arena->base >> SLICE_SHIFT);
  size_t at = from;
  while (at < to) {
    at = bitmap_next(arena->free, at, to, true);
    if (at >= to) break;
    size_t start = bits_align_up(base_slice + at, wanted->alignment) - base_slice;
    if (start >= arena->slice_count || wanted->count > arena->slice_count - start) break;
    size_t run_end = bitmap_next(arena->free, start, start + wanted->count, false);
    if (run_end == start + wanted->count) {
      if (slices_try_claim(arena, start, wanted->count, hold)) return start;
      at = start; // somebody was faster with a part of it: look again
    } else {
      at = run_end;
    }
  }
  return ARENA_NOT_FOUND;
}

static size_t claim_in(arena_t* arena, size_t from, size_t to, const wanted_t* wanted, arena_hold_t* hold) {
  if (wanted->kind == FITS_BYTE) return claim_bytes_in(arena, from, to, hold);
  if (wanted->kind == FITS_WORD) return claim_words_in(arena, from, to, hold);
  return claim_run_in(arena, from, to, wanted, hold);
}

// Looked in vain: the chunk has none of these, and none of the longer kinds. Cleared before a second look, so that no
// release between the two is missed.
static size_t claim_in_chunk(arena_t* arena, size_t chunk, const wanted_t* wanted, arena_hold_t* hold) {
  if (wanted->kind != 0 && (atomic_get_relaxed(&arena->fits[chunk]) & wanted->kind) == 0) return ARENA_NOT_FOUND;
  size_t from = chunk * CHUNK_SLICES, to = from + CHUNK_SLICES;
  if (to > arena->slice_count) to = arena->slice_count;
  size_t found = claim_in(arena, from, to, wanted, hold);
  if (found != ARENA_NOT_FOUND || wanted->kind == 0 || wanted->alignment > 1) return found;
  atomic_and_seq_cst(&arena->fits[chunk], (uint8_t)~wanted->kind);
  found = claim_in(arena, from, to, wanted, hold);
  if (found != ARENA_NOT_FOUND) set_fits(arena, chunk, wanted->kind);
  return found;
}

static uint32_t kind_of(size_t count, size_t alignment) {
  if (alignment <= 1 && count == PAGE_MEDIUM_SLICES) return FITS_BYTE;
  if (alignment <= 1 && count == PAGE_LARGE_SLICES) return FITS_WORD;
  // A chunk whose hint was cleared for a run of n is skipped for all runs of the kind, so the kinds are narrow enough
  // that little is missed.
  return count <= 4 ? FITS_RUN_4
         : count <= 16 ? FITS_RUN_16
         : count <= 64 ? FITS_RUN_64
         : count <= 256 ? FITS_RUN_256
         : count <= CHUNK_SLICES ? FITS_RUN_4K : 0;
}

// Runs start their search a quarter into the arena, away from the small pages that fill it from the front.
size_t arena_claim(arena_t* arena, size_t count, size_t alignment_slices, arena_hold_t* hold) {
  if (count == 1 && alignment_slices <= 1) return claim_one(arena, hold);
  wanted_t wanted = {count, alignment_slices < 1 ? 1 : alignment_slices, kind_of(count, alignment_slices)};
  bool is_long = wanted.kind != FITS_BYTE && wanted.kind != FITS_WORD;
  size_t chunks = chunk_count(arena), first = is_long ? chunks / 4 : 0;
  if (is_long && chunks < 4) { // the quarter lies inside of a chunk
    size_t found = claim_run_in(arena, arena->slice_count / 4, arena->slice_count, &wanted, hold);
    if (found != ARENA_NOT_FOUND) return found;
  }
  for (size_t i = 0; i < chunks; i++) {
    size_t chunk = first + i < chunks ? first + i : first + i - chunks;
    size_t found = claim_in_chunk(arena, chunk, &wanted, hold);
    if (found != ARENA_NOT_FOUND) return found;
  }
  return ARENA_NOT_FOUND;
}
