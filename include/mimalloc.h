/**
 * @file mimalloc.h
 * The C interface of mimalloc.dll, and for C++ an STL allocator.
 *
 * Compatible with mimalloc 3.4.3, at compile time and at link time: same names, types, values and meaning of
 * errors. The names of the 2.4 line are there, too. Needs no other header of ours and no type of a platform;
 * compiles as C89 and later, and as C++98 and later.
 *
 * What holds for every function unless its comment says otherwise:
 * - Any thread may call it at any time. A block may be freed, resized or measured by another thread than the
 *   one that allocated it.
 * - Sizes, alignments and offsets are in bytes. A block has at least the size asked for and is aligned to 16
 *   bytes (8 for sizes up to 8). Size 0 gives a block of its own, too.
 * - An allocation that fails returns NULL and sets errno to ENOMEM: no memory, a size above PTRDIFF_MAX, a
 *   product count * size that overflows. An alignment that is no power of two gives NULL, too. Option
 *   show_errors prints the reason.
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

/* Old languages know neither long long nor bool; compilers that have them all the same would say so. */
#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wlong-long"
#if !defined(__cplusplus)
#pragma clang diagnostic ignored "-Wc99-extensions"
#endif
#elif defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wlong-long"
#endif

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
#elif defined(__GNUC__) || defined(__clang__)
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
 * The absolute path of a file.
 * @param fname         the file
 * @param resolved_name where to put it, with room for PATH_MAX (MAX_PATH) characters; NULL: in a new block
 * @return the path, or NULL when there is none.
 */
mi_decl_new_block char* mi_realpath(const char* fname, char* resolved_name) mi_attr_noexcept;

/* ---- extended allocation ---- */

/** The same in words. */
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

/** @name Blocks for values of a type
 * @{ */
/** Blocks for values of type `tp`: mi_malloc_tp(int) is an int*. */
#define mi_malloc_tp(tp)         ((tp*)mi_malloc(sizeof(tp)))
#define mi_zalloc_tp(tp)         ((tp*)mi_zalloc(sizeof(tp)))
#define mi_calloc_tp(tp, n)      ((tp*)mi_calloc(n, sizeof(tp)))
#define mi_mallocn_tp(tp, n)     ((tp*)mi_mallocn(n, sizeof(tp)))
#define mi_reallocn_tp(tp, p, n) ((tp*)mi_reallocn(p, n, sizeof(tp)))
#define mi_recalloc_tp(tp, p, n) ((tp*)mi_recalloc(p, n, sizeof(tp)))
/** @} */

/* ---- aligned allocation ---- */
/* The alignment follows the size, unlike in posix_memalign and aligned_alloc. It is a power of two, as large as
   the address space has room for. The _at functions align the address `offset` bytes into the block. Free with
   mi_free(). */

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

/**
 * As mi_realloc(); the result is aligned as asked for here, whatever `p` was. An alignment that is no power of
 * two (0, say) asks for nothing: then it is mi_realloc().
 */
mi_decl_moved_block void* mi_realloc_aligned(void* p, size_t newsize, size_t alignment) mi_attr_noexcept
    mi_attr_alloc_size(2) mi_attr_alloc_align(3);
/** As mi_realloc_aligned(), aligned at `offset`. */
mi_decl_moved_block void* mi_realloc_aligned_at(void* p, size_t newsize, size_t alignment,
                                                size_t offset) mi_attr_noexcept mi_attr_alloc_size(2);

/* ---- resizing with zeroed growth ---- */
/* As the realloc functions; the bytes that the block gains are zero. Valid only for blocks that were
   allocated zeroed (mi_calloc, mi_zalloc and the like) and resized by these functions ever since: a block can
   hold more than was asked for, and only so are the bytes in between known to be zero. */

/** mi_realloc() with zeroed growth. */
mi_decl_moved_block void* mi_rezalloc(void* p, size_t newsize) mi_attr_noexcept mi_attr_alloc_size(2);
/** mi_rezalloc() to `newcount` * `size` bytes. */
mi_decl_moved_block void* mi_recalloc(void* p, size_t newcount, size_t size) mi_attr_noexcept
    mi_attr_alloc_size2(2, 3);

/** mi_realloc_aligned() with zeroed growth. */
mi_decl_moved_block void* mi_rezalloc_aligned(void* p, size_t newsize, size_t alignment) mi_attr_noexcept
    mi_attr_alloc_size(2) mi_attr_alloc_align(3);
/** mi_realloc_aligned_at() with zeroed growth. */
mi_decl_moved_block void* mi_rezalloc_aligned_at(void* p, size_t newsize, size_t alignment,
                                                 size_t offset) mi_attr_noexcept mi_attr_alloc_size(2);
/** mi_rezalloc_aligned() to `newcount` * `size` bytes. */
mi_decl_moved_block void* mi_recalloc_aligned(void* p, size_t newcount, size_t size,
                                              size_t alignment) mi_attr_noexcept mi_attr_alloc_size2(2, 3)
    mi_attr_alloc_align(4);
/** mi_rezalloc_aligned_at() to `newcount` * `size` bytes. */
mi_decl_moved_block void* mi_recalloc_aligned_at(void* p, size_t newcount, size_t size, size_t alignment,
                                                 size_t offset) mi_attr_noexcept mi_attr_alloc_size2(2, 3);

/* ---- allocation that also tells the block's size ---- */
/* *block_size receives what mi_usable_size() would return of the block; unchanged when NULL is returned. The
   pointer to it may be NULL. */

