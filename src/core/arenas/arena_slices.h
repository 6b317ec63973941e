// Slices between pages: how they are claimed, held, purged and let go of. For core/arenas alone.
#ifndef CORE_ARENAS_ARENA_SLICES_H
#define CORE_ARENAS_ARENA_SLICES_H

#include "core/arenas/arena.h"
#include "core/memory/bitmap.h"

MI_INLINE uint8_t* slice_address(const arena_t* arena, size_t slice) {
  return arena->base + slice * SLICE_SIZE;
}

MI_INLINE size_t arena_slice_of(const arena_t* arena, const void* p) {
  return (size_t)((const uint8_t*)p - arena->base) / SLICE_SIZE;
}

// A chunk is 64 words of the bitmap of free slices, 256 MiB: one word of the summary. `arena_t.fits` has a
// byte of it: may pages of these kinds start there? `arena_t.longest`: no longer run of free slices starts there, or reaches into
// it; `longest_run`: nor anywhere in the arena. Lowered by who looked in vain, raised by each release that makes a longer one.
#define CHUNK_WORDS     BITMAP_WORD_BITS
#define CHUNK_SLICES    ((size_t)CHUNK_WORDS * BITMAP_WORD_BITS)
#define FITS_MEDIUM     1u // 4 slices, aligned
#define FITS_WORD       2u // 64 slices, aligned
#define FITS_ALL        (FITS_MEDIUM | FITS_WORD)
#define LONGEST_UNKNOWN ((uint32_t)CHUNK_SLICES) // or more

// Whoever calls this had the slices alone; now they are anybody's.
void slices_release(arena_t* arena, size_t start, size_t count);

// ---- what a thread has in its hands ---------------------------------------------------------------------
// A run is written down after it was claimed, and struck out before it is let go: a thread that is killed
// between the two loses it, but no run is ever given back that is somebody else's. While a page is made of
// the run, or was made of it until now, both the hand and the page's owner tell of it; then the owner counts.
// Who takes a page from a dead owner (a heap is destroyed) strikes it out of his hand.

// NULL, hold nothing, for threads without a record, and for calls inside of a call (an output function that
// allocates).
MI_INLINE arena_hold_t* hold_if_empty(arena_hold_t* hold) {
  return atomic_get_relaxed(&hold->run) == 0 ? hold : NULL; // who strikes a page out may be looking at it
}
MI_INLINE arena_hold_t* hold_for_claim(arena_hands_t* hands) {
  return hands != NULL ? hold_if_empty(&hands->claimed) : NULL;
}
MI_INLINE arena_hold_t* hold_for_purge(arena_hands_t* hands) {
  return hands != NULL ? hold_if_empty(&hands->purging) : NULL;
}

MI_INLINE void hold_run(arena_hold_t* hold, arena_t* arena, size_t start, size_t count) {
  if (hold == NULL) return;
  atomic_set_relaxed(&hold->arena, arena); // who strikes a page out looks at living threads' hands, too
  atomic_set_release(&hold->run, count == 0 ? 0 : (uint64_t)start << 32 | count);
}

MI_INLINE void hold_nothing(arena_hold_t* hold) {
  if (hold != NULL) atomic_set_release(&hold->run, 0);
}

// What of a run is aligned to so many slices, its first one's begin or (secure builds) its last one's end.
typedef struct arena_alignment_s {
  size_t slices;
  bool is_of_end;
} arena_alignment_t;

// Guarded pages end at multiples of that, so that most begin where a guard is already, and take place that has none inside.
// With 32 bits address space is too scarce for that.
#define GUARD_ALIGNMENT (MI_64BIT ? (size_t)16 : (size_t)1)

// Claims `count` free slices: the index of the first, or ARENA_NOT_FOUND. Whether there is memory behind them is the
// caller's business.
#define ARENA_NOT_FOUND SIZE_MAX
size_t arena_claim(arena_t* arena, size_t count, arena_alignment_t alignment, arena_hold_t* hold);

// Claims `count` slices from `start` on if all are free; all or none.
bool slices_try_claim(arena_t* arena, size_t start, size_t count, arena_hold_t* hold);

// Lets go of all that `hold` holds, or of the run when it is NULL.
void slices_let_go(arena_t* arena, size_t start, size_t count, arena_hold_t* hold);

// ---- committing and purging -----------------------------------------------------------------------------

// Slices that are begun, of all arenas: each makes two mappings more. Beyond a quarter of what the system allows pages begin
// with a whole slice.
extern size_t slices_begun;

// Bytes of memory behind slices.
size_t slices_memory(const arena_t* arena, size_t start, size_t count);

// Commits slices that the caller holds, by the system or by the program's function.
bool slices_do_commit(arena_t* arena, size_t start, size_t count);

// Secure builds: those of the slices that are shut have accessible memory then. False: the system refuses. The caller holds them.
bool slices_open(arena_t* arena, size_t start, size_t count);

// Gives the memory of slices that the caller holds back to the system.
void slices_purge(arena_t* arena, size_t start, size_t count);

// Notes slices that were just let go of for a purge after the delay. Not before: a purge that finds them not free drops the
// mark. Whoever has them by now doesn't mind.
void slices_schedule_purge(arena_t* arena, size_t start, size_t count);

typedef enum purge_scope_e {
  PURGE_DUE, // a part of what has waited for its delay
  PURGE_NEEDED, // an allocation failed: the same as PURGE_FREE, but what wasn't in use lately is looked for once a second
  PURGE_FREE // all that is free, also what was committed ahead of need
} purge_scope_t;

void arena_purge_one(arena_t* arena, purge_scope_t scope, arena_hands_t* hands);

// What growth has come to, for all arenas. Read and written by arena_purge_before_growth alone, and by its test.
typedef struct arena_growth_s { // bytes
  size_t used_peak;             // in use at the most, as seen then
  size_t next_level;            // committed memory below it may grow without
} arena_growth_t;
extern arena_growth_t arena_growth;

// About to commit `size` bytes more: purges what waits if that keeps the peak down.
void arena_purge_before_growth(arena_t* arena, size_t size, arena_hands_t* hands);

// 32-bit: gives the address space of an arena without a page back, if there is another one.
void arena_release_if_empty(arena_t* arena);
void arena_release_empty(arena_set_t* set); // of every such arena

#endif
