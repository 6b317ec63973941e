// Pages are made of slices, grow, and fall back into slices.
#include "core/arenas/arena.h"
#include "core/arenas/arena_parts.h"
#include "core/arenas/arena_slices.h"
#include "core/memory/sysmem.h"
#include "core/report/counters.h"
#include "core/report/options.h"

// Small pages are committed 1 MiB at a time: a sixteenth of the system calls.
#define COMMIT_AHEAD_SLICES 16
// More can't exist: an address has 47 bits, or 32.
#define SLICES_MAX        (REGION_COUNT * REGION_SLICES)
#define PURGE_WAIT_YIELDS 1000 // until others' purges are thought to last too long to wait for

// ---- committing -----------------------------------------------------------------------------------------

size_t slices_begun;

size_t slices_memory(const arena_t* arena, size_t start, size_t count) {
  size_t shut = MI_SECURE ? bitmap_count(arena->shut, start, count) : 0;
  return (bitmap_count(arena->committed, start, count) + shut) * SLICE_SIZE +
         bitmap_count(arena->begun, start, count) * PAGE_PART_SIZE;
}

bool slices_do_commit(arena_t* arena, size_t start, size_t count) {
  if (MI_SECURE && !slices_open(arena, start, count)) return false;
  if (MI_SECURE && bitmap_is_all(arena->committed, start, count, true)) return true;
  uint8_t* address = slice_address(arena, start);
  size_t size = count * SLICE_SIZE;
  bool is_zero = arena->commit == NULL;
  if (!(is_zero ? sysmem_commit(address, size, size - slices_memory(arena, start, count))
                : arena->commit(true, address, size, &is_zero, arena->commit_arg)))
    return false;
  if (!is_zero) bitmap_set(arena->dirty, start, count);
  size_t begun = bitmap_count(arena->begun, start, count);
  bitmap_clear(arena->begun, start, count);                // first: no memory counts twice
  if (begun > 0) atomic_sub_relaxed(&slices_begun, begun); // killed before that: rather too many than too few
  bitmap_set(arena->committed, start, count);
  return true;
}

// Of a single slice that the caller holds, PAGE_PART_SIZE bytes.
static bool slice_begin(arena_t* arena, size_t slice, arena_hands_t* hands) {
  if (MI_SECURE && !slices_open(arena, slice, 1)) return false;
  if (slices_memory(arena, slice, 1) != 0) return true;
  arena_purge_before_growth(arena, PAGE_PART_SIZE, hands);
  if (!sysmem_commit(slice_address(arena, slice), PAGE_PART_SIZE, PAGE_PART_SIZE)) return false;
  bitmap_set(arena->begun, slice, 1);
  atomic_add_relaxed(&slices_begun, (size_t)1);
  return true;
}

// Free, uncommitted slices behind a claimed single slice, within its bitmap word and its group of 16: claims
// them.
static size_t claim_ahead(arena_t* arena, size_t slice) {
  if (option_is_enabled(option_page_commit_on_demand)) return 0;
  size_t word = slice / BITMAP_WORD_BITS, bit = slice % BITMAP_WORD_BITS;
  size_t end = bits_align_down(bit, COMMIT_AHEAD_SLICES) + COMMIT_AHEAD_SLICES;
  uint64_t usable = atomic_get_relaxed(&arena->free[word]) & ~atomic_get_relaxed(&arena->committed[word]);
  size_t count = 0;
  while (bit + 1 + count < end && (usable >> (bit + 1 + count) & 1) != 0) count++;
  while (count > 0 && !bitmap_word_try_claim(&arena->free[word], bits_mask(bit + 1, count))) count /= 2;
  return count;
}

