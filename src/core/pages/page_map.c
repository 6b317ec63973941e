#include "core/pages/page_map.h"
#include "core/memory/sysmem.h"

uintptr_t page_map_regions[REGION_COUNT];

#define TABLE_SIZE                                                                                           \
  (REGION_SLICES << PAGE_RECORD_SHIFT) // 2 MiB (256 KiB on 32-bit) of records; touched as used

// Regions that have a table, for the release at unload without walking all of page_map_regions.
#define REGIONS_LISTED 1024
static uint32_t regions_listed[REGIONS_LISTED];
static uint32_t regions_count;

static uintptr_t bias_of(uintptr_t region) {
  return ((region << REGION_SHIFT) >> SLICE_SHIFT) << PAGE_RECORD_SHIFT;
}

static bool region_cover(uintptr_t region) {
  if (region >= REGION_COUNT) return false;
  if (atomic_get_relaxed(&page_map_regions[region]) != 0) return true;
  void* table = sysmem_reserve_and_commit(TABLE_SIZE);
  if (table == NULL) return false;
  uintptr_t entry = (uintptr_t)table - bias_of(region);
  if (entry ==
      0) { // would read as "no table". With 32 bits the bias is an address that tables can have: take another
    void* unlucky = table;
    table = sysmem_reserve_and_commit(TABLE_SIZE);
    sysmem_release(unlucky, TABLE_SIZE, TABLE_SIZE);
    if (table == NULL) return false;
    entry = (uintptr_t)table - bias_of(region);
  }
  uintptr_t expected = 0;
  if (!atomic_cas_acq_rel(&page_map_regions[region], &expected, entry)) {
    sysmem_release(table, TABLE_SIZE, TABLE_SIZE); // another thread was faster
    return true;
  }
  uint32_t index = atomic_add_relaxed(&regions_count, 1);
  if (index < REGIONS_LISTED) regions_listed[index] = (uint32_t)region;
  return true;
}

bool page_map_cover(const void* start, size_t size) {
  uintptr_t first = (uintptr_t)start >> REGION_SHIFT;
  uintptr_t last = ((uintptr_t)start + size - 1) >> REGION_SHIFT;
  for (uintptr_t region = first; region <= last; region++) {
    if (!region_cover(region)) return false;
  }
  return true;
}

void page_map_mark_pointer(page_t* page, const void* p, bool inside) {
  size_t index = (size_t)((const uint8_t*)p - page->start) >> SLICE_SHIFT;
  if (index != 0) page_map_record(p)->back = inside ? (uint32_t)index : 0;
}

void page_map_mark_inside(page_t* page, size_t count, bool inside) {
  for (size_t i = 1; i < count; i++) page_map_mark_pointer(page, page->start + i * SLICE_SIZE, inside);
}

void page_map_forget(const void* start, size_t slice_count) {
  for (size_t i = 0; i < slice_count; i++) {
    const uint8_t* address = (const uint8_t*)start + i * SLICE_SIZE;
    page_t* record = page_map_record(address);
    if (record == NULL) { // no table: on to the next region
      size_t left = REGION_SLICES - ((uintptr_t)address >> SLICE_SHIFT) % REGION_SLICES;
      i += left - 1;
      continue;
    }
    record->back = 0;
    page_set_extended(record, 0); // see arena_page_free
    atomic_set_release(&record->owner, 0);
  }
}

static void region_release(uintptr_t region) {
  uintptr_t entry = atomic_swap_acq_rel(&page_map_regions[region], 0);
  if (entry != 0) sysmem_release((void*)(entry + bias_of(region)), TABLE_SIZE, TABLE_SIZE);
}

void page_map_release(void) {
  if (regions_count <= REGIONS_LISTED) {
    for (uint32_t i = 0; i < regions_count; i++) region_release(regions_listed[i]);
  } else {
    for (uintptr_t region = 0; region < REGION_COUNT; region++) region_release(region);
  }
  regions_count = 0;
}
