// Copies of strings in blocks of ours, for the strdup family in characters of 1 byte or of the size of
// wchar_t.
#ifndef API_TEXT_COPY_H
#define API_TEXT_COPY_H

#include "api/alloc_fast.h"

// Characters before the terminating zero, at most `max`.
size_t text_length(const void* s, size_t max, size_t width);

// A terminated copy of the first `max` characters of `width` bytes each, in `heap` (NULL: the default one).
// NULL for NULL or when out of memory.
void* text_duplicate(heap_t* heap, const void* s, size_t max, size_t width);

// mi_realpath in `heap`.
char* text_full_path(heap_t* heap, const char* name, char* resolved);

#endif
