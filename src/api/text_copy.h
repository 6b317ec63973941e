// Copies of strings in blocks of ours, for the strdup family in characters of 1 byte or of the size of
// wchar_t.
#ifndef API_TEXT_COPY_H
#define API_TEXT_COPY_H

#include "api/alloc_fast.h"

// Characters before the terminating zero, at most `max`.
MI_INLINE size_t text_length(const void* s, size_t max, size_t width) {
  size_t n = 0;
  if (width == 1) {
    while (n < max && ((const uint8_t*)s)[n] != 0) n++;
  } else {
    while (n < max && ((const wchar_t*)s)[n] != 0) n++;
  }
  return n;
}

// A terminated copy of the first `max` characters of `width` bytes each, in `heap` (NULL: the default one).
// NULL for NULL or when out of memory.
MI_INLINE void* text_duplicate(heap_t* heap, const void* s, size_t max, size_t width) {
  if (s == NULL) return NULL;
  size_t size = text_length(s, max, width) * width;
  uint8_t* copy = (uint8_t*)(heap == NULL ? block_malloc(size + width) : block_malloc_in(heap, size + width));
  if (copy == NULL) return NULL;
  mem_copy(copy, s, size);
  mem_zero(copy + size, width);
  return copy;
}

// mi_realpath in `heap`.
char* text_full_path(heap_t* heap, const char* name, char* resolved);

#endif
