#include "core/heaps/single.h"

#include "core/heaps/guarded.h"
#include "core/heaps/theap_pages.h"
#include "core/heaps/thread.h"
#include "core/report/counters.h"
#include "core/report/options.h"

// What a theap keeps in all: as much as the largest page that it keeps, 1 MiB, and an eighth of what its thread has in such
// blocks; 8 MiB at most. So threads that are done with their large blocks hold next to nothing. Secure builds have
// classes up to 512 KiB, so their pages of one block are larger, and to make one may take calls of the system, for its
// guard: 4 MiB, half of what is live, and 16 MiB; and a page serves for blocks that are shorter by an eighth.
#define KEPT_SHARE      (MI_SECURE ? 2 : 8)
#define KEPT_SLICES_MAX (MI_SECURE ? 256 : 128)
#define KEPT_LONGER     (MI_SECURE ? 8 : KEPT_LENGTHS + 1)

// How often it is the first of a list that isn't used whose turn it is, before it goes.
#define KEPT_TICKS 3

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
static MI_NOINLINE void give_back(theap_t* theap, page_t* page) {
  if (!arena_page_take(page, true, hands_of(theap))) return;
  count_page_gone(theap, atomic_get_acquire(&page->heap));
  guarded_page_free(page);
  arena_page_free(page, hands_of(theap));
}

void single_salvage(theap_t* by, page_t* page) { give_back(by, page); }

// The list isn't empty.
static page_t* take_out(theap_t* theap, size_t list) {
  page_t* page = theap->singles[list];
  theap->singles[list] = page->next;
  if (page->next == NULL) theap->singles_lengths &= ~((uint64_t)1 << list);
  theap->singles_slices -= page->slice_count;
  return page;
}

// Of each length in turn; there is one at least.
static unsigned next_list(theap_t* theap) {
  uint64_t lengths = theap->singles_lengths, later = lengths & ~(uint64_t)0 << theap->singles_next;
  unsigned list = bits_lowest(later != 0 ? later : lengths);
  theap->singles_next = (list + 1) % KEPT_LENGTHS;
  return list;
}

static MI_NOINLINE void give_up_one(theap_t* theap) { give_back(theap, take_out(theap, next_list(theap))); }

// The first of a list was kept last. When that has been long ago, nobody has use for those behind it either.
void singles_tick(theap_t* theap) {
  if (theap->singles_lengths == 0) return;
  unsigned list = next_list(theap);
  page_t* page = theap->singles[list];
  if (page->keep_ticks > 0) {
    page->keep_ticks--;
    return;
  }
  if (page->next != NULL) page->next->keep_ticks = 0;
  give_back(theap, take_out(theap, list));
}

void singles_give_up(theap_t* theap) {
  while (theap->singles_slices > 0) give_up_one(theap);
}

static bool is_worth_keeping(const theap_t* theap, const page_t* page, uintptr_t owner) {
  return !(MI_SECURE && MI_DEBUG) && theap != NULL && page->slice_count <= KEPT_LENGTHS &&
         !page->is_outside && (owner & PAGE_OWNER_FLAGS) == PAGE_OWNER_SINGLE &&
         atomic_get_relaxed(&page->heap) == theap->heap && heap_is_main(theap->heap) &&
         !thread_is_late(theap->thread) && option_get(option_purge_delay) != 0;
}

static size_t kept_slices_max(const theap_t* theap) {
  int64_t live = theap->counts.huge_allocated_bytes - theap->counts.huge_freed_bytes;
  size_t share = live <= 0 ? 0 : (size_t)live / SLICE_SIZE / KEPT_SHARE;
  return share < KEPT_SLICES_MAX - KEPT_LENGTHS ? KEPT_LENGTHS + share : KEPT_SLICES_MAX;
}

