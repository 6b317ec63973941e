// The binary interface of mimalloc 3.4.3, written down as numbers: a program compiled against upstream's
// headers relies on them. Worked out from the order of the fields (for mi_stats_t: 66 numbers of 64 bits up
// to the reserved fields).
#include "mimalloc-stats.h"

#define CHECK(condition) _Static_assert(condition, #condition)

CHECK(MI_MALLOC_VERSION == 30403);
CHECK(MI_SMALL_SIZE_MAX == 128 * sizeof(void*));

CHECK(MI_STAT_VERSION == 5);
CHECK(MI_BIN_HUGE == 73);
CHECK(sizeof(mi_stat_count_t) == 24);
CHECK(sizeof(mi_stat_counter_t) == 8);

#define HEAD              (2 * sizeof(size_t))
#define AT(field, number) CHECK(offsetof(mi_stats_t, field) == HEAD + 8 * (number))
CHECK(offsetof(mi_stats_t, size) == 0);
CHECK(offsetof(mi_stats_t, version) == sizeof(size_t));
AT(pages, 0);
AT(reserved, 3);
AT(committed, 6);
AT(reset, 9);
AT(purged, 10);
AT(page_committed, 11);
AT(pages_abandoned, 14);
AT(threads, 17);
AT(malloc_normal, 20);
AT(malloc_huge, 23);
AT(malloc_requested, 26);
AT(mmap_calls, 29);
AT(commit_calls, 30);
AT(reset_calls, 31);
AT(purge_calls, 32);
AT(arena_count, 33);
AT(malloc_normal_count, 34);
AT(malloc_huge_count, 35);
AT(malloc_guarded_count, 36);
AT(arena_rollback_count, 37);
AT(arena_purges, 38);
AT(pages_extended, 39);
AT(pages_retire, 40);
AT(page_searches, 41);
AT(page_searches_count, 42);
AT(segments, 43);
AT(segments_abandoned, 46);
AT(segments_cache, 49);
AT(_segments_reserved, 52);
AT(heaps, 55);
AT(theaps, 58);
AT(pages_reclaim_on_alloc, 61);
AT(pages_reclaim_on_free, 62);
AT(pages_reabandon_full, 63);
AT(pages_unabandon_busy_wait, 64);
AT(heaps_delete_wait, 65);
AT(_stat_reserved, 66);
AT(_stat_counter_reserved, 78);
AT(malloc_bins, 82);
AT(page_bins, 82 + 74 * 3);
AT(chunk_bins, 82 + 2 * 74 * 3);
CHECK(sizeof(mi_stats_t) == HEAD + 8 * (82 + 2 * 74 * 3 + 6 * 3));
CHECK(_Alignof(mi_stats_t) == 8);

CHECK(MI_CBIN_SMALL == 0 && MI_CBIN_OTHER == 1 && MI_CBIN_MEDIUM == 2 && MI_CBIN_LARGE == 3);
CHECK(MI_CBIN_HUGE == 4 && MI_CBIN_NONE == 5 && MI_CBIN_COUNT == 6);

