/* What alloc.h calls traits, of one allocator; compiled once per allocator with the macros that tool/link.py sets:
   BENCH_NAME, and those that apply of BENCH_ALIGN_FIRST or BENCH_SIZE_FIRST (order of arguments), BENCH_ALIGNED_FREE
   (aligned blocks have a free function of their own), BENCH_COLLECT (a function that gives memory back), BENCH_HEAPS (all
   of bench_heaps_t, under mimalloc's interface). */
#include "../harness/alloc.h"
#if defined(BENCH_HEAPS)
#include "../../include/mimalloc-stats.h"
#endif

BENCH_IMPORT void* bench_aligned(size_t first, size_t second);
BENCH_IMPORT void bench_aligned_free(void* p);
BENCH_IMPORT void bench_collect(int force);

#if defined(BENCH_ALIGN_FIRST)
static void* aligned(size_t align, size_t size) { return bench_aligned(align, size); }
#elif defined(BENCH_SIZE_FIRST)
static void* aligned(size_t align, size_t size) { return bench_aligned(size, align); }
#else
#define aligned NULL
#endif

#if defined(BENCH_ALIGNED_FREE)
static void aligned_free(void* p) { bench_aligned_free(p); }
#else
static void aligned_free(void* p) { bench_free(p); }
#endif

#if defined(BENCH_COLLECT)
static void collect(void) { bench_collect(1); }
#else
#define collect NULL
#endif

#if defined(BENCH_HEAPS)
BENCH_IMPORT void* bench_heap_new(void);
BENCH_IMPORT void* bench_heap_malloc(void* heap, size_t size);
BENCH_IMPORT void bench_heap_delete(void* heap);
BENCH_IMPORT void bench_heap_destroy(void* heap);
BENCH_IMPORT void bench_heap_collect(void* heap, bool force);
BENCH_IMPORT bool bench_heap_stats(void* heap, mi_stats_t* stats);
BENCH_IMPORT bool bench_stats(mi_stats_t* stats);
BENCH_IMPORT bench_subproc_t bench_subproc_new(void);
BENCH_IMPORT void bench_subproc_join(bench_subproc_t subproc);
BENCH_IMPORT void bench_subproc_destroy(bench_subproc_t subproc);
BENCH_IMPORT int bench_reserve(size_t size, bool commit, bool large);

static void* heap_new(void) { return bench_heap_new(); }
static void* heap_malloc(void* heap, size_t size) { return bench_heap_malloc(heap, size); }
static void heap_delete(void* heap) { bench_heap_delete(heap); }
static void heap_destroy(void* heap) { bench_heap_destroy(heap); }
static void heap_collect(void* heap, bool force) { bench_heap_collect(heap, force); }
static bool heap_stats(void* heap) {
  mi_stats_t_decl(stats);
  return bench_heap_stats(heap, &stats);
}
static bool all_stats(void) {
  mi_stats_t_decl(stats);
  return bench_stats(&stats);
}
static bench_subproc_t subproc_new(void) { return bench_subproc_new(); }
static void subproc_join(bench_subproc_t subproc) { bench_subproc_join(subproc); }
static void subproc_destroy(bench_subproc_t subproc) { bench_subproc_destroy(subproc); }
static int reserve(size_t size, bool commit, bool large) { return bench_reserve(size, commit, large); }

static const bench_heaps_t all_heaps = {heap_new,     heap_malloc,     heap_delete, heap_destroy,
                                        heap_collect, heap_stats,      all_stats,   subproc_new,
                                        subproc_join, subproc_destroy, reserve};
#define heaps &all_heaps
#else
#define heaps NULL
#endif

const bench_traits_t bench_traits = {BENCH_NAME, aligned, aligned_free, collect, heaps};
