#include "../harness/bench.h"
const workload_t bench_forms[] = {{0}};
