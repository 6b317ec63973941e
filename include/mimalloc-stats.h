/**
 * @file mimalloc-stats.h
 * Statistics of mimalloc.dll as data: a structure, and JSON. Layout and names as in mimalloc 3.4.3
 * (statistics version 5).
 *
 * Reading takes no lock: while other threads allocate, figures may disagree by what those do meanwhile. Fields
 * that this implementation has no counter for are 0, as noted.
 *
 * Blocks and their pages are counted for each heap. Everything else is counted for the process, and shows in the
 * statistics of the main sub-process, which are the sums over all: of another sub-process only what is reserved and
 * committed, its heaps and threads are known, as they are now; of a heap nothing but blocks and pages.
 */
#ifndef MIMALLOC_STATS_H
#define MIMALLOC_STATS_H

#include "mimalloc.h"
#include <stdint.h>
#include <string.h>

/** Version of mi_stats_t; a field of it. */
#define MI_STAT_VERSION 5

#if defined(_MSC_VER)
#define mi_decl_align(a) __declspec(align(a))
#elif defined(__GNUC__)
#define mi_decl_align(a) __attribute__((aligned(a)))
#else
#define mi_decl_align(a)
#endif

/** An amount that goes up and down. */
typedef struct mi_stat_count_s {
  int64_t total;   /**< all that was added */
  int64_t peak;    /**< the most at one time */
  int64_t current; /**< now */
} mi_stat_count_t;

/** A number that only grows. */
typedef struct mi_stat_counter_s {
  int64_t total; /**< so many */
} mi_stat_counter_t;

/**
 * The fields between the head of mi_stats_t and its arrays, in order. Define MI_STAT_COUNT(name) and
 * MI_STAT_COUNTER(name), for fields of type mi_stat_count_t and mi_stat_counter_t, before use.
 *
 * (1) up to 512 KiB in a build with the option `secure`
 */
#define MI_STAT_FIELDS()                                                                                     \
  MI_STAT_COUNT(pages)            /* runs of memory with blocks of one size */                               \
  MI_STAT_COUNT(reserved)         /* bytes of address space */                                               \
  MI_STAT_COUNT(committed)        /* bytes of memory */                                                      \
  MI_STAT_COUNTER(reset)          /* bytes whose contents were given up */                                   \
  MI_STAT_COUNTER(purged)         /* bytes given back to the system */                                       \
  MI_STAT_COUNT(page_committed)   /* bytes in these runs; peak: now */                                       \
  MI_STAT_COUNT(pages_abandoned)  /* not counted: 0 */                                                       \
  MI_STAT_COUNT(threads)          /* that have, or had, a theap */                                           \
  MI_STAT_COUNT(malloc_normal)    /* bytes in blocks up to 64 KiB (1); peak: see malloc_bins */              \
  MI_STAT_COUNT(malloc_huge)      /* bytes in larger blocks */                                               \
  MI_STAT_COUNT(malloc_requested) /* not counted: 0 */                                                       \
  /* calls of the operating system */                                                                        \
  MI_STAT_COUNTER(mmap_calls) /* that reserved address space */                                              \
  MI_STAT_COUNTER(commit_calls)                                                                              \
  MI_STAT_COUNTER(reset_calls)                                                                               \
  MI_STAT_COUNTER(purge_calls) /* that decommitted */                                                        \
  /* numbers of things */                                                                                    \
  MI_STAT_COUNTER(arena_count)          /* arenas made */                                                    \
  MI_STAT_COUNTER(malloc_normal_count)  /* blocks up to 64 KiB (1) allocated */                              \
  MI_STAT_COUNTER(malloc_huge_count)    /* larger blocks allocated */                                        \
  MI_STAT_COUNTER(malloc_guarded_count) /* not counted: 0; guarded blocks count as larger ones */            \
  /* the allocator's inner life */                                                                           \
  MI_STAT_COUNTER(arena_rollback_count) /* nothing to roll back here: 0 */                                   \
  MI_STAT_COUNTER(arena_purges)         /* not counted: 0 */                                                 \
  MI_STAT_COUNTER(pages_extended)       /* times a page took more of its memory into use */                  \
  MI_STAT_COUNTER(pages_retire)         /* times a page became empty */                                      \
  MI_STAT_COUNTER(page_searches)        /* pages looked at for a free block */                               \
  MI_STAT_COUNTER(page_searches_count)  /* and the number of searches */                                     \
  /* of older versions: 0 */                                                                                 \
  MI_STAT_COUNT(segments)                                                                                    \
  MI_STAT_COUNT(segments_abandoned)                                                                          \
  MI_STAT_COUNT(segments_cache)                                                                              \
  MI_STAT_COUNT(_segments_reserved)                                                                          \
  /* since version 3 */                                                                                      \
  MI_STAT_COUNT(heaps)                       /* in the sub-process, its main heap included */                \
  MI_STAT_COUNT(theaps)                      /* parts of heaps that belong to threads */                     \
  MI_STAT_COUNTER(pages_reclaim_on_alloc)    /* pages that nobody owned, taken over for their room */        \
  MI_STAT_COUNTER(pages_reclaim_on_free)     /* full pages, taken back when one of their blocks was freed */ \
  MI_STAT_COUNTER(pages_reabandon_full)      /* not done here: 0 */                                          \
  MI_STAT_COUNTER(pages_unabandon_busy_wait) /* not done here: 0 */                                          \
  MI_STAT_COUNTER(heaps_delete_wait)         /* not done here: 0 */

