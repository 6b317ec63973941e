// Names that POSIX, the BSDs and glibc know: the alignment comes first.
#include "mimalloc.h"
#include "api/alloc_fast.h"
#include "core/report/message.h"

size_t mi_malloc_size(const void* p) { return mi_usable_size(p); }
size_t mi_malloc_good_size(size_t size) { return mi_good_size(size); }
size_t mi_malloc_usable_size(const void* p) { return mi_usable_size(p); }

void mi_cfree(void* p) { free_try(p); } // foreign pointers are ignored

int mi_posix_memalign(void** p, size_t alignment, size_t size) {
  if (p == NULL || alignment % sizeof(void*) != 0 || !bits_is_power_of_two(alignment)) return MESSAGE_EINVAL;
  void* block = block_allocate_aligned(size, alignment, 0, false);
  if (block == NULL) return MESSAGE_ENOMEM; // *p stays as it is
  *p = block;
  return 0;
}

void* mi_memalign(size_t alignment, size_t size) { return block_allocate_aligned(size, alignment, 0, false); }
void* mi_aligned_alloc(size_t alignment, size_t size) {
  return block_allocate_aligned(size, alignment, 0, false);
}

static size_t system_page_size(void) {
  os_init(); // may well be the first call into the library
  return os_page_size();
}

void* mi_valloc(size_t size) { return block_allocate_aligned(size, system_page_size(), 0, false); }

void* mi_pvalloc(size_t size) {
  size_t page_size = system_page_size();
  size_t rounded = size > PTRDIFF_MAX ? size : bits_align_up(size, page_size);
  return block_allocate_aligned(rounded, page_size, 0, false);
}

void* mi_reallocarray(void* p, size_t count, size_t size) {
  size_t total;
  if (!block_count_overflows(count, size, &total)) return block_reallocate(p, total, false);
  os_set_errno(MESSAGE_EOVERFLOW);
  return NULL;
}

int mi_reallocarr(void* p, size_t count, size_t size) {
  void* block = NULL;
  if (p != NULL) mem_copy(&block, p, sizeof(block)); // `p` points to a pointer of any type
  size_t total;
  if (p == NULL || (block == NULL && (count == 0 || size == 0))) {
    os_set_errno(MESSAGE_EINVAL);
    return MESSAGE_EINVAL;
  }
  if (block_count_overflows(count, size, &total)) {
    os_set_errno(MESSAGE_EOVERFLOW);
    return MESSAGE_EOVERFLOW;
  }
  void* fresh = NULL;
  if (total == 0) {
    mi_free(block);
  } else {
    fresh = block_reallocate(block, total, false);
    if (fresh == NULL) return MESSAGE_ENOMEM;
  }
  mem_copy(p, &fresh, sizeof(fresh));
  return 0;
}

void mi_free_size(void* p, size_t size) {
  MI_UNUSED(size);
  mi_free(p);
}

void mi_free_size_aligned(void* p, size_t size, size_t alignment) {
  MI_UNUSED(size);
  MI_UNUSED(alignment);
  mi_free(p);
}

void mi_free_aligned(void* p, size_t alignment) {
  MI_UNUSED(alignment);
  mi_free(p);
}
