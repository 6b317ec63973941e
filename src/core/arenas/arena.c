// Arenas, their memory and their pages. Free slices are found in arena_claim.c and purged in arena_purge.c.
#include "core/arenas/arena.h"
#include "core/arenas/arena_slices.h"
#include "core/memory/sysmem.h"
#include "core/report/counters.h"
#include "core/report/options.h"

// Small pages are committed 1 MiB at a time: a sixteenth of the system calls.
#define COMMIT_AHEAD_SLICES 16
// More can't exist: an address has 47 bits, or 32.
#define SLICES_MAX        (REGION_COUNT * REGION_SLICES)
#define PURGE_WAIT_YIELDS 1000 // until others' purges are thought to last too long to wait for

static arena_t* arenas[ARENA_COUNT_MAX];
static size_t arena_count;
static os_lock_t reserve_lock; // held while a new arena is made, so that threads don't make one each

// Huge pages with a reservation of their own, linked by next/previous.
static os_lock_t single_lock;
static page_t* singles;
static size_t singles_bytes;

// ---- committing -----------------------------------------------------------------------------------------

// Free, uncommitted slices behind a claimed single slice, within its bitmap word and its group of 16: claims
// them.
static size_t claim_ahead(arena_t* arena, size_t slice) {
  size_t word = slice / BITMAP_WORD_BITS, bit = slice % BITMAP_WORD_BITS;
  size_t end = bits_align_down(bit, COMMIT_AHEAD_SLICES) + COMMIT_AHEAD_SLICES;
  uint64_t usable = atomic_get_relaxed(&arena->free[word]) & ~atomic_get_relaxed(&arena->committed[word]);
  size_t count = 0;
  while (bit + 1 + count < end && (usable >> (bit + 1 + count) & 1) != 0) count++;
  while (count > 0 && !bitmap_word_try_claim(&arena->free[word], bits_mask(bit + 1, count))) count /= 2;
  return count;
}

// `claimed` holds the slices, and holds them still afterwards, nothing else.
static bool slices_commit(arena_t* arena, size_t start, size_t count, arena_hands_t* hands,
                          arena_hold_t* claimed) {
  size_t committed = bitmap_count(arena->committed, start, count);
  if (committed == count) return true;
  size_t ahead = count == 1 ? claim_ahead(arena, start) : 0;
  // Counted again: other threads may have committed slices that we have claimed since.
  if (ahead > 0) {
    hold_run(claimed, arena, start, count + ahead);
    committed = bitmap_count(arena->committed, start, count + ahead);
  }
  arena_purge_before_growth(arena, (count + ahead - committed) * SLICE_SIZE, hands);
  bool ok = sysmem_commit(slice_address(arena, start), (count + ahead) * SLICE_SIZE,
                          (count + ahead - committed) * SLICE_SIZE);
  if (ok) bitmap_set(arena->committed, start, count + ahead);
  if (ahead > 0) {
    hold_run(claimed, arena, start, count);
    slices_release(arena, start + count, ahead);
    if (!ok) { // less may still be possible
      ok = sysmem_commit(slice_address(arena, start), count * SLICE_SIZE, count * SLICE_SIZE);
      if (ok) bitmap_set(arena->committed, start, count);
    }
  }
  return ok;
}

// ---- arenas ---------------------------------------------------------------------------------------------

// Where to ask for an arena: at a multiple of its region size, high up, so that it shares no page map table
// with others.
static void* arena_reserve_space(size_t size) {
#if MI_64BIT
  static uintptr_t next_hint = (uintptr_t)2 << 40;
  for (int attempt = 0; attempt < 3; attempt++) {
    size_t step = bits_align_up(size, MI_GIB);
    uintptr_t hint = atomic_add_relaxed(&next_hint, step);
    void* p = sysmem_reserve_at((void*)hint, size);
    if (p != NULL) return p;
  }
#endif
  return sysmem_reserve(size);
}

