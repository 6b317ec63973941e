/**
 * @file mimalloc-override.h
 * Turns calls of the C runtime's allocation functions into calls of mimalloc, in the source files that
 * include it.
 *
 * Include it last, in every file of a program: a block from one allocator must not be freed by the other.
 * Code that was compiled without it (other libraries, the C runtime) goes on as before, which makes this the
 * tool for self-contained programs; the import library libmimalloc-crt.a redirects whole programs without a
 * change of their source. In C++ see also mimalloc-new-delete.h.
 */
#ifndef MIMALLOC_OVERRIDE_H
#define MIMALLOC_OVERRIDE_H

#include "mimalloc.h"

/* What declares these names comes first, as the macros would garble the declarations. */
#if defined(__cplusplus)
#include <cstdlib>
#include <cstring>
#include <cwchar>
#else
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#endif
#if defined(_WIN32)
#include <malloc.h>
#endif

/* MinGW and glibc define some of these as macros. */
#undef strdup
#undef strndup
#undef _aligned_malloc
#undef _aligned_free
#undef _aligned_realloc
#undef _strdup
#undef _wcsdup

/* C */
#define malloc(size)               mi_malloc(size)
#define calloc(count, size)        mi_calloc(count, size)
#define realloc(p, size)           mi_realloc(p, size)
#define free(p)                    mi_free(p)
#define aligned_alloc(align, size) mi_aligned_alloc(align, size)
#define strdup(s)                  mi_strdup(s)
#define strndup(s, n)              mi_strndup(s, n)

/* POSIX and Unix */
#define realpath(name, resolved)        mi_realpath(name, resolved)
#define posix_memalign(p, align, size)  mi_posix_memalign(p, align, size)
#define _posix_memalign(p, align, size) mi_posix_memalign(p, align, size)
#define memalign(align, size)           mi_memalign(align, size)
#define valloc(size)                    mi_valloc(size)
#define pvalloc(size)                   mi_pvalloc(size)
#define reallocarray(p, count, size)    mi_reallocarray(p, count, size)
#define reallocarr(p, count, size)      mi_reallocarr(p, count, size)
#define reallocf(p, size)               mi_reallocf(p, size)
#define cfree(p)                        mi_cfree(p)
#define malloc_size(p)                  mi_malloc_size(p)
#define malloc_usable_size(p)           mi_malloc_usable_size(p)
#define malloc_good_size(size)          mi_malloc_good_size(size)

/* Microsoft's C runtime */
#define _expand(p, size)                                mi_expand(p, size)
#define _msize(p)                                       mi_usable_size(p)
#define _recalloc(p, count, size)                       mi_recalloc(p, count, size)
#define _strdup(s)                                      mi_strdup(s)
#define _strndup(s, n)                                  mi_strndup(s, n)
#define _wcsdup(s)                                      mi_wcsdup(s)
#define _mbsdup(s)                                      mi_mbsdup(s)
#define _dupenv_s(buf, size, name)                      mi_dupenv_s(buf, size, name)
#define _wdupenv_s(buf, size, name)                     mi_wdupenv_s(buf, size, name)

#define _aligned_malloc(size, align)                    mi_malloc_aligned(size, align)
#define _aligned_realloc(p, size, align)                mi_realloc_aligned(p, size, align)
#define _aligned_recalloc(p, count, size, align)        mi_aligned_recalloc(p, count, size, align)
#define _aligned_msize(p, align, offset)                mi_usable_size(p)
#define _aligned_free(p)                                mi_free(p)
#define _aligned_offset_malloc(size, align, offset)     mi_malloc_aligned_at(size, align, offset)
#define _aligned_offset_realloc(p, size, align, offset) mi_realloc_aligned_at(p, size, align, offset)
#define _aligned_offset_recalloc(p, count, size, align, offset)                                              \
  mi_aligned_offset_recalloc(p, count, size, align, offset)

#endif