// Whoever changes the owner word has the page; a second free of the block finds it kept, or nobody's.
static bool keep(theap_t* theap, page_t* page) {
  uintptr_t owner = atomic_get_relaxed(&page->owner);
  if (!is_worth_keeping(theap, page, owner)) return false;
  if (!atomic_cas_acq_rel(&page->owner, &owner, (uintptr_t)theap | PAGE_OWNER_SINGLE | PAGE_OWNER_CLAIMED))
    return false;
  atomic_set_relaxed(&page->free, (block_t*)NULL);
  page->keep_ticks = KEPT_TICKS;
  size_t most = kept_slices_max(theap), list = page->slice_count - 1;
  while (theap->singles_slices + page->slice_count > most) give_up_one(theap);
  page->next = theap->singles[list];
  theap->singles[list] = page;
  theap->singles_lengths |= (uint64_t)1 << list;
  theap->singles_slices += page->slice_count;
  return true;
}

static page_t* reuse(theap_t* theap, size_t slice_count) {
  if (slice_count > KEPT_LENGTHS) return NULL;
  uint64_t fitting = theap->singles_lengths >> (slice_count - 1);
  if (fitting == 0 || bits_lowest(fitting) > slice_count / KEPT_LONGER) return NULL;
  page_t* page = take_out(theap, slice_count - 1 + bits_lowest(fitting));
  atomic_set_relaxed(&page->free, (block_t*)page->start);
  atomic_set_release(&page->owner, (uintptr_t)theap | PAGE_OWNER_SINGLE);
  return page;
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

static page_t* take_slices(theap_t* theap, size_t slice_count, size_t alignment) {
  arena_source_t source = theap_source(theap);
  size_t with_guard = with_guard_of(slice_count);
  if (MI_SECURE && with_guard > slice_count)
    return arena_page_allocate_guarded(&source, with_guard, slice_count, alignment);
  return arena_page_allocate(&source, slice_count, slice_count, alignment);
}

static page_t* make(theap_t* theap, size_t slice_count, size_t alignment, bool* is_zero) {
  page_t* page = take_slices(theap, slice_count, alignment);
  if (page == NULL) {
    // No way to find more than we have (arena_page_allocate has purged already).
    if (slice_count * SLICE_SIZE > (size_t)atomic_get_relaxed(&stats_process.committed.current)) return NULL;
    theap_collect_for_memory(theap);
    page = take_slices(theap, slice_count, alignment);
    if (page == NULL) return NULL;
  }
  *is_zero = page->is_zero;
  if (MI_SECURE && with_guard_of(slice_count) > slice_count) slice_count = arena_page_guard(page);
  page_init(page, BIN_HUGE, slice_count * SLICE_SIZE, (uintptr_t)theap | PAGE_OWNER_SINGLE, theap->heap);
  heap_page_add(theap->heap, page);
  arena_page_made(&theap->thread->hands);
  page->free = (block_t*)page->start; // what the program has
  page->allocated = 1;
  theap->counts.pages_made++;
  return page;
}

static void* allocate_kept(theap_t* theap, size_t size) {
  page_t* page = reuse(theap, with_guard_of(bits_divide_up(size, SLICE_SIZE)));
  if (page == NULL) return NULL;
  count_allocated(theap, page);
  return page->start;
}

void* single_allocate(theap_t* theap, size_t size, size_t alignment, bool* is_zero) {
  if (size > PTRDIFF_MAX || alignment > PTRDIFF_MAX) return NULL;
  *is_zero = false;
  void* kept = alignment <= SLICE_SIZE ? allocate_kept(theap, size) : NULL;
  if (kept != NULL) return kept;
  page_t* page = make(theap, bits_divide_up(size, SLICE_SIZE), alignment, is_zero);
  if (page == NULL) return NULL;
  count_allocated(theap, page);
  return page->start;
}

static void count_freed(theap_t* theap, int64_t size) {
  theap->counts.freed[BIN_HUGE]++;
  theap->counts.huge_freed_bytes += size;
}

free_result_t single_free(theap_t* theap, page_t* page) {
  int64_t size = (int64_t)page->block_size;
  if (keep(theap, page)) {
    count_freed(theap, size); // a page of the main heap, by a theap of it
    return FREE_DONE;
  }
  // Whoever takes the owner away frees it; a second free of the same block finds nobody's page.
  if (!arena_page_take(page, false, hands_of(theap))) return FREE_DONE;
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
  return FREE_DONE;
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
  page->block_size = (MI_SECURE && has_guard ? arena_page_guard(page) : page->slice_count) * SLICE_SIZE;
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