// Numbers of options.
CHECK(mi_option_show_errors == 0);
CHECK(mi_option_show_stats == 1);
CHECK(mi_option_verbose == 2);
CHECK(mi_option_deprecated_eager_commit == 3);
CHECK(mi_option_arena_eager_commit == 4);
CHECK(mi_option_purge_decommits == 5);
CHECK(mi_option_allow_large_os_pages == 6);
CHECK(mi_option_reserve_huge_os_pages == 7);
CHECK(mi_option_reserve_huge_os_pages_at == 8);
CHECK(mi_option_reserve_os_memory == 9);
CHECK(mi_option_deprecated_segment_cache == 10);
CHECK(mi_option_deprecated_page_reset == 11);
CHECK(mi_option_deprecated_abandoned_page_purge == 12);
CHECK(mi_option_deprecated_segment_reset == 13);
CHECK(mi_option_deprecated_eager_commit_delay == 14);
CHECK(mi_option_purge_delay == 15);
CHECK(mi_option_use_numa_nodes == 16);
CHECK(mi_option_disallow_os_alloc == 17);
CHECK(mi_option_os_tag == 18);
CHECK(mi_option_max_errors == 19);
CHECK(mi_option_max_warnings == 20);
CHECK(mi_option_deprecated_max_segment_reclaim == 21);
CHECK(mi_option_destroy_on_exit == 22);
CHECK(mi_option_arena_reserve == 23);
CHECK(mi_option_arena_purge_mult == 24);
CHECK(mi_option_deprecated_purge_extend_delay == 25);
CHECK(mi_option_disallow_arena_alloc == 26);
CHECK(mi_option_retry_on_oom == 27);
CHECK(mi_option_visit_abandoned == 28);
CHECK(mi_option_guarded_min == 29);
CHECK(mi_option_guarded_max == 30);
CHECK(mi_option_guarded_precise == 31);
CHECK(mi_option_guarded_sample_rate == 32);
CHECK(mi_option_guarded_sample_seed == 33);
CHECK(mi_option_generic_collect == 34);
CHECK(mi_option_page_reclaim_on_free == 35);
CHECK(mi_option_page_full_retain == 36);
CHECK(mi_option_page_max_candidates == 37);
CHECK(mi_option_max_vabits == 38);
CHECK(mi_option_pagemap_commit == 39);
CHECK(mi_option_page_commit_on_demand == 40);
CHECK(mi_option_page_max_reclaim == 41);
CHECK(mi_option_page_cross_thread_max_reclaim == 42);
CHECK(mi_option_allow_thp == 43);
CHECK(mi_option_minimal_purge_size == 44);
CHECK(mi_option_arena_max_object_size == 45);
CHECK(mi_option_arena_is_numa_local == 46);
CHECK(_mi_option_last == 47);
CHECK(mi_option_large_os_pages == mi_option_allow_large_os_pages);
CHECK(mi_option_limit_os_alloc == mi_option_disallow_os_alloc);
CHECK(sizeof(mi_option_t) == sizeof(int));

CHECK(mi_option_eager_region_commit == mi_option_arena_eager_commit);
CHECK(mi_option_reset_decommits == mi_option_purge_decommits);
CHECK(mi_option_reset_delay == mi_option_purge_delay);

// Areas: seven words.
#define WORD(field, number) CHECK(offsetof(mi_heap_area_t, field) == (number) * sizeof(void*))
WORD(blocks, 0);
WORD(reserved, 1);
WORD(committed, 2);
WORD(used, 3);
WORD(block_size, 4);
WORD(full_block_size, 5);
WORD(reserved1, 6);
CHECK(sizeof(mi_heap_area_t) == 7 * sizeof(void*));
CHECK(sizeof(mi_subproc_id_t) == sizeof(void*));
CHECK(sizeof(mi_arena_id_t) == sizeof(void*));

