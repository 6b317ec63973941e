#include "core/pages/block.h"
#include "core/pages/bundle.h"
#include "core/report/message.h"
#include "base/memory.h"

const page_t page_none;

#define PAGE_EXTEND_SIZE                                                                                     \
  (4 * MI_KIB) // link about one system page of blocks at a time: memory is touched as it is needed

void page_init(page_t* page, unsigned bin, size_t block_size, uintptr_t owner, struct heap_s* heap) {
  if (MI_UNLIKELY(atomic_get_acquire(&block_reciprocals[BIN_LAST]) == 0)) block_init();
  page->free = NULL;
  page->allocated = 0;
  page->freed = 0;
  page->block_size = block_size;
  page->inverse = block_reciprocals[bin]; // 0 for huge ones: then no address is a block
  page_set_extended(page, 0);
  // Read by late looks at what the record was before, as three more are.
  atomic_set_relaxed(&page->reserved,
                     (uint16_t)(bin == BIN_HUGE ? 1 : page->slice_count * SLICE_SIZE / block_size));
  atomic_set_relaxed(&page->bin, (uint8_t)bin);
  page->is_kept = 0;
  page->keep_ticks = 0;
  atomic_set_relaxed(&page->is_listed, (uint8_t)0);
  atomic_set_relaxed(&page->heap, heap);
  atomic_set_relaxed(&page->remote, 0);
  atomic_set_release(&page->owner, owner);
}

// The order in which secure builds link fresh blocks: a permutation of 0..count-1.
static void shuffle(const page_t* page, uint16_t* order, size_t count) {
  uint64_t state = block_mix((uint64_t)(uintptr_t)page ^ block_keys[1], page->extended ^ block_keys[0]) | 1;
  for (size_t i = 0; i < count; i++) order[i] = (uint16_t)i;
  for (size_t i = count - 1; i > 0; i--) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    size_t other = (size_t)((state >> 32) * (i + 1) >> 32);
    uint16_t swapped = order[i];
    order[i] = order[other];
    order[other] = swapped;
  }
}

static block_t* link_shuffled(const page_t* page, uint8_t* first, size_t count) {
  uint16_t order[PAGE_EXTEND_SIZE / 8];
  shuffle(page, order, count);
  block_t* list = page->free;
  for (size_t i = 0; i < count; i++) {
    block_t* block = (block_t*)(first + order[i] * page->block_size);
    if (MI_DEBUG) mem_fill(block, FILL_FREED, page->block_size);
    if (!page->is_zero || MI_DEBUG) *block_tail(page, block) = 0;
    block_set_next(page, block, list);
    list = block;
  }
  return list;
}

// In address order, so that they are handed out that way.
static block_t* link_in_order(const page_t* page, uint8_t* first, size_t count) {
  size_t size = page->block_size;
  uint8_t* last = first + (count - 1) * size;
  for (uint8_t* p = first; p < last; p += size) ((block_t*)p)->next = (block_t*)(p + size);
  ((block_t*)last)->next = page->free;
  return (block_t*)first;
}

// Links the next untouched blocks.
static void page_extend(page_t* page) {
  size_t count = PAGE_EXTEND_SIZE / page->block_size;
  size_t left = page_uncut(page);
  if (count == 0) count = 1;
  if (count > left) count = left;
  uint8_t* first = page->start + page->extended * page->block_size;
  block_t* list = MI_SECURE ? link_shuffled(page, first, count) : link_in_order(page, first, count);
  // In this order: should the thread be killed in between, these blocks are lost, but none is handed out
  // twice.
  page_set_extended(page, page->extended + count);
  atomic_compiler_fence();
  page->free = list;
}

