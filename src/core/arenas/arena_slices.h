// Slices between pages: how they are claimed, held, purged and let go of. For core/arena*.c alone.
#ifndef CORE_ARENAS_ARENA_SLICES_H
#define CORE_ARENAS_ARENA_SLICES_H

#include "core/arenas/arena.h"
#include "core/memory/bitmap.h"

MI_INLINE uint8_t* slice_address(const arena_t* arena, size_t slice) {
  return arena->base + slice * SLICE_SIZE;
}

// Whoever calls this had the slices alone; now they are anybody's.
MI_INLINE void slices_release(arena_t* arena, size_t start, size_t count) {
  bitmap_set(arena->free, start, count);
  size_t word = start / BITMAP_WORD_BITS;
  if (word < atomic_get_relaxed(&arena->search_hint)) atomic_set_relaxed(&arena->search_hint, word);
}

// ---- what a thread has in its hands ---------------------------------------------------------------------
// A run is written down after it was claimed, and struck out before it is let go: a thread that is killed between the two
// loses it, but no run is ever given back that is somebody else's. While a page is made of the run, or was made of it
// until now, both the hand and the page's owner tell of it; then the owner counts.

// NULL, hold nothing, for threads without a record, and for calls inside of a call (an output function that
// allocates).
MI_INLINE arena_hold_t* hold_for_claim(arena_hands_t* hands) {
  return hands != NULL && hands->claimed.run == 0 ? &hands->claimed : NULL;
}
MI_INLINE arena_hold_t* hold_for_purge(arena_hands_t* hands) {
  return hands != NULL && hands->purging.run == 0 ? &hands->purging : NULL;
}

MI_INLINE void hold_run(arena_hold_t* hold, arena_t* arena, size_t start, size_t count) {
  if (hold == NULL) return;
  hold->arena = arena;
  atomic_set_release(&hold->run, count == 0 ? 0 : (uint64_t)start << 32 | count);
}

MI_INLINE void hold_nothing(arena_hold_t* hold) {
  if (hold != NULL) atomic_set_release(&hold->run, 0);
}

// Claims `count` free slices, the first aligned to `alignment_slices` slices: the index of the first, or ARENA_NOT_FOUND.
// Whether there is memory behind them is the caller's business.
#define ARENA_NOT_FOUND SIZE_MAX
size_t arena_claim(arena_t* arena, size_t count, size_t alignment_slices, arena_hold_t* hold);

// Claims `count` slices from `start` on if all are free; all or none.
bool slices_try_claim(arena_t* arena, size_t start, size_t count, arena_hold_t* hold);

// Lets go of all that `hold` holds, or of the run when it is NULL.
void slices_let_go(arena_t* arena, size_t start, size_t count, arena_hold_t* hold);

// ---- purging (arena_purge.c) ----------------------------------------------------------------------------

// Gives the memory of slices that the caller holds, all of them committed, back to the system.
void slices_purge(arena_t* arena, size_t start, size_t count);

// Notes slices that are about to be free for a purge after the delay.
void slices_schedule_purge(arena_t* arena, size_t start, size_t count);

typedef enum purge_scope_e {
  PURGE_DUE,     // what has waited for its delay
  PURGE_WAITING, // all that waits
  PURGE_FREE     // all that is free, also what was committed ahead of need
} purge_scope_t;

void arena_purge_one(arena_t* arena, purge_scope_t scope, arena_hands_t* hands);

// About to commit `size` bytes more: purges what waits if that keeps the peak down.
void arena_purge_before_growth(arena_t* arena, size_t size, arena_hands_t* hands);

#endif
