// Arenas come and go: reserved from the system, given by the program, released. Their pages are made in
// arena_pages.c, free slices are found in arena_claim.c and purged in arena_purge.c; pages outside of arenas
// are in outside.c.
#include "core/arenas/arena.h"
#include "core/arenas/arena_parts.h"
#include "core/arenas/arena_slices.h"
#include "core/memory/sysmem.h"
#include "core/report/counters.h"
#include "core/report/message.h"
#include "core/report/options.h"
#include "base/memory.h"

#define ADD_YIELDS 200 // how long to wait for a thread that is making an arena before making one, too

static arena_set_t* all_sets;
static os_lock_t spares_lock;
static arena_t* spares; // records of released arenas

void arena_set_init(arena_set_t* set) {
  if (atomic_swap_acq_rel(&set->is_known, 1u) != 0) return;
  atomic_push(&all_sets, set, next);
}

arena_set_t* arena_set_first(void) { return atomic_get_acquire(&all_sets); }

// ---- records --------------------------------------------------------------------------------------------

enum { BITMAPS = 7 + MI_SECURE };

static size_t summary_words(size_t word_count) { return bits_divide_up(word_count, BITMAP_WORD_BITS); }

static arena_t* spare_take(size_t word_count) {
  os_lock_acquire(&spares_lock);
  arena_t** link = &spares;
  while (*link != NULL && (*link)->word_capacity < word_count) link = &(*link)->next_spare;
  arena_t* arena = *link;
  if (arena != NULL) *link = arena->next_spare;
  os_lock_release(&spares_lock);
  return arena;
}

static void spare_give(arena_t* arena) {
  os_lock_acquire(&spares_lock);
  arena->next_spare = spares;
  spares = arena;
  os_lock_release(&spares_lock);
}

// A record with bitmaps for `slice_count` slices, all of them taken. NULL when out of memory.
static arena_t* record_make(size_t slice_count) {
  size_t words = bits_divide_up(slice_count, BITMAP_WORD_BITS), capacity = words;
  arena_t* arena = spare_take(words);
  if (arena != NULL) capacity = arena->word_capacity;
  size_t header = bits_align_up(sizeof(arena_t), MI_CACHE_LINE);
  size_t summaries = summary_words(capacity);
  size_t size =
      header + (BITMAPS * capacity + 2 * summaries) * sizeof(uint64_t) + summaries * (sizeof(uint32_t) + 1);
  if (arena == NULL) {
    arena = (arena_t*)sysmem_metadata(size);
    if (arena == NULL) return NULL;
  } else {
    mem_zero(arena, size);
  }
  arena->word_capacity = capacity;
  arena->slice_count = slice_count;
  arena->word_count = words;
  arena->numa_node = -1;
  uint64_t* bits = (uint64_t*)((uint8_t*)arena + header);
  uint64_t** bitmaps[BITMAPS] = {
    &arena->free,
    &arena->committed,
    &arena->begun,
    &arena->dirty,
    &arena->aging,
    &arena->old,
    &arena->huge_heads,
#if MI_SECURE
    &arena->shut
#endif
  };
  for (size_t i = 0; i < BITMAPS; i++, bits += capacity) *bitmaps[i] = bits;
  arena->free_summary = bits;
  arena->waiting_summary = bits + summaries;
  arena->longest = (uint32_t*)(bits + 2 * summaries);
  arena->fits = (uint8_t*)(arena->longest + summaries);
  return arena;
}

// ---- reserving ------------------------------------------------------------------------------------------

// Where to ask for an arena: at a multiple of its region size, high up, so that it shares no page map table
// with others.
#if MI_64BIT
static uintptr_t next_hint;

// Where released arenas lay: used again, for tables of the page map stay for ever, and so does their memory.
// Each is a multiple of 1 GiB, and in its low bits how many of them are free from there.
static uintptr_t free_places[64];

#if defined(__SANITIZE_ADDRESS__)
#define FIRST_PLACE ((uintptr_t)20 << 40) // below lie AddressSanitizer's tables of x86-64
#else
#define FIRST_PLACE ((uintptr_t)2 << 40)
#endif

// Arenas begin somewhere in 16 TiB, at random for each process: where the first block lies can't be known
// beforehand.
static void choose_first_hint(void) {
  uint64_t random = options_addresses_are_fixed() ? 0 : os_random_place();
  uintptr_t first = FIRST_PLACE + (uintptr_t)(random % (16 * 1024)) * MI_GIB, none = 0;
  atomic_cas_acq_rel(&next_hint, &none, first);
}

static void place_give(uintptr_t place) {
  for (size_t i = 0; i < sizeof(free_places) / sizeof(free_places[0]); i++) {
    uintptr_t none = 0;
    if (atomic_get_relaxed(&free_places[i]) == 0 && atomic_cas_acq_rel(&free_places[i], &none, place)) return;
  }
}

