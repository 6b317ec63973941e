// Questions about addresses, and walks over pages.
#include "core/arenas/arena.h"
#include "core/arenas/arena_parts.h"
#include "core/arenas/arena_slices.h"

bool arena_holds(const arena_t* arena, const void* p) {
  return (const uint8_t*)p >= arena->base &&
         (size_t)((const uint8_t*)p - arena->base) < arena->slice_count * SLICE_SIZE;
}

static arena_t* arena_in(const arena_set_t* set, const void* p) {
  size_t count = atomic_get_acquire(&set->count);
  for (size_t i = 0; i < count; i++) {
    arena_t* arena = atomic_get_acquire(&set->arenas[i]);
    if (arena != NULL && arena_holds(arena, p)) return arena;
  }
  return NULL;
}

// Inside of a huge page, or nowhere: slices of other pages have records that lead to their first.
static page_t* huge_page_in(const arena_t* arena, const void* p) {
  size_t slice = arena_slice_of(arena, p);
  for (size_t word = slice / BITMAP_WORD_BITS + 1; word-- > 0;) {
    uint64_t heads = atomic_get_relaxed(&arena->huge_heads[word]);
    if (word == slice / BITMAP_WORD_BITS) heads &= bits_mask(0, slice % BITMAP_WORD_BITS + 1);
    if (heads == 0) continue;
    size_t head = word * BITMAP_WORD_BITS + bits_highest(heads);
    page_t* page = page_map_page(slice_address(arena, head));
    return page != NULL && slice - head < page->slice_count ? page : NULL;
  }
  return NULL;
}

// Is the address ours? *page: the huge page that it lies in, or NULL.
static bool find(const void* p, page_t** page) {
  *page = NULL;
  for (arena_set_t* set = arena_set_first(); set != NULL; set = set->next) {
    // Most have nothing to do with the address, which can be told without entering: records stay readable.
    if (arena_in(set, p) == NULL && atomic_get_relaxed(&set->outside) == NULL) continue;
    arena_visit_t visit;
    if (!arena_set_enter(set, &visit)) continue;
    arena_t* arena = arena_in(set, p);
    *page = arena != NULL ? huge_page_in(arena, p) : outside_find(set, p);
    arena_set_leave(&visit);
    if (arena != NULL || *page != NULL) return true;
  }
  return false;
}

bool arena_contains(const void* p) {
  page_t* page;
  return find(p, &page);
}

page_t* arena_find_page(const void* p) {
  page_t* page = page_map_page(p);
  if (page == NULL) find(p, &page);
  return page;
}

// Slices that aren't free are in a page, or in somebody's hands: then their records have no owner.
static bool visit_arena_pages(arena_t* arena, bool (*visit)(page_t* page, void* arg), void* arg) {
  for (size_t word = 0; word < arena->word_count; word++) {
    uint64_t taken = ~atomic_get_acquire(&arena->free[word]);
    size_t left = arena->slice_count - word * BITMAP_WORD_BITS;
    if (left < BITMAP_WORD_BITS) taken &= bits_mask(0, left);
    while (taken != 0) {
      unsigned bit = bits_lowest(taken);
      size_t slice = word * BITMAP_WORD_BITS + bit;
      page_t* page = page_map_record(slice_address(arena, slice));
      size_t count = 1;
      if (page != NULL && atomic_get_acquire(&page->owner) != 0) {
        count = atomic_get_relaxed(&page->slice_count);
        if (!visit(page, arg)) return false;
      }
      if (bit + count >= BITMAP_WORD_BITS) { // on behind the page; the loop adds one
        word = (slice + count) / BITMAP_WORD_BITS;
        size_t rest = (slice + count) % BITMAP_WORD_BITS;
        if (rest == 0 || word >= arena->word_count) {
          word--;
          taken = 0;
        } else {
          taken = ~atomic_get_acquire(&arena->free[word]) & ~bits_mask(0, rest);
          left = arena->slice_count - word * BITMAP_WORD_BITS;
          if (left < BITMAP_WORD_BITS) taken &= bits_mask(0, left);
        }
      } else {
        taken &= ~bits_mask(bit, count == 0 ? 1 : count);
      }
    }
  }
  return true;
}

bool arena_visit_pages(arena_set_t* set, bool (*visit)(page_t* page, void* arg), void* arg) {
  arena_visit_t here;
  if (!arena_set_enter(set, &here)) return true;
  size_t count = atomic_get_acquire(&set->count);
  bool goes_on = true;
  for (size_t i = 0; i < count && goes_on; i++) {
    arena_t* arena = atomic_get_acquire(&set->arenas[i]);
    if (arena != NULL) goes_on = visit_arena_pages(arena, visit, arg);
  }
  goes_on = goes_on && outside_visit(set, visit, arg);
  arena_set_leave(&here);
  return goes_on;
}

void arena_visit(arena_set_t* set, void (*visit)(arena_t* arena, void* arg), void* arg) {
  arena_visit_t here;
  if (!arena_set_enter(set, &here)) return;
  size_t count = atomic_get_acquire(&set->count);
  for (size_t i = 0; i < count; i++) {
    arena_t* arena = atomic_get_acquire(&set->arenas[i]);
    if (arena != NULL) visit(arena, arg);
  }
  arena_set_leave(&here);
}

arena_usage_t arena_usage(const arena_t* arena) {
  return (arena_usage_t){bitmap_count(arena->free, 0, arena->slice_count),
                         slices_memory(arena, 0, arena->slice_count)};
}

size_t arena_outside_bytes(const arena_set_t* set) { return atomic_get_relaxed(&set->outside_bytes); }
