#include "../harness/bench.h"
const workload_t bench_small[] = {{0}};
