// The re-zeroing family: realloc that zeroes what it adds. Valid on blocks that were born zeroed (calloc,
// zalloc and this family), since only those are known to be zero up to their usable size.
#include "mimalloc.h"
#include "api/alloc_fast.h"

void* mi_rezalloc(void* p, size_t newsize) { return block_reallocate(p, newsize, true); }

void* mi_recalloc(void* p, size_t newcount, size_t size) {
  size_t total;
  return block_count_overflows(newcount, size, &total) ? NULL : block_reallocate(p, total, true);
}

void* mi_rezalloc_aligned(void* p, size_t newsize, size_t alignment) {
  return block_reallocate_aligned(p, newsize, alignment, 0, true);
}

void* mi_rezalloc_aligned_at(void* p, size_t newsize, size_t alignment, size_t offset) {
  return block_reallocate_aligned(p, newsize, alignment, offset, true);
}

void* mi_recalloc_aligned(void* p, size_t newcount, size_t size, size_t alignment) {
  return mi_recalloc_aligned_at(p, newcount, size, alignment, 0);
}

void* mi_recalloc_aligned_at(void* p, size_t newcount, size_t size, size_t alignment, size_t offset) {
  size_t total;
  if (block_count_overflows(newcount, size, &total)) return NULL;
  return block_reallocate_aligned(p, total, alignment, offset, true);
}
