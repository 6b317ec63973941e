/* What alloc.h calls traits, of one allocator; compiled once per allocator with the macros that tool/link.py sets:
   BENCH_NAME, and those that apply of BENCH_ALIGN_FIRST or BENCH_SIZE_FIRST (order of arguments), BENCH_ALIGNED_FREE
   (aligned blocks have a free function of their own), BENCH_COLLECT (a function that gives memory back). */
#include "../harness/alloc.h"

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

const bench_traits_t bench_traits = {BENCH_NAME, aligned, aligned_free, collect};