// `claimed` holds the slices `start`, `held`, and holds them still afterwards, nothing else. Commits the
// first `count`.
static MI_COLD bool slices_commit(arena_t* arena, size_t start, size_t held, size_t count,
                                  arena_hands_t* hands, arena_hold_t* claimed) {
  size_t ahead = held == 1 ? claim_ahead(arena, start) : 0;
  if (ahead > 0) hold_run(claimed, arena, start, count + ahead);
  size_t committed = bitmap_count(arena->committed, start, count + ahead);
  arena_purge_before_growth(arena, (count + ahead - committed) * SLICE_SIZE, hands);
  bool ok = slices_do_commit(arena, start, count + ahead);
  if (ahead > 0) {
    hold_run(claimed, arena, start, count);
    slices_release(arena, start + count, ahead);
    if (!ok) ok = slices_do_commit(arena, start, count); // less may still be possible
  }
  return ok;
}

// How many slices from `start` on, `count` at most, have memory behind them.
static size_t committed_run(const arena_t* arena, size_t start, size_t count) {
  return bitmap_next(arena->committed, start, start + count, false) - start;
}

// ---- allocating -----------------------------------------------------------------------------------------

static bool is_huge_count(size_t count) { return count != 1 && !page_has_inside_marks(count); }

// All slices of pages of a class have records; of a huge page those are enough that its pointer needs.
static bool cover(const uint8_t* address, size_t count) {
  return page_map_cover(address, (count <= PAGE_LARGE_SLICES ? count : 1) * SLICE_SIZE);
}

// The slices are claimed, and `claimed` holds them.
static page_t* page_from_slices(arena_t* arena, size_t start, size_t count, size_t commit,
                                arena_hands_t* hands, arena_hold_t* claimed) {
  uint8_t* address = slice_address(arena, start);
  // What is pinned stays, and the program's steps may be larger.
  if (commit == 0 && (arena->is_pinned || arena->commit != NULL ||
                      atomic_get_relaxed(&slices_begun) >= os_mapping_limit() / 4))
    commit = 1;
  bool has_memory = commit == 0 ? slice_begin(arena, start, hands)
                                : bitmap_is_all(arena->committed, start, commit, true) ||
                                      slices_commit(arena, start, count, commit, hands, claimed);
  if (!has_memory || !cover(address, count)) {
    slices_let_go(arena, start, count, claimed);
    return NULL;
  }
  page_t* page = page_map_record(address);
  page->is_zero = bitmap_is_all(arena->dirty, start, count, false);
  size_t committed = commit == count ? count : committed_run(arena, start, count);
  bitmap_set(arena->dirty, start, committed > 0 ? committed : 1);
  if (is_huge_count(count)) bitmap_set(arena->huge_heads, start, 1);
  page->start = address;
  atomic_set_relaxed(&page->slice_count, (uint32_t)count); // read by who walks over pages
  page->committed_slices = (uint8_t)(count <= PAGE_LARGE_SLICES ? committed : 0);
  page->arena = arena;
  page->is_outside = 0;
  page->back = 0;
  if (page_has_inside_marks(count)) page_map_mark_inside(page, count, true);
  return page;
}

void arena_page_made(arena_hands_t* hands) { hold_nothing(&hands->claimed); }

// Does another thread hold slices back while it purges them?
static bool others_purge(const arena_set_t* set) {
  size_t count = atomic_get_acquire(&set->count);
  for (size_t i = 0; i < count; i++) {
    arena_t* arena = atomic_get_acquire(&set->arenas[i]);
    uint32_t purger = arena == NULL ? 0 : atomic_get_relaxed(&arena->purge_busy);
    if (purger != 0 && purger != os_thread_id()) return true;
  }
  return false;
}

typedef struct request_s {
  const arena_source_t* source;
  size_t count, commit; // slices
  arena_alignment_t alignment;
  arena_hold_t* claimed;
} request_t;

// False when the arena is of no use for the request. *page: NULL when there was no room, or no memory.
static bool try_arena(arena_t* arena, const request_t* request, page_t** page) {
  *page = NULL;
  if (request->count > arena->slice_count) return false;
  size_t start = arena_claim(arena, request->count, request->alignment, request->claimed);
  if (start == ARENA_NOT_FOUND) return false;
  *page = page_from_slices(arena, start, request->count, request->commit, request->source->hands,
                           request->claimed);
  return true;
}

