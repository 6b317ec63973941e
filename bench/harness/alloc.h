/**
 * The allocator under measurement. The same objects are linked once per allocator, each time with these names bound to
 * other functions: on Windows by an import library of that allocator's DLL, so that each pays the same DLL call, and
 * natively by the linker (--defsym), so that each pays the same direct call. See ../tool/link.py.
 */
#ifndef BENCH_ALLOC_H
#define BENCH_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

/* BENCH_IMPORT comes from meson.build: __declspec(dllimport) on Windows, where it saves the jump of an import stub. */
BENCH_IMPORT void* bench_malloc(size_t size);
BENCH_IMPORT void* bench_calloc(size_t count, size_t size);
BENCH_IMPORT void* bench_realloc(void* p, size_t size);
BENCH_IMPORT void bench_free(void* p);

/* What differs between allocators in more than a name. One small file per allocator defines it (peers/traits.c). */
typedef struct bench_traits_s {
  const char* name;
  void* (*aligned)(size_t align, size_t size); /* NULL: this allocator has no such function */
  void (*aligned_free)(void* p);
  void (*collect)(void); /* gives free memory back now; NULL: no such function */
} bench_traits_t;

extern const bench_traits_t bench_traits;

#endif
