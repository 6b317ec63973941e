/**
 * @file mimalloc.h
 * The C interface of mimalloc.dll, and for C++ an STL allocator.
 *
 * Compatible with mimalloc 3.4.3, at compile time and at link time: same names, types, values and meaning of
 * errors. Needs no other header of ours and no type of a platform; compiles as C99 and later, and as C++98
 * and later. Long because it is the whole interface in one file, as programs expect it.
 *
 * What holds for every function unless its comment says otherwise:
 * - Any thread may call it at any time. A block may be freed, resized or measured by another thread than the
 *   one that allocated it.
 * - Sizes, alignments and offsets are in bytes. A block has at least the size asked for and is aligned to 16
 *   bytes (8 for sizes up to 8). Size 0 gives a block of its own, too.
 * - An allocation that fails returns NULL: no memory, a size above PTRDIFF_MAX, a product count * size that
 *   overflows, an alignment that is no power of two or above 1 GiB. Option show_errors prints the reason.
 * - NULL is a valid argument wherever a block is expected.
 *
 * One long file, because programs written for upstream include this one name and expect all of it.
 *
 * Define MI_SHARED_LIB when linking with the DLL's import library, to save an indirection per call.
 */
#ifndef MIMALLOC_H
#define MIMALLOC_H

/** Version of the interface: major * 10000 + minor * 100 + patch. See mi_version(). */
#define MI_MALLOC_VERSION 30403

#include <stdbool.h>
#include <stddef.h>

/* ---- attributes ---- */
/* Programs use some of these names for wrappers of their own, so they are part of the interface. */

#if !defined(__cplusplus)
#define mi_attr_noexcept
#elif __cplusplus >= 201103L || (defined(_MSC_VER) && _MSC_VER > 1900)
#define mi_attr_noexcept noexcept
#else
#define mi_attr_noexcept throw()
#endif

#if !defined(_WIN32) || !defined(MI_SHARED_LIB)
#define mi_decl_export
#elif defined(MI_SHARED_LIB_EXPORT)
#define mi_decl_export __declspec(dllexport)
#else
#define mi_decl_export __declspec(dllimport)
#endif

#if defined(_WIN32)
#define mi_cdecl __cdecl
#else
#define mi_cdecl
#endif

#if defined(__cplusplus) && __cplusplus >= 201703L
#define mi_decl_nodiscard [[nodiscard]]
#elif defined(__GNUC__)
#define mi_decl_nodiscard __attribute__((warn_unused_result))
#elif defined(_MSC_VER)
#define mi_decl_nodiscard _Check_return_
#else
#define mi_decl_nodiscard
#endif

#if defined(_MSC_VER)
#define mi_decl_restrict __declspec(restrict)
#else
#define mi_decl_restrict
#endif

#if defined(__GNUC__)
#define mi_attr_malloc __attribute__((malloc))
#else
#define mi_attr_malloc
#endif

/* Not on Windows, as in 3.4.3: there programs may rely on writing up to mi_usable_size(). */
#if defined(__GNUC__) && !defined(_WIN32)
#define mi_attr_alloc_size(i)     __attribute__((alloc_size(i)))
#define mi_attr_alloc_size2(i, j) __attribute__((alloc_size(i, j)))
#define mi_attr_alloc_align(i)    __attribute__((alloc_align(i)))
#else
#define mi_attr_alloc_size(i)
#define mi_attr_alloc_size2(i, j)
#define mi_attr_alloc_align(i)
#endif

/* What precedes a function that returns a new block, and one that returns a perhaps moved one. */
#define mi_decl_new_block   mi_decl_nodiscard mi_decl_export mi_decl_restrict
#define mi_decl_moved_block mi_decl_nodiscard mi_decl_export

#if defined(__cplusplus)
extern "C" {
#endif

/* ---- basic allocation ---- */

/** Allocates `size` bytes. */
mi_decl_new_block void* mi_malloc(size_t size) mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1);

