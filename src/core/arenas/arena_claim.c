// Finding free slices in an arena, claiming them and letting go of them.
//
//   claim   summary of free words -> word -> compare-and-swap; runs: chunk by chunk, where the hints say that one may be
//   release free bits -> summary -> hints -> open: each a load when it is set already
#include "core/arenas/arena_slices.h"

static void set_fits(arena_t* arena, size_t chunk, uint32_t kinds) {
  uint8_t* fits = &arena->fits[chunk];
  if ((atomic_get_seq_cst(fits) & kinds) != kinds) atomic_or_seq_cst(fits, (uint8_t)kinds);
}

static size_t chunk_count(const arena_t* arena) { return bits_divide_up(arena->word_count, CHUNK_WORDS); }

// ---- what room there may be ---------------------------------------------------------------------------------
// Claims take the first short run that is long enough. Where the last one of a length was found the next one is looked
// for: whoever lets go of slices before that sets it back. Two at once may leave it too far; then a run is
// overlooked until something is released there again, or until nothing is found behind.

#define NEIGHBOURS_MAX 512 // slices behind released ones that are looked at

static size_t runs_begin(const arena_t* arena) { return arena->slice_count / 4; }

// In the free run [first, end) slices were released from `start` on.
static void hints_set_back(arena_t* arena, size_t start, size_t first, size_t end) {
  size_t begin = runs_begin(arena);
  if (start < begin) return;
  if (first < begin) first = begin;
  size_t most = end - first < RUN_HINTS ? end - first : RUN_HINTS;
  for (size_t length = 2; length <= most; length++) {
    uint32_t seen = atomic_get_seq_cst(&arena->run_hints[length]);
    while (seen > first && !atomic_cas_weak_seq_cst(&arena->run_hints[length], &seen, (uint32_t)first)) {}
  }
}

static void raise(uint32_t* to, size_t value) {
  uint32_t seen = atomic_get_seq_cst(to);
  while (seen < value && !atomic_cas_weak_seq_cst(to, &seen, (uint32_t)value)) {}
}

static bool is_known(const uint32_t* longest) { return atomic_get_seq_cst(longest) < LONGEST_UNKNOWN; }

// Is there a chunk that the released slices may make a longer run in than is known of it? Those that end there begin in it or
// in the one before.
static bool is_any_known(const arena_t* arena, size_t first_chunk, size_t last_chunk) {
  bool is_any =
      is_known(&arena->longest_run) || (first_chunk > 0 && is_known(&arena->longest[first_chunk - 1]));
  for (size_t chunk = first_chunk; chunk <= last_chunk && !is_any; chunk++)
    is_any = is_known(&arena->longest[chunk]);
  return is_any;
}

void slices_release(arena_t* arena, size_t start, size_t count) {
  bitmap_set(arena->free, start, count);
  atomic_fence_after_exchange(); // of two neighbours at once one at least sees the other
  size_t last = (start + count - 1) / BITMAP_WORD_BITS;
  for (size_t word = start / BITMAP_WORD_BITS; word <= last; word++)
    bitmap_word_set(arena->free_summary, word);
  size_t first_chunk = start / CHUNK_SLICES, last_chunk = (start + count - 1) / CHUNK_SLICES;
  bool is_to_be_told = is_any_known(arena, first_chunk, last_chunk);
  // With their neighbours they are a run, from `first` to `end` as far as one looks: back to where it begins (longer ones than
  // a chunk are known), ahead to where it is long enough to be worth a search.
  size_t most = is_to_be_told ? NEIGHBOURS_MAX : RUN_HINTS, back = is_to_be_told ? CHUNK_SLICES : RUN_HINTS;
  size_t limit = start + count + most;
  if (limit > arena->slice_count) limit = arena->slice_count;
  size_t end = bitmap_next(arena->free, start + count, limit, false);
  size_t first = bitmap_run_begin(arena->free, start, start > back ? start - back : 0);
  hints_set_back(arena, start, first, end);
  for (size_t chunk = first_chunk; chunk <= last_chunk; chunk++) set_fits(arena, chunk, FITS_ALL);
  if (is_to_be_told) {
    bool is_longer = end - start - count >= most;
    for (size_t at = first; at < end; at = bits_align_down(at, CHUNK_SLICES) + CHUNK_SLICES)
      raise(&arena->longest[at / CHUNK_SLICES], is_longer ? LONGEST_UNKNOWN : end - at);
    raise(&arena->longest_run, is_longer ? LONGEST_UNKNOWN : end - first);
  }
  bitmap_word_set(arena->set->open, arena->index);
}

