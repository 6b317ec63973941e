// The exports that libmimalloc-crt.a calls besides the public API, and most of redirect_table.c; arguments and
// results as those of the C runtime's functions without the prefix mi_crt_ (documented there). Not for calls by
// hand: link with libmimalloc-crt.a instead.
#ifndef DLL_CRT_API_H
#define DLL_CRT_API_H

#include <stddef.h>

void mi_crt_free(void* p);
void* mi_crt_realloc(void* p, size_t size); // size 0 frees and returns NULL
void* mi_crt_recalloc(void* p, size_t count, size_t size);
size_t mi_crt_msize(void* p);
void* mi_crt_expand(void* p, size_t size);

void mi_crt_aligned_free(void* p);
void* mi_crt_aligned_malloc(size_t size, size_t alignment);
void* mi_crt_aligned_realloc(void* p, size_t size, size_t alignment);
void* mi_crt_aligned_recalloc(void* p, size_t count, size_t size, size_t alignment);
size_t mi_crt_aligned_msize(void* p, size_t alignment, size_t offset);
void* mi_crt_aligned_offset_malloc(size_t size, size_t alignment, size_t offset);
void* mi_crt_aligned_offset_realloc(void* p, size_t size, size_t alignment, size_t offset);
void* mi_crt_aligned_offset_recalloc(void* p, size_t count, size_t size, size_t alignment, size_t offset);

#endif
