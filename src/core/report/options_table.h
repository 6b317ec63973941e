// The run-time options: the only place that knows their order, names, defaults and units.
// The order is that of mi_option_t in mimalloc.h (api/options_api.c asserts it), the name that of the
// environment variable MIMALLOC_<NAME>.
//
//   OPTION(name, default, kind, older name or NULL)
//   DEPRECATED(name, default, kind, older name or NULL)    accepted, has no effect
//   IGNORED(name, default, kind, older name or NULL)       the same: about what this allocator doesn't have
//
// Kinds, which say how a value is read from the environment and printed:
//   FLAG    on or off; some know a third value
//   NUMBER  a plain number
//   MS      milliseconds
//   BYTES   an amount of memory, kept in bytes
//   KIB     an amount of memory, kept in KiB: in bytes it might not fit in Windows' 32-bit long
//
// Includers define OPTION, DEPRECATED and IGNORED; this file undefines them.

// clang-format off
OPTION(show_errors, 0, FLAG, NULL)                                 // print warnings and errors
OPTION(show_stats, 0, FLAG, NULL)                                  // print statistics at process exit
OPTION(verbose, 0, FLAG, NULL)                                     // say what happens
DEPRECATED(eager_commit, 1, FLAG, NULL)
OPTION(arena_eager_commit, 2, FLAG, "eager_region_commit")         // 2: only where the system overcommits
OPTION(purge_decommits, 1, FLAG, "reset_decommits")                // 0: purging resets instead
OPTION(allow_large_os_pages, 0, FLAG, "large_os_pages")
OPTION(reserve_huge_os_pages, 0, NUMBER, NULL)                     // of 1 GiB, at start-up
OPTION(reserve_huge_os_pages_at, -1, NUMBER, NULL)                 // on this NUMA node; -1: any
OPTION(reserve_os_memory, 0, KIB, NULL)                            // at start-up
DEPRECATED(segment_cache, 0, NUMBER, NULL)
DEPRECATED(page_reset, 0, FLAG, NULL)
DEPRECATED(abandoned_page_purge, 0, FLAG, NULL)
DEPRECATED(segment_reset, 0, FLAG, NULL)
DEPRECATED(eager_commit_delay, 1, NUMBER, NULL)
OPTION(purge_delay, 1000, MS, "reset_delay")                       // free memory waits; -1: for ever
OPTION(use_numa_nodes, 0, NUMBER, NULL)                            // 0: all
OPTION(disallow_os_alloc, 0, FLAG, "limit_os_alloc")               // use reserved memory only
IGNORED(os_tag, 100, NUMBER, NULL)
OPTION(max_errors, 32, NUMBER, NULL)                               // show this many; -1: all
OPTION(max_warnings, 32, NUMBER, NULL)
DEPRECATED(max_segment_reclaim, 10, NUMBER, NULL)
OPTION(destroy_on_exit, 0, FLAG, NULL)                             // mi_process_done releases all memory
OPTION(arena_reserve, MI_64BIT ? 1024 * 1024 : 128 * 1024, KIB, NULL) // address space of an arena
OPTION(arena_purge_mult, 1, NUMBER, NULL)                          // purge_delay times this, for arenas
DEPRECATED(purge_extend_delay, 1, MS, NULL)
OPTION(disallow_arena_alloc, 0, FLAG, NULL)
OPTION(retry_on_oom, 400, MS, NULL)                                // Windows: ask again for this long
OPTION(visit_abandoned, 0, FLAG, NULL)
OPTION(guarded_min, 0, BYTES, NULL)                                // smallest and largest block to guard
OPTION(guarded_max, 1024 * 1024 * 1024, BYTES, NULL)
OPTION(guarded_precise, 0, FLAG, NULL)                             // blocks end exactly at the guard page
OPTION(guarded_sample_rate, 0, NUMBER, NULL)                       // guard one block in so many; 0: none
OPTION(guarded_sample_seed, 0, NUMBER, NULL)                       // 0: random
OPTION(generic_collect, 10000, NUMBER, NULL)                       // slow allocations between collections
OPTION(page_reclaim_on_free, 0, NUMBER, "abandoned_reclaim_on_free") // -1: never, 1: any page
IGNORED(page_full_retain, 2, NUMBER, NULL)
OPTION(page_max_candidates, 4, NUMBER, NULL)                       // pages looked at for a good fit
IGNORED(max_vabits, 0, NUMBER, NULL)
IGNORED(pagemap_commit, 0, FLAG, NULL)
OPTION(page_commit_on_demand, 0, FLAG, NULL)
OPTION(page_max_reclaim, -1, NUMBER, NULL)                         // pages of a class; -1: no limit
OPTION(page_cross_thread_max_reclaim, 32, NUMBER, NULL)
IGNORED(allow_thp, 1, FLAG, NULL)
OPTION(minimal_purge_size, 0, KIB, NULL)                           // 0: chosen by the allocator
OPTION(arena_max_object_size, MI_64BIT ? 2 * 1024 * 1024 : 256 * 1024, KIB, NULL)
IGNORED(arena_is_numa_local, 0, FLAG, NULL)
// clang-format on

#undef OPTION
#undef DEPRECATED
#undef IGNORED