/** Allocates `count` * `size` bytes that are zero. */
mi_decl_new_block void* mi_calloc(size_t count, size_t size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size2(1, 2);

/**
 * Changes the size of block `p`, moving it when needed; NULL allocates. The contents stay up to the smaller
 * of both sizes.
 * @return the block, or NULL on failure, and then `p` is as before. Size 0 returns a block too: it isn't a
 * free.
 */
mi_decl_moved_block void* mi_realloc(void* p, size_t newsize) mi_attr_noexcept mi_attr_alloc_size(2);

/**
 * Changes the size of block `p` without moving it.
 * @return `p`, or NULL when the block can't hold `newsize` bytes; it is as before then.
 */
mi_decl_export void* mi_expand(void* p, size_t newsize) mi_attr_noexcept mi_attr_alloc_size(2);

/** Frees block `p`. A pointer that isn't one of our blocks is reported and otherwise left alone. */
mi_decl_export void mi_free(void* p) mi_attr_noexcept;

/** Allocates a copy of the string `s`. NULL gives NULL. */
mi_decl_new_block char* mi_strdup(const char* s) mi_attr_noexcept mi_attr_malloc;

/** Allocates a NUL-terminated copy of at most `n` characters of the string `s`. NULL gives NULL. */
mi_decl_new_block char* mi_strndup(const char* s, size_t n) mi_attr_noexcept mi_attr_malloc;

/**
 * The absolute path of file `fname`.
 * @param resolved_name where to put it, with room for PATH_MAX (MAX_PATH) characters; NULL: in a new block
 * @return the path, or NULL when there is none.
 */
mi_decl_new_block char* mi_realpath(const char* fname, char* resolved_name) mi_attr_noexcept;

/* ---- extended allocation ---- */

#define MI_SMALL_WSIZE_MAX (128)
/** The largest size, in bytes, that the _small functions take. */
#define MI_SMALL_SIZE_MAX (MI_SMALL_WSIZE_MAX * sizeof(void*))

/** As mi_malloc(); `size` must not exceed #MI_SMALL_SIZE_MAX. */
mi_decl_new_block void* mi_malloc_small(size_t size) mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1);

/** As mi_zalloc(); `size` must not exceed #MI_SMALL_SIZE_MAX. */
mi_decl_new_block void* mi_zalloc_small(size_t size) mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1);

/** As mi_free(), for blocks from mi_malloc_small() and mi_zalloc_small(). */
mi_decl_export void mi_free_small(void* p) mi_attr_noexcept;

/** Allocates `size` bytes that are zero. */
mi_decl_new_block void* mi_zalloc(size_t size) mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1);

