// Filling and copying memory. The builtins become memset and memcpy calls or inline code as the compiler sees
// fit; the DLL, which has no C runtime, brings its own (dll/nocrt.c).
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include "base/attributes.h"

MI_INLINE void mem_zero(void* p, size_t size) { __builtin_memset(p, 0, size); }
MI_INLINE void mem_fill(void* p, int value, size_t size) { __builtin_memset(p, value, size); }
MI_INLINE void mem_copy(void* to, const void* from, size_t size) { __builtin_memcpy(to, from, size); }

#endif
