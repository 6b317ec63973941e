// Which allocations a profile takes: on average one for so many bytes, at random distances, so that no regular
// pattern of the program is missed or seen double (a Poisson process).
#ifndef DLL_RECORD_SAMPLE_H
#define DLL_RECORD_SAMPLE_H

#include "base/attributes.h"

// `mean`: bytes, at least 1.
void sample_start(uint64_t mean, uint64_t seed);

// Is one taken of these bytes? Any thread, no lock.
bool sample_takes(size_t size);

#endif
