// The family that also reports how large the block is.
#include "mimalloc.h"
#include "api/alloc_fast.h"

static void* with_size(void* p, size_t* usable_size) {
  if (p != NULL && usable_size != NULL) *usable_size = block_usable_size(p); // unchanged on failure
  return p;
}

void* mi_umalloc(size_t size, size_t* usable_size) { return with_size(mi_malloc(size), usable_size); }
void* mi_umalloc_small(size_t size, size_t* usable_size) { return with_size(mi_malloc(size), usable_size); }

void* mi_ucalloc(size_t count, size_t size, size_t* usable_size) {
  return with_size(mi_calloc(count, size), usable_size);
}

void* mi_urealloc(void* p, size_t newsize, size_t* usable_size_before, size_t* usable_size_after) {
  if (usable_size_before != NULL) *usable_size_before = block_usable_size(p);
  return with_size(mi_realloc(p, newsize), usable_size_after);
}

void mi_ufree(void* p, size_t* usable_size) {
  if (usable_size != NULL) *usable_size = block_usable_size(p);
  mi_free(p);
}

void* mi_umalloc_aligned(size_t size, size_t alignment, size_t* usable_size) {
  return with_size(mi_malloc_aligned(size, alignment), usable_size);
}

void* mi_uzalloc_aligned(size_t size, size_t alignment, size_t* usable_size) {
  return with_size(mi_zalloc_aligned(size, alignment), usable_size);
}

void* mi_uzalloc_small(size_t size, size_t* usable_size) { return with_size(mi_zalloc(size), usable_size); }
