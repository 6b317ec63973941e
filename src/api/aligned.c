// The aligned family: size before alignment, `_at` aligns the address plus an offset.
#include "mimalloc.h"
#include "api/alloc_fast.h"

void* mi_malloc_aligned(size_t size, size_t alignment) {
  return block_allocate_aligned(size, alignment, 0, false);
}

void* mi_malloc_aligned_at(size_t size, size_t alignment, size_t offset) {
  return block_allocate_aligned(size, alignment, offset, false);
}

void* mi_zalloc_aligned(size_t size, size_t alignment) {
  return block_allocate_aligned(size, alignment, 0, true);
}

void* mi_zalloc_aligned_at(size_t size, size_t alignment, size_t offset) {
  return block_allocate_aligned(size, alignment, offset, true);
}

void* mi_calloc_aligned(size_t count, size_t size, size_t alignment) {
  return mi_calloc_aligned_at(count, size, alignment, 0);
}

void* mi_calloc_aligned_at(size_t count, size_t size, size_t alignment, size_t offset) {
  size_t total;
  return block_count_overflows(count, size, &total) ? NULL
                                                    : block_allocate_aligned(total, alignment, offset, true);
}

void* mi_realloc_aligned(void* p, size_t newsize, size_t alignment) {
  return block_reallocate_aligned(p, newsize, alignment, 0, false);
}

void* mi_realloc_aligned_at(void* p, size_t newsize, size_t alignment, size_t offset) {
  return block_reallocate_aligned(p, newsize, alignment, offset, false);
}