static arena_t* arena_create(size_t size) {
  size = bits_align_up(size, ARENA_ALIGNMENT);
  void* os_base = arena_reserve_space(size);
  if (os_base == NULL) return NULL;
  size_t os_size = size;
  uint8_t* base = (uint8_t*)bits_align_up((uintptr_t)os_base, ARENA_ALIGNMENT);
  size_t slice_count = (size - (size_t)(base - (uint8_t*)os_base)) / SLICE_SIZE;
  size_t word_count = bits_divide_up(slice_count, BITMAP_WORD_BITS);
  size_t info_size = bits_align_up(sizeof(arena_t), MI_CACHE_LINE) + 6 * word_count * sizeof(uint64_t);
  size_t info_slices = bits_divide_up(info_size, SLICE_SIZE);
  size_t committed_size = info_slices * SLICE_SIZE;
  if (info_slices >= slice_count || !sysmem_commit(base, committed_size, committed_size)) {
    sysmem_release(os_base, os_size, 0);
    return NULL;
  }
  if (!page_map_cover(base, slice_count * SLICE_SIZE)) {
    sysmem_release(os_base, os_size, committed_size);
    return NULL;
  }
  arena_t* arena = (arena_t*)base;
  arena->base = base;
  arena->slice_count = slice_count;
  arena->word_count = word_count;
  arena->info_slices = info_slices;
  arena->os_base = os_base;
  arena->os_size = os_size;
  uint64_t* bitmap = (uint64_t*)(base + bits_align_up(sizeof(arena_t), MI_CACHE_LINE));
  uint64_t** bitmaps[] = {&arena->free,  &arena->committed, &arena->dirty,
                          &arena->aging, &arena->old,       &arena->heads};
  for (size_t i = 0; i < sizeof(bitmaps) / sizeof(bitmaps[0]); i++) *bitmaps[i] = bitmap + i * word_count;
  bitmap_set(arena->free, info_slices, slice_count - info_slices);
  bitmap_set(arena->committed, 0, info_slices);
  return arena;
}

// At least so large that pages of all bins fit; larger blocks than half of it get a reservation of their own.
static size_t arena_size_wanted(void) {
  size_t size = option_get_size(option_arena_reserve);
  return size < 4 * ARENA_ALIGNMENT ? 4 * ARENA_ALIGNMENT : size;
}

// Makes an arena with room for `slice_count` slices unless another thread just did (then `seen_count` is
// outdated).
static bool arena_add(size_t slice_count, size_t seen_count) {
  os_lock_acquire(&reserve_lock);
  size_t count = atomic_get_relaxed(&arena_count);
  bool ok = count != seen_count;
  if (!ok && count < ARENA_COUNT_MAX && !option_is_enabled(option_disallow_os_alloc)) {
    // Arenas grow with their number, so that a small table of them covers any machine.
    size_t size = arena_size_wanted();
    if (MI_64BIT) size <<= count / 8 < 6 ? count / 8 : 6;
    size_t needed = slice_count * SLICE_SIZE;
    needed += needed / 64 + 2 * ARENA_ALIGNMENT; // bitmaps and alignment
    if (size < needed) size = needed;
    arena_t* arena = arena_create(size);
    while (arena == NULL && size > needed) arena = arena_create(size = size / 2 < needed ? needed : size / 2);
    if (arena != NULL) {
      arenas[count] = arena;
      stats_count(&stats_process.arenas, 1);
      atomic_set_release(&arena_count, count + 1);
      ok = true;
    }
  }
  os_lock_release(&reserve_lock);
  return ok;
}

bool arena_reserve(size_t size) {
  return arena_add(bits_divide_up(size, SLICE_SIZE), atomic_get_relaxed(&arena_count));
}

// ---- pages ----------------------------------------------------------------------------------------------

// Blocks of medium and large pages lie in all of their slices; a huge block has one pointer, in its first
// slice.
static bool has_inside_marks(size_t count) {
  return count == PAGE_MEDIUM_SLICES || count == PAGE_LARGE_SLICES;
}

