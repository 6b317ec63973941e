#include "../harness/bench.h"
const workload_t bench_time[] = {{0}};
