// Compiler attributes and the facts about the target that everything else builds on.
#ifndef BASE_ATTRIBUTES_H
#define BASE_ATTRIBUTES_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include "config.h" // generated: MI_DEBUG and friends, always 0 or 1

#define MI_INLINE      static inline __attribute__((always_inline))
#define MI_NOINLINE    __attribute__((noinline))
#define MI_COLD        __attribute__((noinline, cold))
#define MI_NORETURN    __attribute__((noreturn))
#define MI_LIKELY(x)   __builtin_expect(!!(x), 1)
#define MI_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define MI_ALIGNED(n)  __attribute__((aligned(n)))
#define MI_UNUSED(x)   ((void)(x))
#define MI_MALLOC_LIKE __attribute__((malloc))
// Our own formatter understands %zu and %llu whatever the CRT does. To GCC, `printf` means Microsoft's here;
// clang knows one.
#if defined(__clang__)
#define MI_PRINTF(fmt_index, arg_index) __attribute__((format(printf, fmt_index, arg_index)))
#else
#define MI_PRINTF(fmt_index, arg_index) __attribute__((format(gnu_printf, fmt_index, arg_index)))
#endif

#define MI_KIB        ((size_t)1024)
#define MI_MIB        (MI_KIB * 1024)
#define MI_GIB        (MI_MIB * 1024)

#define MI_CACHE_LINE 64

#if UINTPTR_MAX > 0xFFFFFFFFu
#define MI_64BIT 1
#else
#define MI_64BIT 0
#endif

#endif