// `count` GiB that were in use before; 0 when there are none.
static uintptr_t place_take(size_t count) {
  for (size_t i = 0; i < sizeof(free_places) / sizeof(free_places[0]); i++) {
    uintptr_t place = atomic_get_relaxed(&free_places[i]), left = place % MI_GIB;
    if (left < count || !atomic_cas_acq_rel(&free_places[i], &place, (uintptr_t)0)) continue;
    place -= left;
    if (left > count) place_give(place + count * MI_GIB + (left - count));
    return place;
  }
  return 0;
}
static void space_is_free(const void* base, size_t size) {
  if ((uintptr_t)base % MI_GIB == 0) place_give((uintptr_t)base + bits_divide_up(size, MI_GIB));
}
#endif

static void* reserve_space(size_t size) {
#if MI_64BIT
  if (MI_UNLIKELY(atomic_get_acquire(&next_hint) == 0)) choose_first_hint();
  size_t count = bits_divide_up(size, MI_GIB);
  for (int attempt = 0; attempt < 3; attempt++) {
    uintptr_t hint = place_take(count);
    if (hint == 0) hint = atomic_add_relaxed(&next_hint, count * MI_GIB);
    if (hint >> 46 != 0) break; // far enough: wherever the system likes
    void* p = sysmem_reserve_at((void*)hint, size);
    if (p != NULL) return p;
  }
#endif
  return sysmem_reserve(size);
}

static arena_t* arena_create(size_t size) {
  size = bits_align_up(size, ARENA_ALIGNMENT);
  void* os_base = reserve_space(size);
  if (os_base == NULL) return NULL;
  uint8_t* base = (uint8_t*)bits_align_up((uintptr_t)os_base, ARENA_ALIGNMENT);
  size_t slice_count = (size - (size_t)(base - (uint8_t*)os_base)) / SLICE_SIZE;
  arena_t* arena = record_make(slice_count);
  if (arena == NULL) {
    sysmem_release(os_base, size, 0);
    return NULL;
  }
  arena->base = base;
  arena->os_base = os_base;
  arena->os_size = size;
  return arena;
}

// All that is known of its memory goes with it.
static void release_memory(arena_t* arena) {
  atomic_sub_relaxed(&slices_begun, bitmap_count(arena->begun, 0, arena->slice_count));
  size_t memory = slices_memory(arena, 0, arena->slice_count);
  if (arena->os_base != NULL) {
    sysmem_release(arena->os_base, arena->os_size, memory);
  } else if (arena->commit == NULL) { // the program's, which counted until now
    if (MI_SECURE) slices_open(arena, 0, arena->slice_count);
    stats_decrease(&stats_process.committed, memory);
  }
}

static void arena_unmake(arena_t* arena) {
  release_memory(arena);
#if MI_64BIT
  if (arena->os_base != NULL) space_is_free(arena->os_base, arena->os_size);
#endif
  spare_give(arena);
}

static bool commit_all(arena_t* arena) { return slices_do_commit(arena, 0, arena->slice_count); }

// Puts a record into the table: from then on anybody may allocate there. False, with a warning, when its first `places`
// are taken.
static bool table_add(arena_set_t* set, arena_t* arena, size_t places) {
  arena->set = set;
  os_lock_acquire(&set->lock);
  size_t index = 0, count = set->count;
  while (index < count && set->arenas[index] != NULL) index++;
  bool ok = index < places;
  if (ok) {
    arena->index = (uint32_t)index;
    atomic_set_release(&set->arenas[index], arena);
    if (index == count) atomic_set_release(&set->count, count + 1);
  }
  os_lock_release(&set->lock);
  if (!ok) {
    message_warning(
        "there are %d arenas already, no more can be made: a larger MIMALLOC_ARENA_RESERVE makes fewer",
        (int)places);
    return false;
  }
  stats_count(&stats_process.arenas, 1);
  slices_release(arena, 0, arena->slice_count);
  atomic_add_acq_rel(&set->made, 1); // who waits for it finds room there
  return true;
}

size_t arena_size_wanted(void) {
  size_t size = option_get_size(option_arena_reserve);
  return size < 4 * ARENA_ALIGNMENT ? 4 * ARENA_ALIGNMENT : size;
}

static bool wants_all_committed(void) { return option_get(option_arena_eager_commit) == 1; }

// In large pages if the system grants them.
static arena_t* arena_try_large(size_t size) {
  arena_t* arena = arena_create_large(size, -1);
  if (arena == NULL) message_verbose("no large pages for %zu MiB: normal ones are used\n", size / MI_MIB);
  return arena;
}

