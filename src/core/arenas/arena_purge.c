// Giving free memory back to the system, after a delay.
//
// Freed slices are marked `aging`; a round over the marked words purges what is `old` and makes the rest old. Who claims
// slices leaves their marks: a round skips what isn't free, and what is freed again in the same period has its mark already.
// Rounds are half a delay apart, so memory is purged between half the delay and the whole of it after its
// free. A round is done in bounded steps; arenas in which nothing waits aren't looked at.
#include "core/arenas/arena_slices.h"
#include "core/memory/sysmem.h"
#include "core/report/counters.h"
#include "core/report/options.h"

// Committed memory may be more by this part than what was ever in use; beyond that, free memory is purged before more is
// committed.
#define GROWTH_SPARE_SHARE 5
// After that, committed memory may grow by as much before it happens again.
#define GROWTH_STEP_MIN   (1u << 20)
#define GROWTH_STEP_SHARE 32
// And only in runs of at least so many slices: pieces would be committed again at once.
#define GROWTH_RUN_SLICES 8
#define PURGE_LONG_MS     1000
#define PURGE_NEVER       ((uint32_t)1 << 31) // longer times of the clock are ones before it
// How long a forced purge waits for another's to end.
#define FORCED_YIELDS 2000
// Slices are nobody's while they are being purged: 16 MiB at a time, so that others find room meanwhile.
#define PURGE_RUN_SLICES 256
// What one call of arena_purge does at most: words of the bitmaps looked at, and system calls made.
#define PURGE_STEP_WORDS 64
#define PURGE_STEP_RUNS  8

static void purge_not_wanted(size_t slice_count) { MI_UNUSED(slice_count); }
void (*arena_purge_wanted)(size_t slice_count) = purge_not_wanted;

static uint32_t purge_period(void) {
  long delay = option_get_clamp(option_purge_delay, 0, 1 << 20);
  long times = option_get_clamp(option_arena_purge_mult, 1, 1 << 10);
  return (uint32_t)((delay * times + 1) / 2);
}

// All slices of the run are in `having`, one of the bitmaps that tell of memory, with `size` bytes each.
static void purge_alike(arena_t* arena, uint64_t* having, size_t size, size_t start, size_t count) {
  uint8_t* address = slice_address(arena, start);
  // In this order: should the thread be killed on the way, the slices may be committed again without need, or
  // zeroed without need, but they are never taken for memory or for zero when they aren't.
  bitmap_clear(having, start, count);
  if (arena->commit == NULL ? sysmem_decommit(address, count * SLICE_SIZE, count * size)
                            : arena->commit(false, address, count * SLICE_SIZE, NULL, arena->commit_arg)) {
    bitmap_clear(arena->dirty, start, count);
    if (having == arena->begun) atomic_sub_relaxed(&slices_begun, count);
  } else {
    bitmap_set(having, start, count);
  }
}

// Whether reset memory reads as zero or as before is the system's choice.
static void reset(arena_t* arena, size_t start, size_t count) {
  if (arena->commit == NULL) sysmem_reset(slice_address(arena, start), count * SLICE_SIZE);
  bitmap_set(arena->dirty, start, count);
}

void slices_purge(arena_t* arena, size_t start, size_t count) {
  if (arena->is_pinned) return;
  for (size_t end = start + count, next; start < end; start = next) {
    if ((next = bitmap_next(arena->begun, start, end, false)) > start) {
      purge_alike(arena, arena->begun, PAGE_PART_SIZE, start, next - start);
    } else if (MI_SECURE && (next = bitmap_next(arena->shut, start, end, false)) > start) {
      purge_alike(arena, arena->shut, SLICE_SIZE, start, next - start);
    } else if ((next = bitmap_next(arena->committed, start, end, false)) == start) {
      next++; // somebody else purged it just before it was claimed
    } else if (option_is_enabled(option_purge_decommits)) {
      purge_alike(arena, arena->committed, SLICE_SIZE, start, next - start);
    } else {
      reset(arena, start, next - start);
    }
  }
}