/** Kinds of chunks in upstream's arenas. There are no chunks here: chunk_bins is 0. */
typedef enum mi_chunkbin_e {
  MI_CBIN_SMALL,
  MI_CBIN_OTHER,
  MI_CBIN_MEDIUM,
  MI_CBIN_LARGE,
  MI_CBIN_HUGE,
  MI_CBIN_NONE,
  MI_CBIN_COUNT
} mi_chunkbin_t;

/** The last bin: blocks that have a page to themselves. */
#define MI_BIN_HUGE           (73U)

#define MI_STAT_COUNT(name)   mi_stat_count_t name;
#define MI_STAT_COUNTER(name) mi_stat_counter_t name;

/** Statistics. Declare one with mi_stats_t_decl(), which fills in its head. */
/* clang-format off */
typedef struct mi_stats_s {
  size_t size;    /**< sizeof(mi_stats_t) of the caller, ... */
  size_t version; /**< and #MI_STAT_VERSION: both are checked */

  mi_decl_align(8) MI_STAT_FIELDS()

  mi_stat_count_t _stat_reserved[4];           /**< for later */
  mi_stat_counter_t _stat_counter_reserved[4]; /**< for later */

  /**
   * Blocks of each size, mi_stats_get_bin_size() bytes. Not every bin is in use: sizes from 16 to 128 have
   * steps of 16. The peak isn't counted and repeats `current`.
   */
  mi_stat_count_t malloc_bins[MI_BIN_HUGE + 1];
  /** Pages of each size now, in all three fields. */
  mi_stat_count_t page_bins[MI_BIN_HUGE + 1];
  mi_stat_count_t chunk_bins[MI_CBIN_COUNT]; /**< 0 */
} mi_stats_t;
/* clang-format on */

#undef MI_STAT_COUNT
#undef MI_STAT_COUNTER

#if defined(__cplusplus)
#define mi_stats_inline_ inline
#elif defined(__GNUC__) || defined(_MSC_VER)
#define mi_stats_inline_ static __inline
#else
#define mi_stats_inline_ static
#endif

/** Fills in the head of `stats`: what this program takes mi_stats_t for. The rest stays as it is. */
mi_stats_inline_ void mi_stats_header_init(mi_stats_t* stats) {
  stats->size = sizeof(*stats);
  stats->version = MI_STAT_VERSION;
}

/** Makes `stats` ready for mi_stats_get(): zero, but for its head. */
mi_stats_inline_ void mi_stats_init(mi_stats_t* stats) {
  memset(stats, 0, sizeof(*stats));
  mi_stats_header_init(stats);
}

