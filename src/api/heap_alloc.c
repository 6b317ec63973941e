// Allocation in heaps: each function is the one without "heap_", told where to allocate.
#include "api/api_types.h"
#include "api/alloc_fast.h"
#include "api/text_copy.h"

// ---- plain ------------------------------------------------------------------------------------------------

void* mi_heap_malloc(mi_heap_t* heap, size_t size) { return block_malloc_in(heap_from(heap), size); }
void* mi_heap_malloc_small(mi_heap_t* heap, size_t size) { return block_malloc_in(heap_from(heap), size); }
void* mi_heap_zalloc(mi_heap_t* heap, size_t size) { return block_calloc_in(heap_from(heap), size); }
void* mi_heap_zalloc_small(mi_heap_t* heap, size_t size) { return block_calloc_in(heap_from(heap), size); }

void* mi_heap_calloc(mi_heap_t* heap, size_t count, size_t size) {
  size_t total;
  return block_count_overflows(count, size, &total) ? NULL : block_calloc_in(heap_from(heap), total);
}

void* mi_heap_mallocn(mi_heap_t* heap, size_t count, size_t size) {
  size_t total;
  return block_count_overflows(count, size, &total) ? NULL : block_malloc_in(heap_from(heap), total);
}

void* mi_heap_realloc(mi_heap_t* heap, void* p, size_t newsize) {
  return block_reallocate_in(heap_from(heap), p, newsize, false);
}

void* mi_heap_reallocn(mi_heap_t* heap, void* p, size_t count, size_t size) {
  size_t total;
  if (block_count_overflows(count, size, &total)) return NULL;
  return block_reallocate_in(heap_from(heap), p, total, false);
}

void* mi_heap_reallocf(mi_heap_t* heap, void* p, size_t newsize) {
  void* fresh = block_reallocate_in(heap_from(heap), p, newsize, false);
  if (fresh == NULL && p != NULL) mi_free(p);
  return fresh;
}

// ---- text -------------------------------------------------------------------------------------------------

char* mi_heap_strdup(mi_heap_t* heap, const char* s) {
  return (char*)text_duplicate(heap_from(heap), s, SIZE_MAX, 1);
}

char* mi_heap_strndup(mi_heap_t* heap, const char* s, size_t n) {
  return (char*)text_duplicate(heap_from(heap), s, n, 1);
}

char* mi_heap_realpath(mi_heap_t* heap, const char* fname, char* resolved_name) {
  return text_full_path(heap_from(heap), fname, resolved_name);
}

// ---- aligned ----------------------------------------------------------------------------------------------

void* mi_heap_malloc_aligned(mi_heap_t* heap, size_t size, size_t alignment) {
  return block_allocate_aligned_in(heap_from(heap), size, alignment, 0, false);
}

void* mi_heap_malloc_aligned_at(mi_heap_t* heap, size_t size, size_t alignment, size_t offset) {
  return block_allocate_aligned_in(heap_from(heap), size, alignment, offset, false);
}

void* mi_heap_zalloc_aligned(mi_heap_t* heap, size_t size, size_t alignment) {
  return block_allocate_aligned_in(heap_from(heap), size, alignment, 0, true);
}

void* mi_heap_zalloc_aligned_at(mi_heap_t* heap, size_t size, size_t alignment, size_t offset) {
  return block_allocate_aligned_in(heap_from(heap), size, alignment, offset, true);
}

void* mi_heap_calloc_aligned(mi_heap_t* heap, size_t count, size_t size, size_t alignment) {
  return mi_heap_calloc_aligned_at(heap, count, size, alignment, 0);
}

void* mi_heap_calloc_aligned_at(mi_heap_t* heap, size_t count, size_t size, size_t alignment, size_t offset) {
  size_t total;
  if (block_count_overflows(count, size, &total)) return NULL;
  return block_allocate_aligned_in(heap_from(heap), total, alignment, offset, true);
}

void* mi_heap_realloc_aligned(mi_heap_t* heap, void* p, size_t newsize, size_t alignment) {
  return block_reallocate_aligned_in(heap_from(heap), p, newsize, alignment, 0, false);
}

void* mi_heap_realloc_aligned_at(mi_heap_t* heap, void* p, size_t newsize, size_t alignment, size_t offset) {
  return block_reallocate_aligned_in(heap_from(heap), p, newsize, alignment, offset, false);
}

// ---- re-zeroing -------------------------------------------------------------------------------------------

void* mi_heap_rezalloc(mi_heap_t* heap, void* p, size_t newsize) {
  return block_reallocate_in(heap_from(heap), p, newsize, true);
}

void* mi_heap_recalloc(mi_heap_t* heap, void* p, size_t newcount, size_t size) {
  size_t total;
  if (block_count_overflows(newcount, size, &total)) return NULL;
  return block_reallocate_in(heap_from(heap), p, total, true);
}

void* mi_heap_rezalloc_aligned(mi_heap_t* heap, void* p, size_t newsize, size_t alignment) {
  return block_reallocate_aligned_in(heap_from(heap), p, newsize, alignment, 0, true);
}

void* mi_heap_rezalloc_aligned_at(mi_heap_t* heap, void* p, size_t newsize, size_t alignment, size_t offset) {
  return block_reallocate_aligned_in(heap_from(heap), p, newsize, alignment, offset, true);
}

void* mi_heap_recalloc_aligned(mi_heap_t* heap, void* p, size_t newcount, size_t size, size_t alignment) {
  return mi_heap_recalloc_aligned_at(heap, p, newcount, size, alignment, 0);
}

void* mi_heap_recalloc_aligned_at(mi_heap_t* heap, void* p, size_t newcount, size_t size, size_t alignment,
                                  size_t offset) {
  size_t total;
  if (block_count_overflows(newcount, size, &total)) return NULL;
  return block_reallocate_aligned_in(heap_from(heap), p, total, alignment, offset, true);
}
