// What the two files of the statistics share.
#ifndef API_STATS_JSON_H
#define API_STATS_JSON_H

#include "mimalloc-stats.h"

// Does the program mean the same structure as we do?
static inline bool stats_are_current(const mi_stats_t* stats) {
  return stats != NULL && stats->size == sizeof(mi_stats_t) && stats->version == MI_STAT_VERSION;
}

#endif