/** Allocates `count` * `size` bytes. */
mi_decl_new_block void* mi_mallocn(size_t count, size_t size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size2(1, 2);

/** As mi_realloc() to `count` * `size` bytes. */
mi_decl_moved_block void* mi_reallocn(void* p, size_t count, size_t size) mi_attr_noexcept
    mi_attr_alloc_size2(2, 3);

/** As mi_realloc(), but frees `p` on failure. */
mi_decl_moved_block void* mi_reallocf(void* p, size_t newsize) mi_attr_noexcept mi_attr_alloc_size(2);

/** How many bytes block `p` can hold: at least the size asked for. 0 for NULL and for foreign pointers. */
mi_decl_nodiscard mi_decl_export size_t mi_usable_size(const void* p) mi_attr_noexcept;

/** How many bytes a block for `size` bytes can hold. */
mi_decl_nodiscard mi_decl_export size_t mi_good_size(size_t size) mi_attr_noexcept;

/* Blocks for values of type `tp`: mi_malloc_tp(int) is an int*. */
#define mi_malloc_tp(tp)         ((tp*)mi_malloc(sizeof(tp)))
#define mi_zalloc_tp(tp)         ((tp*)mi_zalloc(sizeof(tp)))
#define mi_calloc_tp(tp, n)      ((tp*)mi_calloc(n, sizeof(tp)))
#define mi_mallocn_tp(tp, n)     ((tp*)mi_mallocn(n, sizeof(tp)))
#define mi_reallocn_tp(tp, p, n) ((tp*)mi_reallocn(p, n, sizeof(tp)))
#define mi_recalloc_tp(tp, p, n) ((tp*)mi_recalloc(p, n, sizeof(tp)))

/* ---- aligned allocation ---- */
/* The alignment follows the size, unlike in posix_memalign and aligned_alloc. It is a power of two up to
   1 GiB. The _at functions align the address `offset` bytes into the block. Free with mi_free(). */

/** Allocates `size` bytes at a multiple of `alignment`. */
mi_decl_new_block void* mi_malloc_aligned(size_t size, size_t alignment) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(1) mi_attr_alloc_align(2);
/** Allocates `size` bytes so that block + `offset` is a multiple of `alignment`. */
mi_decl_new_block void* mi_malloc_aligned_at(size_t size, size_t alignment,
                                             size_t offset) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(1);

/** mi_malloc_aligned() of memory that is zero. */
mi_decl_new_block void* mi_zalloc_aligned(size_t size, size_t alignment) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(1) mi_attr_alloc_align(2);
/** mi_malloc_aligned_at() of memory that is zero. */
mi_decl_new_block void* mi_zalloc_aligned_at(size_t size, size_t alignment,
                                             size_t offset) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(1);

/** mi_zalloc_aligned() of `count` * `size` bytes. */
mi_decl_new_block void* mi_calloc_aligned(size_t count, size_t size,
                                          size_t alignment) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size2(1, 2) mi_attr_alloc_align(3);
/** mi_zalloc_aligned_at() of `count` * `size` bytes. */
mi_decl_new_block void* mi_calloc_aligned_at(size_t count, size_t size, size_t alignment,
                                             size_t offset) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size2(1, 2);

/** As mi_realloc(); the result is aligned as asked for here, whatever `p` was. */
mi_decl_moved_block void* mi_realloc_aligned(void* p, size_t newsize, size_t alignment) mi_attr_noexcept
    mi_attr_alloc_size(2) mi_attr_alloc_align(3);
/** As mi_realloc_aligned(), aligned at `offset`. */
mi_decl_moved_block void* mi_realloc_aligned_at(void* p, size_t newsize, size_t alignment,
                                                size_t offset) mi_attr_noexcept mi_attr_alloc_size(2);

/* ---- resizing with zeroed growth ---- */
/* As the realloc functions; the bytes that the block gains are zero. Valid only for blocks that were
   allocated zeroed (mi_calloc, mi_zalloc and the like) and resized by these functions ever since: a block can
   hold more than was asked for, and only so are the bytes in between known to be zero. */

mi_decl_moved_block void* mi_rezalloc(void* p, size_t newsize) mi_attr_noexcept mi_attr_alloc_size(2);
mi_decl_moved_block void* mi_recalloc(void* p, size_t newcount, size_t size) mi_attr_noexcept
    mi_attr_alloc_size2(2, 3);

mi_decl_moved_block void* mi_rezalloc_aligned(void* p, size_t newsize, size_t alignment) mi_attr_noexcept
    mi_attr_alloc_size(2) mi_attr_alloc_align(3);
mi_decl_moved_block void* mi_rezalloc_aligned_at(void* p, size_t newsize, size_t alignment,
                                                 size_t offset) mi_attr_noexcept mi_attr_alloc_size(2);
mi_decl_moved_block void* mi_recalloc_aligned(void* p, size_t newcount, size_t size,
                                              size_t alignment) mi_attr_noexcept mi_attr_alloc_size2(2, 3)
    mi_attr_alloc_align(4);
mi_decl_moved_block void* mi_recalloc_aligned_at(void* p, size_t newcount, size_t size, size_t alignment,
                                                 size_t offset) mi_attr_noexcept mi_attr_alloc_size2(2, 3);

/* ---- allocation that also tells the block's size ---- */
/* *block_size receives what mi_usable_size() would return of the block; unchanged when NULL is returned. The
   pointer to it may be NULL. */

mi_decl_new_block void* mi_umalloc(size_t size, size_t* block_size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(1);
mi_decl_new_block void* mi_ucalloc(size_t count, size_t size,
                                   size_t* block_size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size2(1, 2);
/** As mi_realloc(); tells the block's size before and after. */
mi_decl_moved_block void* mi_urealloc(void* p, size_t newsize, size_t* block_size_pre,
                                      size_t* block_size_post) mi_attr_noexcept mi_attr_alloc_size(2);
/** As mi_free(); tells the size of the block that is gone. */
mi_decl_export void mi_ufree(void* p, size_t* block_size) mi_attr_noexcept;

mi_decl_new_block void* mi_umalloc_aligned(size_t size, size_t alignment,
                                           size_t* block_size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(1) mi_attr_alloc_align(2);
mi_decl_new_block void* mi_uzalloc_aligned(size_t size, size_t alignment,
                                           size_t* block_size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(1) mi_attr_alloc_align(2);
mi_decl_new_block void* mi_umalloc_small(size_t size, size_t* block_size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(1);
mi_decl_new_block void* mi_uzalloc_small(size_t size, size_t* block_size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(1);

/* ---- first-class heaps, visiting, arenas, sub-processes, per-thread heaps ---- */
/* Declared here, each group with its types, once it is implemented. */

/* ---- life cycle ---- */
/* With the DLL all of this happens by itself; a statically linked program may want to be explicit. */

/** Initialises the allocator. The first allocation does, too. */
mi_decl_export void mi_process_init(void) mi_attr_noexcept;

/** Says that the process ends: prints statistics when option show_stats is on. Blocks stay valid. */
mi_decl_export void mi_cdecl mi_process_done(void) mi_attr_noexcept;

/** Gives the calling thread its heap. Its first allocation does, too. */
mi_decl_export void mi_thread_init(void) mi_attr_noexcept;

/** Says that the calling thread ends: gives its heap back. Its blocks stay valid. */
mi_decl_export void mi_thread_done(void) mi_attr_noexcept;

/** Says that the calling thread serves a thread pool: a hint that it will idle and resume. */
mi_decl_export void mi_thread_set_in_threadpool(void) mi_attr_noexcept;

/**
 * How this copy of the library learns that a thread ends; not in upstream's interface.
 * @return "DllMain" in mimalloc.dll; in the static library "tls-callback", "fls" or, where neither works, "none": heaps
 *   of threads that are gone are then found and reused, but later. "pthread-key" in the native build. Initialises the
 *   allocator if need be.
 */
mi_decl_export const char* mi_thread_exit_mechanism(void) mi_attr_noexcept;

/**
 * Frees memory that is kept for later: of the calling thread, and with `force` what other threads and the
 * process keep, giving it back to the system at once.
 */
mi_decl_export void mi_collect(bool force) mi_attr_noexcept;

/** mi_collect(true), whatever the target (bytes for the calling thread to keep). From the 2.4 line. */
mi_decl_export void mi_collect_reduce(size_t target_thread_owned) mi_attr_noexcept;

/** #MI_MALLOC_VERSION of the library. */
mi_decl_export int mi_version(void);

/** Whether malloc of the process's C runtime ends up here. Found out by trying, not by a flag. */
mi_decl_nodiscard mi_decl_export bool mi_is_redirected(void) mi_attr_noexcept;

/** Whether `p` points into memory that the allocator hands out blocks from. */
mi_decl_nodiscard mi_decl_export bool mi_is_in_heap_region(const void* p) mi_attr_noexcept;

/** Whether `p` points into a block of the calling thread's heap. */
mi_decl_export bool mi_check_owned(const void* p);

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wlong-long" /* C++98 has no long long */
#endif
/**
 * Called now and then by allocation functions, on the allocating thread, so that the program can free what it
 * postponed. May allocate and free. Not called from inside itself.
 * @param force free as much as possible: called by mi_collect(true)
 * @param heartbeat increases with every call on a thread
 * @param arg as registered
 */
typedef void(mi_cdecl mi_deferred_free_fun)(bool force, unsigned long long heartbeat, void* arg);
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

/** Registers the deferred-free function of the process; NULL for none. */
mi_decl_export void mi_register_deferred_free(mi_deferred_free_fun* deferred_free,
                                              void* arg) mi_attr_noexcept;

/** Takes output, a NUL-terminated piece at a time; lines may come in several pieces. */
typedef void(mi_cdecl mi_output_fun)(const char* msg, void* arg);

/**
 * Registers where messages go; NULL: standard error. What was said before the first registration is passed on
 * at once. While the process starts, ends or unloads the DLL, messages go to standard error all the same: no
 * function of the program may run then.
 */
mi_decl_export void mi_register_output(mi_output_fun* out, void* arg) mi_attr_noexcept;

/** Told of errors by errno number: ENOMEM, EOVERFLOW, EINVAL, EAGAIN (double free) or EFAULT (corruption). */
typedef void(mi_cdecl mi_error_fun)(int err, void* arg);

/** Registers what is called on errors. NULL: nothing is; a debug build aborts on misuse of memory then. */
mi_decl_export void mi_register_error(mi_error_fun* fun, void* arg);

/**
 * Times and memory of the process. Each pointer may be NULL.
 * @param elapsed_msecs milliseconds since the allocator was initialised
 * @param user_msecs    milliseconds of processor time in the program
 * @param system_msecs  milliseconds of processor time in the system
 * @param current_rss   bytes of physical memory in use
 * @param peak_rss      and at most
 * @param current_commit bytes of committed memory; of the allocator alone where the system doesn't tell
 * @param peak_commit   and at most
 * @param page_faults   count
 */
mi_decl_export void mi_process_info(size_t* elapsed_msecs, size_t* user_msecs, size_t* system_msecs,
                                    size_t* current_rss, size_t* peak_rss, size_t* current_commit,
                                    size_t* peak_commit, size_t* page_faults) mi_attr_noexcept;

/** Prints what mi_process_info() tells, to `out` or where messages go. */
mi_decl_export void mi_process_info_print(void) mi_attr_noexcept;
mi_decl_export void mi_process_info_print_out(mi_output_fun* out, void* arg) mi_attr_noexcept;

/** Prints the version and all options with their values, to `out` or where messages go. */
mi_decl_export void mi_options_print(void) mi_attr_noexcept;
mi_decl_export void mi_options_print_out(mi_output_fun* out, void* arg) mi_attr_noexcept;

/* ---- statistics; as data: mimalloc-stats.h ---- */

/** Prints statistics of the process to `out` with `arg`, or where messages go when `out` is NULL. */
mi_decl_export void mi_stats_print_out(mi_output_fun* out, void* arg) mi_attr_noexcept;

/** Prints statistics where messages go. The argument, of old a FILE*, is ignored. */
mi_decl_export void mi_stats_print(void* out) mi_attr_noexcept;

/** As mi_stats_print_out(): counters are kept per process, not per thread. */
mi_decl_export void mi_thread_stats_print_out(mi_output_fun* out, void* arg) mi_attr_noexcept;

/** Starts counting anew; what exists counts as if allocated now. */
mi_decl_export void mi_stats_reset(void) mi_attr_noexcept;

/** Does nothing: there are no counters of threads to merge into the process's. From the 2.4 line. */
mi_decl_export void mi_stats_merge(void) mi_attr_noexcept;

/* ---- options ---- */

/**
 * Run-time options, each also an environment variable: MIMALLOC_ and the name in capitals,
 * MIMALLOC_SHOW_STATS=1. There a size is in bytes or a number with K, M, G or T, and on/off is 1, true, yes,
 * on or an empty value against 0, false, no, off. The default is in brackets. Functions take and return the
 * unit that is named here.
 */
/* clang-format off */
typedef enum mi_option_e {
  mi_option_show_errors,                    /**< [0] print warnings and errors */
  mi_option_show_stats,                     /**< [0] print statistics when the process ends */
  mi_option_verbose,                        /**< [0] say what happens */
  mi_option_deprecated_eager_commit,        /**< no effect */
  mi_option_arena_eager_commit,             /**< [2] commit arenas at once; 2: where the system overcommits */
  mi_option_purge_decommits,                /**< [1] purge by decommitting; 0: by resetting */
  mi_option_allow_large_os_pages,           /**< [0] use 2 MiB pages of the system */
  mi_option_reserve_huge_os_pages,          /**< [0] pages of 1 GiB to reserve at start-up */
  mi_option_reserve_huge_os_pages_at,       /**< [-1] NUMA node to reserve them at; -1: any */
  mi_option_reserve_os_memory,              /**< [0] KiB to reserve at start-up */
  mi_option_deprecated_segment_cache,       /**< no effect */
  mi_option_deprecated_page_reset,          /**< no effect */
  mi_option_deprecated_abandoned_page_purge, /**< no effect */
  mi_option_deprecated_segment_reset,       /**< no effect */
  mi_option_deprecated_eager_commit_delay,  /**< no effect */
  mi_option_purge_delay,                    /**< [1000] milliseconds until free memory is purged; -1: never */
  mi_option_use_numa_nodes,                 /**< [0] NUMA nodes to use; 0: all */
  mi_option_disallow_os_alloc,              /**< [0] use only memory that was reserved explicitly */
  mi_option_os_tag,                         /**< [100] tag of memory, where the system has such */
  mi_option_max_errors,                     /**< [32] errors to show; -1: all */
  mi_option_max_warnings,                   /**< [32] warnings to show; -1: all */
  mi_option_deprecated_max_segment_reclaim, /**< no effect */
  mi_option_destroy_on_exit,                /**< [0] release all memory when the process ends */
  mi_option_arena_reserve,                  /**< [1 GiB; 32-bit: 128 MiB] KiB of address space of an arena */
  mi_option_arena_purge_mult,               /**< [1] arenas wait purge_delay times this */
  mi_option_deprecated_purge_extend_delay,  /**< no effect */
  mi_option_disallow_arena_alloc,           /**< [0] ask the system for every page */
  mi_option_retry_on_oom,                   /**< [400] milliseconds to go on asking for memory (Windows) */
  mi_option_visit_abandoned,                /**< [0] allow visiting blocks of threads that ended */
  mi_option_guarded_min,                    /**< [0] bytes in the smallest block to guard */
  mi_option_guarded_max,                    /**< [1 GiB] bytes in the largest block to guard */
  mi_option_guarded_precise,                /**< [0] guarded blocks end right before the guard page */
  mi_option_guarded_sample_rate,            /**< [0] guard one block in so many; 0: none */
  mi_option_guarded_sample_seed,            /**< [0] seed of that choice; 0: random */
  mi_option_generic_collect,                /**< [10000] slow-path allocations between collections */
  mi_option_page_reclaim_on_free,           /**< [0] adopt pages on free; -1: never, 1: any page */
  mi_option_page_full_retain,               /**< [2] full pages to keep per size */
  mi_option_page_max_candidates,            /**< [4] pages to look at for a good fit */
  mi_option_max_vabits,                     /**< [0] bits of an address; 0: what the system says */
  mi_option_pagemap_commit,                 /**< [0] commit the whole page map at start-up */
  mi_option_page_commit_on_demand,          /**< [0] commit pages bit by bit */
  mi_option_page_max_reclaim,               /**< [-1] pages of a size to adopt; -1: no limit */
  mi_option_page_cross_thread_max_reclaim,  /**< [32] the same of pages of other threads */
  mi_option_allow_thp,                      /**< [1] transparent huge pages (Linux) */
  mi_option_minimal_purge_size,             /**< [0] KiB to purge at least; 0: up to the allocator */
  mi_option_arena_max_object_size,          /**< [2 GiB; 32-bit: 256 MiB] KiB; larger blocks get no arena */
  mi_option_arena_is_numa_local,            /**< [0] arenas belong to the NUMA node that asked first */
  _mi_option_last,

  /* older names */
  mi_option_large_os_pages = mi_option_allow_large_os_pages,
  mi_option_eager_region_commit = mi_option_arena_eager_commit,
  mi_option_reset_decommits = mi_option_purge_decommits,
  mi_option_reset_delay = mi_option_purge_delay,
  mi_option_limit_os_alloc = mi_option_disallow_os_alloc
} mi_option_t;
/* clang-format on */

/* A number that is no option reads as 0 and can't be set. */

/** Whether the value isn't 0. */
mi_decl_nodiscard mi_decl_export bool mi_option_is_enabled(mi_option_t option);
/** Sets the value to 1. */
mi_decl_export void mi_option_enable(mi_option_t option);
/** Sets the value to 0. */
mi_decl_export void mi_option_disable(mi_option_t option);
/** Sets the value to 1 or 0. */
mi_decl_export void mi_option_set_enabled(mi_option_t option, bool enable);
/** As mi_option_set_enabled(), unless the environment or the program has set the option already. */
mi_decl_export void mi_option_set_enabled_default(mi_option_t option, bool enable);

/** The value, in the option's unit. */
mi_decl_nodiscard mi_decl_export long mi_option_get(mi_option_t option);
/** The value, but at least `min` and at most `max`. */
mi_decl_nodiscard mi_decl_export long mi_option_get_clamp(mi_option_t option, long min, long max);
/** The value of a size option in bytes, that of another as it is; 0 when it is negative. */
mi_decl_nodiscard mi_decl_export size_t mi_option_get_size(mi_option_t option);
/** Sets the value, in the option's unit. Best done before the first allocation. */
mi_decl_export void mi_option_set(mi_option_t option, long value);
/** As mi_option_set(), unless the environment or the program has set the option already. */
mi_decl_export void mi_option_set_default(mi_option_t option, long value);

/* ---- under the names of POSIX, Unix and Microsoft ---- */

/** Frees `p` if it is one of our blocks; ignores it silently if not. */
mi_decl_export void mi_cfree(void* p) mi_attr_noexcept;
/** mi_expand(). */
mi_decl_export void* mi__expand(void* p, size_t newsize) mi_attr_noexcept;
/** mi_usable_size(), mi_good_size() and mi_usable_size() again. */
mi_decl_nodiscard mi_decl_export size_t mi_malloc_size(const void* p) mi_attr_noexcept;
mi_decl_nodiscard mi_decl_export size_t mi_malloc_good_size(size_t size) mi_attr_noexcept;
mi_decl_nodiscard mi_decl_export size_t mi_malloc_usable_size(const void* p) mi_attr_noexcept;

/**
 * Allocates `size` bytes at a multiple of `alignment`, a power of two and a multiple of sizeof(void*).
 * @return 0 and the block in *p; or EINVAL (bad alignment, `p` is NULL) or ENOMEM, and *p is as before.
 */
mi_decl_export int mi_posix_memalign(void** p, size_t alignment, size_t size);
/** As mi_malloc_aligned(), arguments swapped. */
mi_decl_new_block void* mi_memalign(size_t alignment, size_t size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(2) mi_attr_alloc_align(1);
/** Allocates at a multiple of the system's page size; mi_pvalloc() also rounds the size up to one. */
mi_decl_new_block void* mi_valloc(size_t size) mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1);
mi_decl_new_block void* mi_pvalloc(size_t size) mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1);
/** As mi_memalign(). */
mi_decl_new_block void* mi_aligned_alloc(size_t alignment, size_t size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(2) mi_attr_alloc_align(1);

/** As mi_reallocn(), and sets errno to ENOMEM on failure. */
mi_decl_moved_block void* mi_reallocarray(void* p, size_t count, size_t size) mi_attr_noexcept
    mi_attr_alloc_size2(2, 3);
/**
 * Resizes the block that the pointer at address `ptrp` points to, and updates that pointer, as in NetBSD.
 * @return 0, or an errno number (EINVAL, ENOMEM), and then nothing has changed.
 */
mi_decl_nodiscard mi_decl_export int mi_reallocarr(void* ptrp, size_t count, size_t size) mi_attr_noexcept;

/** mi_recalloc_aligned() and mi_recalloc_aligned_at(). */
mi_decl_moved_block void* mi_aligned_recalloc(void* p, size_t newcount, size_t size,
                                              size_t alignment) mi_attr_noexcept;
mi_decl_moved_block void* mi_aligned_offset_recalloc(void* p, size_t newcount, size_t size, size_t alignment,
                                                     size_t offset) mi_attr_noexcept;

/** mi_free() with what the program knows of the block: the size and the alignment it asked for. */
mi_decl_export void mi_free_size(void* p, size_t size) mi_attr_noexcept;
mi_decl_export void mi_free_size_aligned(void* p, size_t size, size_t alignment) mi_attr_noexcept;
mi_decl_export void mi_free_aligned(void* p, size_t alignment) mi_attr_noexcept;

/**
 * Allocates a copy of the value of environment variable `name` in *buf.
 * @param size receives the characters in it, the NUL included; may be NULL
 * @return 0 (and *buf NULL, *size 0 when there is no such variable), or EINVAL or ENOMEM.
 */
mi_decl_export int mi_dupenv_s(char** buf, size_t* size, const char* name) mi_attr_noexcept;
mi_decl_export int mi_wdupenv_s(wchar_t** buf, size_t* size, const wchar_t* name) mi_attr_noexcept;
/** Allocate a copy of the string `s`. NULL gives NULL. */
mi_decl_new_block wchar_t* mi_wcsdup(const wchar_t* s) mi_attr_noexcept mi_attr_malloc;
mi_decl_new_block unsigned char* mi_mbsdup(const unsigned char* s) mi_attr_noexcept mi_attr_malloc;

/* ---- for C++'s operator new ---- */
/* Out of memory, these call the program's new-handler for as long as there is one and try again. After that
   the ones without "nothrow" don't return NULL: they throw std::bad_alloc by the C++ runtime of the process. When
   there is none (a C program, or a runtime that is inside of the program while this library is a DLL), and on 32-bit
   Windows with MinGW's runtimes, they report and end the process. A count * size that overflows is out of memory. */

mi_decl_new_block void* mi_new(size_t size) mi_attr_malloc mi_attr_alloc_size(1);
mi_decl_new_block void* mi_new_aligned(size_t size, size_t alignment) mi_attr_malloc mi_attr_alloc_size(1)
    mi_attr_alloc_align(2);
mi_decl_new_block void* mi_new_nothrow(size_t size) mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1);
mi_decl_new_block void* mi_new_aligned_nothrow(size_t size, size_t alignment) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(1) mi_attr_alloc_align(2);
mi_decl_new_block void* mi_new_n(size_t count, size_t size) mi_attr_malloc mi_attr_alloc_size2(1, 2);
mi_decl_moved_block void* mi_new_realloc(void* p, size_t newsize) mi_attr_alloc_size(2);
mi_decl_moved_block void* mi_new_reallocn(void* p, size_t newcount, size_t size) mi_attr_alloc_size2(2, 3);

#if defined(__cplusplus)
}

/* ---- for C++'s containers ---- */

#include <new>
#if __cplusplus >= 201103L || (defined(_MSC_VER) && _MSC_VER > 1900)
#define MI_CPP11_ 1
#include <type_traits>
#include <utility>
#else
#define MI_CPP11_ 0
#endif

/**
 * Allocator for containers: std::vector<int, mi_stl_allocator<int> >. It has no state; all of them are equal.
 * For the operators new and delete of a whole program see mimalloc-new-delete.h.
 */
template <class T> struct mi_stl_allocator {
  typedef T value_type;
  typedef T* pointer;
  typedef const T* const_pointer;
  typedef T& reference;
  typedef const T& const_reference;
  typedef size_t size_type;
  typedef ptrdiff_t difference_type;
  template <class U> struct rebind { typedef mi_stl_allocator<U> other; };

  mi_stl_allocator() mi_attr_noexcept {}
  template <class U> mi_stl_allocator(const mi_stl_allocator<U>&) mi_attr_noexcept {}
  mi_stl_allocator select_on_container_copy_construction() const { return *this; }

  /** Room for `count` values; without it calls the new-handler, and throws std::bad_alloc when there is none. */
  mi_decl_nodiscard T* allocate(size_type count, const void* = NULL) {
    for (;;) {
      void* p = count > max_size() ? NULL : place(count * sizeof(T));
      if (p != NULL) return static_cast<T*>(p);
#if MI_CPP11_
      std::new_handler handler = std::get_new_handler();
#else
      std::new_handler handler = std::set_new_handler(NULL);
      std::set_new_handler(handler);
#endif
      if (handler == NULL) break;
      handler(); /* frees memory, or throws, or ends the program */
    }
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND)
    throw std::bad_alloc();
#else
    return static_cast<T*>(mi_new_n(count, sizeof(T))); /* reports and ends the process */
#endif
  }
  void deallocate(T* p, size_type) { mi_free(p); }
  size_type max_size() const mi_attr_noexcept { return static_cast<size_type>(-1) / 2 / sizeof(T); }

  pointer address(reference x) const { return &x; }
  const_pointer address(const_reference x) const { return &x; }

#if MI_CPP11_
  typedef std::true_type propagate_on_container_copy_assignment;
  typedef std::true_type propagate_on_container_move_assignment;
  typedef std::true_type propagate_on_container_swap;
  typedef std::true_type is_always_equal;
  template <class U, class... Args> void construct(U* p, Args&&... args) {
    ::new (static_cast<void*>(p)) U(std::forward<Args>(args)...);
  }
  template <class U> void destroy(U* p) mi_attr_noexcept { p->~U(); }
#else
  void construct(pointer p, const T& value) { ::new (static_cast<void*>(p)) T(value); }
  void destroy(pointer p) { p->~T(); }
#endif

private:
  static void* place(size_type size) {
#if MI_CPP11_
    if (alignof(T) > 2 * sizeof(void*)) return mi_malloc_aligned(size, alignof(T));
#endif
    return mi_malloc(size);
  }
};

template <class T, class U>
bool operator==(const mi_stl_allocator<T>&, const mi_stl_allocator<U>&) mi_attr_noexcept {
  return true;
}
template <class T, class U>
bool operator!=(const mi_stl_allocator<T>&, const mi_stl_allocator<U>&) mi_attr_noexcept {
  return false;
}

/* mi_heap_stl_allocator and mi_heap_destroy_stl_allocator come with the heaps. */

#undef MI_CPP11_
#endif /* __cplusplus */

#endif