/** mi_malloc() that tells the size of the block. */
mi_decl_new_block void* mi_umalloc(size_t size, size_t* block_size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(1);
/** mi_calloc() that tells the size of the block. */
mi_decl_new_block void* mi_ucalloc(size_t count, size_t size,
                                   size_t* block_size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size2(1, 2);
/** As mi_realloc(); tells the block's size before and after. */
mi_decl_moved_block void* mi_urealloc(void* p, size_t newsize, size_t* block_size_pre,
                                      size_t* block_size_post) mi_attr_noexcept mi_attr_alloc_size(2);
/** As mi_free(); tells the size of the block that is gone. */
mi_decl_export void mi_ufree(void* p, size_t* block_size) mi_attr_noexcept;

/** mi_malloc_aligned() that tells the size of the block. */
mi_decl_new_block void* mi_umalloc_aligned(size_t size, size_t alignment,
                                           size_t* block_size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(1) mi_attr_alloc_align(2);
/** mi_zalloc_aligned() that tells the size of the block. */
mi_decl_new_block void* mi_uzalloc_aligned(size_t size, size_t alignment,
                                           size_t* block_size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(1) mi_attr_alloc_align(2);
/** mi_malloc_small() that tells the size of the block. */
mi_decl_new_block void* mi_umalloc_small(size_t size, size_t* block_size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(1);
/** mi_zalloc_small() that tells the size of the block. */
mi_decl_new_block void* mi_uzalloc_small(size_t size, size_t* block_size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(1);

/* ---- first-class heaps ---- */

struct mi_heap_s;
/**
 * A heap: blocks that can be deleted or destroyed together. Any thread may allocate in any heap of its
 * sub-process, and free any block; a heap keeps its blocks in pages of its own. malloc uses the main heap,
 * which is always there. Heaps are valid from their creation until they are deleted or destroyed; another
 * pointer, NULL included, is an error of the program where nothing else is said.
 */
typedef struct mi_heap_s mi_heap_t;

/**
 * Makes a heap in the calling thread's sub-process.
 * @return the heap, or NULL when there is no memory.
 */
mi_decl_nodiscard mi_decl_export mi_heap_t* mi_heap_new(void);

/**
 * Deletes `heap`; its living blocks move to the main heap of its sub-process, stay valid and may be freed by
 * any thread, also meanwhile. No thread may allocate in the heap any more when this is called. Of NULL and of
 * a main heap nothing is done. Where it is the calling thread's default, the main heap becomes that.
 */
mi_decl_export void mi_heap_delete(mi_heap_t* heap);

/**
 * Deletes `heap` and frees all of its blocks at once, in time proportional to its pages. No thread may use the
 * heap or one of its blocks any more when this is called. Of NULL and of a main heap nothing is done. Where it
 * is the calling thread's default, the main heap becomes that.
 */
mi_decl_export void mi_heap_destroy(mi_heap_t* heap);

/**
 * Says from which NUMA node the heap should take memory that it takes from now on; -1: from any. A wish: where
 * that node has no arena of its own (see mi_reserve_huge_os_pages_at(), mi_manage_os_memory()), others serve.
 */
mi_decl_export void mi_heap_set_numa_affinity(mi_heap_t* heap, int numa_node);

/**
 * Frees memory that the calling thread keeps for `heap`; with `force` also what nobody owns of the heap's
 * memory, giving it back to the system at once. NULL: nothing is done.
 */
mi_decl_export void mi_heap_collect(mi_heap_t* heap, bool force);

/** The main heap of the calling thread's sub-process. */
mi_decl_nodiscard mi_decl_export mi_heap_t* mi_heap_main(void);

/** The heap of the block that `p` points to or into; NULL when `p` is in none of our blocks. */
mi_decl_nodiscard mi_decl_export mi_heap_t* mi_heap_of(const void* p);

/** Whether `p` points to or into a block of `heap`; NULL: of the main heap. */
mi_decl_nodiscard mi_decl_export bool mi_heap_contains(const mi_heap_t* heap, const void* p);

/** Whether `p` points to or into a block of any heap, in any sub-process. */
mi_decl_nodiscard mi_decl_export bool mi_any_heap_contains(const void* p);

/* ---- allocation in heaps ---- */
/* Each as the function without "heap_", with blocks from `heap`, which must be of the calling thread's
   sub-process; NULL: it is the function without "heap_". A block that is resized in place stays in the heap that it is in, and one that moves comes to
   lie in `heap`. Blocks are freed by mi_free(). */

/** mi_malloc() in `heap`. */
mi_decl_new_block void* mi_heap_malloc(mi_heap_t* heap, size_t size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(2);
/** mi_zalloc() in `heap`. */
mi_decl_new_block void* mi_heap_zalloc(mi_heap_t* heap, size_t size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(2);
/** mi_calloc() in `heap`. */
mi_decl_new_block void* mi_heap_calloc(mi_heap_t* heap, size_t count,
                                       size_t size) mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size2(2, 3);
/** mi_mallocn() in `heap`. */
mi_decl_new_block void* mi_heap_mallocn(mi_heap_t* heap, size_t count,
                                        size_t size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size2(2, 3);
/** mi_malloc_small() in `heap`: `size` must not exceed #MI_SMALL_SIZE_MAX. */
mi_decl_new_block void* mi_heap_malloc_small(mi_heap_t* heap, size_t size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(2);
/** mi_zalloc_small() in `heap`: `size` must not exceed #MI_SMALL_SIZE_MAX. */
mi_decl_new_block void* mi_heap_zalloc_small(mi_heap_t* heap, size_t size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(2);

/** mi_realloc() in `heap`. */
mi_decl_moved_block void* mi_heap_realloc(mi_heap_t* heap, void* p, size_t newsize) mi_attr_noexcept
    mi_attr_alloc_size(3);
/** mi_reallocn() in `heap`. */
mi_decl_moved_block void* mi_heap_reallocn(mi_heap_t* heap, void* p, size_t count,
                                           size_t size) mi_attr_noexcept mi_attr_alloc_size2(3, 4);
/** mi_reallocf() in `heap`: frees `p` on failure. */
mi_decl_moved_block void* mi_heap_reallocf(mi_heap_t* heap, void* p, size_t newsize) mi_attr_noexcept
    mi_attr_alloc_size(3);

/** mi_strdup() in `heap`. */
mi_decl_new_block char* mi_heap_strdup(mi_heap_t* heap, const char* s) mi_attr_noexcept mi_attr_malloc;
/** mi_strndup() in `heap`. */
mi_decl_new_block char* mi_heap_strndup(mi_heap_t* heap, const char* s,
                                        size_t n) mi_attr_noexcept mi_attr_malloc;
/** mi_realpath() in `heap`. */
mi_decl_new_block char* mi_heap_realpath(mi_heap_t* heap, const char* fname,
                                         char* resolved_name) mi_attr_noexcept;

/** mi_malloc_aligned() in `heap`. */
mi_decl_new_block void* mi_heap_malloc_aligned(mi_heap_t* heap, size_t size,
                                               size_t alignment) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(2) mi_attr_alloc_align(3);
/** mi_malloc_aligned_at() in `heap`. */
mi_decl_new_block void* mi_heap_malloc_aligned_at(mi_heap_t* heap, size_t size, size_t alignment,
                                                  size_t offset) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(2);
/** mi_zalloc_aligned() in `heap`. */
mi_decl_new_block void* mi_heap_zalloc_aligned(mi_heap_t* heap, size_t size,
                                               size_t alignment) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(2) mi_attr_alloc_align(3);
/** mi_zalloc_aligned_at() in `heap`. */
mi_decl_new_block void* mi_heap_zalloc_aligned_at(mi_heap_t* heap, size_t size, size_t alignment,
                                                  size_t offset) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(2);
/** mi_calloc_aligned() in `heap`. */
mi_decl_new_block void* mi_heap_calloc_aligned(mi_heap_t* heap, size_t count, size_t size,
                                               size_t alignment) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size2(2, 3) mi_attr_alloc_align(4);
/** mi_calloc_aligned_at() in `heap`. */
mi_decl_new_block void* mi_heap_calloc_aligned_at(mi_heap_t* heap, size_t count, size_t size,
                                                  size_t alignment,
                                                  size_t offset) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size2(2, 3);
/** mi_realloc_aligned() in `heap`. */
mi_decl_moved_block void* mi_heap_realloc_aligned(mi_heap_t* heap, void* p, size_t newsize,
                                                  size_t alignment) mi_attr_noexcept mi_attr_alloc_size(3);
/** mi_realloc_aligned_at() in `heap`. */
mi_decl_moved_block void* mi_heap_realloc_aligned_at(mi_heap_t* heap, void* p, size_t newsize,
                                                     size_t alignment, size_t offset) mi_attr_noexcept
    mi_attr_alloc_size(3);

/** mi_rezalloc() in `heap`. */
mi_decl_moved_block void* mi_heap_rezalloc(mi_heap_t* heap, void* p, size_t newsize) mi_attr_noexcept
    mi_attr_alloc_size(3);
/** mi_recalloc() in `heap`. */
mi_decl_moved_block void* mi_heap_recalloc(mi_heap_t* heap, void* p, size_t newcount,
                                           size_t size) mi_attr_noexcept mi_attr_alloc_size2(3, 4);
/** mi_rezalloc_aligned() in `heap`. */
mi_decl_moved_block void* mi_heap_rezalloc_aligned(mi_heap_t* heap, void* p, size_t newsize,
                                                   size_t alignment) mi_attr_noexcept mi_attr_alloc_size(3);
/** mi_rezalloc_aligned_at() in `heap`. */
mi_decl_moved_block void* mi_heap_rezalloc_aligned_at(mi_heap_t* heap, void* p, size_t newsize,
                                                      size_t alignment, size_t offset) mi_attr_noexcept
    mi_attr_alloc_size(3);
/** mi_recalloc_aligned() in `heap`. */
mi_decl_moved_block void* mi_heap_recalloc_aligned(mi_heap_t* heap, void* p, size_t newcount, size_t size,
                                                   size_t alignment) mi_attr_noexcept
    mi_attr_alloc_size2(3, 4);
/** mi_recalloc_aligned_at() in `heap`. */
mi_decl_moved_block void* mi_heap_recalloc_aligned_at(mi_heap_t* heap, void* p, size_t newcount, size_t size,
                                                      size_t alignment, size_t offset) mi_attr_noexcept
    mi_attr_alloc_size2(3, 4);

/** @name Blocks of a heap for values of a type
 * @{ */
/** Blocks of heap `hp` for values of type `tp`. */
#define mi_heap_malloc_tp(tp, hp)         ((tp*)mi_heap_malloc(hp, sizeof(tp)))
#define mi_heap_zalloc_tp(tp, hp)         ((tp*)mi_heap_zalloc(hp, sizeof(tp)))
#define mi_heap_calloc_tp(tp, hp, n)      ((tp*)mi_heap_calloc(hp, n, sizeof(tp)))
#define mi_heap_mallocn_tp(tp, hp, n)     ((tp*)mi_heap_mallocn(hp, n, sizeof(tp)))
#define mi_heap_reallocn_tp(tp, hp, p, n) ((tp*)mi_heap_reallocn(hp, p, n, sizeof(tp)))
#define mi_heap_recalloc_tp(tp, hp, p, n) ((tp*)mi_heap_recalloc(hp, p, n, sizeof(tp)))
/** @} */

/* ---- visiting ---- */

/** An area holds blocks of one size. */
typedef struct mi_heap_area_s {
  void* blocks;           /**< its first block */
  size_t reserved;        /**< bytes of address space for blocks */
  size_t committed;       /**< bytes of it that have memory behind them */
  size_t used;            /**< blocks in use */
  size_t block_size;      /**< bytes that the program may use of each block */
  size_t full_block_size; /**< bytes from one block to the next */
  void* reserved1;        /**< ours */
} mi_heap_area_t;

/**
 * Called for an area with `block` NULL and then, if blocks are visited, with each block in use there. Must not
 * allocate, resize or free in the heap that is visited.
 * @param heap       the heap that is visited
 * @param area       valid during the call
 * @param block      a block in use, or NULL
 * @param block_size bytes that the program may use of it
 * @param arg        as given
 * @return false ends the visit.
 */
typedef bool(mi_cdecl mi_block_visit_fun)(const mi_heap_t* heap, const mi_heap_area_t* area, void* block,
                                          size_t block_size, void* arg);

/**
 * Visits the areas of `heap`, all of its threads', and with `visit_blocks` the blocks in use: each one once,
 * and none that is free. No other thread may use the heap meanwhile, but one that never allocated in it may free
 * its blocks: those of which that is known in time aren't visited.
 * @return false when the visitor ended it, or there is none. NULL as the heap: the main heap.
 */
mi_decl_export bool mi_heap_visit_blocks(mi_heap_t* heap, bool visit_blocks, mi_block_visit_fun* visitor,
                                         void* arg);

/**
 * The same for the areas of `heap` that no thread owns: full ones, and what threads left that ended. Other
 * threads may take them over at any time, so none may use the heap meanwhile.
 * @return false also when option visit_abandoned is off: a message tells so.
 */
mi_decl_export bool mi_heap_visit_abandoned_blocks(mi_heap_t* heap, bool visit_blocks,
                                                   mi_block_visit_fun* visitor, void* arg);

/**
 * For programs that move blocks to save memory: whether the area around block `p` of `heap` has less than
 * `perc_threshold` percent of its blocks in use, and isn't the one that the next block would come from. No
 * other thread may use the heap meanwhile. False when `p` is no block of the heap; NULL as the heap stands for any,
 * as in 3.4.3.
 */
mi_decl_export bool mi_unsafe_heap_page_is_under_utilized(mi_heap_t* heap, void* p,
                                                          size_t perc_threshold) mi_attr_noexcept;

/* ---- arenas ---- */
/* Memory comes from arenas. They are made as needed; a program can also reserve them in advance or give memory
   of its own. All of these functions concern the calling thread's sub-process. An arena that is "exclusive"
   serves only heaps that were made in it by mi_heap_new_in_arena(). */

/** Identifies an arena; NULL: none in particular. Valid until its sub-process is destroyed. */
typedef void* mi_arena_id_t;

/**
 * Reserves memory of the system's for an arena.
 * @param size        bytes; rounded up to what arenas are made of
 * @param commit      with memory behind it from the start
 * @param allow_large in large pages of the system, if it grants them; such memory is never given back
 * @return 0, or ENOMEM.
 */
mi_decl_export int mi_reserve_os_memory(size_t size, bool commit, bool allow_large) mi_attr_noexcept;

/**
 * The same, with the choice of an exclusive arena.
 * @param size        as for mi_reserve_os_memory(), and so are `commit` and `allow_large`
 * @param commit      see there
 * @param allow_large see there
 * @param exclusive   only heaps made in it get memory of the arena
 * @param arena_id    receives which arena it is, NULL on failure; may be NULL
 * @return 0, or ENOMEM.
 */
mi_decl_export int mi_reserve_os_memory_ex(size_t size, bool commit, bool allow_large, bool exclusive,
                                           mi_arena_id_t* arena_id) mi_attr_noexcept;

/**
 * Takes memory of the program's as an arena. It is never released, and must stay as it is until the process
 * ends or the sub-process is destroyed. What is an arena's already isn't taken again.
 * @param start        where it begins; what lies before the next multiple of mi_arena_min_alignment() is lost
 * @param size         bytes, mi_arena_min_size() at least from there on
 * @param is_committed there is memory behind it
 * @param is_pinned    it can't be decommitted or reset, and it is not
 * @param is_zero      it reads as zero
 * @param numa_node    where it is; -1: unknown
 * @return whether it was taken; if not, a message tells why.
 */
mi_decl_export bool mi_manage_os_memory(void* start, size_t size, bool is_committed, bool is_pinned,
                                        bool is_zero, int numa_node) mi_attr_noexcept;

/** mi_manage_os_memory(), with `exclusive` and `arena_id` as for mi_reserve_os_memory_ex(). */
mi_decl_export bool mi_manage_os_memory_ex(void* start, size_t size, bool is_committed, bool is_pinned,
                                           bool is_zero, int numa_node, bool exclusive,
                                           mi_arena_id_t* arena_id) mi_attr_noexcept;

/**
 * Commits (`commit` true) or decommits memory that was given by mi_manage_memory(). Called on any thread, by
 * functions that allocate or free: it must not do so itself.
 * @param commit   which of both
 * @param start    where
 * @param size     bytes
 * @param is_zero  when committing: to be set to whether the memory reads as zero; else NULL
 * @param user_arg as given to mi_manage_memory()
 * @return whether it worked.
 */
typedef bool(mi_cdecl mi_commit_fun_t)(bool commit, void* start, size_t size, bool* is_zero, void* user_arg);

/**
 * mi_manage_os_memory_ex() of memory that the program commits and decommits by itself.
 * @param start          as for mi_manage_os_memory(), and so are the next five
 * @param size           see there
 * @param is_committed   see there
 * @param is_pinned      see there
 * @param is_zero        see there
 * @param numa_node      see there
 * @param exclusive      as for mi_reserve_os_memory_ex(), and so is `arena_id`
 * @param arena_id       see there
 * @param commit_fun     called to commit and decommit it, with `commit_fun_arg`; NULL: the system is asked
 * @param commit_fun_arg see there
 */
mi_decl_export bool mi_manage_memory(void* start, size_t size, bool is_committed, bool is_pinned,
                                     bool is_zero, int numa_node, bool exclusive, mi_commit_fun_t* commit_fun,
                                     void* commit_fun_arg, mi_arena_id_t* arena_id) mi_attr_noexcept;

/**
 * Reserves memory in large pages, a multiple of 1 GiB, on one NUMA node: as one arena if the system grants that,
 * else as one for each GiB that it grants.
 * @param pages         how many GiB
 * @param numa_node     on this node; -1: on any
 * @param timeout_msecs stops after so many milliseconds; 0: never
 * @return 0, or ENOMEM when not a single one was granted: a message tells why, and the allocator goes on
 * without. On Windows the user needs the right to lock pages in memory.
 */
mi_decl_export int mi_reserve_huge_os_pages_at(size_t pages, int numa_node,
                                               size_t timeout_msecs) mi_attr_noexcept;

/** The same, with `exclusive` and `arena_id` (of the first arena) as for mi_reserve_os_memory_ex(). */
mi_decl_export int mi_reserve_huge_os_pages_at_ex(size_t pages, int numa_node, size_t timeout_msecs,
                                                  bool exclusive, mi_arena_id_t* arena_id) mi_attr_noexcept;

/**
 * The same, spread evenly over the first `numa_nodes` NUMA nodes.
 * @param pages         how many in all
 * @param numa_nodes    0: on any node
 * @param timeout_msecs for all of it
 * @return 0, or ENOMEM when some node granted none.
 */
mi_decl_export int mi_reserve_huge_os_pages_interleave(size_t pages, size_t numa_nodes,
                                                       size_t timeout_msecs) mi_attr_noexcept;

/** mi_reserve_huge_os_pages_interleave() within `max_secs` seconds; `*pages_reserved` is `pages` or 0. */
mi_decl_export int mi_reserve_huge_os_pages(size_t pages, double max_secs,
                                            size_t* pages_reserved) mi_attr_noexcept;

/** Where the arena lies; `*size` (may be NULL) receives its bytes. NULL and 0 when there is no such arena. */
mi_decl_export void* mi_arena_area(mi_arena_id_t arena_id, size_t* size);

/** Whether `p` points into the arena. */
mi_decl_export bool mi_arena_contains(mi_arena_id_t arena_id, const void* p);

/** Alignment of memory for mi_manage_os_memory(), in bytes, of which then nothing is lost. */
mi_decl_export size_t mi_arena_min_alignment(void);

/** The least that mi_manage_os_memory() takes, in bytes. */
mi_decl_export size_t mi_arena_min_size(void);

/** Prints the arenas of the calling thread's sub-process, where messages go. */
mi_decl_export void mi_arenas_print(void) mi_attr_noexcept;

/** mi_arenas_print(). */
mi_decl_export void mi_debug_show_arenas(void) mi_attr_noexcept;

/**
 * Makes a heap whose memory all comes from the arena: once that is full, allocations in the heap fail.
 * @return the heap, or NULL when there is no memory, or no such arena in the calling thread's sub-process.
 */
mi_decl_nodiscard mi_decl_export mi_heap_t* mi_heap_new_in_arena(mi_arena_id_t arena_id);

/* ---- sub-processes ---- */
/* Parts of the process with heaps and arenas of their own: memory never goes from one to another. A thread is
   in one of them. Blocks may be freed and measured by threads of any other. */

/** A sub-process. The field is ours. */
typedef struct {
  void* _mi_subproc_id; /**< ours */
} mi_subproc_id_t;

/** The one that is there from the start. */
mi_decl_export mi_subproc_id_t mi_subproc_main(void);

/** That of the calling thread. */
mi_decl_export mi_subproc_id_t mi_subproc_current(void);

/** Makes one, with a main heap of its own. The field is NULL when there is no memory. */
mi_decl_export mi_subproc_id_t mi_subproc_new(void);

/**
 * Releases the sub-process with all of its heaps and memory. Its threads must have ended, and nobody may use a
 * block of it any more. Of the main one, and while there are threads in it, nothing is done; a message tells so.
 */
mi_decl_export void mi_subproc_destroy(mi_subproc_id_t subproc);

/**
 * Puts the calling thread into the sub-process, for the rest of its life. To be called before the thread's
 * first allocation; later nothing is done, and a message tells so.
 */
mi_decl_export void mi_subproc_add_current_thread(mi_subproc_id_t subproc);

/** Called with each heap; false ends the visit. May use, make and delete heaps. */
typedef bool(mi_cdecl mi_heap_visit_fun)(mi_heap_t* heap, void* arg);

/**
 * Visits the heaps of the sub-process. Heaps may come and go meanwhile; those that do may be visited or not.
 * @return false when the visitor ended it, or an argument is NULL.
 */
mi_decl_export bool mi_subproc_visit_heaps(mi_subproc_id_t subproc, mi_heap_visit_fun* visitor, void* arg);

/* ---- parts of heaps that belong to a thread ---- */
/* A theap is a thread's part of a heap. Runtimes that have a context for each thread can keep one there and save
   the search. All of these functions are for the theap's own thread alone, and while the heap lives. */

struct mi_theap_s;
/** A thread's part of a heap. */
typedef struct mi_theap_s mi_theap_t;

/**
 * The calling thread's theap of `heap` (NULL: of the main heap), made if need be.
 * @return the theap, or NULL when there is no memory, or the thread is about to end and has given its theaps
 * back.
 */
mi_decl_export mi_theap_t* mi_heap_theap(mi_heap_t* heap);

/**
 * Makes `theap` what malloc and all functions without "heap" use on the calling thread. NULL: its theap of the
 * main heap.
 * @return what it was before.
 */
mi_decl_export mi_theap_t* mi_theap_set_default(mi_theap_t* theap);

/**
 * What malloc uses on the calling thread. Never NULL; for a thread that is about to end and has given its
 * theaps back it is one that only passes on to malloc.
 */
mi_decl_export mi_theap_t* mi_theap_get_default(void);

/** mi_heap_collect() for the one theap. */
mi_decl_export void mi_theap_collect(mi_theap_t* theap, bool force) mi_attr_noexcept;

/** mi_malloc() in `theap`. */
mi_decl_new_block void* mi_theap_malloc(mi_theap_t* theap, size_t size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(2);
/** mi_zalloc() in `theap`. */
mi_decl_new_block void* mi_theap_zalloc(mi_theap_t* theap, size_t size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(2);
/** mi_calloc() in `theap`. */
mi_decl_new_block void* mi_theap_calloc(mi_theap_t* theap, size_t count,
                                        size_t size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size2(2, 3);
/** mi_malloc_small() in `theap`: `size` must not exceed #MI_SMALL_SIZE_MAX. */
mi_decl_new_block void* mi_theap_malloc_small(mi_theap_t* theap, size_t size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(2);
/** mi_zalloc_small() in `theap`: `size` must not exceed #MI_SMALL_SIZE_MAX. */
mi_decl_new_block void* mi_theap_zalloc_small(mi_theap_t* theap, size_t size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(2);
/** mi_malloc_aligned() in `theap`. */
mi_decl_new_block void* mi_theap_malloc_aligned(mi_theap_t* theap, size_t size,
                                                size_t alignment) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(2) mi_attr_alloc_align(3);
/** mi_realloc() in `theap`. */
mi_decl_moved_block void* mi_theap_realloc(mi_theap_t* theap, void* p, size_t newsize) mi_attr_noexcept
    mi_attr_alloc_size(3);

/** mi_heap_visit_blocks() of the areas that the calling thread owns; other threads may use the heap. */
mi_decl_export bool mi_theap_visit_blocks(const mi_theap_t* theap, bool visit_blocks,
                                          mi_block_visit_fun* visitor, void* arg);

/* ---- guarded blocks ---- */
/* To find overruns, some blocks can be put before a page that can't be accessed: the program ends with a fault
   at the very instruction that goes beyond. Options guarded_* choose which for all theaps; these two functions
   for one. */

/**
 * Guards every `sample_rate`-th block of the theap whose size is within its bounds; 0: none.
 * @param theap       the theap
 * @param sample_rate one block in so many
 * @param seed        where in the first round to begin, so that a run can be repeated; 0: anywhere
 */
mi_decl_export void mi_theap_guarded_set_sample_rate(mi_theap_t* theap, size_t sample_rate, size_t seed);

/** Sizes of blocks that may be guarded in the theap, from `min` to `max` bytes. */
mi_decl_export void mi_theap_guarded_set_size_bound(mi_theap_t* theap, size_t min, size_t max);

/* ---- names of the 2.4 line ---- */
/* There a heap belongs to the thread that makes it. Here they work on heaps as above, so that programs written or
   linked for 2.4 run on. Arena ids are int there and pointers here: a program compiled for 2.4 must not keep
   the id that an _ex function reports in a variable of 32 bits; ids that it passes are found by their lower
   half. */

/**
 * mi_heap_new(), or mi_heap_new_in_arena() when `arena_id` isn't 0.
 * @param heap_tag      ignored
 * @param allow_destroy false: mi_heap_destroy() of the heap is still possible
 * @param arena_id      the lower 32 bits of an arena's id; 0: none
 */
mi_decl_nodiscard mi_decl_export mi_heap_t* mi_heap_new_ex(int heap_tag, bool allow_destroy, int arena_id);

/** mi_heap_new(). NULL when there is no memory. */
mi_decl_nodiscard mi_decl_export mi_heap_t* mi_heap_try_new(void);

/** The heap that malloc uses on the calling thread. */
mi_decl_export mi_heap_t* mi_heap_get_default(void);

/** mi_heap_main(). */
mi_decl_export mi_heap_t* mi_heap_get_backing(void);

/**
 * Makes `heap` what malloc uses on the calling thread; NULL: the main heap.
 * @return what it was before. When there is no memory for a theap, nothing changes.
 */
mi_decl_export mi_heap_t* mi_heap_set_default(mi_heap_t* heap);

/** mi_heap_contains(), false unless `p` is the start of a block. */
mi_decl_export bool mi_heap_contains_block(mi_heap_t* heap, const void* p);

/** mi_heap_contains(). */
mi_decl_export bool mi_heap_check_owned(mi_heap_t* heap, const void* p);

/** mi_theap_guarded_set_sample_rate() for the calling thread's theap of `heap`. */
mi_decl_export void mi_heap_guarded_set_sample_rate(mi_heap_t* heap, size_t sample_rate, size_t seed);

/** mi_theap_guarded_set_size_bound() for the calling thread's theap of `heap`. */
mi_decl_export void mi_heap_guarded_set_size_bound(mi_heap_t* heap, size_t min, size_t max);

/**
 * mi_heap_visit_abandoned_blocks() for all heaps of a sub-process.
 * @param subproc_id   the sub-process
 * @param heap_tag     -1 or 0; for others nothing is visited, as heaps have no tags
 * @param visit_blocks see there
 * @param visitor      see there
 * @param arg          for the visitor
 */
mi_decl_export bool mi_abandoned_visit_blocks(mi_subproc_id_t subproc_id, int heap_tag, bool visit_blocks,
                                              mi_block_visit_fun* visitor, void* arg);

/** mi_subproc_destroy(). */
mi_decl_export void mi_subproc_delete(mi_subproc_id_t subproc);

/* ---- life cycle ---- */
/* With the DLL all of this happens by itself; a statically linked program may want to be explicit. */

/** Initialises the allocator. The first allocation does, too. */
mi_decl_export void mi_process_init(void) mi_attr_noexcept;

/**
 * Says that the process ends: prints statistics when option show_stats is on. Blocks stay valid, unless option destroy_on_exit
 * is on: then all memory is released, and no block of before may be used or freed. It stays, with a warning, while other
 * threads have heaps or the C runtimes are redirected to us.
 */
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
 * process keep, giving it back to the system at once. With `force` memory between blocks that stay, too, where whole
 * pages of the system's are free: that takes time in proportion to the calling thread's free blocks.
 */
mi_decl_export void mi_collect(bool force) mi_attr_noexcept;

/** mi_collect(true), whatever the target (bytes for the calling thread to keep). From the 2.4 line. */
mi_decl_export void mi_collect_reduce(size_t target_thread_owned) mi_attr_noexcept;

/** #MI_MALLOC_VERSION of the library. */
mi_decl_export int mi_version(void) mi_attr_noexcept;

/** Whether malloc of the process's C runtime ends up here. Found out by trying, not by a flag. */
mi_decl_nodiscard mi_decl_export bool mi_is_redirected(void) mi_attr_noexcept;

/** Whether `p` points into memory that the allocator hands out blocks from. */
mi_decl_nodiscard mi_decl_export bool mi_is_in_heap_region(const void* p) mi_attr_noexcept;

/** mi_any_heap_contains(). Of old, and deprecated there. */
mi_decl_export bool mi_check_owned(const void* p);

/**
 * Called now and then by allocation functions, on the allocating thread, so that the program can free what it
 * postponed. May allocate and free. Not called from inside itself.
 * @param force free as much as possible: called by mi_collect(true)
 * @param heartbeat increases with every call on a thread
 * @param arg as registered
 */
typedef void(mi_cdecl mi_deferred_free_fun)(bool force, unsigned long long heartbeat, void* arg);

/** Registers the deferred-free function of the process; NULL for none. */
mi_decl_export void mi_register_deferred_free(mi_deferred_free_fun* deferred_free,
                                              void* arg) mi_attr_noexcept;

/** Takes output, a NUL-terminated piece at a time; lines may come in several pieces. */
typedef void(mi_cdecl mi_output_fun)(const char* msg, void* arg);

/**
 * Registers where messages go; NULL: standard error. What was said before the first registration is passed on
 * at once. While the process starts, ends or unloads the DLL, messages go to standard error all the same: no
 * function of the program may run under the loader lock. mi_process_done() uses `out`, and so does the report at
 * exit (option show_stats) of a program that is linked with the static library.
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

/** Prints what mi_process_info() tells, where messages go. */
mi_decl_export void mi_process_info_print(void) mi_attr_noexcept;
/** The same to `out` with `arg`; NULL: where messages go. */
mi_decl_export void mi_process_info_print_out(mi_output_fun* out, void* arg) mi_attr_noexcept;

/** Prints the version and all options with their values, where messages go. */
mi_decl_export void mi_options_print(void) mi_attr_noexcept;
/** The same to `out` with `arg`; NULL: where messages go. */
mi_decl_export void mi_options_print_out(mi_output_fun* out, void* arg) mi_attr_noexcept;

/* ---- statistics; as data: mimalloc-stats.h ---- */

/**
 * Prints statistics of the calling thread's sub-process to `out` with `arg`, or where messages go when `out` is
 * NULL.
 */
mi_decl_export void mi_stats_print_out(mi_output_fun* out, void* arg) mi_attr_noexcept;

/** Prints statistics where messages go. The argument, of old a FILE*, is ignored. */
mi_decl_export void mi_stats_print(void* out) mi_attr_noexcept;

/** Prints statistics of the calling thread alone, in all heaps that it used. */
mi_decl_export void mi_thread_stats_print_out(mi_output_fun* out, void* arg) mi_attr_noexcept;

/** Starts counting anew; what exists counts as if allocated now. */
mi_decl_export void mi_stats_reset(void) mi_attr_noexcept;

/** Does nothing: there are no counters of threads to merge into the process's. From the 2.4 line. */
mi_decl_export void mi_stats_merge(void) mi_attr_noexcept;

/* ---- options ---- */

/**
 * Run-time options, each also an environment variable: MIMALLOC_ and the name in capitals,
 * MIMALLOC_SHOW_STATS=1. There a size is in bytes or a number with K, M, G or T, and on/off is 1, true, yes,
 * on or an empty value against 0, false, no, off. An empty value of any other option is ignored; a number
 * beyond what an option can hold counts as the nearest that it can, a negative one where there is no such amount as
 * 0. The default is in brackets. Functions take and return the unit that is named here. "No effect" is what
 * the names of older versions have, and options that have no use in this implementation.
 *
 * More are read from the environment alone: MIMALLOC_DISABLE_REDIRECT=1 leaves the process's C runtimes as they
 * are, MIMALLOC_DISABLE_IDLE_PURGE=1 does without the timer that purges while nobody allocates,
 * MIMALLOC_FIXED_ADDRESSES=1 puts memory where it was in the last run, MIMALLOC_ABORT_ON_ERROR=1 ends the process
 * when memory is misused, MIMALLOC_ZERO_ON_FREE=1 has secure builds zero all of a freed block rather than both its
 * ends, MIMALLOC_LOG=FILE is where messages go (%p: the process's number). docs/diagnose.md has those of the DLL's
 * recorder.
 */
/* clang-format off */
typedef enum mi_option_e {
  mi_option_show_errors,                    /**< [0] print warnings and errors */
  mi_option_show_stats,                     /**< [0] print statistics when the process ends */
  mi_option_verbose,                        /**< [0] say what happens */
  mi_option_deprecated_eager_commit,        /**< no effect */
  mi_option_arena_eager_commit,             /**< [2] commit arenas at once; 2: where the system overcommits */
  mi_option_purge_decommits,                /**< [1] purge by decommitting; 0: by resetting */
  mi_option_allow_large_os_pages,           /**< [0] arenas in 2 MiB pages of the system, if it grants them */
  mi_option_reserve_huge_os_pages,          /**< [0] pages of 1 GiB to reserve at start-up */
  mi_option_reserve_huge_os_pages_at,       /**< [-1] NUMA node to reserve them at; -1: any */
  mi_option_reserve_os_memory,              /**< [0] KiB to reserve at start-up */
  mi_option_deprecated_segment_cache,       /**< no effect */
  mi_option_deprecated_page_reset,          /**< no effect */
  mi_option_deprecated_abandoned_page_purge, /**< no effect */
  mi_option_deprecated_segment_reset,       /**< no effect */
  mi_option_deprecated_eager_commit_delay,  /**< no effect */
  mi_option_purge_delay,                    /**< [1000] milliseconds until free memory is purged; -1: never */
  mi_option_use_numa_nodes,                 /**< [0] NUMA nodes to use: of higher numbers the remainder counts; 0: all */
  mi_option_disallow_os_alloc,              /**< [0] use only memory that was reserved explicitly */
  mi_option_os_tag,                         /**< [100] accepted, no effect: a tag of memory, which neither Windows nor Linux has */
  mi_option_max_errors,                     /**< [32] errors to show; -1: all */
  mi_option_max_warnings,                   /**< [32] warnings to show; -1: all */
  mi_option_deprecated_max_segment_reclaim, /**< no effect */
  mi_option_destroy_on_exit,                /**< [0] mi_process_done() releases all memory; else the system does at exit */
  mi_option_arena_reserve,                  /**< [1 GiB; 32-bit: 128 MiB] KiB of address space of an arena */
  mi_option_arena_purge_mult,               /**< [1] arenas wait purge_delay times this */
  mi_option_deprecated_purge_extend_delay,  /**< no effect */
  mi_option_disallow_arena_alloc,           /**< [0] ask the system for every page */
  mi_option_retry_on_oom,                   /**< [400] milliseconds to ask again when Windows' commit limit is reached */
  mi_option_visit_abandoned,                /**< [0] allow mi_heap_visit_abandoned_blocks() */
  mi_option_guarded_min,                    /**< [0] bytes in the smallest block to guard */
  mi_option_guarded_max,                    /**< [1 GiB] bytes in the largest block to guard */
  mi_option_guarded_precise,                /**< [0] guarded blocks end right before the guard page */
  mi_option_guarded_sample_rate,            /**< [0] guard one block in so many; 0: none */
  mi_option_guarded_sample_seed,            /**< [0] seed of that choice; 0: random */
  mi_option_generic_collect,                /**< [10000] slow-path allocations between collections */
  mi_option_page_reclaim_on_free,           /**< [0] adopt pages on free; -1: never, 1: any page */
  mi_option_page_full_retain,               /**< [2] accepted, no effect: full pages leave their thread at once, and return by one free */
  mi_option_page_max_candidates,            /**< [4] pages to look at for a good fit */
  mi_option_max_vabits,                     /**< [0] accepted, no effect: the page map serves every address */
  mi_option_pagemap_commit,                 /**< [0] accepted, no effect: the page map answers for every pointer as it is */
  mi_option_page_commit_on_demand,          /**< [0] commit pages bit by bit */
  mi_option_page_max_reclaim,               /**< [-1] pages of a size to adopt; -1: no limit */
  mi_option_page_cross_thread_max_reclaim,  /**< [32] the same of pages of other threads */
  mi_option_allow_thp,                      /**< [1] accepted, no effect: transparent huge pages exist on Linux alone, and are left to it */
  mi_option_minimal_purge_size,             /**< [0] KiB to purge at least; 0: up to the allocator */
  mi_option_arena_max_object_size,          /**< [2 GiB; 32-bit: 256 MiB] KiB; larger blocks get no arena */
  mi_option_arena_is_numa_local,            /**< [0] accepted, no effect: arenas are of a node only when reserved for it */
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
/** mi_usable_size(). */
mi_decl_nodiscard mi_decl_export size_t mi_malloc_size(const void* p) mi_attr_noexcept;
/** mi_good_size(). */
mi_decl_nodiscard mi_decl_export size_t mi_malloc_good_size(size_t size) mi_attr_noexcept;
/** mi_usable_size(). */
mi_decl_nodiscard mi_decl_export size_t mi_malloc_usable_size(const void* p) mi_attr_noexcept;

/**
 * Allocates `size` bytes at a multiple of `alignment`, a power of two and a multiple of sizeof(void*).
 * @return 0 and the block in *p; or EINVAL (no such alignment, `p` is NULL) or ENOMEM, and *p is as before.
 */
mi_decl_export int mi_posix_memalign(void** p, size_t alignment, size_t size);
/** As mi_malloc_aligned(), arguments swapped. */
mi_decl_new_block void* mi_memalign(size_t alignment, size_t size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(2) mi_attr_alloc_align(1);
/** Allocates at a multiple of the system's page size. */
mi_decl_new_block void* mi_valloc(size_t size) mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1);
/** The same, and rounds the size up to a multiple, too. */
mi_decl_new_block void* mi_pvalloc(size_t size) mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1);
/** As mi_memalign(). */
mi_decl_new_block void* mi_aligned_alloc(size_t alignment, size_t size) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(2) mi_attr_alloc_align(1);

/** As mi_reallocn(), and sets errno on failure: EOVERFLOW when count * size overflows, else ENOMEM. */
mi_decl_moved_block void* mi_reallocarray(void* p, size_t count, size_t size) mi_attr_noexcept
    mi_attr_alloc_size2(2, 3);
/**
 * Resizes the block that the pointer at address `ptrp` points to, and updates that pointer, as in NetBSD. A
 * count or size of 0 frees the block and makes the pointer NULL.
 * @return 0, or an errno number, and then nothing has changed: EOVERFLOW when count * size overflows, ENOMEM,
 * EINVAL when `ptrp` is NULL, or points to NULL with a count or size of 0.
 */
mi_decl_nodiscard mi_decl_export int mi_reallocarr(void* ptrp, size_t count, size_t size) mi_attr_noexcept;

/** mi_recalloc_aligned(). */
mi_decl_moved_block void* mi_aligned_recalloc(void* p, size_t newcount, size_t size,
                                              size_t alignment) mi_attr_noexcept;
/** mi_recalloc_aligned_at(). */
mi_decl_moved_block void* mi_aligned_offset_recalloc(void* p, size_t newcount, size_t size, size_t alignment,
                                                     size_t offset) mi_attr_noexcept;

/** mi_free() by who knows the size that was asked for; it isn't needed. */
mi_decl_export void mi_free_size(void* p, size_t size) mi_attr_noexcept;
/** mi_free() by who knows size and alignment. */
mi_decl_export void mi_free_size_aligned(void* p, size_t size, size_t alignment) mi_attr_noexcept;
/** mi_free() by who knows the alignment. */
mi_decl_export void mi_free_aligned(void* p, size_t alignment) mi_attr_noexcept;

/**
 * Allocates a copy of the value of environment variable `name` in *buf.
 * @param buf  receives the copy, to be freed with mi_free()
 * @param size receives the characters in it, the NUL included; may be NULL
 * @param name of the variable
 * @return 0 (and *buf NULL, *size 0 when there is no such variable), or EINVAL when `buf` or `name` is NULL,
 * or ENOMEM. *buf is NULL and *size 0 on every failure.
 */
mi_decl_export int mi_dupenv_s(char** buf, size_t* size, const char* name) mi_attr_noexcept;
/** The same in wide characters. */
mi_decl_export int mi_wdupenv_s(wchar_t** buf, size_t* size, const wchar_t* name) mi_attr_noexcept;
/** mi_strdup() of wide characters. */
mi_decl_new_block wchar_t* mi_wcsdup(const wchar_t* s) mi_attr_noexcept mi_attr_malloc;
/** mi_strdup() of characters in the program's code page. */
mi_decl_new_block unsigned char* mi_mbsdup(const unsigned char* s) mi_attr_noexcept mi_attr_malloc;

/* ---- for C++'s operator new ---- */
/* Out of memory, these call the program's new-handler for as long as there is one and try again. After that
   the ones without "nothrow" don't return NULL: they throw std::bad_alloc by the C++ runtime of the process. When
   there is none (a C program, or a runtime that is inside of the program while this library is a DLL), and on 32-bit
   Windows with MinGW's runtimes, they report and end the process. A count * size that overflows is out of memory. */

/** operator new. */
mi_decl_new_block void* mi_new(size_t size) mi_attr_malloc mi_attr_alloc_size(1);
/** operator new with an alignment. */
mi_decl_new_block void* mi_new_aligned(size_t size, size_t alignment) mi_attr_malloc mi_attr_alloc_size(1)
    mi_attr_alloc_align(2);
/** operator new that returns NULL. The new-handler must not throw through it: C code can't catch that, and the C++ runtime
    ends the process (std::terminate), as with upstream. The operators of mimalloc-new-delete.h catch it. */
mi_decl_new_block void* mi_new_nothrow(size_t size) mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1);
/** operator new with an alignment that returns NULL; as mi_new_nothrow(). */
mi_decl_new_block void* mi_new_aligned_nothrow(size_t size, size_t alignment) mi_attr_noexcept mi_attr_malloc
    mi_attr_alloc_size(1) mi_attr_alloc_align(2);
/** operator new[] for `count` values of `size` bytes. */
mi_decl_new_block void* mi_new_n(size_t count, size_t size) mi_attr_malloc mi_attr_alloc_size2(1, 2);
/** mi_realloc() with the handling of errors of operator new. */
mi_decl_moved_block void* mi_new_realloc(void* p, size_t newsize) mi_attr_alloc_size(2);
/** mi_reallocn() with the handling of errors of operator new. */
mi_decl_moved_block void* mi_new_reallocn(void* p, size_t newcount, size_t size) mi_attr_alloc_size2(2, 3);
/** mi_new() in `heap`. */
mi_decl_new_block void* mi_heap_alloc_new(mi_heap_t* heap, size_t size) mi_attr_malloc mi_attr_alloc_size(2);
/** mi_new_n() in `heap`. */
mi_decl_new_block void* mi_heap_alloc_new_n(mi_heap_t* heap, size_t count, size_t size) mi_attr_malloc
    mi_attr_alloc_size2(2, 3);

#if defined(__cplusplus)
}

/* ---- for C++'s containers ---- */

#include <cstddef>
#include <new>
#if __cplusplus >= 201103L || (defined(_MSC_VER) && _MSC_VER > 1900)
#define MI_CPP11_ 1
#include <cstdint>
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
  /** The allocator for values of another type. */
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

#if MI_CPP11_
#define MI_HAS_HEAP_STL_ALLOCATOR 1 /**< mi_heap_stl_allocator is there */

#include <memory>

/** What the allocators of heaps have in common. `destroys`: what becomes of a heap that they made. */
template <class T, bool destroys> struct _mi_heap_stl_allocator_common {
  typedef T value_type;
  typedef T* pointer;
  typedef const T* const_pointer;
  typedef T& reference;
  typedef const T& const_reference;
  typedef std::size_t size_type;
  typedef std::ptrdiff_t difference_type;
  typedef std::true_type propagate_on_container_copy_assignment;
  typedef std::true_type propagate_on_container_move_assignment;
  typedef std::true_type propagate_on_container_swap;
  typedef std::false_type is_always_equal;

  /** In a heap of the program's, which is neither deleted nor destroyed. */
  _mi_heap_stl_allocator_common(mi_heap_t* hp) : heap(hp, [](mi_heap_t*) {}) {}
  template <class U>
  _mi_heap_stl_allocator_common(const _mi_heap_stl_allocator_common<U, destroys>& other) noexcept
      : heap(other.heap) {}

  /** Room for `count` values; without it calls the new-handler, and throws std::bad_alloc when there is none. */
  mi_decl_nodiscard T* allocate(size_type count, const void* = nullptr) {
    if (count <= max_size()) {
      for (;;) {
        void* p = alignof(T) > 2 * sizeof(void*)
                      ? mi_heap_malloc_aligned(heap.get(), count * sizeof(T), alignof(T))
                      : mi_heap_malloc(heap.get(), count * sizeof(T));
        if (p != nullptr) return static_cast<T*>(p);
        std::new_handler handler = std::get_new_handler();
        if (handler == nullptr) break;
        handler(); /* frees memory, or throws, or ends the program */
      }
    }
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND)
    throw std::bad_alloc();
#else
    return static_cast<T*>(mi_heap_alloc_new_n(heap.get(), count, sizeof(T))); /* reports, ends the process */
#endif
  }

  size_type max_size() const noexcept { return static_cast<size_type>(-1) / 2 / sizeof(T); }
  pointer address(reference x) const { return &x; }
  const_pointer address(const_reference x) const { return &x; }
  template <class U, class... Args> void construct(U* p, Args&&... args) {
    ::new (static_cast<void*>(p)) U(std::forward<Args>(args)...);
  }
  template <class U> void destroy(U* p) noexcept { p->~U(); }

  /** mi_heap_collect() of the heap. */
  void collect(bool force) { mi_heap_collect(heap.get(), force); }
  /** Whether both allocate in the same heap. */
  template <class U> bool is_equal(const _mi_heap_stl_allocator_common<U, destroys>& other) const {
    return heap == other.heap;
  }

protected:
  std::shared_ptr<mi_heap_t> heap;
  template <class U, bool other_destroys> friend struct _mi_heap_stl_allocator_common;

  _mi_heap_stl_allocator_common() {
    mi_heap_t* made = mi_heap_new();
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND)
    if (made == nullptr) throw std::bad_alloc();
#endif
    heap.reset(made, destroys ? &mi_heap_destroy : &mi_heap_delete);
  }
};

/**
 * Allocator for containers with a heap of their own: made by the default constructor, shared by copies, and
 * deleted with the last of them. Given a heap, it allocates there and leaves it alone. Like the heap it may
 * be used by any thread, but the container decides.
 */
template <class T> struct mi_heap_stl_allocator : public _mi_heap_stl_allocator_common<T, false> {
  /** The allocator for values of another type. */
  template <class U> struct rebind { typedef mi_heap_stl_allocator<U> other; };
  mi_heap_stl_allocator() {}
  mi_heap_stl_allocator(mi_heap_t* hp) : _mi_heap_stl_allocator_common<T, false>(hp) {}
  template <class U>
  mi_heap_stl_allocator(const mi_heap_stl_allocator<U>& other) noexcept
      : _mi_heap_stl_allocator_common<T, false>(other) {}
  mi_heap_stl_allocator select_on_container_copy_construction() const { return *this; }
  void deallocate(T* p, std::size_t) { mi_free(p); }
};

/**
 * The same, but it frees nothing until its heap is destroyed, all at once, with the last copy of the allocator.
 * In a heap of the program's, nothing is freed until that is destroyed.
 */
template <class T> struct mi_heap_destroy_stl_allocator : public _mi_heap_stl_allocator_common<T, true> {
  /** The allocator for values of another type. */
  template <class U> struct rebind { typedef mi_heap_destroy_stl_allocator<U> other; };
  mi_heap_destroy_stl_allocator() {}
  mi_heap_destroy_stl_allocator(mi_heap_t* hp) : _mi_heap_stl_allocator_common<T, true>(hp) {}
  template <class U>
  mi_heap_destroy_stl_allocator(const mi_heap_destroy_stl_allocator<U>& other) noexcept
      : _mi_heap_stl_allocator_common<T, true>(other) {}
  mi_heap_destroy_stl_allocator select_on_container_copy_construction() const { return *this; }
  void deallocate(T*, std::size_t) {}
};

template <class T, class U>
bool operator==(const mi_heap_stl_allocator<T>& a, const mi_heap_stl_allocator<U>& b) noexcept {
  return a.is_equal(b);
}
template <class T, class U>
bool operator!=(const mi_heap_stl_allocator<T>& a, const mi_heap_stl_allocator<U>& b) noexcept {
  return !a.is_equal(b);
}
template <class T, class U>
bool operator==(const mi_heap_destroy_stl_allocator<T>& a,
                const mi_heap_destroy_stl_allocator<U>& b) noexcept {
  return a.is_equal(b);
}
template <class T, class U>
bool operator!=(const mi_heap_destroy_stl_allocator<T>& a,
                const mi_heap_destroy_stl_allocator<U>& b) noexcept {
  return !a.is_equal(b);
}
#endif

#undef MI_CPP11_
#endif /* __cplusplus */

#if defined(__clang__)
#pragma clang diagnostic pop
#elif defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#endif
