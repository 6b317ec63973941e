#include "core/heaps/single.h"

#include "core/heaps/guarded.h"
#include "core/heaps/theap_pages.h"
#include "core/heaps/thread.h"
#include "core/report/counters.h"
#include "core/report/options.h"

// In all, and the largest page that is kept: 1 MiB. Secure builds have classes up to 512 KiB, so their pages of one
// block are larger, and to make one and take it down are calls of the system, for its guard: 4 MiB.
#define KEPT_SLICES_MAX (MI_SECURE ? 64 : 16)

// Of the calling thread, which may have no theap.
static arena_hands_t* hands_of(theap_t* theap) { return theap != NULL ? &theap->thread->hands : NULL; }

static bool counts_here(const theap_t* theap, const heap_t* heap) {
  return theap != NULL && atomic_get_relaxed(&theap->counts_of) == heap;
}

// ---- kept pages -------------------------------------------------------------------------------------------

static void count_page_gone(theap_t* theap, const heap_t* heap) {
  if (counts_here(theap, heap)) {
    theap->counts.pages_gone++;
  } else {
    stats_decrease(&stats_process.pages, 1);
  }
}

// The kept page is in no theap's list any more.
static void give_back(theap_t* theap, page_t* page) {
  if (!arena_page_take(page, true, hands_of(theap))) return;
  count_page_gone(theap, atomic_get_acquire(&page->heap));
  guarded_page_free(page);
  arena_page_free(page, hands_of(theap));
}

void single_salvage(theap_t* by, page_t* page) { give_back(by, page); }

static page_t* take_out(theap_t* theap, size_t place) {
  page_t* page = theap->singles[place];
  theap->singles[place] = NULL;
  theap->singles_slices -= page->slice_count;
  return page;
}

void singles_give_up_one(theap_t* theap) {
  if (theap->singles_slices == 0) return;
  while (theap->singles[theap->singles_next] == NULL)
    theap->singles_next = (theap->singles_next + 1) % KEPT_SINGLES;
  give_back(theap, take_out(theap, theap->singles_next));
}

void singles_give_up(theap_t* theap) {
  while (theap->singles_slices > 0) singles_give_up_one(theap);
}

static bool is_worth_keeping(const theap_t* theap, const page_t* page, uintptr_t owner) {
  return !(MI_SECURE && MI_DEBUG) && theap != NULL && page->slice_count <= KEPT_SLICES_MAX &&
         !page->is_outside && (owner & PAGE_OWNER_FLAGS) == PAGE_OWNER_SINGLE &&
         atomic_get_relaxed(&page->heap) == theap->heap && heap_is_main(theap->heap) &&
         !thread_is_late(theap->thread) && option_get(option_purge_delay) != 0;
}

// Whoever changes the owner word has the page; a second free of the block finds it kept, or nobody's.
static bool keep(theap_t* theap, page_t* page) {
  uintptr_t owner = atomic_get_relaxed(&page->owner);
  if (!is_worth_keeping(theap, page, owner)) return false;
  if (!atomic_cas_acq_rel(&page->owner, &owner, (uintptr_t)theap | PAGE_OWNER_SINGLE | PAGE_OWNER_CLAIMED))
    return false;
  atomic_set_relaxed(&page->free, (block_t*)NULL);
  while (theap->singles_slices + page->slice_count > KEPT_SLICES_MAX) singles_give_up_one(theap);
  size_t place = theap->singles_next;
  if (theap->singles[place] != NULL) give_back(theap, take_out(theap, place));
  theap->singles[place] = page;
  theap->singles_slices += page->slice_count;
  theap->singles_next = (uint32_t)(place + 1) % KEPT_SINGLES;
  return true;
}

static page_t* reuse(theap_t* theap, size_t slice_count) {
  for (size_t i = 0; i < KEPT_SINGLES; i++) {
    page_t* page = theap->singles[i];
    if (page == NULL || page->slice_count != slice_count) continue;
    take_out(theap, i);
    atomic_set_relaxed(&page->free, (block_t*)page->start);
    atomic_set_release(&page->owner, (uintptr_t)theap | PAGE_OWNER_SINGLE);
    return page;
  }
  return NULL;
}

// ---- blocks -----------------------------------------------------------------------------------------------

static void count_allocated(theap_t* theap, const page_t* page) {
  theap->counts.allocated[BIN_HUGE]++;
  theap->counts.huge_allocated_bytes += (int64_t)page->block_size;
}

