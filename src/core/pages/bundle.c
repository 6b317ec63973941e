#include "core/pages/bundle.h"

#include "base/memory.h"
#include "core/memory/bitmap.h"
#include "core/memory/sysmem.h"
#include "core/pages/block.h"

typedef struct bundle_s {
  uintptr_t next; // of the list, and BUNDLE_BIT
  uint64_t count; // blocks, this one included
  uint64_t bits[];
} bundle_t;

#define RESET_LEAST ((size_t)16 * MI_KIB) // bytes: less isn't worth the calls of the system

// Blocks that fit. (`reserved` is lowered by as many as killed threads lost.)
static size_t capacity(const page_t* page) { return page->slice_count * SLICE_SIZE / page->block_size; }
static size_t words_of(const page_t* page) { return bits_divide_up(capacity(page), 64); }
static size_t size_of(const page_t* page) { return sizeof(bundle_t) + words_of(page) * sizeof(uint64_t); }

static size_t offset_of(const page_t* page, const block_t* block) {
  return (size_t)((const uint8_t*)block - page->start);
}

// The index of the block that starts there; BLOCK_NONE: none. (Unlike block_index not a question to the owner.)
static uint32_t index_of(const page_t* page, const block_t* block) {
  size_t offset = offset_of(page, block), size = page->block_size;
  uint32_t index = (uint32_t)((uint64_t)offset * page->inverse >> 32);
  return offset <= page->slice_count * SLICE_SIZE - size && index * size == offset ? index : BLOCK_NONE;
}

static bool add_bundle(const page_t* page, const bundle_t* bundle, uint32_t most, uint64_t* bits) {
  size_t count = 0, words = words_of(page);
  if (offset_of(page, (const block_t*)bundle) + size_of(page) > page->slice_count * SLICE_SIZE) return false;
  for (size_t i = 0; i < words; i++) {
    if ((bits[i] & bundle->bits[i]) != 0) return false;
    bits[i] |= bundle->bits[i];
    count += bits_count(bundle->bits[i]);
  }
  return count == bundle->count && count <= most && count > 0;
}

block_t* bundle_read(const page_t* page, block_t* first, uint32_t count, uint64_t* bits) {
  for (block_t* block = first;;) {
    uint32_t index = block == NULL ? BLOCK_NONE : index_of(page, block);
    if (index == BLOCK_NONE) return NULL;
    uintptr_t link = (uintptr_t)block->next;
    if ((link & BUNDLE_BIT) != 0) {
      const bundle_t* bundle = (const bundle_t*)block;
      if (!add_bundle(page, bundle, count, bits)) return NULL;
      count -= (uint32_t)bundle->count;
    } else {
      if ((bits[index / 64] >> index % 64 & 1) != 0) return NULL;
      bits[index / 64] |= (uint64_t)1 << index % 64;
      count--;
    }
    block_t* next = (block_t*)(link & ~BUNDLE_BIT);
    if (count == 0) return next == NULL ? block : NULL;
    block = next;
  }
}

block_t* bundle_open(const page_t* page, block_t* first, uint32_t count) {
  uint64_t bits[BUNDLE_WORDS];
  mem_zero(bits, sizeof(bits));
  if (bundle_read(page, first, count, bits) == NULL) return NULL;
  block_t* list = NULL;
  for (size_t i = words_of(page); i-- > 0;) {
    while (bits[i] != 0) {
      unsigned bit = bits_highest(bits[i]);
      block_t* block = (block_t*)(page->start + (i * 64 + bit) * page->block_size);
      block->next = list;
      list = block;
      bits[i] &= ~((uint64_t)1 << bit);
    }
  }
  return list;
}

typedef struct plan_s {
  size_t place; // offset of the bundle, the first place with room for it; SIZE_MAX: there is none
  // A bit for each that nothing but freed blocks lie in: 64 at most, as pages have 4 slices at most.
  uint64_t system_pages;
  size_t bytes; // in these
} plan_t;

static plan_t make_plan(const page_t* page, const uint64_t* bits) {
  plan_t plan = {SIZE_MAX, 0, 0};
  size_t step = os_page_size(), size = page->block_size, own = size_of(page), count = capacity(page), end;
  for (size_t at = 0; (at = bitmap_next(bits, at, count, true)) < count; at = end) {
    end = bitmap_next(bits, at, count, false);
    size_t from = at * size, to = end < count ? end * size : page->slice_count * SLICE_SIZE;
    if (plan.place == SIZE_MAX && end * size - from >= own) {
      plan.place = from;
      from += own;
    }
    size_t first = bits_divide_up(from, step), behind = to / step;
    if (first >= behind) continue;
    plan.system_pages |= bits_mask(first, behind - first);
    plan.bytes += (behind - first) * step;
  }
  return plan;
}

static void reset(const page_t* page, uint64_t system_pages) {
  size_t step = os_page_size();
  while (system_pages != 0) {
    unsigned first = bits_lowest(system_pages), count = bits_run(system_pages, first);
    sysmem_reset(page->start + first * step, count * step);
    system_pages &= ~bits_mask(first, count);
  }
}

bool bundle_remote(page_t* page, const struct heap_s* heap) {
  uint64_t word = atomic_swap_acq_rel(&page->remote, 0);
  if (word == 0) return false;
  // From here on the page can't go, since these blocks count as in use; unless its heap is destroyed, which the one that was
  // asked for never is. Had the page just become another heap's, they go back as they are, or, if that has had others since,
  // not at all.
  if (atomic_get_acquire(&page->heap) != heap) {
    uint64_t none = 0;
    atomic_cas_acq_rel(&page->remote, &none, word);
    return false;
  }
  block_t* first = page_remote_first(page, word);
  uint32_t count = word & PAGE_REMOTE_COUNT;
  uint64_t bits[BUNDLE_WORDS];
  mem_zero(bits, sizeof(bits));
  block_t* last = bundle_read(page, first, count, bits);
  if (last == NULL) {
    page_report_remote(page); // lost, as if the owner had found it
    return false;
  }
  plan_t plan = make_plan(page, bits);
  bool is_bundle =
      ((uintptr_t)last->next & BUNDLE_BIT) != 0 && ((bundle_t*)last)->count == count; // and nothing else
  bool is_worth_it = !is_bundle && plan.place != SIZE_MAX && plan.bytes >= RESET_LEAST;
  if (is_worth_it) {
    bundle_t* bundle = (bundle_t*)(page->start + plan.place);
    bundle->next = BUNDLE_BIT;
    bundle->count = count;
    for (size_t i = words_of(page); i-- > 0;) bundle->bits[i] = bits[i];
    reset(page, plan.system_pages);
    first = last = (block_t*)bundle;
    word |= PAGE_REMOTE_BUNDLED;
  }
  page_put_back_remote(page, first, last, word);
  return is_worth_it;
}