// An arena without a free slice is closed until something is released there.
static void close_if_full(arena_t* arena) {
  for (size_t i = 0; i < bits_divide_up(arena->word_count, BITMAP_WORD_BITS); i++)
    if (atomic_get_relaxed(&arena->free_summary[i]) != 0) return;
  uint64_t* word = &arena->set->open[arena->index / 64];
  atomic_and_seq_cst(word, ~((uint64_t)1 << arena->index % 64));
  for (size_t i = 0; i < bits_divide_up(arena->word_count, BITMAP_WORD_BITS); i++)
    if (atomic_get_seq_cst(&arena->free_summary[i]) != 0) bitmap_word_set(arena->set->open, arena->index);
}

// True when an arena had room; *page is NULL then if there was no memory for it.
static bool try_open_arenas(const request_t* request, page_t** page) {
  arena_set_t* set = request->source->set;
  size_t count = atomic_get_acquire(&set->count);
  // Arenas of the preferred node first, if there is one.
  for (int pass = request->source->numa_node >= 0 ? 0 : 1; pass < 2; pass++) {
    for (size_t i = bitmap_next(set->open, 0, count, true); i < count;
         i = bitmap_next(set->open, i + 1, count, true)) {
      arena_t* arena = atomic_get_acquire(&set->arenas[i]);
      if (arena == NULL || arena->is_exclusive) continue;
      if (pass == 0 && arena->numa_node != request->source->numa_node) continue;
      if (try_arena(arena, request, page)) return true;
      if (request->count == 1) close_if_full(arena);
    }
  }
  return false;
}

static page_t* page_from_arenas(const request_t* request) {
  arena_set_t* set = request->source->set;
  page_t* page;
  // A new arena has room; but other threads may be faster, so try a few times.
  int yields = 0;
  for (int attempt = 0; attempt < 4;) {
    size_t made = atomic_get_acquire(&set->made);
    if (request->source->only != NULL) {
      if (try_arena(request->source->only, request, &page)) return page;
    } else if (try_open_arenas(request, &page)) {
      return page;
    }
    if (yields < PURGE_WAIT_YIELDS && others_purge(set)) {
      yields++;
      os_yield();
      continue;
    }
    attempt++;
    if (request->source->only != NULL || !arena_add(set, request->count + request->alignment.slices, made))
      return NULL;
  }
  return NULL;
}

// Blocks up to this size come from arenas, made large enough if need be.
static size_t arena_object_slices(void) {
  size_t size = option_get_size(option_arena_max_object_size);
  size_t slices = size / SLICE_SIZE;
  return slices < PAGE_LARGE_SLICES ? PAGE_LARGE_SLICES : slices;
}

// Large pages and those aligned beyond an arena's size have a reservation of their own. No arena is too small
// for as much as a page of a size class.
static bool wants_own(size_t slice_count, size_t alignment) {
  if (option_is_enabled(option_disallow_arena_alloc)) return true;
  if (slice_count <= PAGE_LARGE_SLICES && alignment <= PAGE_LARGE_SLICES) return false;
  size_t half = arena_size_wanted() / SLICE_SIZE / 2;
  return slice_count > arena_object_slices() || slice_count > half || alignment > half;
}

