// Pages outside of all arenas: blocks beyond the arenas' size, or aligned beyond their slices. Each has a
// reservation of its own, with address space behind it to grow into, and may grow into further reservations
// right behind.
#include "core/arenas/arena_parts.h"
#include "core/memory/sysmem.h"
#include "core/report/counters.h"
#include "core/report/options.h"

// Blocks from this size on get as much address space again to grow into.
#define GROWTH_ROOM_MIN (512 * MI_MIB)

static os_lock_t spares_lock;
static outside_t* spares;

static outside_t* record_take(void) {
  os_lock_acquire(&spares_lock);
  outside_t* outside = spares;
  if (outside != NULL) spares = outside->next;
  os_lock_release(&spares_lock);
  return outside != NULL ? outside : (outside_t*)sysmem_metadata(sizeof(outside_t));
}

static void record_give(outside_t* outside) {
  os_lock_acquire(&spares_lock);
  outside->next = spares;
  spares = outside;
  os_lock_release(&spares_lock);
}

// From a dead thread: the list is whole in one direction after each store.
static void pages_lock(arena_set_t* set) {
  if (MI_LIKELY(!os_lock_acquire(&set->outside_lock))) return;
  outside_t* previous = NULL;
  for (outside_t* at = set->outside; at != NULL; previous = at, at = at->next) at->previous = previous;
}

static void link_page(outside_t* outside, size_t size) {
  arena_set_t* set = outside->set;
  pages_lock(set);
  outside->previous = NULL;
  outside->next = set->outside;
  atomic_compiler_fence();
  if (set->outside != NULL) set->outside->previous = outside;
  set->outside = outside;
  atomic_set_relaxed(&set->outside_bytes, set->outside_bytes + size);
  os_lock_release(&set->outside_lock);
}

static void unlink_page(outside_t* outside, size_t size) {
  arena_set_t* set = outside->set;
  pages_lock(set);
  if (outside->previous != NULL) {
    outside->previous->next = outside->next;
  } else {
    set->outside = outside->next;
  }
  atomic_compiler_fence();
  if (outside->next != NULL) outside->next->previous = outside->previous;
  atomic_set_relaxed(&set->outside_bytes, set->outside_bytes - size);
  os_lock_release(&set->outside_lock);
}

// Blocks that may grow lie far apart, where arenas don't come: so the address space behind each is free. There are few such
// lanes, and they are used again, since tables of the page map stay for ever.
#if MI_64BIT
#define LANE_SIZE      ((uintptr_t)256 * MI_GIB)
#define LANE_ALIGNMENT MI_GIB
#define FIRST_LANE     ((uintptr_t)40 << 40)
static uintptr_t lanes_base;
static uint32_t lanes_taken; // a bit for each of 32

static uintptr_t lane_at(uint32_t lane) {
  if (atomic_get_acquire(&lanes_base) == 0) {
    uint64_t random = options_addresses_are_fixed() ? 0 : os_random_place();
    uintptr_t first = FIRST_LANE + (uintptr_t)(random % 4096) * MI_GIB, none = 0;
    atomic_cas_acq_rel(&lanes_base, &none, first);
  }
  return atomic_get_acquire(&lanes_base) + lane * LANE_SIZE;
}

static void lane_give(const outside_t* outside) {
  if (outside->lane != 0) atomic_and_acq_rel(&lanes_taken, ~((uint32_t)1 << (outside->lane - 1)));
}

static void* lane_reserve(outside_t* outside, size_t size) {
  uint32_t taken = atomic_get_relaxed(&lanes_taken);
  while (taken != UINT32_MAX && size <= LANE_SIZE) {
    uint32_t lane = bits_lowest(~(uint64_t)taken), mask = (uint32_t)1 << lane;
    if (!atomic_cas_acq_rel(&lanes_taken, &taken, taken | mask)) continue;
    outside->lane = lane + 1;
    void* base = sysmem_reserve_at((void*)lane_at(lane), size);
    if (base != NULL) return base;
    taken |= mask; // somebody else lies there: it isn't tried again
  }
  return NULL;
}
#else
#define LANE_ALIGNMENT ((size_t)0)
static void lane_give(const outside_t* outside) { MI_UNUSED(outside); }
static void* lane_reserve(outside_t* outside, size_t size) {
  MI_UNUSED(outside);
  MI_UNUSED(size);
  return NULL;
}
#endif

