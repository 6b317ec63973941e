// What the files of core/arenas share besides slices (arena_slices.h).
#ifndef CORE_ARENAS_ARENA_PARTS_H
#define CORE_ARENAS_ARENA_PARTS_H

#include "core/arenas/arena.h"

arena_set_t* arena_set_first(void); // all sets, linked by next

size_t arena_size_wanted(void); // bytes of a normal arena
arena_t* arena_create_large(size_t size, int numa_node);
bool arena_add(arena_set_t* set, size_t slice_count, size_t seen);
bool arena_os_is_disallowed(const arena_set_t* set);

// Pages of a reservation of their own (outside.c): beyond the arenas' size, or aligned beyond their slices.
page_t* outside_allocate(arena_set_t* set, size_t slice_count, size_t alignment);
void outside_free(page_t* page);
bool outside_extend(page_t* page, size_t slice_count);
page_t* outside_find(arena_set_t* set, const void* p);
bool outside_visit(arena_set_t* set, bool (*visit)(page_t* page, void* arg), void* arg);
void outside_release_all(arena_set_t* set);
void outside_forget_records(void);

// Blocks of medium and large pages lie in all of their slices; a huge block has one pointer, in its first
// slice.
MI_INLINE bool page_has_inside_marks(size_t count) {
  return count == PAGE_MEDIUM_SLICES || count == PAGE_LARGE_SLICES;
}

#endif
