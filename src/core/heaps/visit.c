// Walks over the areas and blocks of a heap.
#include "core/heaps/abandoned.h"
#include "core/heaps/guarded.h"
#include "core/heaps/idle.h"
#include "core/heaps/single.h"
#include "core/heaps/thread.h"
#include "core/pages/block.h"
#include "core/pages/bundle.h"
#include "base/memory.h"

// The visitor is called when all has been noted of a page, and nothing is held: it may take its time, or never return,
// and the page may go meanwhile.
typedef struct visit_s {
  heap_t* heap;
  heap_scope_t scope;
  theap_t* theap;
  bool with_blocks;
  heap_visitor_t* visitor;
  void* arg;
  bool stopped;
  heap_area_t area;
  uint8_t* first;              // block of the area
  uint32_t count;              // of them that were cut
  uint64_t free[BUNDLE_WORDS]; // a bit for each
} visit_t;

static void mark_free(visit_t* visit, const page_t* page, const block_t* block, uint64_t count) {
  for (block_t* next; block != NULL && count > 0; block = next, count--) {
    size_t offset = (size_t)((const uint8_t*)block - page->start);
    if (offset >= (size_t)visit->count * page->block_size) return; // a damaged list: what follows is anything
    size_t index = offset / page->block_size;
    visit->free[index / 64] |= (uint64_t)1 << index % 64;
    if (!block_get_next(page, block, &next)) return;
  }
}

// Blocks whose reuse is delayed are in nobody's list.
static void mark_delayed(visit_t* visit, const page_t* page) {
  for (uint32_t i = 0; i < visit->count; i++) {
    uint64_t bit = (uint64_t)1 << i % 64;
    if ((visit->free[i / 64] & bit) != 0) continue;
    const block_t* block = (const block_t*)(page->start + i * page->block_size);
    if (*block_tail(page, block) != 0) continue;
    visit->free[i / 64] |= bit;
    visit->area.used--;
  }
}

static void note_single(visit_t* visit, page_t* page) {
  uint8_t* block = (uint8_t*)atomic_get_relaxed(&page->free); // what the program has of it
  visit->first = block;
  visit->count = block != NULL; // or freed in this moment
  visit->free[0] = 0;
  visit->area.used = visit->count;
  if (block != NULL) visit->area.block_size -= (size_t)(block - page->start);
}

// Nobody else touches the page's private fields; blocks may still come to the remote list.
static void note_blocks(visit_t* visit, page_t* page) {
  uint64_t remote = atomic_get_acquire(&page->remote);
  block_t* first = page_remote_first(page, remote);
  heap_area_t* area = &visit->area;
  area->reserved *= page->reserved;
  area->committed = page->slice_count == page->committed_slices ? area->reserved : page_committed(page);
  if (area->committed > area->reserved) area->committed = area->reserved;
  area->used = (size_t)page_used(page) - (remote & PAGE_REMOTE_COUNT);
  area->block_size -= BLOCK_TAIL;
  visit->first = page->start;
  visit->count = page->extended;
  if (!visit->with_blocks && !MI_SECURE) return;
  mem_zero(visit->free, sizeof(visit->free));
  mark_free(visit, page, page->free, visit->count);
  if (!MI_SECURE && (remote & PAGE_REMOTE_BUNDLED) != 0) {
    bundle_read(page, first, (remote & PAGE_REMOTE_COUNT), visit->free);
  } else {
    mark_free(visit, page, first, (remote & PAGE_REMOTE_COUNT));
  }
  if (MI_SECURE) mark_delayed(visit, page);
}

static void note_page(visit_t* visit, page_t* page, bool is_single) {
  size_t size = page->block_size;
  visit->area = (heap_area_t){.blocks = page->start,
                              .reserved = size,
                              .committed = size,
                              .block_size = size,
                              .full_block_size = size,
                              .page = page};
  if (is_single) {
    note_single(visit, page);
  } else {
    idle_pause(); // nobody has the remote list in his hands
    note_blocks(visit, page);
    idle_resume();
  }
}

static bool call(visit_t* visit, uint8_t* block) {
  visit->stopped = !visit->visitor(visit->heap, &visit->area, block, visit->area.block_size, visit->arg);
  return !visit->stopped;
}

static bool call_all(visit_t* visit) {
  if (!call(visit, NULL)) return false;
  for (uint32_t i = 0; visit->with_blocks && i < visit->count; i++) {
    if ((visit->free[i / 64] >> i % 64 & 1) != 0) continue;
    if (!call(visit, visit->first + i * visit->area.full_block_size)) return false;
  }
  return true;
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
  if (is_single || !page_is_abandoned(owner)) {
    note_page(visit, page, is_single);
  } else { // Nobody's: ours while we look, so that nobody takes it over in between.
    theap_t* current = theap_current();
    if (!page_claim_for_look(current != NULL ? current : &theap_none, page)) return true;
    bool is_its = atomic_get_acquire(&page->heap) == visit->heap; // still
    if (is_its) note_page(visit, page, false);
    page_abandon_again(current, page, owner);
    if (!is_its) return true;
  }
  return call_all(visit);
}

bool heap_visit_pages(heap_t* heap, bool (*visit)(page_t* page, void* arg), void* arg) {
  heap_walk_t* walk = NULL;
  page_t* page = heap_is_main(heap) ? NULL : heap_walk(heap, &walk, false);
  if (walk == NULL) return arena_visit_pages(&heap->subproc->arenas, visit, arg);
  bool goes_on = true;
  while (page != NULL) {
    goes_on = visit(page, arg);
    page = heap_walk(heap, &walk, !goes_on);
  }
  return goes_on;
}

bool heap_visit(heap_t* heap, heap_scope_t scope, theap_t* theap, bool blocks, heap_visitor_t* visitor,
                void* arg) {
  visit_t visit = {
      .heap = heap, .scope = scope, .theap = theap, .with_blocks = blocks, .visitor = visitor, .arg = arg};
  heap_visit_pages(heap, &visit_page, &visit);
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
