// The end of a test that has arenas of its own.
#ifndef TESTS_UNIT_ARENAS_GONE_H
#define TESTS_UNIT_ARENAS_GONE_H

#include "support/check.h"

#include "core/arenas/arena_slices.h"
#include "core/memory/sysmem.h"
#include "core/report/counters.h"
#include "os_posix.h"

// Releases them, and all that is known of them. 0: nothing is left, of memory nor in the counts; else -1, as a tear-down's.
static inline int arenas_gone(arena_set_t* set) {
  arena_release_all(set);
  arena_forget_records();
  page_map_release();
  sysmem_release_metadata();
  size_t reserved = os_posix_balance().reserved, committed = (size_t)stats_process.committed.current;
  if (reserved + committed + slices_begun == 0) return 0;
  print_error("left: %zu bytes reserved, %zu counted as committed, %zu slices counted as begun\n", reserved,
              committed, slices_begun);
  return -1;
}

#endif
