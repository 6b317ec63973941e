// Giving free memory back to the system, after a delay.
#include "core/arenas/arena_slices.h"
#include "core/report/options.h"
#include "core/report/counters.h"
#include "core/memory/sysmem.h"

// Free memory of at least this part of all committed memory is purged before more is committed.
#define GROWTH_PURGE_SHARE 16
// After that, committed memory may grow by as much before it happens again.
#define GROWTH_STEP_MIN   (1u << 20)
#define GROWTH_STEP_SHARE 32
#define PURGE_LONG_MS     1000
// Slices are nobody's while they are being purged: 16 MiB at a time, so that others find room meanwhile.
#define PURGE_RUN_SLICES 256

// Two generations at half the delay each: memory is purged between half the delay and the whole of it after its free.
static uint32_t purge_period(void) {
  long delay = option_get_clamp(option_purge_delay, 0, 1 << 20);
  long times = option_get_clamp(option_arena_purge_mult, 1, 1 << 10);
  return (uint32_t)((delay * times + 1) / 2);
}

void slices_purge(arena_t* arena, size_t start, size_t count) {
  uint8_t* address = slice_address(arena, start);
  if (!option_is_enabled(option_purge_decommits)) {
    sysmem_reset(address, count * SLICE_SIZE);
    return;
  }
  // In this order: should the thread be killed on the way, the slices may be committed again without need, or zeroed
  // without need, but they are never taken for memory or for zero when they aren't.
  bitmap_clear(arena->committed, start, count);
  if (sysmem_decommit(address, count * SLICE_SIZE)) {
    bitmap_clear(arena->dirty, start, count);
  } else {
    bitmap_set(arena->committed, start, count);
  }
}

static void purge_run(arena_t* arena, size_t start, size_t count, arena_hold_t* hold) {
  slices_purge(arena, start, count);
  slices_let_go(arena, start, count, hold);
}

// Purges the free slices of `due`, in runs as long as possible.
static void arena_purge_bitmap(arena_t* arena, uint64_t* due, arena_hold_t* hold) {
  size_t run_start = 0, run_count = 0;
  for (size_t word = 0; word < arena->word_count; word++) {
    uint64_t mask = atomic_swap_acq_rel(&due[word], 0);
    // What was allocated meanwhile isn't ours to purge, and there may be nothing behind the rest.
    while ((mask &= atomic_get_relaxed(&arena->free[word]) & atomic_get_relaxed(&arena->committed[word])) !=
           0) {
      unsigned bit = bits_lowest(mask), count = bits_run(mask, bit);
      size_t start = word * BITMAP_WORD_BITS + bit;
      if (run_count > 0 && (run_start + run_count != start || run_count >= PURGE_RUN_SLICES)) {
        purge_run(arena, run_start, run_count, hold); // first: the hand holds one run
        run_count = 0;
        continue;
      }
      if (bitmap_claim_part(arena->free, start, count) == 0) continue; // look again
      if (run_count == 0) run_start = start;
      run_count += count;
      hold_run(hold, arena, run_start, run_count);
      mask &= ~bits_mask(bit, count);
      if (bitmap_count(arena->committed, start, count) != count) { // somebody else purged some of it just now
        run_count -= count;
        hold_run(hold, arena, run_start, run_count);
        slices_release(arena, start, count);
      }
    }
  }
  if (run_count > 0) purge_run(arena, run_start, run_count, hold);
}

void arena_purge_one(arena_t* arena, purge_scope_t scope, arena_hands_t* hands) {
  if (atomic_get_relaxed(&arena->purge_waiting) == 0 && scope != PURGE_FREE) return;
  uint32_t now = os_clock_ms();
  if (scope == PURGE_DUE && (int32_t)(now - atomic_get_relaxed(&arena->purge_due)) < 0) return;
  uint32_t busy = 0, self = os_thread_id();
  if (!atomic_cas_acq_rel(&arena->purge_busy, &busy, self)) {
    // Somebody does it, or was killed while doing it. That is worth a question to the system if it takes long, or if
    // the caller wants all to be given back now.
    bool is_worth_asking =
        scope == PURGE_FREE || now - atomic_get_relaxed(&arena->purge_since) > PURGE_LONG_MS;
    if (!is_worth_asking || busy == self || !os_thread_is_dead(busy) ||
        !atomic_cas_acq_rel(&arena->purge_busy, &busy, self))
      return;
  }
  atomic_set_relaxed(&arena->purge_since, now);
  atomic_set_release(&arena->purge_waiting, 0); // first: what is freed from here on makes it 1 again
  for (size_t word = 0; word < arena->word_count && scope == PURGE_FREE; word++) {
    uint64_t idle = atomic_get_relaxed(&arena->free[word]) & atomic_get_relaxed(&arena->committed[word]);
    if (idle != 0) atomic_or_acq_rel(&arena->old[word], idle);
  }
  arena_hold_t* hold = hold_for_purge(hands);
  arena_purge_bitmap(arena, arena->old, hold);
  if (scope != PURGE_DUE) arena_purge_bitmap(arena, arena->aging, hold);
  // What was freed during the last period is due after the next one.
  bool waiting = false;
  for (size_t word = 0; word < arena->word_count; word++) {
    if (atomic_get_relaxed(&arena->aging[word]) == 0) continue;
    atomic_or_acq_rel(&arena->old[word], atomic_swap_acq_rel(&arena->aging[word], 0));
    waiting = true;
  }
  if (waiting) {
    atomic_set_relaxed(&arena->purge_due, now + purge_period());
    atomic_set_release(&arena->purge_waiting, 1);
  }
  atomic_set_release(&arena->purge_busy, 0u);
}

void slices_schedule_purge(arena_t* arena, size_t start, size_t count) {
  if (option_get(option_purge_delay) < 0) return;
  bitmap_set(arena->aging, start, count);
  if (atomic_get_relaxed(&arena->purge_waiting) == 0) {
    atomic_set_relaxed(&arena->purge_due, os_clock_ms() + purge_period());
    atomic_set_release(&arena->purge_waiting, 1);
  }
}

// About to commit more than ever: then memory that is only waiting for its purge goes back first, if it is worth a call
// to the system. So the peak stays near what the program has in use, and a program in its steady state, whose peak is
// behind it, keeps its free memory for reuse. Between two such purges the peak may rise by a step: a program whose
// free memory lies scattered would give it back, and take it again, all the time.
void arena_purge_before_growth(arena_t* arena, size_t size, arena_hands_t* hands) {
  static size_t next_level;
  size_t committed = (size_t)atomic_get_relaxed(&stats_process.committed.current);
  if (committed + size <= (size_t)atomic_get_relaxed(&stats_process.committed.peak)) return;
  if (committed + size < atomic_get_relaxed(&next_level)) return;
  if (atomic_get_relaxed(&arena->purge_waiting) == 0) return;
  size_t waiting = 0;
  for (size_t word = 0; word < arena->word_count; word++) {
    uint64_t due = atomic_get_relaxed(&arena->aging[word]) | atomic_get_relaxed(&arena->old[word]);
    if (due != 0) waiting += bits_count(due & atomic_get_relaxed(&arena->free[word]));
  }
  if (waiting * SLICE_SIZE < committed / GROWTH_PURGE_SHARE) return;
  atomic_set_relaxed(&next_level, committed + size + GROWTH_STEP_MIN + committed / GROWTH_STEP_SHARE);
  arena_purge_one(arena, PURGE_WAITING, hands);
}