// The slices are claimed, and `claimed` holds them.
static page_t* page_from_slices(arena_t* arena, size_t start, size_t count, arena_hands_t* hands,
                                arena_hold_t* claimed) {
  uint8_t* address = slice_address(arena, start);
  bitmap_clear(arena->aging, start, count);
  bitmap_clear(arena->old, start, count);
  if (!slices_commit(arena, start, count, hands, claimed)) {
    slices_let_go(arena, start, count, claimed);
    return NULL;
  }
  page_t* page = page_map_record(address);
  page->is_zero = bitmap_count(arena->dirty, start, count) == 0;
  bitmap_set(arena->dirty, start, count);
  bitmap_set(arena->heads, start, 1);
  page->start = address;
  page->slice_count = count;
  page->arena = arena;
  page->back = 0;
  if (has_inside_marks(count)) page_map_mark_inside(page, count, true);
  stats_increase(&stats_process.pages, 1);
  return page;
}

void arena_page_made(arena_hands_t* hands) { hold_nothing(&hands->claimed); }

// Huge objects beyond the arenas' size, or aligned beyond their slices.
static page_t* page_from_system(size_t slice_count, size_t alignment) {
  if (option_is_enabled(option_disallow_os_alloc)) return NULL;
  if (alignment < SLICE_SIZE) alignment = SLICE_SIZE;
  size_t size = slice_count * SLICE_SIZE;
  void* base;
  size_t os_size;
  uint8_t* start = (uint8_t*)sysmem_reserve_aligned(size, alignment, &base, &os_size);
  if (start == NULL) return NULL;
  if (!page_map_cover(start, size) || !sysmem_commit(start, size, size)) {
    sysmem_release(base, os_size, 0);
    return NULL;
  }
  page_t* page = page_map_record(start);
  page->is_zero = true;
  page->start = start;
  page->slice_count = slice_count;
  page->arena = NULL;
  page->os_base = base;
  page->os_size = os_size;
  page->back = 0;
  os_lock_acquire(&single_lock);
  page->previous = NULL;
  page->next = singles;
  if (singles != NULL) singles->previous = page;
  singles = page;
  atomic_set_relaxed(&singles_bytes, singles_bytes + size);
  os_lock_release(&single_lock);
  stats_increase(&stats_process.pages, 1);
  return page;
}

// Does another thread hold slices back while it purges them?
static bool others_purge(void) {
  size_t count = atomic_get_acquire(&arena_count);
  for (size_t i = 0; i < count; i++) {
    uint32_t purger = atomic_get_relaxed(&arenas[i]->purge_busy);
    if (purger != 0 && purger != os_thread_id()) return true;
  }
  return false;
}

static page_t* page_from_arenas(size_t slice_count, size_t alignment_slices, arena_hands_t* hands) {
  arena_hold_t* claimed = hold_for_claim(hands);
  // A new arena has room; but other threads may be faster, so try a few times.
  int yields = 0;
  for (int attempt = 0; attempt < 4;) {
    size_t count = atomic_get_acquire(&arena_count);
    for (size_t i = 0; i < count; i++) {
      if (slice_count > arenas[i]->slice_count) continue;
      size_t start = arena_claim(arenas[i], slice_count, alignment_slices, claimed);
      if (start == ARENA_NOT_FOUND) continue;
      return page_from_slices(arenas[i], start, slice_count, hands, claimed);
    }
    if (yields < PURGE_WAIT_YIELDS && others_purge()) {
      yields++;
      os_yield();
      continue;
    }
    attempt++;
    if (!arena_add(slice_count + alignment_slices, count)) return NULL;
  }
  return NULL;
}

