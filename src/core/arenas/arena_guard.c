// Guards behind pages of one block, in secure builds: the slice that one was stays shut when the page is freed, with
// what memory it has, until its place is used in another way. To take the memory away, and have it again, would be
// calls of the system and page faults: half of the time of blocks above 512 KiB.
#include "core/arenas/arena_slices.h"

#if MI_SECURE

bool slices_open(arena_t* arena, size_t start, size_t count) {
  size_t end = start + count;
  while ((start = bitmap_next(arena->shut, start, end, true)) < end) {
    count = bitmap_next(arena->shut, start, end, false) - start;
    if (!os_protect(slice_address(arena, start), count * SLICE_SIZE, true)) return false;
    bitmap_clear(arena->shut, start, count);
    bitmap_set(arena->committed, start, count);
    start += count;
  }
  return true;
}

// The slice is the caller's, and committed. False: it is as it was. Killed at any place: it is never taken for accessible
// while it isn't.
static bool slice_shut(arena_t* arena, size_t slice) {
  bitmap_set(arena->dirty, slice, 1);
  bitmap_clear(arena->committed, slice, 1);
  bitmap_set(arena->shut, slice, 1);
  return os_protect(slice_address(arena, slice), SLICE_SIZE, false) || !slices_open(arena, slice, 1);
}

MI_COLD size_t arena_page_guard(page_t* page) {
  size_t count = page->slice_count;
  if (page->is_outside) return count;
  arena_t* arena = page->arena;
  size_t last = arena_slice_of(arena, page->start) + count - 1;
  if (bitmap_count(arena->begun, last, 1) > 0) slices_purge(arena, last, 1);
  if (bitmap_count(arena->committed, last, 1) == 0) return count - 1; // no memory, or it is shut
  if (arena->is_pinned || arena->commit != NULL) {
    bitmap_set(arena->dirty, last, 1);
    return count;
  }
  return slice_shut(arena, last) ? count - 1 : count;
}

#endif
