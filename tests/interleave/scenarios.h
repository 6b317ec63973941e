#ifndef TESTS_INTERLEAVE_SCENARIOS_H
#define TESTS_INTERLEAVE_SCENARIOS_H

#include "interleave/schedule.h"

// Each ends with one that has no name.
extern const scenario_t scenarios_pages[], scenarios_slices[], scenarios_heaps[], scenarios_killed[],
    scenarios_costs[];

#endif