// Where the page begins; what tells of its reservation is filled in.
static uint8_t* reserve_page(outside_t* outside, size_t size, size_t alignment) {
  size_t room = MI_64BIT && size >= GROWTH_ROOM_MIN && size <= PTRDIFF_MAX / 4 ? size : 0;
  outside->more = NULL;
  outside->os_size = size + room;
  outside->os_base = room > 0 && alignment <= LANE_ALIGNMENT ? lane_reserve(outside, size + room) : NULL;
  if (outside->os_base != NULL) return (uint8_t*)outside->os_base;
  outside->lane = 0;
  void* start = sysmem_reserve_aligned(size + room, alignment, &outside->os_base, &outside->os_size);
  if (start == NULL && room > 0)
    start = sysmem_reserve_aligned(size, alignment, &outside->os_base, &outside->os_size);
  return (uint8_t*)start;
}

static void release_reservations(outside_t* outside, size_t committed) {
  while (outside != NULL) {
    outside_t* more = outside->more;
    sysmem_release(outside->os_base, outside->os_size, committed);
    committed = 0; // the counter has all of it
    lane_give(outside);
    record_give(outside);
    outside = more;
  }
}

page_t* outside_allocate(arena_set_t* set, size_t slice_count, size_t alignment) {
  if (arena_os_is_disallowed(set)) return NULL;
  if (alignment < SLICE_SIZE) alignment = SLICE_SIZE;
  size_t size = slice_count * SLICE_SIZE;
  outside_t* outside = record_take();
  if (outside == NULL) return NULL;
  uint8_t* start = reserve_page(outside, size, alignment);
  if (start == NULL) {
    record_give(outside);
    return NULL;
  }
  // The memory first: a request that fails leaves no records behind.
  bool is_committed = sysmem_commit(start, size, size);
  if (!is_committed ||
      !page_map_cover(start, (slice_count <= PAGE_LARGE_SLICES ? slice_count : 1) * SLICE_SIZE)) {
    release_reservations(outside, is_committed ? size : 0);
    return NULL;
  }
  page_t* page = page_map_record(start);
  page->is_zero = true;
  page->start = start;
  page->slice_count = (uint32_t)slice_count;
  page->committed_slices = (uint8_t)(slice_count <= PAGE_LARGE_SLICES ? slice_count : 0);
  page->outside = outside;
  page->is_outside = 1;
  page->back = 0;
  if (page_has_inside_marks(slice_count)) page_map_mark_inside(page, slice_count, true);
  outside->set = set;
  outside->page = page;
  outside->reserved_end = (size_t)((uint8_t*)outside->os_base + outside->os_size - start) / SLICE_SIZE;
  link_page(outside, size);
  return page;
}

void outside_free(page_t* page) {
  outside_t* outside = page->outside;
  size_t size = page->slice_count * SLICE_SIZE;
  unlink_page(outside, size);
  release_reservations(outside, size);
}

// A reservation right behind the last one, for the slices from `end` to `wanted`.
static bool reserve_behind(outside_t* last, const page_t* page, size_t wanted) {
  size_t end = last->reserved_end, size = (wanted - end) * SLICE_SIZE;
  outside_t* more = record_take();
  if (more == NULL) return false;
  // Twice as much, if there is room: growing goes on.
  void* base = sysmem_reserve_at(page->start + end * SLICE_SIZE, size * 2);
  size_t os_size = size * 2;
  if (base == NULL) base = sysmem_reserve_at(page->start + end * SLICE_SIZE, os_size = size);
  if (base == NULL) {
    record_give(more);
    return false;
  }
  more->os_base = base;
  more->os_size = os_size;
  more->lane = 0;
  more->reserved_end = end + os_size / SLICE_SIZE;
  more->more = NULL;
  last->more = more;
  return true;
}