// Looked for a run in vain: that is noted, then looked at a second time.
static MI_COLD void note_longest_run(arena_t* arena) {
  uint32_t longest = 0;
  for (int look = 0; look < 2; look++) {
    for (size_t chunk = 0; chunk < chunk_count(arena); chunk++) {
      uint32_t there = atomic_get_seq_cst(&arena->longest[chunk]);
      if (there <= longest) continue;
      if (look > 0) raise(&arena->longest_run, there);
      longest = there;
    }
    if (look == 0) atomic_swap_seq_cst(&arena->longest_run, longest);
  }
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
    if (atomic_get_relaxed(&arena->free[word]) == 0)
      bitmap_summary_clear(arena->free_summary, arena->free, word);
  }
  raise(&arena->used_end, start + count);
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

#define MEDIUM_STARTS 0x1111111111111111u // of a word, where a run of PAGE_MEDIUM_SLICES may begin

typedef struct wanted_s {
  size_t count; // slices
  arena_alignment_t alignment;
  uint32_t kind; // FITS_*; 0: a run that may start anywhere
} wanted_t;

// Where the first such run from `at` on begins, if all is free.
static size_t first_place(const arena_t* arena, const wanted_t* wanted, size_t at) {
  size_t base_slice = (size_t)((uintptr_t)arena->base >> SLICE_SHIFT);
  size_t to_aligned = MI_SECURE && wanted->alignment.is_of_end ? wanted->count : 0;
  return bits_align_up(base_slice + at + to_aligned, wanted->alignment.slices) - base_slice - to_aligned;
}

// The words of the chunk's part [from, to) that have free slices, a bit each.
static uint64_t words_with_free(const arena_t* arena, size_t from, size_t to) {
  size_t first = from / BITMAP_WORD_BITS, count = bits_divide_up(to - from, BITMAP_WORD_BITS);
  return atomic_get_seq_cst(&arena->free_summary[first / CHUNK_WORDS]) & bits_mask(0, count);
}

