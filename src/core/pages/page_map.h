// The page map: from any address to the page that holds it, or "not ours".
//
// The address space is cut into regions (1 GiB; 128 MiB on 32-bit). A region in which we own memory has a
// table with one page record per slice; the region's entry in `page_map_regions` holds the table's address,
// biased so that the record's address is entry + slice number * record size. Two instructions of arithmetic
// and one load lead from a block to its page record, and any other address leads to NULL or to a record
// without owner.
#ifndef CORE_PAGES_PAGE_MAP_H
#define CORE_PAGES_PAGE_MAP_H

#include "core/pages/page.h"

#if MI_64BIT
#define REGION_SHIFT 30
#define REGION_COUNT ((size_t)1 << 17) // user addresses have 47 bits
#else
#define REGION_SHIFT 27
#define REGION_COUNT ((size_t)1 << 5)
#endif
#define REGION_SLICES ((size_t)1 << (REGION_SHIFT - SLICE_SHIFT))

extern uintptr_t page_map_regions[REGION_COUNT];

// The biased table for the region of `p`, 0 when no memory of ours is near.
MI_INLINE uintptr_t page_map_table(const void* p) {
  uintptr_t region = (uintptr_t)p >> REGION_SHIFT;
  if (MI_64BIT && MI_UNLIKELY(region >= REGION_COUNT)) return 0;
  return atomic_get_relaxed(&page_map_regions[region]);
}

MI_INLINE page_t* page_map_record_in(uintptr_t table, const void* p) {
  return (page_t*)(table + (((uintptr_t)p >> SLICE_SHIFT) << PAGE_RECORD_SHIFT));
}

// The record of the slice that holds `p`: a page's first slice, another slice of a page, or nobody's (owner
// and back are 0). NULL when no memory of ours is near.
MI_INLINE page_t* page_map_record(const void* p) {
  uintptr_t table = page_map_table(p);
  return MI_UNLIKELY(table == 0) ? NULL : page_map_record_in(table, p);
}

// The page that a block pointer of ours belongs to, or NULL when it isn't one. For pointers into the middle
// of huge blocks, which no API function hands out, use arena_find_page.
MI_INLINE page_t* page_map_page(const void* p) {
  page_t* record = page_map_record(p);
  if (record == NULL) return NULL;
  size_t back = record->back;
  if (back != 0) record = page_map_record((const uint8_t*)p - back * SLICE_SIZE); // perhaps in another table
  return record == NULL || atomic_get_relaxed(&record->owner) == 0 ? NULL : record;
}

// Makes sure that all slices of the range have records. False when out of memory.
bool page_map_cover(const void* start, size_t size);

// Marks slices 1..count-1 of `page` as lying inside it (`inside`), or as nobody's again.
void page_map_mark_inside(page_t* page, size_t count, bool inside);

// Marks the one slice of `page` that holds `p`.
void page_map_mark_pointer(page_t* page, const void* p, bool inside);

// No page starts or lies in these slices any more, whatever their records say (their memory goes away).
void page_map_forget(const void* start, size_t slice_count);

// Unload: releases all tables.
void page_map_release(void);

#endif