static page_t* allocate(const arena_source_t* source, size_t slice_count, size_t commit_slices,
                        size_t alignment, bool is_guarded) {
  if (slice_count > SLICES_MAX) return NULL;
  arena_set_t* set = source->set;
  arena_alignment_t aligned = {alignment <= SLICE_SIZE ? 1 : alignment / SLICE_SIZE, false};
  if (is_guarded && aligned.slices == 1) aligned = (arena_alignment_t){GUARD_ALIGNMENT, true};
  request_t request = {source, slice_count, commit_slices, aligned, hold_for_claim(source->hands)};
  bool is_own = source->only == NULL && wants_own(slice_count, aligned.slices);
  for (int attempt = 0; attempt < 2; attempt++) {
    page_t* page = NULL;
    // Arenas that are there anyway may have room for it.
    if (is_own && slice_count <= arena_object_slices() && !option_is_enabled(option_disallow_arena_alloc))
      try_open_arenas(&request, &page);
    if (page == NULL)
      page = is_own ? outside_allocate(set, slice_count, alignment) : page_from_arenas(&request);
    // Blocks that would have come from an arena may still find a place of their own.
    if (page == NULL && !is_own && source->only == NULL && slice_count > PAGE_LARGE_SLICES)
      page = outside_allocate(set, slice_count, alignment);
    if (page != NULL) return page;
    // The system may be short of memory that we hold without need, if it is enough to matter; with 32 bits of
    // address space, too, which empty arenas hold with or without memory.
    size_t committed = (size_t)atomic_get_relaxed(&stats_process.committed.current);
    if (MI_64BIT && slice_count * SLICE_SIZE > committed) break;
    arena_purge_needed(set, source->hands);
    if (!MI_64BIT) arena_release_empty(set);
  }
  return NULL;
}

page_t* arena_page_allocate(const arena_source_t* source, size_t slice_count, size_t commit_slices,
                            size_t alignment) {
  return allocate(source, slice_count, commit_slices, alignment, false);
}

#if MI_SECURE
page_t* arena_page_allocate_guarded(const arena_source_t* source, size_t slice_count, size_t commit_slices,
                                    size_t alignment) {
  page_t* page = allocate(source, slice_count, commit_slices, alignment, true);
  return page != NULL ? page : allocate(source, slice_count, commit_slices, alignment, false);
}
#endif

MI_COLD bool arena_page_commit(page_t* page, size_t slices, arena_hands_t* hands) {
  if (slices <= page->committed_slices) return true;
  if (page->is_outside) return false; // committed from the start
  arena_t* arena = page->arena;
  size_t start = arena_slice_of(arena, page->start) + page->committed_slices;
  size_t count = slices - page->committed_slices;
  if (!bitmap_is_all(arena->committed, start, count, true)) {
    arena_purge_before_growth(arena, count * SLICE_SIZE - slices_memory(arena, start, count), hands);
    if (!slices_do_commit(arena, start, count)) return false;
  }
  // As the program's commit function says. (A slice that was begun is dirty since.)
  if (arena->commit != NULL && !bitmap_is_all(arena->dirty, start, count, false)) page->is_zero = 0;
  bitmap_set(arena->dirty, start, count);
  page->committed_slices = (uint8_t)slices;
  return true;
}

// ---- freeing --------------------------------------------------------------------------------------------

bool arena_page_take(page_t* page, bool is_claimed, arena_hands_t* hands) {
  arena_hold_t* claimed = page->is_outside ? NULL : hold_for_claim(hands);
  // Held before the owner goes: who is killed in between leaves a page with an owner, or a run without.
  if (claimed != NULL)
    hold_run(claimed, page->arena, arena_slice_of(page->arena, page->start), page->slice_count);
  uintptr_t owner = atomic_get_relaxed(&page->owner);
  while (owner != 0 && ((owner & PAGE_OWNER_CLAIMED) != 0) == is_claimed)
    if (atomic_cas_weak_acq_rel(&page->owner, &owner, (uintptr_t)0)) return true;
  hold_nothing(claimed);
  return false;
}

void arena_page_free(page_t* page, arena_hands_t* hands) {
  size_t count = page->slice_count;
  // Blocks may be left (the heap was destroyed). Of nobody's record no block may seem to be in use: in a
  // thread without theap the fast path of free compares its owner, 0, with the empty slot.
  page_set_extended(page, 0);
  if (page->is_outside) {
    if (page_has_inside_marks(count)) page_map_mark_inside(page, count, false);
    atomic_set_release(&page->owner, 0);
    outside_free(page);
    return;
  }
  arena_t* arena = page->arena;
  size_t start = arena_slice_of(arena, page->start);
  bool is_held =
      hands != NULL && hands->claimed.arena == arena &&
      atomic_get_relaxed(&hands->claimed.run) == ((uint64_t)start << 32 | count); // by arena_page_take
  arena_hold_t* claimed = is_held ? &hands->claimed : hold_for_claim(hands);
  hold_run(claimed, arena, start, count);
  atomic_set_release(&page->owner, 0);
  if (page_has_inside_marks(count)) page_map_mark_inside(page, count, false);
  if (is_huge_count(count)) bitmap_clear(arena->huge_heads, start, 1);
  bool is_delayed = option_get(option_purge_delay) != 0;
  if (!is_delayed) slices_purge(arena, start, count);
  slices_let_go(arena, start, count, claimed);
  if (is_delayed) slices_schedule_purge(arena, start, count);
  arena_purge(arena->set, false, hands);
}