// Without any arena and without the system there is nothing: then the option has to wait.
bool arena_os_is_disallowed(const arena_set_t* set) {
  if (!option_is_enabled(option_disallow_os_alloc)) return false;
  if (atomic_get_relaxed(&set->count) > 0) return true;
  static uint32_t is_told;
  if (atomic_swap_acq_rel(&is_told, 1u) == 0)
    message_warning("option disallow_os_alloc waits until memory was reserved (MIMALLOC_RESERVE_OS_MEMORY, "
                    "mi_reserve_os_memory or mi_manage_os_memory)");
  return false;
}

// Makes an arena with room for `slice_count` slices unless another thread just did (then `seen` is outdated).
// Two threads may make one each rather than wait for long: the one that makes it may be in a hook that waits
// for the other.
bool arena_add(arena_set_t* set, size_t slice_count, size_t seen) {
  static uint32_t maker; // the thread that is making one; a hint
  for (int yields = 0; yields < ADD_YIELDS; yields++) {
    if (atomic_get_acquire(&set->made) != seen) return true;
    uint32_t none = 0;
    if (atomic_cas_acq_rel(&maker, &none, os_thread_id()) || none == os_thread_id()) break;
    if (os_is_exiting()) break;
    os_yield();
  }
  bool ok = atomic_get_acquire(&set->made) != seen;
  if (!ok && !arena_os_is_disallowed(set)) {
    // Arenas grow with their number, so that a small table of them covers any machine.
    size_t size = arena_size_wanted();
    if (MI_64BIT) {
      size_t shift = seen / 8 < 6 ? seen / 8 : 6;
      if (seen >= 64 && size < MI_GIB) size = MI_GIB;
      size <<= shift;
    }
    size_t needed = slice_count * SLICE_SIZE + 2 * ARENA_ALIGNMENT;
    if (size < needed) size = needed;
    arena_t* arena = option_is_enabled(option_allow_large_os_pages) ? arena_try_large(size) : NULL;
    if (arena == NULL) arena = arena_create(size);
    while (arena == NULL && size > needed) arena = arena_create(size = size / 2 < needed ? needed : size / 2);
    if (arena != NULL && wants_all_committed() && !arena->is_large && !commit_all(arena))
      message_warning("unable to commit an arena of %zu bytes at once (option arena_eager_commit)",
                      arena->os_size);
    if (arena != NULL) {
      ok = table_add(set, arena, ARENA_COUNT_MAX);
      if (!ok) arena_unmake(arena);
    }
  }
  uint32_t self = os_thread_id();
  atomic_cas_acq_rel(&maker, &self, 0u);
  return ok;
}

arena_t* arena_create_large(size_t size, int numa_node) {
  size = bits_align_up(size, ARENA_ALIGNMENT);
  void* base = sysmem_reserve_large(size, numa_node);
  if (base == NULL) return NULL;
  arena_t* arena = record_make(size / SLICE_SIZE);
  if (arena == NULL) {
    sysmem_release(base, size, size);
    return NULL;
  }
  arena->base = (uint8_t*)base;
  arena->os_base = base;
  arena->os_size = size;
  arena->is_large = arena->is_pinned = true;
  arena->numa_node = numa_node;
  bitmap_set(arena->committed, 0, arena->slice_count);
  return arena;
}

static arena_t* add_or_unmake(arena_set_t* set, arena_t* arena) {
  if (table_add(set, arena, ARENA_COUNT_MAX - ARENA_COUNT_KEPT)) return arena;
  arena_unmake(arena);
  return NULL;
}

arena_t* arena_reserve(arena_set_t* set, size_t size, bool commit, bool large, bool exclusive) {
  if (size > PTRDIFF_MAX - 2 * ARENA_ALIGNMENT) return NULL;
  if (size < ARENA_ALIGNMENT) size = ARENA_ALIGNMENT;
  arena_t* arena = large ? arena_try_large(size) : NULL;
  if (arena == NULL)
    arena = arena_create(size + ARENA_ALIGNMENT); // some of it may lie before the first multiple
  if (arena == NULL) return NULL;
  arena->is_exclusive = exclusive;
  if (commit && !arena->is_large && !commit_all(arena)) {
    arena_unmake(arena);
    return NULL;
  }
  return add_or_unmake(set, arena);
}

arena_t* arena_reserve_huge(arena_set_t* set, size_t size, int numa_node, bool exclusive) {
  arena_t* arena = arena_create_large(size, numa_node);
  if (arena == NULL) {
    message_warning(
        "the system grants no large pages for %zu MiB (NUMA node %d): it needs the right to lock pages in "
        "memory, and that much memory in one piece; normal pages are used",
        size / MI_MIB, numa_node);
    return NULL;
  }
  arena->is_exclusive = exclusive;
  return add_or_unmake(set, arena);
}

