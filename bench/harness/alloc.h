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

/* What mimalloc has beyond malloc: heaps, sub-processes, statistics of both, memory that is reserved in advance. */
typedef struct bench_subproc_s {
  void* id;
} bench_subproc_t;
typedef struct bench_heaps_s {
  void* (*create)(void);
  void* (*malloc)(void* heap, size_t size);
  void (*delete_heap)(void* heap);
  void (*destroy)(void* heap);
  void (*collect)(void* heap, bool force);
  bool (*stats_of)(void* heap);
  bool (*stats)(void);
  bench_subproc_t (*subproc_new)(void);
  void (*subproc_join)(bench_subproc_t subproc); /* the calling thread, before its first allocation */
  void (*subproc_destroy)(bench_subproc_t subproc);
  int (*reserve)(size_t size, bool commit, bool large); /* 0: done */
} bench_heaps_t;

/* What differs between allocators in more than a name. One small file per allocator defines it (peers/traits.c). */
typedef struct bench_traits_s {
  const char* name;
  void* (*aligned)(size_t align, size_t size); /* NULL: this allocator has no such function */
  void (*aligned_free)(void* p);
  void (*collect)(void);      /* gives free memory back now; NULL: no such function */
  const bench_heaps_t* heaps; /* NULL: it lacks some of these functions */
} bench_traits_t;

extern const bench_traits_t bench_traits;

#endif