// Runs of 4 and 64 are aligned, within a word of the bitmap: no search across words, less fragmentation.
static size_t claim_medium_in(arena_t* arena, size_t from, size_t to, arena_hold_t* hold) {
  for (uint64_t words = words_with_free(arena, from, to); words != 0; words &= words - 1) {
    size_t word = from / BITMAP_WORD_BITS + bits_lowest(words);
    uint64_t pairs = atomic_get_relaxed(&arena->free[word]);
    pairs &= pairs >> 1;
    uint64_t fours = pairs & pairs >> 2 & MEDIUM_STARTS;
    for (; fours != 0; fours &= fours - 1) {
      size_t start = word * BITMAP_WORD_BITS + bits_lowest(fours);
      if (slices_try_claim(arena, start, PAGE_MEDIUM_SLICES, hold)) return start;
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

// Runs that start in [from, to); they may end behind it. In vain: *longest of them was the longest.
static size_t claim_run_in(arena_t* arena, size_t from, size_t to, const wanted_t* wanted, size_t* longest,
                           arena_hold_t* hold) {
  size_t at = from;
  *longest = 0;
  while (at < to) {
    at = bitmap_next(arena->free, at, to, true);
    if (at >= to) break;
    // As many in a row hold it wherever they start.
    size_t enough = wanted->count + wanted->alignment.slices - 1, left = arena->slice_count - at;
    size_t run_end = bitmap_next(arena->free, at, at + (enough < left ? enough : left), false);
    size_t start = first_place(arena, wanted, at);
    if (start < run_end && run_end - start >= wanted->count) {
      if (slices_try_claim(arena, start, wanted->count, hold)) return start;
      at = start; // somebody was faster with a part of it: look again
    } else {
      if (run_end - at > *longest) *longest = run_end - at;
      at = run_end;
    }
  }
  return ARENA_NOT_FOUND;
}

static size_t claim_in(arena_t* arena, size_t from, size_t to, const wanted_t* wanted, size_t* longest,
                       arena_hold_t* hold) {
  *longest = 0;
  if (wanted->kind == FITS_MEDIUM) return claim_medium_in(arena, from, to, hold);
  if (wanted->kind == FITS_WORD) return claim_words_in(arena, from, to, hold);
  return claim_run_in(arena, from, to, wanted, longest, hold);
}

// Is the chunk known to have none?
static bool is_in_vain(const arena_t* arena, size_t chunk, const wanted_t* wanted) {
  if (wanted->kind != 0) return (atomic_get_relaxed(&arena->fits[chunk]) & wanted->kind) == 0;
  return wanted->count <= LONGEST_UNKNOWN && wanted->count > atomic_get_relaxed(&arena->longest[chunk]);
}

// Looked in vain: that is noted, then looked at a second time, so that no release between the two is missed.
static size_t claim_in_chunk(arena_t* arena, size_t chunk, const wanted_t* wanted, arena_hold_t* hold) {
  if (is_in_vain(arena, chunk, wanted)) return ARENA_NOT_FOUND;
  size_t from = chunk * CHUNK_SLICES, to = from + CHUNK_SLICES, longest, again;
  if (to > arena->slice_count) to = arena->slice_count;
  size_t found = claim_in(arena, from, to, wanted, &longest, hold);
  if (found != ARENA_NOT_FOUND || wanted->count > CHUNK_SLICES) return found;
  if (wanted->kind != 0) {
    atomic_and_seq_cst(&arena->fits[chunk], (uint8_t)~wanted->kind);
  } else {
    atomic_swap_seq_cst(&arena->longest[chunk], (uint32_t)longest);
  }
  atomic_fence_after_exchange();
  found = claim_in(arena, from, to, wanted, &again, hold);
  if (found != ARENA_NOT_FOUND) set_fits(arena, chunk, wanted->kind);
  if (found != ARENA_NOT_FOUND || again > longest) {
    raise(&arena->longest[chunk], LONGEST_UNKNOWN);
    raise(&arena->longest_run, LONGEST_UNKNOWN); // somebody may have taken the chunk's for true meanwhile
  }
  return found;
}

static size_t claim_short_run(arena_t* arena, const wanted_t* wanted, arena_hold_t* hold) {
  uint32_t hint = atomic_get_seq_cst(&arena->run_hints[wanted->count]);
  size_t from = hint > runs_begin(arena) ? hint : runs_begin(arena), longest;
  size_t found = claim_run_in(arena, from, arena->slice_count, wanted, &longest, hold);
  uint32_t next = (uint32_t)(found == ARENA_NOT_FOUND ? arena->slice_count : found + wanted->count);
  atomic_cas_acq_rel(&arena->run_hints[wanted->count], &hint, next); // or somebody has set it back
  return found;
}

// ---- long runs ----------------------------------------------------------------------------------------------
// The best of the free runs: where least memory is missing, and of these the shortest. So what was given back isn't
// taken again while there is other room, and large blocks that come and go leave few holes.

#define LONG_LOOKS    128 // runs looked at, of any length; then the best of them is taken
#define LONG_ATTEMPTS 4   // others may be faster

// The best run in the arena's part for runs, as far as it is looked at; ARENA_NOT_FOUND: none there.
static size_t find_long_run(const arena_t* arena, const wanted_t* wanted) {
  size_t count = wanted->count, most = count + wanted->alignment.slices - 1;
  size_t best = ARENA_NOT_FOUND, best_missing = SIZE_MAX, best_length = SIZE_MAX;
  // The rest of the arena that nobody had yet is endless: as much of it is looked at as is wanted.
  size_t at = runs_begin(arena), used = atomic_get_relaxed(&arena->used_end);
  size_t end = (used > at ? used : at) + most;
  if (end > arena->slice_count) end = arena->slice_count;
  for (unsigned looks = 0; looks < LONG_LOOKS && at < end && end - at >= count; looks++) {
    if (is_in_vain(arena, at / CHUNK_SLICES, wanted)) { // nothing begins there
      at = bits_align_down(at, CHUNK_SLICES) + CHUNK_SLICES;
      continue;
    }
    size_t start = bitmap_next(arena->free, at, end, true);
    at = bitmap_next(arena->free, start, end, false);
    size_t length = at - start;
    start = first_place(arena, wanted, start);
    if (start >= at || at - start < count) continue;
    if (at == end) length = SIZE_MAX - 1;
    size_t missing = count - bitmap_count(arena->committed, start, count);
    if (missing > best_missing || (missing == best_missing && length >= best_length)) continue;
    best = start;
    best_missing = missing;
    best_length = length;
  }
  return best;
}

static size_t claim_long_run(arena_t* arena, const wanted_t* wanted, arena_hold_t* hold) {
  for (int attempt = 0; attempt < LONG_ATTEMPTS; attempt++) {
    size_t start = find_long_run(arena, wanted);
    if (start == ARENA_NOT_FOUND || slices_try_claim(arena, start, wanted->count, hold)) return start;
  }
  return ARENA_NOT_FOUND;
}

// Chunk by chunk, but for those that are known to have none.
static MI_COLD size_t claim_by_chunk(arena_t* arena, const wanted_t* wanted, arena_hold_t* hold) {
  bool is_long = wanted->kind == 0;
  size_t chunks = chunk_count(arena), first = is_long ? chunks / 4 : 0;
  if (is_long && chunks < 4) { // the quarter lies inside of a chunk
    size_t longest;
    size_t found = claim_run_in(arena, arena->slice_count / 4, arena->slice_count, wanted, &longest, hold);
    if (found != ARENA_NOT_FOUND) return found;
  }
  for (size_t i = 0; i < chunks; i++) {
    size_t chunk = first + i < chunks ? first + i : first + i - chunks;
    size_t found = claim_in_chunk(arena, chunk, wanted, hold);
    if (found != ARENA_NOT_FOUND) return found;
  }
  if (is_long && wanted->count <= LONGEST_UNKNOWN) note_longest_run(arena);
  return ARENA_NOT_FOUND;
}

// Runs start their search a quarter into the arena, away from the small pages that fill it from the front.
size_t arena_claim(arena_t* arena, size_t count, arena_alignment_t alignment, arena_hold_t* hold) {
  bool is_anywhere = alignment.slices <= 1;
  if (count == 1 && is_anywhere) return claim_one(arena, hold);
  uint32_t most = atomic_get_relaxed(&arena->longest_run);
  if (count > most && most < LONGEST_UNKNOWN) return ARENA_NOT_FOUND;
  wanted_t wanted = {count, alignment, 0};
  if (is_anywhere) wanted.alignment = (arena_alignment_t){1, false};
  if (is_anywhere && count == PAGE_MEDIUM_SLICES) wanted.kind = FITS_MEDIUM;
  if (is_anywhere && count == PAGE_LARGE_SLICES) wanted.kind = FITS_WORD;
  if (wanted.kind == 0 && (is_anywhere || (MI_SECURE && alignment.is_of_end))) {
    size_t found =
        count <= RUN_HINTS ? claim_short_run(arena, &wanted, hold) : claim_long_run(arena, &wanted, hold);
    if (found != ARENA_NOT_FOUND) return found;
  }
  return claim_by_chunk(arena, &wanted, hold);
}
