// Every function that gives, resizes, takes back or measures blocks, by what its arguments mean. Includers define TWIN.
//
//   TWIN(function, kind, first, product, align, offset, zero, more)
//     first    number of the argument that is the size, or the count if `product` (then the size follows)
//     align    number of the argument that is the alignment; offset: the same of the offset; N: none
//     zero     the block, or what it gains, is zeroed
//     more     NEW: number of the argument that receives the usable size; RESIZE: what becomes of the old block when
//              the size is 0 or there is no memory (FREES_ZERO, FREES_FAILED); N: nothing
//
//   NEW         returns a block             TEXT        returns a block of unknown size, or something else
//   RESIZE      argument 0 is the block     EXPAND      the same, in place
//   FREE        argument 0 is the block     SIZE        the same; returns its size
//   OUT         *argument 0 = a block       OUT_TEXT    the same, of unknown size
//   OUT_RESIZE  *argument 0 is the block    OWNS        argument 0 may be a block of ours; is it?
#define N            9
#define FREES_ZERO   1
#define FREES_FAILED 2

// clang-format off
TWIN(mi_malloc,                       NEW,        0, 0, N, N, 0, N)
TWIN(mi_calloc,                       NEW,        0, 1, N, N, 1, N)
TWIN(mi_realloc,                      RESIZE,     1, 0, N, N, 0, N)
TWIN(mi_free,                         FREE,       N, 0, N, N, 0, N)
TWIN(mi_expand,                       EXPAND,     1, 0, N, N, 0, N)
TWIN(mi_strdup,                       TEXT,       N, 0, N, N, 0, N)
TWIN(mi_strndup,                      TEXT,       N, 0, N, N, 0, N)
TWIN(mi_realpath,                     TEXT,       N, 0, N, N, 0, N)
TWIN(mi_malloc_small,                 NEW,        0, 0, N, N, 0, N)
TWIN(mi_zalloc_small,                 NEW,        0, 0, N, N, 1, N)
TWIN(mi_free_small,                   FREE,       N, 0, N, N, 0, N)
TWIN(mi_zalloc,                       NEW,        0, 0, N, N, 1, N)
TWIN(mi_mallocn,                      NEW,        0, 1, N, N, 0, N)
TWIN(mi_reallocn,                     RESIZE,     1, 1, N, N, 0, N)
TWIN(mi_reallocf,                     RESIZE,     1, 0, N, N, 0, FREES_FAILED)
TWIN(mi_usable_size,                  SIZE,       N, 0, N, N, 0, N)
TWIN(mi_malloc_aligned,               NEW,        0, 0, 1, N, 0, N)
TWIN(mi_malloc_aligned_at,            NEW,        0, 0, 1, 2, 0, N)
TWIN(mi_zalloc_aligned,               NEW,        0, 0, 1, N, 1, N)
TWIN(mi_zalloc_aligned_at,            NEW,        0, 0, 1, 2, 1, N)
TWIN(mi_calloc_aligned,               NEW,        0, 1, 2, N, 1, N)
TWIN(mi_calloc_aligned_at,            NEW,        0, 1, 2, 3, 1, N)
TWIN(mi_realloc_aligned,              RESIZE,     1, 0, 2, N, 0, N)
TWIN(mi_realloc_aligned_at,           RESIZE,     1, 0, 2, 3, 0, N)
TWIN(mi_rezalloc,                     RESIZE,     1, 0, N, N, 1, N)
TWIN(mi_recalloc,                     RESIZE,     1, 1, N, N, 1, N)
TWIN(mi_rezalloc_aligned,             RESIZE,     1, 0, 2, N, 1, N)
TWIN(mi_rezalloc_aligned_at,          RESIZE,     1, 0, 2, 3, 1, N)
TWIN(mi_recalloc_aligned,             RESIZE,     1, 1, 3, N, 1, N)
TWIN(mi_recalloc_aligned_at,          RESIZE,     1, 1, 3, 4, 1, N)
TWIN(mi_umalloc,                      NEW,        0, 0, N, N, 0, 1)
TWIN(mi_ucalloc,                      NEW,        0, 1, N, N, 1, 2)
TWIN(mi_urealloc,                     RESIZE,     1, 0, N, N, 0, N)
TWIN(mi_ufree,                        FREE,       N, 0, N, N, 0, N)
TWIN(mi_umalloc_aligned,              NEW,        0, 0, 1, N, 0, 2)
TWIN(mi_umalloc_small,                NEW,        0, 0, N, N, 0, 1)
TWIN(mi_uzalloc_aligned,              NEW,        0, 0, 1, N, 1, 2)
TWIN(mi_uzalloc_small,                NEW,        0, 0, N, N, 1, 1)
TWIN(mi_cfree,                        FREE,       N, 0, N, N, 0, N)
TWIN(mi__expand,                      EXPAND,     1, 0, N, N, 0, N)
TWIN(mi_malloc_size,                  SIZE,       N, 0, N, N, 0, N)
TWIN(mi_malloc_usable_size,           SIZE,       N, 0, N, N, 0, N)
TWIN(mi_is_in_heap_region,            OWNS,       N, 0, N, N, 0, N)
TWIN(mi_posix_memalign,               OUT,        2, 0, 1, N, 0, N)
TWIN(mi_memalign,                     NEW,        1, 0, 0, N, 0, N)
TWIN(mi_valloc,                       NEW,        0, 0, N, N, 0, N)
TWIN(mi_pvalloc,                      NEW,        0, 0, N, N, 0, N)
TWIN(mi_aligned_alloc,                NEW,        1, 0, 0, N, 0, N)
TWIN(mi_reallocarray,                 RESIZE,     1, 1, N, N, 0, N)
TWIN(mi_reallocarr,                   OUT_RESIZE, 1, 1, N, N, 0, N)
TWIN(mi_aligned_recalloc,             RESIZE,     1, 1, 3, N, 1, N)
TWIN(mi_aligned_offset_recalloc,      RESIZE,     1, 1, 3, 4, 1, N)
TWIN(mi_free_size,                    FREE,       N, 0, N, N, 0, N)
TWIN(mi_free_size_aligned,            FREE,       N, 0, N, N, 0, N)
TWIN(mi_free_aligned,                 FREE,       N, 0, N, N, 0, N)
TWIN(mi_dupenv_s,                     OUT_TEXT,   N, 0, N, N, 0, N)
TWIN(mi_wdupenv_s,                    OUT_TEXT,   N, 0, N, N, 0, N)
TWIN(mi_wcsdup,                       TEXT,       N, 0, N, N, 0, N)
TWIN(mi_mbsdup,                       TEXT,       N, 0, N, N, 0, N)
TWIN(mi_new,                          NEW,        0, 0, N, N, 0, N)
TWIN(mi_new_aligned,                  NEW,        0, 0, 1, N, 0, N)
TWIN(mi_new_nothrow,                  NEW,        0, 0, N, N, 0, N)
TWIN(mi_new_aligned_nothrow,          NEW,        0, 0, 1, N, 0, N)
TWIN(mi_new_n,                        NEW,        0, 1, N, N, 0, N)
TWIN(mi_new_realloc,                  RESIZE,     1, 0, N, N, 0, N)
TWIN(mi_new_reallocn,                 RESIZE,     1, 1, N, N, 0, N)
TWIN(mi_crt_realloc,                  RESIZE,     1, 0, N, N, 0, FREES_ZERO)
TWIN(mi_crt_free,                     FREE,       N, 0, N, N, 0, N)
TWIN(mi_crt_msize,                    SIZE,       N, 0, N, N, 0, N)
TWIN(mi_crt_expand,                   EXPAND,     1, 0, N, N, 0, N)
TWIN(mi_crt_recalloc,                 RESIZE,     1, 1, N, N, 1, FREES_ZERO)
TWIN(mi_crt_aligned_malloc,           NEW,        0, 0, 1, N, 0, N)
TWIN(mi_crt_aligned_realloc,          RESIZE,     1, 0, 2, N, 0, FREES_ZERO)
TWIN(mi_crt_aligned_recalloc,         RESIZE,     1, 1, 3, N, 1, FREES_ZERO)
TWIN(mi_crt_aligned_free,             FREE,       N, 0, N, N, 0, N)
TWIN(mi_crt_aligned_msize,            SIZE,       N, 0, N, N, 0, N)
TWIN(mi_crt_aligned_offset_malloc,    NEW,        0, 0, 1, 2, 0, N)
TWIN(mi_crt_aligned_offset_realloc,   RESIZE,     1, 0, 2, 3, 0, FREES_ZERO)
TWIN(mi_crt_aligned_offset_recalloc,  RESIZE,     1, 1, 3, 4, 1, FREES_ZERO)

