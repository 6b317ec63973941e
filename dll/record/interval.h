// A thread of the recorder's own that wakes from time to time: lines of statistics, snapshots of a profile.
#ifndef DLL_RECORD_INTERVAL_H
#define DLL_RECORD_INTERVAL_H

#include "base/attributes.h"

// On DLL_PROCESS_ATTACH. Starts the thread if the environment asks for statistics (MIMALLOC_STATS_INTERVAL, ms), or if
// `snapshot_ms` is not 0: `snapshot` is then called that often.
void interval_start(uint32_t snapshot_ms, void (*snapshot)(void));

// At the process's end: one more line of statistics, if there were any.
void interval_end(void);

#endif