page_t* arena_page_allocate(size_t slice_count, size_t alignment, arena_hands_t* hands) {
  if (slice_count > SLICES_MAX) return NULL;
  size_t alignment_slices = alignment <= SLICE_SIZE ? 1 : alignment / SLICE_SIZE;
  size_t arena_size = arena_size_wanted();
  bool is_own = slice_count > arena_size / SLICE_SIZE / 2 || alignment > arena_size / 2;
  for (int attempt = 0; attempt < 2; attempt++) {
    page_t* page = is_own ? page_from_system(slice_count, alignment)
                          : page_from_arenas(slice_count, alignment_slices, hands);
    // Blocks that would have come from an arena may still find a place of their own.
    if (page == NULL && !is_own && slice_count > PAGE_LARGE_SLICES)
      page = page_from_system(slice_count, alignment);
    if (page != NULL) return page;
    // The system may be short of memory that we hold without need, if it is enough to matter.
    if (slice_count * SLICE_SIZE > (size_t)atomic_get_relaxed(&stats_process.committed.current)) break;
    arena_purge(true, hands);
  }
  return NULL;
}

static void single_free(page_t* page) {
  os_lock_acquire(&single_lock);
  if (page->previous != NULL) page->previous->next = page->next;
  if (page->next != NULL) page->next->previous = page->previous;
  if (singles == page) singles = page->next;
  atomic_set_relaxed(&singles_bytes, singles_bytes - page->slice_count * SLICE_SIZE);
  os_lock_release(&single_lock);
  sysmem_release(page->os_base, page->os_size, page->slice_count * SLICE_SIZE);
}

void arena_page_free(page_t* page, arena_hands_t* hands) {
  arena_t* arena = page->arena;
  if (arena == NULL) {
    atomic_set_release(&page->owner, 0);
    stats_decrease(&stats_process.pages, 1);
    single_free(page);
    return;
  }
  size_t start = (size_t)(page->start - arena->base) / SLICE_SIZE, count = page->slice_count;
  arena_hold_t* claimed = hold_for_claim(hands);
  hold_run(claimed, arena, start, count);
  atomic_set_release(&page->owner, 0);
  stats_decrease(&stats_process.pages, 1);
  if (has_inside_marks(count)) page_map_mark_inside(page, count, false);
  bitmap_clear(arena->heads, start, 1);
  if (option_get(option_purge_delay) == 0) {
    slices_purge(arena, start, count);
  } else {
    slices_schedule_purge(arena, start, count);
  }
  slices_let_go(arena, start, count, claimed);
  arena_purge(false, hands);
}

// Slices that a dead thread held: nobody else has them.
static void hold_give_back(arena_hold_t* hold) {
  // First: should this thread die as well, they are lost, but not given twice.
  uint64_t run = atomic_swap_acq_rel(&hold->run, 0);
  if (run == 0) return;
  arena_t* arena = hold->arena;
  size_t start = (size_t)(run >> 32), count = (uint32_t)run;
  if (atomic_get_acquire(&page_map_record(slice_address(arena, start))->owner) != 0) return; // it is a page
  for (size_t i = 0; i < count; i++) page_map_record(slice_address(arena, start + i))->back = 0;
  bitmap_clear(arena->heads, start, count);
  slices_schedule_purge(arena, start, count);
  slices_release(arena, start, count);
}

void arena_give_back(arena_hands_t* hands) {
  hold_give_back(&hands->claimed);
  hold_give_back(&hands->purging);
}

void arena_purge(bool force, arena_hands_t* hands) {
  if (option_get(option_purge_delay) < 0 && !force) return;
  size_t count = atomic_get_acquire(&arena_count);
  for (size_t i = 0; i < count; i++) arena_purge_one(arenas[i], force ? PURGE_FREE : PURGE_DUE, hands);
}