#undef mi_stats_inline_

/** Declares the variable `name` of type mi_stats_t, ready for mi_stats_get(). */
#define mi_stats_t_decl(name)                                                                                \
  mi_stats_t name;                                                                                           \
  mi_stats_init(&name);

#if defined(__clang__) && !defined(__cplusplus)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wc99-extensions" /* bool in C89 */
#endif

#if defined(__cplusplus)
extern "C" {
#endif

/* ---- of the calling thread's sub-process, all heaps together ---- */

/**
 * Fills in the statistics of the calling thread's sub-process.
 * @return false, and nothing changed, when `stats` is NULL or its size or version isn't that of mi_stats_t
 * (here or in the 2.4 line, whose programs pass a structure of version 4).
 */
mi_decl_export bool mi_stats_get(mi_stats_t* stats) mi_attr_noexcept;

/**
 * The same as a JSON object.
 * @param buf_size bytes at `buf`; 24 KiB do. What doesn't fit is left out: the text is cut there
 * @param buf      where to put the NUL-terminated text, or NULL for a new block, to be freed with mi_free()
 * @return the text, or NULL when there is no memory.
 */
mi_decl_export char* mi_stats_get_json(size_t buf_size, char* buf) mi_attr_noexcept;

/** The JSON text of `stats`. NULL also when its size or version isn't that of mi_stats_t. */
mi_decl_export char* mi_stats_as_json(mi_stats_t* stats, size_t buf_size, char* buf) mi_attr_noexcept;

/** Bytes in a block of bin `bin`; of #MI_BIN_HUGE the least that goes there; 0 when there is no such bin. */
mi_decl_export size_t mi_stats_get_bin_size(size_t bin) mi_attr_noexcept;

/* ---- of a heap ---- */
/* Blocks and pages of the heap. NULL instead of a heap gives false, NULL, and nothing printed. */

/** mi_stats_get() of `heap`. */
mi_decl_export bool mi_heap_stats_get(mi_heap_t* heap, mi_stats_t* stats) mi_attr_noexcept;
/** mi_stats_get_json() of `heap`. */
mi_decl_export char* mi_heap_stats_get_json(mi_heap_t* heap, size_t buf_size, char* buf) mi_attr_noexcept;
/** mi_stats_print_out() of `heap`. */
mi_decl_export void mi_heap_stats_print_out(mi_heap_t* heap, mi_output_fun* out, void* arg) mi_attr_noexcept;
/**
 * Does nothing: what is counted of a heap counts for its sub-process at once, and stays when the heap goes.
 */
mi_decl_export void mi_heap_stats_merge_to_subproc(mi_heap_t* heap);

/* ---- of a sub-process ---- */

/** mi_stats_get() of a sub-process. */
mi_decl_export bool mi_subproc_stats_get(mi_subproc_id_t subproc_id, mi_stats_t* stats) mi_attr_noexcept;
/** mi_stats_get_json() of a sub-process. */
mi_decl_export char* mi_subproc_stats_get_json(mi_subproc_id_t subproc_id, size_t buf_size,
                                               char* buf) mi_attr_noexcept;
/** mi_stats_print_out() of a sub-process. */
mi_decl_export void mi_subproc_stats_print_out(mi_subproc_id_t subproc_id, mi_output_fun* out,
                                               void* arg) mi_attr_noexcept;
/** The same, and that of each heap in it. */
mi_decl_export void mi_subproc_heap_stats_print_out(mi_subproc_id_t subproc_id, mi_output_fun* out,
                                                    void* arg) mi_attr_noexcept;
/** mi_subproc_stats_get() without blocks and their pages, which its heaps count. */
mi_decl_export bool mi_subproc_stats_get_exclusive(mi_subproc_id_t subproc_id,
                                                   mi_stats_t* stats) mi_attr_noexcept;

#if defined(__cplusplus)
}
#endif

#if defined(__clang__) && !defined(__cplusplus)
#pragma clang diagnostic pop
#endif

#endif