// Types of functions, by assignment.
extern void* (*const layout_malloc)(size_t);
extern bool (*const layout_stats_get)(mi_stats_t*);
extern char* (*const layout_stats_get_json)(size_t, char*);
extern char* (*const layout_stats_as_json)(mi_stats_t*, size_t, char*);
extern long (*const layout_option_get)(mi_option_t);
extern int (*const layout_wdupenv_s)(wchar_t**, size_t*, const wchar_t*);
extern void* (*const layout_urealloc)(void*, size_t, size_t*, size_t*);
void* (*const layout_malloc)(size_t) = mi_malloc;
bool (*const layout_stats_get)(mi_stats_t*) = mi_stats_get;
char* (*const layout_stats_get_json)(size_t, char*) = mi_stats_get_json;
char* (*const layout_stats_as_json)(mi_stats_t*, size_t, char*) = mi_stats_as_json;
long (*const layout_option_get)(mi_option_t) = mi_option_get;
int (*const layout_wdupenv_s)(wchar_t**, size_t*, const wchar_t*) = mi_wdupenv_s;
void* (*const layout_urealloc)(void*, size_t, size_t*, size_t*) = mi_urealloc;
extern mi_heap_t* (*const layout_heap_new)(void);
mi_heap_t* (*const layout_heap_new)(void) = mi_heap_new;
extern void (*const layout_heap_destroy)(mi_heap_t*);
void (*const layout_heap_destroy)(mi_heap_t*) = mi_heap_destroy;
extern void* (*const layout_heap_malloc)(mi_heap_t*, size_t);
void* (*const layout_heap_malloc)(mi_heap_t*, size_t) = mi_heap_malloc;
extern void* (*const layout_heap_recalloc_aligned_at)(mi_heap_t*, void*, size_t, size_t, size_t, size_t);
void* (*const layout_heap_recalloc_aligned_at)(mi_heap_t*, void*, size_t, size_t, size_t, size_t) = mi_heap_recalloc_aligned_at;
extern mi_heap_t* (*const layout_heap_of)(const void*);
mi_heap_t* (*const layout_heap_of)(const void*) = mi_heap_of;
extern bool (*const layout_heap_contains)(const mi_heap_t*, const void*);
bool (*const layout_heap_contains)(const mi_heap_t*, const void*) = mi_heap_contains;
extern bool (*const layout_heap_visit_blocks)(mi_heap_t*, bool, mi_block_visit_fun*, void*);
bool (*const layout_heap_visit_blocks)(mi_heap_t*, bool, mi_block_visit_fun*, void*) = mi_heap_visit_blocks;
extern bool (*const layout_theap_visit_blocks)(const mi_theap_t*, bool, mi_block_visit_fun*, void*);
bool (*const layout_theap_visit_blocks)(const mi_theap_t*, bool, mi_block_visit_fun*, void*) = mi_theap_visit_blocks;
extern mi_theap_t* (*const layout_heap_theap)(mi_heap_t*);
mi_theap_t* (*const layout_heap_theap)(mi_heap_t*) = mi_heap_theap;
extern mi_theap_t* (*const layout_theap_set_default)(mi_theap_t*);
mi_theap_t* (*const layout_theap_set_default)(mi_theap_t*) = mi_theap_set_default;
extern void (*const layout_theap_guarded_set_sample_rate)(mi_theap_t*, size_t, size_t);
void (*const layout_theap_guarded_set_sample_rate)(mi_theap_t*, size_t, size_t) = mi_theap_guarded_set_sample_rate;
extern int (*const layout_reserve_os_memory_ex)(size_t, bool, bool, bool, mi_arena_id_t*);
int (*const layout_reserve_os_memory_ex)(size_t, bool, bool, bool, mi_arena_id_t*) = mi_reserve_os_memory_ex;
extern bool (*const layout_manage_memory)(void*, size_t, bool, bool, bool, int, bool, mi_commit_fun_t*, void*, mi_arena_id_t*);
bool (*const layout_manage_memory)(void*, size_t, bool, bool, bool, int, bool, mi_commit_fun_t*, void*, mi_arena_id_t*) = mi_manage_memory;
extern int (*const layout_reserve_huge_os_pages_at_ex)(size_t, int, size_t, bool, mi_arena_id_t*);
int (*const layout_reserve_huge_os_pages_at_ex)(size_t, int, size_t, bool, mi_arena_id_t*) = mi_reserve_huge_os_pages_at_ex;
extern int (*const layout_reserve_huge_os_pages)(size_t, double, size_t*);
int (*const layout_reserve_huge_os_pages)(size_t, double, size_t*) = mi_reserve_huge_os_pages;
extern void* (*const layout_arena_area)(mi_arena_id_t, size_t*);
void* (*const layout_arena_area)(mi_arena_id_t, size_t*) = mi_arena_area;
extern mi_subproc_id_t (*const layout_subproc_current)(void);
mi_subproc_id_t (*const layout_subproc_current)(void) = mi_subproc_current;
extern bool (*const layout_subproc_visit_heaps)(mi_subproc_id_t, mi_heap_visit_fun*, void*);
bool (*const layout_subproc_visit_heaps)(mi_subproc_id_t, mi_heap_visit_fun*, void*) = mi_subproc_visit_heaps;
extern bool (*const layout_heap_stats_get)(mi_heap_t*, mi_stats_t*);
bool (*const layout_heap_stats_get)(mi_heap_t*, mi_stats_t*) = mi_heap_stats_get;
extern char* (*const layout_subproc_stats_get_json)(mi_subproc_id_t, size_t, char*);
char* (*const layout_subproc_stats_get_json)(mi_subproc_id_t, size_t, char*) = mi_subproc_stats_get_json;
extern void (*const layout_subproc_heap_stats_print_out)(mi_subproc_id_t, mi_output_fun*, void*);
void (*const layout_subproc_heap_stats_print_out)(mi_subproc_id_t, mi_output_fun*, void*) = mi_subproc_heap_stats_print_out;
extern bool (*const layout_abandoned_visit_blocks)(mi_subproc_id_t, int, bool, mi_block_visit_fun*, void*);
bool (*const layout_abandoned_visit_blocks)(mi_subproc_id_t, int, bool, mi_block_visit_fun*, void*) = mi_abandoned_visit_blocks;
extern bool (*const layout_unsafe_heap_page_is_under_utilized)(mi_heap_t*, void*, size_t);
bool (*const layout_unsafe_heap_page_is_under_utilized)(mi_heap_t*, void*, size_t) = mi_unsafe_heap_page_is_under_utilized;
