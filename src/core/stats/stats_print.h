// Reports of the counters in core/stats/stats.h: a copy of them at one moment, and its printing.
#ifndef CORE_STATS_STATS_PRINT_H
#define CORE_STATS_STATS_PRINT_H

#include "core/report/message.h"
#include "core/stats/stats.h"
#include "os/os.h"

typedef struct stats_snapshot_s {
  stats_process_t process;
  stats_blocks_t blocks;
  int64_t allocations; // blocks ever allocated, huge ones included
  int64_t frees;       // and freed
  int64_t
      bytes_allocated; // of blocks up to LARGE_SIZE_MAX, in block sizes; huge ones are in process.huge_bytes
  int64_t bytes_in_use;
  int64_t os_calls; // calls for memory of any kind
} stats_snapshot_t;

// Takes no lock. Other threads go on counting meanwhile, so that sums may be off by what they do.
void stats_snapshot(stats_snapshot_t* snapshot);

// Starts anew: what is gone is forgotten, what exists counts as if made now, peaks fall to the present
// amount. A snapshot taken by another thread meanwhile may mix both.
void stats_reset(void);

// A table for readers; its last line is for programs:
//   mimalloc: summary: allocations=123 frees=120 threads=3 heaps=1 committed=4194304 peak_committed=8388608
//   os_calls=17
// `with_process` adds times and memory of the process, which must not be asked for under the loader lock.
void stats_print(message_output_t* output, void* arg, bool with_process);

// The table at process exit, when option show_stats is on: no lock, no question to the system. To the
// program's output function unless callbacks are held, as they are when the process exits or unloads us;
// mi_process_done holds none.
void stats_print_at_exit(void);

// Times and memory of the process, with our own counters for what the system doesn't tell. Not under the
// loader lock.
void stats_process_usage(os_process_usage_t* usage);
void stats_print_process(message_output_t* output, void* arg);

#endif
