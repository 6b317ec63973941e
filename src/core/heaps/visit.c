// Walks over the areas and blocks of a heap.
#include "core/heaps/abandoned.h"
#include "core/heaps/guarded.h"
#include "core/heaps/single.h"
#include "core/heaps/thread.h"
#include "core/pages/block.h"
#include "base/memory.h"

typedef struct visit_s {
  heap_t* heap;
  heap_scope_t scope;
  theap_t* theap;
  bool with_blocks;
  heap_visitor_t* visitor;
  void* arg;
  bool stopped;
} visit_t;

// A bit per block of the page with the most of them.
#define FREE_WORDS (SLICE_SIZE / 8 / 64)

static void mark_free(const page_t* page, uint64_t* free_bits, const block_t* block, uint64_t count) {
  for (block_t* next; block != NULL && count > 0; block = next, count--) {
    size_t offset = (size_t)((const uint8_t*)block - page->start);
    if (offset >= (size_t)page->extended * page->block_size)
      return; // a damaged list: what follows is anything
    size_t index = offset / page->block_size;
    free_bits[index / 64] |= (uint64_t)1 << index % 64;
    if (!block_get_next(page, block, &next)) return;
  }
}

static bool visit_block(visit_t* visit, const heap_area_t* area, uint8_t* block) {
  if (visit->visitor(visit->heap, area, block, area->block_size, visit->arg)) return true;
  visit->stopped = true;
  return false;
}

// Nobody else touches the page's private fields; blocks may still come to the remote list.
static bool visit_blocks(visit_t* visit, page_t* page, const heap_area_t* area) {
  if (page->bin == BIN_HUGE)
    return visit_block(visit, area, (uint8_t*)page->free); // what the program has of it
  uint64_t free_bits[FREE_WORDS];
  mem_zero(free_bits, (page->extended + (size_t)63) / 64 * sizeof(uint64_t));
  uint64_t remote = atomic_get_acquire(&page->remote);
  uint64_t index = remote >> 32;
  mark_free(page, free_bits, page->free, page->extended);
  if (index != 0)
    mark_free(page, free_bits, (const block_t*)(page->start + (index - 1) * 8), (uint32_t)remote);
  for (uint32_t i = 0; i < page->extended; i++) {
    if ((free_bits[i / 64] >> i % 64 & 1) != 0) continue;
    uint8_t* block = page->start + i * page->block_size;
    if (MI_SECURE && *block_tail(page, (const block_t*)block) == 0) continue; // its reuse is delayed
    if (!visit_block(visit, area, block)) return false;
  }
  return true;
}

static bool visit_owned_page(visit_t* visit, page_t* page) {
  bool is_huge = page->bin == BIN_HUGE;
  size_t size = (size_t)page->slice_count * SLICE_SIZE;
  heap_area_t area = {
      .blocks = page->start,
      .reserved = is_huge ? page->block_size : page->reserved * page->block_size,
      .committed =
          is_huge || page->slice_count == page->committed_slices ? size : page->committed_slices * SLICE_SIZE,
      .used = is_huge ? 1 : (size_t)(page_used(page) - page_remote_count(page)),
      .block_size = page->block_size,
      .full_block_size = page->block_size,
      .page = page,
  };
  if (area.committed > area.reserved) area.committed = area.reserved; // not the guard behind a huge block
  if (!visit->visitor(visit->heap, &area, NULL, area.block_size, visit->arg)) {
    visit->stopped = true;
    return false;
  }
  return !visit->with_blocks || visit_blocks(visit, page, &area);
}

static bool visit_page(page_t* page, void* arg) {
  visit_t* visit = (visit_t*)arg;
  if (atomic_get_acquire(&page->heap) != visit->heap) return true;
  uintptr_t owner = atomic_get_acquire(&page->owner);
  if (owner == 0 || single_is_kept(owner)) return true;
  bool is_single = (owner & PAGE_OWNER_SINGLE) != 0;
  if (visit->scope == HEAP_THEAP) {
    // Full pages that it filled, and huge blocks that it allocated, count as its own.
    if (page_owner_theap(owner) != visit->theap) return true;
  } else if (visit->scope == HEAP_ABANDONED) {
    if (is_single || !page_is_abandoned(owner)) return true;
  }
  if (is_single || !page_is_abandoned(owner)) return visit_owned_page(visit, page);
  // Nobody's: ours while we look, so that nobody takes it over in between.
  theap_t* current = theap_current();
  theap_t* by = current != NULL ? current : &theap_none;
  if (!page_claim_for_look(by, page)) return true;
  bool goes_on = visit_owned_page(visit, page);
  page_abandon_again(current, page, owner);
  return goes_on;
}

bool heap_visit(heap_t* heap, heap_scope_t scope, theap_t* theap, bool blocks, heap_visitor_t* visitor,
                void* arg) {
  visit_t visit = {heap, scope, theap, blocks, visitor, arg, false};
  if (heap_is_main(heap)) {
    arena_visit_pages(&heap->subproc->arenas, &visit_page, &visit);
    return !visit.stopped;
  }
  for (page_t* page = heap->pages; page != NULL && !visit.stopped;) {
    page_t* next = page->heap_next; // the page may turn out to be empty, and go
    if (!visit_page(page, &visit)) break;
    page = next;
  }
  return !visit.stopped;
}

bool heap_page_is_under_utilized(heap_t* heap, const void* p, size_t percent) {
  page_t* page = arena_find_page(p);
  if (page == NULL || page->bin == BIN_HUGE || (heap != NULL && atomic_get_acquire(&page->heap) != heap))
    return false;
  uintptr_t owner = atomic_get_acquire(&page->owner);
  if (owner == 0) return false;
  if (!page_is_abandoned(owner)) {
    theap_t* theap = page_owner_theap(owner);
    if (theap->bins[page->bin].first == page) return false; // it is being filled
  }
  uint64_t used = page_used(page) - page_remote_count(page);
  return used * 100 < (uint64_t)page->reserved * percent;
}