// Secure builds: an inaccessible slice behind each, and so before the next one.
static size_t with_guard_of(size_t slice_count) {
  return slice_count + (MI_SECURE && slice_count > 1 ? 1 : 0);
}

static page_t* make(theap_t* theap, size_t slice_count, size_t alignment, bool* is_zero) {
  arena_source_t source = theap_source(theap);
  size_t with_guard = with_guard_of(slice_count);
  page_t* page = arena_page_allocate(&source, with_guard, slice_count, alignment);
  if (page == NULL) {
    // No way to find more than we have (arena_page_allocate has purged already).
    if (slice_count * SLICE_SIZE > (size_t)atomic_get_relaxed(&stats_process.committed.current)) return NULL;
    theap_collect_for_memory(theap);
    page = arena_page_allocate(&source, with_guard, slice_count, alignment);
    if (page == NULL) return NULL;
  }
  *is_zero = page->is_zero;
  if (with_guard > slice_count) slice_count = arena_page_guard(page);
  page_init(page, BIN_HUGE, slice_count * SLICE_SIZE, (uintptr_t)theap | PAGE_OWNER_SINGLE, theap->heap);
  heap_page_add(theap->heap, page);
  arena_page_made(&theap->thread->hands);
  page->free = (block_t*)page->start; // what the program has
  page->allocated = 1;
  theap->counts.pages_made++;
  return page;
}

void* single_allocate(theap_t* theap, size_t size, size_t alignment, bool* is_zero) {
  if (size > PTRDIFF_MAX || alignment > PTRDIFF_MAX) return NULL;
  size_t slice_count = bits_divide_up(size, SLICE_SIZE);
  *is_zero = false;
  page_t* page = slice_count <= theap->singles_slices && alignment <= SLICE_SIZE
                     ? reuse(theap, with_guard_of(slice_count))
                     : NULL;
  if (page == NULL) page = make(theap, slice_count, alignment, is_zero);
  if (page == NULL) return NULL;
  count_allocated(theap, page);
  return page->start;
}

static void count_freed(theap_t* theap, int64_t size) {
  theap->counts.freed[BIN_HUGE]++;
  theap->counts.huge_freed_bytes += size;
}

void single_free(theap_t* theap, page_t* page) {
  int64_t size = (int64_t)page->block_size;
  if (keep(theap, page)) {
    count_freed(theap, size); // a page of the main heap, by a theap of it
    return;
  }
  // Whoever takes the owner away frees it; a second free of the same block finds nobody's page.
  if (!arena_page_take(page, false, hands_of(theap))) return;
  bool is_counted = counts_here(theap, atomic_get_acquire(&page->heap));
  if (is_counted) {
    count_freed(theap, size);
    theap->counts.pages_gone++;
  } else {
    stats_decrease(&stats_process.huge_bytes, (size_t)size);
    stats_decrease(&stats_process.pages, 1);
  }
  heap_page_remove(page, is_counted); // before its size changes
  guarded_page_free(page);
  arena_page_free(page, hands_of(theap));
}

bool theap_expand(theap_t* theap, void* p, size_t size) {
  size_t usable = theap_usable_size(p);
  if (size <= usable) return true;
  if (usable == 0) return false;
  page_t* page = page_map_page(p);
  if (page == NULL || page->bin != BIN_HUGE || size > PTRDIFF_MAX) return false;
  // A guard of a whole slice moves with the block's end; that of guarded sampling stays.
  bool has_guard = MI_SECURE && page->slice_count * SLICE_SIZE - page->block_size == SLICE_SIZE;
  if (guarded_is_page(page) && !has_guard) return false;
  size_t before = page->block_size;
  size_t needed = size + (size_t)((uint8_t*)p - page->start);
  if (!arena_page_extend(page, bits_divide_up(needed, SLICE_SIZE) + has_guard, hands_of(theap))) return false;
  page->block_size = (has_guard ? arena_page_guard(page) : page->slice_count) * SLICE_SIZE;
  if ((atomic_get_relaxed(&page->owner) & PAGE_OWNER_INTERIOR) != 0) page_map_mark_pointer(page, p, true);
  int64_t more = (int64_t)(page->block_size - before);
  if (counts_here(theap, page->heap)) {
    theap->counts.huge_allocated_bytes += more;
  } else {
    atomic_add_relaxed(&page->heap->huge_allocated_bytes, more);
    stats_change(&stats_process.huge_bytes, more);
  }
  return true;
}