static size_t run_slices_min(void) {
  size_t slices = option_get_size(option_minimal_purge_size) / SLICE_SIZE;
  return slices > PURGE_RUN_SLICES ? PURGE_RUN_SLICES : slices;
}

// A run of slices that the caller claims bit by bit and then purges.
typedef struct purge_run_s {
  arena_t* arena;
  arena_hold_t* hold;
  size_t start, count; // claimed so far
  size_t runs_left;    // that may yet be purged
  size_t slices_left;  // the same
  size_t smallest;     // shorter runs aren't worth a call
  bool is_early;       // before their time: then shorter ones go on waiting
} purge_run_t;

static bool run_is_done(const purge_run_t* run) { return run->runs_left == 0 || run->slices_left == 0; }

static void run_end(purge_run_t* run) {
  if (run->count == 0) return;
  if (run->count >= run->smallest) {
    slices_purge(run->arena, run->start, run->count);
    run->runs_left--;
    run->slices_left -= run->count < run->slices_left ? run->count : run->slices_left;
  } else if (run->is_early) {
    bitmap_set(run->arena->old, run->start, run->count);
  }
  slices_let_go(run->arena, run->start, run->count, run->hold);
  run->count = 0;
}

static uint64_t word_memory(const arena_t* arena, size_t word) {
  uint64_t shut = MI_SECURE ? atomic_get_relaxed(&arena->shut[word]) : 0;
  return atomic_get_relaxed(&arena->committed[word]) | atomic_get_relaxed(&arena->begun[word]) | shut;
}

// Purges the slices of `mask` in one word that are free and have memory now. The last run stays open: it may go
// on in the next word. Returns the slices that no run is left for.
static uint64_t run_add_word(purge_run_t* run, size_t word, uint64_t mask) {
  arena_t* arena = run->arena;
  // What was allocated meanwhile isn't ours to purge, and there may be nothing behind the rest.
  while ((mask &= atomic_get_relaxed(&arena->free[word]) & word_memory(arena, word)) != 0) {
    unsigned bit = bits_lowest(mask), count = bits_run(mask, bit);
    size_t start = word * BITMAP_WORD_BITS + bit;
    if (run->count > 0 && (run->start + run->count != start || run->count >= PURGE_RUN_SLICES)) {
      run_end(run); // first: the hand holds one run
      continue;
    }
    if (run->count == 0 && run_is_done(run)) return mask;
    if (bitmap_claim_part(arena->free, start, count) == 0) continue; // look again
    if (run->count == 0) run->start = start;
    run->count += count;
    hold_run(run->hold, arena, run->start, run->count);
    mask &= ~bits_mask(bit, count);
  }
  return 0;
}

static bool purge_enter(arena_t* arena, purge_scope_t scope, uint32_t now) {
  uint32_t busy = 0, self = os_thread_id();
  for (int yields = 0; scope == PURGE_FREE && yields < FORCED_YIELDS; yields++) {
    uint32_t by = atomic_get_relaxed(&arena->purge_busy);
    if (by == 0 || by == self || os_is_exiting() || (yields % 64 == 0 && os_thread_is_dead(by))) break;
    os_yield();
  }
  if (!atomic_cas_acq_rel(&arena->purge_busy, &busy, self)) {
    // Somebody does it, or was killed while doing it. That is worth a question to the system if it takes
    // long, or if the caller wants all to be given back now.
    bool is_worth_asking =
        scope == PURGE_FREE || now - atomic_get_relaxed(&arena->purge_since) > PURGE_LONG_MS;
    if (!is_worth_asking || busy == self || !os_thread_is_dead(busy) ||
        !atomic_cas_acq_rel(&arena->purge_busy, &busy, self))
      return false;
  }
  atomic_set_relaxed(&arena->purge_since, now);
  return true;
}

static uint64_t* summary_word(arena_t* arena, size_t word) {
  return &arena->waiting_summary[word / BITMAP_WORD_BITS];
}

static uint64_t take_aging(arena_t* arena, size_t word) {
  return atomic_get_relaxed(&arena->aging[word]) == 0 ? 0 : atomic_swap_acq_rel(&arena->aging[word], 0);
}

