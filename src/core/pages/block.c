#include "core/pages/block.h"

#include "core/report/message.h"
#include "core/report/options.h"
#include "os/os.h"

uint64_t block_keys[4];
uint32_t block_reciprocals[BIN_COUNT];
bool block_zeroes_all;

// Two threads may come here at once: both end up with the seeds of the first, and write the same. Release builds encode nothing.
static void choose_keys(void) {
  static uint64_t seeds[2];
  uint64_t random[2], none = 0;
  if (atomic_get_acquire(&seeds[1]) == 0) {
    os_random(random);
    for (int i = 0; i < 2; i++, none = 0) atomic_cas_acq_rel(&seeds[i], &none, random[i] | 1);
  }
  uint64_t state = atomic_get_acquire(&seeds[0]) ^ (atomic_get_acquire(&seeds[1]) << 1);
  for (int i = 0; i < 4; i++) {
    state += 0x9e3779b97f4a7c15u;
    uint64_t x = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    block_keys[i] = (x ^ (x >> 31) ^ seeds[i & 1]) | 1;
  }
}

void block_init(void) {
  if (MI_SECURE) {
    choose_keys();
    atomic_set_relaxed(&block_zeroes_all, options_zero_on_free());
  }
  for (unsigned bin = 1; bin <= BIN_LAST; bin++) // the last one says that all are there, and the keys
    atomic_set_release(&block_reciprocals[bin], (uint32_t)(((uint64_t)1 << 32) / size_class_size(bin) + 1));
}

static bool is_first(void) {
  static uint32_t reported;
  return atomic_swap_acq_rel(&reported, 1u) == 0;
}

MI_COLD void block_report(misuse_t misuse, const page_t* page, const void* p, const char* function) {
  size_t size = page->block_size - (page->bin == BIN_HUGE ? 0 : BLOCK_TAIL);
  bool always = !MI_SECURE && !MI_DEBUG && is_first();
  switch (misuse) {
  case MISUSE_LINK:
    message_misuse(always, MESSAGE_EFAULT, "a free block was written to: %p (size %zu)", p, size);
    break;
  case MISUSE_OVERFLOW:
    message_misuse(always, MESSAGE_EFAULT, "block %p (size %zu) was written beyond its end", p, size);
    break;
  case MISUSE_DOUBLE_FREE:
    message_misuse(always, MESSAGE_EAGAIN, "double free of block %p (size %zu)", p, size);
    break;
  case MISUSE_INSIDE:
    message_misuse(always, MESSAGE_EINVAL, "%s of invalid pointer %p: inside a block, not at its start",
                   function, p);
    break;
  case MISUSE_NOT_BLOCK:
  default:
    message_misuse(always, MESSAGE_EINVAL, "%s of invalid pointer %p: not allocated by mimalloc", function,
                   p);
    break;
  }
}

#if MI_DEBUG && MI_SECURE
void block_check_freed(const page_t* page, const block_t* block) {
  const uint8_t* bytes = (const uint8_t*)block;
  size_t end = page->block_size - BLOCK_TAIL;
  for (size_t i = 16; i < end; i++) {
    if (MI_LIKELY(bytes[i] == FILL_FREED)) continue;
    block_report(MISUSE_LINK, page, block, NULL);
    return;
  }
}
#endif