bool arena_page_extend(page_t* page, size_t slice_count, arena_hands_t* hands) {
  arena_t* arena = page->arena;
  if (arena == NULL || slice_count <= page->slice_count) return false;
  size_t start = (size_t)(page->start - arena->base) / SLICE_SIZE + page->slice_count;
  size_t more = slice_count - page->slice_count;
  if (start >= arena->slice_count || more > arena->slice_count - start) return false;
  if (bitmap_next(arena->free, start, start + more, false) != start + more) return false;
  arena_hold_t* claimed = hold_for_claim(hands);
  if (!slices_try_claim(arena, start, more, claimed)) return false;
  bitmap_clear(arena->aging, start, more);
  bitmap_clear(arena->old, start, more);
  if (!slices_commit(arena, start, more, hands, claimed)) {
    slices_let_go(arena, start, more, claimed);
    return false;
  }
  bitmap_set(arena->dirty, start, more);
  if (has_inside_marks(page->slice_count)) page_map_mark_inside(page, page->slice_count, false);
  hold_nothing(claimed);
  page->slice_count = slice_count;
  if (has_inside_marks(slice_count)) page_map_mark_inside(page, slice_count, true);
  return true;
}

// ---- queries --------------------------------------------------------------------------------------------

static arena_t* arena_of(const void* p) {
  size_t count = atomic_get_acquire(&arena_count);
  for (size_t i = 0; i < count; i++) {
    const uint8_t* base = arenas[i]->base;
    if ((const uint8_t*)p >= base && (size_t)((const uint8_t*)p - base) < arenas[i]->slice_count * SLICE_SIZE)
      return arenas[i];
  }
  return NULL;
}

static page_t* single_of(const void* p) {
  os_lock_acquire(&single_lock);
  page_t* page = singles;
  while (page != NULL && ((const uint8_t*)p < page->start ||
                          (size_t)((const uint8_t*)p - page->start) >= page->slice_count * SLICE_SIZE))
    page = page->next;
  os_lock_release(&single_lock);
  return page;
}

size_t arena_outside_bytes(void) { return atomic_get_relaxed(&singles_bytes); }

bool arena_contains(const void* p) { return arena_of(p) != NULL || single_of(p) != NULL; }

page_t* arena_find_page(const void* p) {
  page_t* page = page_map_page(p);
  if (page != NULL) return page;
  arena_t* arena = arena_of(p);
  if (arena == NULL) return single_of(p);
  size_t slice = (size_t)((const uint8_t*)p - arena->base) / SLICE_SIZE;
  for (size_t word = slice / BITMAP_WORD_BITS + 1; word-- > 0;) {
    uint64_t heads = atomic_get_relaxed(&arena->heads[word]);
    if (word == slice / BITMAP_WORD_BITS) heads &= bits_mask(0, slice % BITMAP_WORD_BITS + 1);
    if (heads == 0) continue;
    size_t head = word * BITMAP_WORD_BITS + bits_highest(heads);
    page = page_map_page(slice_address(arena, head));
    return page != NULL && slice - head < page->slice_count ? page : NULL;
  }
  return NULL;
}

void arena_visit_pages(bool (*visit)(page_t* page, void* arg), void* arg) {
  size_t count = atomic_get_acquire(&arena_count);
  for (size_t i = 0; i < count; i++) {
    arena_t* arena = arenas[i];
    for (size_t word = 0; word < arena->word_count; word++) {
      for (uint64_t heads = atomic_get_acquire(&arena->heads[word]); heads != 0; heads &= heads - 1) {
        page_t* page = page_map_page(slice_address(arena, word * BITMAP_WORD_BITS + bits_lowest(heads)));
        if (page != NULL && !visit(page, arg)) return;
      }
    }
  }
}

void arena_release_all(void) {
  size_t count = atomic_get_acquire(&arena_count);
  atomic_set_release(&arena_count, (size_t)0);
  for (size_t i = 0; i < count; i++) {
    arena_t* arena = arenas[i];
    size_t committed = bitmap_count(arena->committed, 0, arena->slice_count) * SLICE_SIZE;
    sysmem_release(arena->os_base, arena->os_size, committed);
    arenas[i] = NULL;
  }
  while (singles != NULL) {
    page_t* page = singles;
    singles = page->next;
    sysmem_release(page->os_base, page->os_size, page->slice_count * SLICE_SIZE);
  }
  singles_bytes = 0;
}