// One call per reservation: none spans two.
static bool commit_range(outside_t* outside, const page_t* page, size_t from, size_t to) {
  for (; outside != NULL && from < to; outside = outside->more) {
    if (from >= outside->reserved_end) continue;
    size_t end = to < outside->reserved_end ? to : outside->reserved_end;
    if (!sysmem_commit(page->start + from * SLICE_SIZE, (end - from) * SLICE_SIZE, (end - from) * SLICE_SIZE))
      return false; // what was committed before stays so, and is counted
    from = end;
  }
  return from >= to;
}

bool outside_extend(page_t* page, size_t slice_count) {
  outside_t *outside = page->outside, *last = outside;
  if (slice_count < GROWTH_ROOM_MIN / SLICE_SIZE / 16) return false;
  while (last->more != NULL) last = last->more;
  if (slice_count > last->reserved_end) {
    if (option_is_enabled(option_disallow_os_alloc) || !reserve_behind(last, page, slice_count)) return false;
  }
  size_t before = page->slice_count;
  if (!commit_range(outside, page, before, slice_count)) return false;
  if (page_has_inside_marks(before)) page_map_mark_inside(page, before, false);
  page->slice_count = (uint32_t)slice_count;
  atomic_add_relaxed(&outside->set->outside_bytes, (slice_count - before) * SLICE_SIZE);
  return true;
}

page_t* outside_find(arena_set_t* set, const void* p) {
  if (atomic_get_relaxed(&set->outside) == NULL) return NULL;
  page_t* found = NULL;
  pages_lock(set);
  for (outside_t* at = set->outside; at != NULL && found == NULL; at = at->next) {
    const uint8_t* start = at->page->start;
    if ((const uint8_t*)p >= start &&
        (size_t)((const uint8_t*)p - start) < at->page->slice_count * SLICE_SIZE)
      found = at->page;
  }
  os_lock_release(&set->outside_lock);
  return found;
}

// The lock isn't held while the visitor runs: pages are taken down a few at a time, by address, as others come and go.
bool outside_visit(arena_set_t* set, bool (*visit)(page_t* page, void* arg), void* arg) {
  enum { BATCH = 32 };
  page_t* pages[BATCH];
  for (const uint8_t* last = NULL;;) {
    size_t count = 0;
    pages_lock(set);
    for (outside_t* at = set->outside; at != NULL; at = at->next) {
      const uint8_t* start = at->page->start;
      if (start <= last || (count == BATCH && start >= pages[BATCH - 1]->start)) continue;
      size_t place = count < BATCH ? count++ : BATCH - 1;
      for (; place > 0 && pages[place - 1]->start > start; place--) pages[place] = pages[place - 1];
      pages[place] = at->page;
    }
    os_lock_release(&set->outside_lock);
    if (count > 0) last = pages[count - 1]->start;
    for (size_t i = 0; i < count; i++)
      if (atomic_get_acquire(&pages[i]->owner) != 0 && !visit(pages[i], arg)) return false;
    if (count < BATCH) return true;
  }
}

void outside_release_all(arena_set_t* set) {
  while (set->outside != NULL) {
    outside_t* outside = set->outside;
    set->outside = outside->next;
    page_t* page = outside->page;
    if (page_has_inside_marks(page->slice_count)) page_map_mark_inside(page, page->slice_count, false);
    atomic_set_release(&page->owner, 0);
    release_reservations(outside, page->slice_count * SLICE_SIZE);
  }
  set->outside_bytes = 0;
}

void outside_forget_records(void) {
  spares = NULL;
#if MI_64BIT
  lanes_taken = 0;
#endif
}