// Nothing of the word waits any more, perhaps.
static void word_settle(arena_t* arena, size_t word) {
  if (atomic_get_relaxed(&arena->old[word]) != 0 || atomic_get_relaxed(&arena->aging[word]) != 0) return;
  atomic_and_seq_cst(summary_word(arena, word), ~((uint64_t)1 << word % BITMAP_WORD_BITS));
  if ((atomic_get_seq_cst(&arena->aging[word]) | atomic_get_seq_cst(&arena->old[word])) != 0)
    bitmap_word_set(arena->waiting_summary, word);
}

// As much of what waits as is wanted, from the end of the arena on: claims begin at its front.
static void purge_from_end(arena_t* arena, purge_run_t* run) {
  for (size_t word = arena->word_count; word-- > 0 && !run_is_done(run);) {
    if ((atomic_get_relaxed(summary_word(arena, word)) >> word % BITMAP_WORD_BITS & 1) == 0) continue;
    uint64_t rest =
        run_add_word(run, word, atomic_swap_acq_rel(&arena->old[word], 0) | take_aging(arena, word));
    run_end(run);
    if (rest != 0) atomic_or_acq_rel(&arena->old[word], rest);
    word_settle(arena, word);
  }
}

// A part of a round, or the whole: words from the cursor on. Returns whether the round came to its end.
static bool purge_round(arena_t* arena, purge_scope_t scope, purge_run_t* run) {
  size_t budget = scope == PURGE_DUE ? PURGE_STEP_WORDS : SIZE_MAX;
  size_t word = scope == PURGE_DUE ? arena->purge_cursor : 0;
  while (word < arena->word_count && budget > 0) {
    uint64_t marked = atomic_get_relaxed(summary_word(arena, word)) >> word % BITMAP_WORD_BITS;
    if (marked == 0) {
      word = bits_align_down(word, BITMAP_WORD_BITS) + BITMAP_WORD_BITS;
      continue;
    }
    word += bits_lowest(marked);
    if (word >= arena->word_count) break;
    uint64_t due = atomic_swap_acq_rel(&arena->old[word], 0);
    if (scope != PURGE_DUE) due |= take_aging(arena, word);
    uint64_t rest = run_add_word(run, word, due);
    if (rest != 0) { // next time
      atomic_or_acq_rel(&arena->old[word], rest);
      break;
    }
    uint64_t aging =
        take_aging(arena, word); // only now: a word that is come back to isn't a delay older for that
    if (aging != 0) atomic_or_acq_rel(&arena->old[word], aging);
    word_settle(arena, word);
    word++;
    budget--;
  }
  run_end(run);
  arena->purge_cursor = word < arena->word_count ? (uint32_t)word : 0;
  return word >= arena->word_count;
}

static bool is_anything_waiting(const arena_t* arena) {
  for (size_t i = 0; i < bits_divide_up(arena->word_count, BITMAP_WORD_BITS); i++)
    if (atomic_get_seq_cst(&arena->waiting_summary[i]) != 0) return true;
  return false;
}

static void purge_all_free(arena_t* arena, purge_run_t* run) {
  for (size_t word = 0; word < arena->word_count; word++) {
    uint64_t idle = atomic_get_relaxed(&arena->free[word]);
    if (idle != 0) idle &= word_memory(arena, word);
    if (idle != 0) (void)run_add_word(run, word, idle);
  }
  run_end(run);
}

