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

// Each tenth option and the last; the names in between are compared one by one in unit/test_options.c.
CHECK(mi_option_show_errors == 0);
CHECK(mi_option_deprecated_segment_cache == 10);
CHECK(mi_option_max_warnings == 20);
CHECK(mi_option_guarded_max == 30);
CHECK(mi_option_page_commit_on_demand == 40);
CHECK(mi_option_arena_is_numa_local == 46);
CHECK(_mi_option_last == 47);
CHECK(mi_option_large_os_pages == mi_option_allow_large_os_pages);
CHECK(mi_option_limit_os_alloc == mi_option_disallow_os_alloc);
CHECK(sizeof(mi_option_t) == sizeof(int));

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