// Is any of it an arena's, of whichever set? Of two threads that give the same memory at once both may be believed.
static bool is_taken(uintptr_t start, uintptr_t end) {
  for (const arena_set_t* set = arena_set_first(); set != NULL; set = set->next) {
    for (size_t i = atomic_get_acquire(&set->count); i-- > 0;) {
      const arena_t* arena = atomic_get_acquire(&set->arenas[i]);
      if (arena != NULL && start < (uintptr_t)arena->base + arena->slice_count * SLICE_SIZE &&
          end > (uintptr_t)arena->base)
        return true;
    }
  }
  return false;
}

arena_t* arena_manage(arena_set_t* set, const arena_given_t* given) {
  uintptr_t start = bits_align_up((uintptr_t)given->start, SLICE_SIZE);
  uintptr_t end = bits_align_down((uintptr_t)given->start + given->size, SLICE_SIZE);
  if (given->start == NULL || end <= start || end - start < ARENA_MIN_SIZE ||
      (MI_64BIT && (uint64_t)end >> 47 != 0)) {
    message_warning(
        "unable to manage %zu bytes at %p: at least %zu bytes from a multiple of 64 KiB on are needed",
        given->size, given->start, (size_t)ARENA_MIN_SIZE);
    return NULL;
  }
  if (is_taken(start, end)) {
    message_warning("unable to manage %zu bytes at %p: some of it is an arena's already", given->size,
                    given->start);
    return NULL;
  }
  arena_t* arena = record_make((end - start) / SLICE_SIZE);
  if (arena == NULL) return NULL;
  arena->base = (uint8_t*)start;
  arena->is_pinned = given->is_pinned;
  arena->is_exclusive = given->is_exclusive;
  arena->numa_node = given->numa_node;
  arena->commit = given->commit;
  arena->commit_arg = given->commit_arg;
  if (given->is_committed) {
    bitmap_set(arena->committed, 0, arena->slice_count);
    if (given->commit == NULL) stats_increase(&stats_process.committed, arena->slice_count * SLICE_SIZE);
  }
  if (!given->is_zero && given->is_committed) bitmap_set(arena->dirty, 0, arena->slice_count);
  return add_or_unmake(set, arena);
}

// ---- releasing ------------------------------------------------------------------------------------------

// All slices are claimed first: then nobody else has any, or can get one. Records stay, so who still looks
// finds it full.
void arena_release_if_empty(arena_t* arena) {
  arena_set_t* set = arena->set;
  if (arena->os_base == NULL || arena->is_exclusive || arena->is_large) return;
  if (bitmap_count(arena->free, 0, arena->slice_count) != arena->slice_count) return;
  size_t others = 0;
  for (size_t i = 0; i < atomic_get_acquire(&set->count); i++) {
    arena_t* other = atomic_get_acquire(&set->arenas[i]);
    if (other != NULL && other != arena && other->os_base != NULL) others++;
  }
  if (others == 0 || !slices_try_claim(arena, 0, arena->slice_count, NULL)) return;
  os_lock_acquire(&set->lock);
  atomic_set_release(&set->arenas[arena->index], (arena_t*)NULL);
  os_lock_release(&set->lock);
  stats_count(&stats_process.arenas, -1);
  release_memory(arena);
  // The record isn't used again: somebody may still be looking at it.
}

void arena_release_empty(arena_set_t* set) {
  size_t count = atomic_get_acquire(&set->count);
  for (size_t i = 0; i < count; i++) {
    arena_t* arena = atomic_get_acquire(&set->arenas[i]);
    if (arena != NULL) arena_release_if_empty(arena);
  }
}

// Records of free slices were reset when their page was freed.
static void forget_pages(const arena_t* arena) {
  size_t count = arena->slice_count;
  for (size_t at = 0; (at = bitmap_next(arena->free, at, count, false)) < count;) {
    size_t end = bitmap_next(arena->free, at, count, true);
    page_map_forget(slice_address(arena, at), end - at);
    at = end;
  }
}

void arena_release_all(arena_set_t* set) {
  size_t count = atomic_get_acquire(&set->count);
  for (size_t i = 0; i < count; i++) {
    arena_t* arena = set->arenas[i];
    if (arena == NULL) continue;
    set->arenas[i] = NULL;
    forget_pages(arena);
    stats_count(&stats_process.arenas, -1);
    arena_unmake(arena);
  }
  atomic_set_release(&set->count, (size_t)0);
  mem_zero(set->open, sizeof(set->open));
  mem_zero(set->waiting, sizeof(set->waiting));
  set->made = 0;
  outside_release_all(set);
  atomic_set_release(&set->closed_by, 0u);
}

void arena_forget_records(void) {
  spares = NULL;
  for (arena_set_t* set = all_sets; set != NULL;) {
    arena_set_t* next = set->next;
    set->is_known = 0;
    set = next;
  }
  all_sets = NULL;
  outside_forget_records();
}
