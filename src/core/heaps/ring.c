// Secure builds only; see ring.h.
#include "core/heaps/ring.h"

#include "core/pages/block.h"
#include "core/pages/page_map.h"

#if MI_SECURE

static void ring_release(theap_t* theap, block_t* block) {
  page_t* page = page_map_page(block);
  if (!block_delayed_is_whole(page, block, block_pad(block))) block_report(MISUSE_LINK, page, block, NULL);
  if (MI_DEBUG) block_check_freed(page, block);
  theap_release_run(theap, page, (block_run_t){block, block, 1});
}

void ring_flush(theap_t* theap) {
  for (size_t i = 0; i < THEAP_RING; i++) {
    block_t* block = theap->ring[i];
    atomic_set_relaxed(&theap->ring[i], (block_t*)NULL);
    if (block != NULL) ring_release(theap, block);
  }
}

void ring_count(const theap_t* theap, int64_t* freed) {
  for (size_t i = 0; i < THEAP_RING; i++) {
    const block_t* block = atomic_get_relaxed(&theap->ring[i]);
    const page_t* page = block == NULL ? NULL : page_map_page(block); // gone by now, perhaps
    if (page != NULL) freed[atomic_get_relaxed(&page->bin)]++;
  }
}

MI_INLINE block_t* ring_swap(theap_t* theap, block_t* block) {
  uint64_t state =
      theap->ring_state * 0x5851f42d4c957f2du + (block_keys[2] ^ (uintptr_t)theap); // odd enough: keys are
  theap->ring_state = state;
  block_t** place = &theap->ring[state >> 59];
  block_t* before = *place;
  atomic_set_relaxed(place, block);
  return before;
}
_Static_assert(THEAP_RING == 1 || THEAP_RING == 32, "ring_swap takes five bits");

bool ring_take(theap_t* theap, const page_t* page, block_t* block) {
  if (theap == NULL || !theap->has_ring || atomic_get_relaxed(&page->heap) != theap->heap) return false;
  block_set_delayed(page, block, block_pad(block));
  block_t* before = ring_swap(theap, block);
  if (before != NULL) ring_release(theap, before);
  return true;
}

#endif