// In heaps, and by theaps: what comes before argument 0 is the heap.
#ifndef TWIN_IN_HEAP
#define TWIN_IN_HEAP TWIN
#endif
TWIN_IN_HEAP(mi_heap_alloc_new,           NEW,        0, 0, N, N, 0, N)
TWIN_IN_HEAP(mi_heap_alloc_new_n,         NEW,        0, 1, N, N, 0, N)
TWIN_IN_HEAP(mi_heap_calloc,              NEW,        0, 1, N, N, 1, N)
TWIN_IN_HEAP(mi_heap_calloc_aligned,      NEW,        0, 1, 2, N, 1, N)
TWIN_IN_HEAP(mi_heap_calloc_aligned_at,   NEW,        0, 1, 2, 3, 1, N)
TWIN_IN_HEAP(mi_heap_malloc,              NEW,        0, 0, N, N, 0, N)
TWIN_IN_HEAP(mi_heap_malloc_aligned,      NEW,        0, 0, 1, N, 0, N)
TWIN_IN_HEAP(mi_heap_malloc_aligned_at,   NEW,        0, 0, 1, 2, 0, N)
TWIN_IN_HEAP(mi_heap_malloc_small,        NEW,        0, 0, N, N, 0, N)
TWIN_IN_HEAP(mi_heap_mallocn,             NEW,        0, 1, N, N, 0, N)
TWIN_IN_HEAP(mi_heap_realloc,             RESIZE,     1, 0, N, N, 0, N)
TWIN_IN_HEAP(mi_heap_realloc_aligned,     RESIZE,     1, 0, 2, N, 0, N)
TWIN_IN_HEAP(mi_heap_realloc_aligned_at,  RESIZE,     1, 0, 2, 3, 0, N)
TWIN_IN_HEAP(mi_heap_reallocf,            RESIZE,     1, 0, N, N, 0, FREES_FAILED)
TWIN_IN_HEAP(mi_heap_reallocn,            RESIZE,     1, 1, N, N, 0, N)
TWIN_IN_HEAP(mi_heap_realpath,            TEXT,       N, 0, N, N, 0, N)
TWIN_IN_HEAP(mi_heap_recalloc,            RESIZE,     1, 1, N, N, 1, N)
TWIN_IN_HEAP(mi_heap_recalloc_aligned,    RESIZE,     1, 1, 3, N, 1, N)
TWIN_IN_HEAP(mi_heap_recalloc_aligned_at, RESIZE,     1, 1, 3, 4, 1, N)
TWIN_IN_HEAP(mi_heap_rezalloc,            RESIZE,     1, 0, N, N, 1, N)
TWIN_IN_HEAP(mi_heap_rezalloc_aligned,    RESIZE,     1, 0, 2, N, 1, N)
TWIN_IN_HEAP(mi_heap_rezalloc_aligned_at, RESIZE,     1, 0, 2, 3, 1, N)
TWIN_IN_HEAP(mi_heap_strdup,              TEXT,       N, 0, N, N, 0, N)
TWIN_IN_HEAP(mi_heap_strndup,             TEXT,       N, 0, N, N, 0, N)
TWIN_IN_HEAP(mi_heap_zalloc,              NEW,        0, 0, N, N, 1, N)
TWIN_IN_HEAP(mi_heap_zalloc_aligned,      NEW,        0, 0, 1, N, 1, N)
TWIN_IN_HEAP(mi_heap_zalloc_aligned_at,   NEW,        0, 0, 1, 2, 1, N)
TWIN_IN_HEAP(mi_heap_zalloc_small,        NEW,        0, 0, N, N, 1, N)
TWIN_IN_HEAP(mi_theap_calloc,             NEW,        0, 1, N, N, 1, N)
TWIN_IN_HEAP(mi_theap_malloc,             NEW,        0, 0, N, N, 0, N)
TWIN_IN_HEAP(mi_theap_malloc_aligned,     NEW,        0, 0, 1, N, 0, N)
TWIN_IN_HEAP(mi_theap_malloc_small,       NEW,        0, 0, N, N, 0, N)
TWIN_IN_HEAP(mi_theap_realloc,            RESIZE,     1, 0, N, N, 0, N)
TWIN_IN_HEAP(mi_theap_zalloc,             NEW,        0, 0, N, N, 1, N)
TWIN_IN_HEAP(mi_theap_zalloc_small,       NEW,        0, 0, N, N, 1, N)

