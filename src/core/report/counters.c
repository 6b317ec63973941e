#include "core/report/counters.h"

stats_process_t stats_process;