void arena_purge_one(arena_t* arena, purge_scope_t scope, arena_hands_t* hands) {
  if (arena->is_pinned) return;
  uint32_t before = atomic_get_relaxed(&arena->purged_free);
  // `before` may be one ahead of the clock: 0 has its own meaning.
  if (scope == PURGE_NEEDED && (before == 0 || os_clock_ms() + 1 - before > PURGE_LONG_MS))
    scope = PURGE_FREE;
  if (atomic_get_relaxed(&arena->purge_waiting) == 0 && scope != PURGE_FREE) return;
  uint32_t from = atomic_get_acquire(&arena->purge_from),
           now = os_clock_ms(); // in this order: never negative
  if (scope == PURGE_DUE && now - from < purge_period()) return;
  if (!purge_enter(arena, scope, now)) return;
  purge_run_t run = {.arena = arena,
                     .hold = hold_for_purge(hands),
                     .runs_left = scope == PURGE_DUE ? PURGE_STEP_RUNS : SIZE_MAX,
                     .slices_left = SIZE_MAX,
                     .smallest = run_slices_min()};
  if (scope == PURGE_FREE) {
    purge_all_free(arena, &run);
    atomic_set_relaxed(&arena->purged_free, now | 1);
  }
  if (purge_round(arena, scope, &run)) {
    atomic_set_release(&arena->purge_from, os_clock_ms());
    if (!is_anything_waiting(arena)) {
      atomic_swap_seq_cst(&arena->purge_waiting, 0); // then looked at once more: see slices_schedule_purge
      if (is_anything_waiting(arena)) {
        atomic_swap_seq_cst(&arena->purge_waiting, 1);
        bitmap_word_set(arena->set->waiting, arena->index);
      }
    }
  }
  atomic_set_release(&arena->purge_busy, 0u);
  if (scope == PURGE_FREE && !MI_64BIT) arena_release_if_empty(arena);
}

void slices_schedule_purge(arena_t* arena, size_t start, size_t count) {
  if (arena->is_pinned || option_get(option_purge_delay) < 0) return;
  // In this order: a round in between may make them old, but never leaves them without a mark.
  bitmap_clear(arena->old, start, count);
  bitmap_set(arena->aging, start, count);
  size_t last = (start + count - 1) / BITMAP_WORD_BITS;
  for (size_t word = start / BITMAP_WORD_BITS; word <= last; word++)
    bitmap_word_set(arena->waiting_summary, word);
  if (atomic_get_seq_cst(&arena->purge_waiting) == 0) {
    atomic_set_release(&arena->purge_from, os_clock_ms());
    atomic_swap_seq_cst(&arena->purge_waiting, 1);
    bitmap_word_set(arena->set->waiting, arena->index);
  }
  void (*wanted)(size_t slice_count) = atomic_get_acquire(&arena_purge_wanted);
  wanted(count);
}

// For each arena of `bits` (a bitmap over the set): the index, or the count when there is none any more.
static size_t next_marked(const arena_set_t* set, const uint64_t* bits, size_t from) {
  size_t count = atomic_get_acquire(&set->count);
  return bitmap_next(bits, from, count, true);
}

static void purge_each(arena_set_t* set, purge_scope_t scope, arena_hands_t* hands) {
  size_t count = atomic_get_acquire(&set->count);
  for (size_t i = 0; i < count; i++) {
    arena_t* arena = atomic_get_acquire(&set->arenas[i]);
    if (arena != NULL) arena_purge_one(arena, scope, hands);
  }
}

void arena_purge_needed(arena_set_t* set, arena_hands_t* hands) {
  if (option_get(option_purge_delay) >= 0) purge_each(set, PURGE_NEEDED, hands);
}

// NULL: it was released.
static bool is_waiting(const arena_t* arena) {
  return arena != NULL && atomic_get_seq_cst(&arena->purge_waiting) != 0;
}

// Whose time comes first of those that wait tells when to look at them again. An arena that begins to wait has a whole
// period before it.
void arena_purge(arena_set_t* set, bool force, arena_hands_t* hands) {
  if (option_get(option_purge_delay) < 0) return;
  if (force) {
    purge_each(set, PURGE_FREE, hands);
    atomic_set_relaxed(&set->next_purge, 0u); // to see that nothing waits any more
    return;
  }
  size_t count = atomic_get_acquire(&set->count), i = next_marked(set, set->waiting, 0);
  if (i >= count) return;
  uint32_t period = purge_period(), now = os_clock_ms(), left = period;
  if (atomic_get_relaxed(&set->next_purge) - now - 1 < period) return; // between now and a period from now
  for (; i < count; i = next_marked(set, set->waiting, i + 1)) {
    arena_t* arena = atomic_get_acquire(&set->arenas[i]);
    if (!is_waiting(arena)) { // nothing any more
      atomic_and_seq_cst(&set->waiting[i / 64], ~((uint64_t)1 << i % 64));
      if (is_waiting(atomic_get_seq_cst(&set->arenas[i]))) bitmap_word_set(set->waiting, i);
      continue;
    }
    arena_purge_one(arena, PURGE_DUE, hands);
    uint32_t waited = now - atomic_get_acquire(&arena->purge_from); // of one that was just done: nearly 2^32
    if (waited >= period && waited < PURGE_NEVER) {
      left = 0; // a part of it is left
    } else if (waited < period && period - waited < left) {
      left = period - waited;
    }
  }
  atomic_set_relaxed(&set->next_purge, now + left);
}

