#include "core/heaps/guarded.h"

#include "core/heaps/theap_pages.h"
#include "core/heaps/thread.h"
#include "core/report/options.h"

static void refresh_small(theap_t* theap) {
  for (unsigned bin = 1; bin < BIN_HUGE; bin++) queue_first_changed(theap, bin);
  if (MI_SECURE && theap->racks.is_attached) racks_show(theap, theap->guard_rate == 0);
}

void theap_guarded_set_rate(theap_t* theap, size_t rate, size_t seed) {
  if (seed == 0) seed = bits_mix((uintptr_t)theap ^ os_clock_ms() ^ (uintptr_t)os_thread_id() << 8);
  theap->guard_rate = rate;
  theap->guard_left = rate == 0 ? 0 : seed % rate + 1;
  refresh_small(theap);
}

void theap_guarded_set_bounds(theap_t* theap, size_t min, size_t max) {
  theap->guard_min = min < max ? min : max;
  theap->guard_max = min < max ? max : min;
}

void guarded_init(theap_t* theap) {
  long rate = option_get_clamp(option_guarded_sample_rate, 0, LONG_MAX);
  theap_guarded_set_bounds(theap, option_get_size(option_guarded_min), option_get_size(option_guarded_max));
  if (rate == 0 && theap->guard_rate == 0) return;
  theap_guarded_set_rate(theap, (size_t)rate, option_get_size(option_guarded_sample_seed));
}

void* guarded_allocate(theap_t* theap, size_t size, size_t alignment, bool* is_zero) {
  if (size < theap->guard_min || size > theap->guard_max || size > PTRDIFF_MAX / 2 || alignment > SLICE_SIZE)
    return NULL;
  if (--theap->guard_left > 0) return NULL;
  theap->guard_left = theap->guard_rate;
  size_t guard = os_page_size();
  if (alignment < 16 && !option_is_enabled(option_guarded_precise))
    alignment = 16; // what is asked for explicitly always holds
  size_t slice_count = bits_divide_up((size == 0 ? 1 : size) + alignment + guard, SLICE_SIZE);
  arena_source_t source = theap_source(theap);
  page_t* page = arena_page_allocate(&source, slice_count, slice_count, 1);
  if (page == NULL) return NULL;
  size_t usable = slice_count * SLICE_SIZE - guard;
  *is_zero = page->is_zero;
  uint8_t* p = (uint8_t*)bits_align_down((uintptr_t)page->start + usable - (size == 0 ? 1 : size), alignment);
  page_init(page, BIN_HUGE, usable, (uintptr_t)theap | PAGE_OWNER_SINGLE | PAGE_OWNER_INTERIOR, theap->heap);
  // Only now: who is killed with an inaccessible page in hand leaves one that looks guarded.
  if (!os_protect(page->start + usable, guard, false)) { // then as any other block
    page->block_size = slice_count * SLICE_SIZE;
    arena_page_free(page, &theap->thread->hands);
    return NULL;
  }
  heap_page_add(theap->heap, page);
  arena_page_made(&theap->thread->hands);
  page_map_mark_pointer(page, p, true);
  page->free = (block_t*)p; // what the program has
  page->allocated = 1;
  theap->counts.allocated[BIN_HUGE]++;
  theap->counts.huge_allocated_bytes += (int64_t)usable;
  theap->counts.pages_made++;
  return p;
}

void guarded_page_free(page_t* page) {
  if (!guarded_is_page(page)) return;
  size_t size = (size_t)page->slice_count * SLICE_SIZE;
  // A whole slice (arena_page_guard) stays as it is.
  if (size - page->block_size < SLICE_SIZE)
    os_protect(page->start + page->block_size, size - page->block_size, true);
  page->block_size = size;
}