block_t* page_take(page_t* page, bool* is_zero) {
  *is_zero = false;
  if (page->free == NULL) {
    if (page->extended >= page->reserved || page_wants_commit(page)) return NULL;
    if (page->block_size > SMALL_SIZE_MAX) {
      // Larger blocks are taken one by one, so that we know of each whether its memory is fresh from the
      // system.
      block_t* block = (block_t*)(page->start + page->extended * page->block_size);
      page_set_extended(page, page->extended + (size_t)1);
      atomic_compiler_fence(); // as above
      page->allocated++;
      *is_zero = page->is_zero;
      block_hand_out_fresh(page, block);
      return block;
    }
    page_extend(page);
  }
  block_t* block = page->free;
  block_hand_out(page, block);
  page->allocated++;
  return block;
}

// ---- the remote list ------------------------------------------------------------------------------------

uint32_t page_free_remote(page_t* page, block_t* block) {
  uint64_t index = (uint64_t)((uint8_t*)block - page->start) / 8 + 1;
  uint64_t word = atomic_get_relaxed(&page->remote), next;
  do {
    block_set_next(page, block, page_remote_first(page, word));
    next = index << 32 | (uint32_t)(word + 1);
    // Sequentially consistent, like the store that abandons a page: either we see that nobody owns it, or who
    // abandons it sees the block.
  } while (!atomic_cas_weak_seq_cst(&page->remote, &word, next));
  return (uint32_t)next;
}

#if MI_SECURE
uint32_t page_free_remote_run(page_t* page, block_run_t run) {
  return block_free_remote_by(page, run, block_pad(run.last));
}
#endif

void page_put_back_remote(page_t* page, block_t* first, block_t* last, uint64_t taken) {
  uint64_t index = (uint64_t)((uint8_t*)first - page->start) / 8 + 1;
  uint64_t word = atomic_get_relaxed(&page->remote), after;
  uintptr_t bundle = (uintptr_t)last->next; // nothing but BUNDLE_BIT, perhaps
  do {
    last->next = (block_t*)((uintptr_t)page_remote_first(page, word) | bundle);
    uint64_t count = (word & PAGE_REMOTE_COUNT) + (taken & PAGE_REMOTE_COUNT);
    after = index << 32 | ((word | taken) & PAGE_REMOTE_BUNDLED) | count;
  } while (!atomic_cas_weak_seq_cst(&page->remote, &word, after));
}

MI_COLD void page_report_remote(const page_t* page) {
  message_misuse(!MI_SECURE, MESSAGE_EFAULT,
                 "corrupted remote free list of the page at %p (block size %zu): double free?",
                 (void*)page->start, page->block_size);
}

uint32_t page_collect_remote(page_t* page) {
  if (atomic_get_relaxed(&page->remote) == 0) return 0;
  uint64_t word = atomic_swap_acq_rel(&page->remote, 0);
  block_t* first = page_remote_first(page, word);
  uint32_t count = word & PAGE_REMOTE_COUNT;
  // More blocks came back than went out, or the list isn't as long as its count: then it can't be trusted.
  // Its blocks are left lost rather than handed out twice.
  if (MI_UNLIKELY(count > page_used(page))) {
    page_report_remote(page);
    return 0;
  }
  if (MI_UNLIKELY(!MI_SECURE && (word & PAGE_REMOTE_BUNDLED) != 0)) {
    first = bundle_open(page, first, count);
    if (first == NULL) {
      page_report_remote(page);
      return 0;
    }
  }
  if (page->free != NULL) {
    block_t* last = first;
    for (uint32_t i = 1; i < count && last != NULL; i++) last = block_next(page, last);
    block_t* end;
    if (MI_UNLIKELY(last == NULL || !block_get_next(page, last, &end) || end != NULL)) {
      page_report_remote(page);
      return 0;
    }
    block_set_next(page, last, page->free);
  }
  block_list_grows(page, first, page->freed + count);
  return count;
}

uint32_t page_drop_remote(page_t* page) {
  uint32_t count = atomic_swap_acq_rel(&page->remote, 0) & PAGE_REMOTE_COUNT;
  page->freed += count;
  return count;
}