// The end of a heap: its blocks go on in the main one, or end with it. Argument 0 is the heap or the sub-process.
TWIN(mi_heap_delete,                  HEAP_DELETE,     N, 0, N, N, 0, N)
TWIN(mi_heap_destroy,                 HEAP_DESTROY,    N, 0, N, N, 0, N)
TWIN(mi_subproc_destroy,              SUBPROC_DESTROY, N, 0, N, N, 0, N)
TWIN(mi_subproc_delete,               SUBPROC_DESTROY, N, 0, N, N, 0, N)
TWIN(mi_any_heap_contains,            OWNS,       N, 0, N, N, 0, N)

// Not exported: what only redirect_table.c knows, by the C runtime's function that each takes the place of.
#ifndef TWIN_REDIRECTED
#define TWIN_REDIRECTED(name, function, ...) TWIN(function, __VA_ARGS__)
#endif
TWIN_REDIRECTED("malloc",    redirected_malloc,   NEW,    0, 0, N, N, 0, N)
TWIN_REDIRECTED("calloc",    redirected_calloc,   NEW,    0, 1, N, N, 1, N)
TWIN_REDIRECTED("realloc",   redirected_realloc,  RESIZE, 1, 0, N, N, 0, FREES_ZERO)
TWIN_REDIRECTED("malloc",    redirected_clean_malloc,  NEW,    0, 0, N, N, 0, N)
TWIN_REDIRECTED("realloc",   redirected_clean_realloc, RESIZE, 1, 0, N, N, 0, FREES_ZERO)
TWIN_REDIRECTED("_recalloc", redirected_recalloc, RESIZE, 1, 1, N, N, 1, FREES_ZERO)
TWIN_REDIRECTED(OPERATOR_NEW, redirected_new,     NEW,    0, 0, N, N, 0, N)
// clang-format on

#undef N
#undef TWIN
#undef TWIN_IN_HEAP
#undef TWIN_REDIRECTED