// Slices that a dead thread held: nobody else has them.
static MI_COLD void hold_give_back(arena_hold_t* hold) {
  uint64_t run = atomic_get_acquire(&hold->run);
  if (run == 0) return;
  arena_t* arena = hold->arena;
  size_t start = (size_t)(run >> 32), count = (uint32_t)run;
  page_t* record = page_map_record(slice_address(arena, start));
  bool is_page = record != NULL && atomic_get_acquire(&record->owner) != 0;
  // First: should this thread die as well, they are lost, but not given twice. After the look at the owner: a page that
  // went just now was struck out before.
  if (!atomic_cas_acq_rel(&hold->run, &run, (uint64_t)0) || is_page) return;
  for (size_t i = 0; i < count; i++) {
    record = page_map_record(slice_address(arena, start + i));
    if (record != NULL) record->back = 0;
  }
  bitmap_clear(arena->huge_heads, start, count);
  slices_release(arena, start, count);
  slices_schedule_purge(arena, start, count);
}

void arena_page_strike_out(const page_t* page, arena_hands_t* hands) {
  if (page->is_outside || atomic_get_relaxed(&hands->claimed.arena) != page->arena) return;
  uint64_t run = (uint64_t)arena_slice_of(page->arena, page->start) << 32 | page->slice_count;
  atomic_cas_acq_rel(&hands->claimed.run, &run, (uint64_t)0);
}

page_t* arena_page_in_hand(const arena_hands_t* hands) {
  uint64_t run = atomic_get_acquire(&hands->claimed.run);
  arena_t* arena = atomic_get_relaxed(&hands->claimed.arena);
  return run == 0 ? NULL : page_map_record(slice_address(arena, (size_t)(run >> 32)));
}

void arena_give_back(arena_hands_t* hands) {
  hold_give_back(&hands->claimed);
  hold_give_back(&hands->purging);
}

// ---- growing in place -------------------------------------------------------------------------------------

bool arena_page_extend(page_t* page, size_t slice_count, arena_hands_t* hands) {
  if (slice_count <= page->slice_count || slice_count > UINT32_MAX) return false;
  if (page->is_outside) return outside_extend(page, slice_count);
  arena_t* arena = page->arena;
  size_t first = arena_slice_of(arena, page->start), start = first + page->slice_count;
  size_t more = slice_count - page->slice_count;
  if (start >= arena->slice_count || more > arena->slice_count - start) return false;
  if (bitmap_next(arena->free, start, start + more, false) != start + more) return false;
  arena_hold_t* claimed = hold_for_claim(hands);
  if (!slices_try_claim(arena, start, more, claimed)) return false;
  // What was the guard becomes the block's, and the last of the new slices is one: see arena_page_guard.
  size_t guard = MI_SECURE && bitmap_count(arena->committed, start - 1, 1) == 0 ? 1 : 0;
  if (!slices_commit(arena, start - guard, more, more, hands, claimed)) {
    slices_let_go(arena, start, more, claimed);
    return false;
  }
  bitmap_set(arena->dirty, start - guard, more);
  if (page_has_inside_marks(page->slice_count)) page_map_mark_inside(page, page->slice_count, false);
  hold_nothing(claimed);
  page->slice_count = (uint32_t)slice_count;
  if (page_has_inside_marks(slice_count)) page_map_mark_inside(page, slice_count, true);
  if (is_huge_count(slice_count)) bitmap_set(arena->huge_heads, first, 1);
  return true;
}
