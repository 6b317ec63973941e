#include "../harness/bench.h"
const workload_t bench_shared[] = {{0}};