bool arena_purge_is_waiting(const arena_set_t* set) {
  size_t count = atomic_get_acquire(&set->count);
  return next_marked(set, set->waiting, 0) < count;
}

// Free slices with memory behind them that wait for their purge.
static size_t waiting_slices(arena_t* arena) {
  size_t waiting = 0;
  if (atomic_get_relaxed(&arena->purge_waiting) == 0) return 0;
  for (size_t i = 0; i < arena->word_count;) {
    uint64_t marked = atomic_get_relaxed(summary_word(arena, i)) >> i % BITMAP_WORD_BITS;
    if (marked == 0) {
      i = bits_align_down(i, BITMAP_WORD_BITS) + BITMAP_WORD_BITS;
      continue;
    }
    i += bits_lowest(marked);
    uint64_t due = atomic_get_relaxed(&arena->aging[i]) | atomic_get_relaxed(&arena->old[i]);
    due &= atomic_get_relaxed(&arena->free[i]) & atomic_get_relaxed(&arena->committed[i]);
    waiting += bits_count(due);
    i++;
  }
  return waiting;
}

arena_growth_t arena_growth;

// About to commit more than ever: then memory that is only waiting for its purge goes back first, as far as there would be
// more than a fifth above what was ever in use. So the peak stays near what the program needs, and a program in its steady
// state, whose peak is behind it, keeps its free memory for reuse. (That fifth is what blocks that come and go need for their
// holes: giving it back as well was measured to cost half of the large blocks' time, in pages to be had again.) Between two
// such purges the peak may rise by a step: a program whose free memory lies scattered would give it back, and take it
// again, all the time.
void arena_purge_before_growth(arena_t* arena, size_t size, arena_hands_t* hands) {
  size_t committed = (size_t)atomic_get_relaxed(&stats_process.committed.current);
  if (committed + size <= (size_t)atomic_get_relaxed(&stats_process.committed.peak)) return;
  if (committed + size < atomic_get_relaxed(&arena_growth.next_level)) return;
  size_t waiting = waiting_slices(arena) * SLICE_SIZE;
  size_t used = waiting < committed ? committed + size - waiting : size;
  size_t most = atomic_get_relaxed(&arena_growth.used_peak);
  if (used > most) atomic_set_relaxed(&arena_growth.used_peak, most = used);
  most += most / GROWTH_SPARE_SHARE;
  if (committed + size <= most) return;
  size_t over = committed + size - most;
  if (over > waiting) over = waiting;
  if (over == 0) return;
  // Never much more than the growth itself; what is left has its turn with the next one.
  size_t most_now = 4 * (size + GROWTH_STEP_MIN);
  size_t step = over > most_now ? 0 : GROWTH_STEP_MIN + committed / GROWTH_STEP_SHARE;
  if (over > most_now) over = most_now;
  atomic_set_relaxed(&arena_growth.next_level, committed + size + step);
  if (!purge_enter(arena, PURGE_DUE, os_clock_ms())) return;
  purge_run_t run = {.arena = arena,
                     .hold = hold_for_purge(hands),
                     .runs_left = SIZE_MAX,
                     .slices_left = over / SLICE_SIZE + 1,
                     .smallest = run_slices_min(),
                     .is_early = true};
  if (run.smallest < GROWTH_RUN_SLICES) run.smallest = GROWTH_RUN_SLICES;
  purge_from_end(arena, &run);
  atomic_set_release(&arena->purge_busy, 0u);
}
