// Which allocations a profile takes: on average one for so many bytes, at random distances, so that no regular
// pattern of the program is missed or seen double (a Poisson process).
#ifndef DLL_RECORD_SAMPLE_H
#define DLL_RECORD_SAMPLE_H

#include "base/atomics.h"
#include "cell.h"

// `mean`: bytes, at least 1.
void sample_start(uint64_t mean, uint64_t seed);

typedef struct MI_ALIGNED(MI_CACHE_LINE) sample_cell_s {
  int64_t left; // bytes until the next sample
  uint64_t random;
  bool is_started;
} sample_cell_t;

extern sample_cell_t sample_cells[CELLS]; // threads in one: a lost update moves a sample, no more

bool sample_next(sample_cell_t* cell, int64_t left);

// Is one taken of these bytes? Any thread, no lock.
MI_INLINE bool sample_takes(size_t size) {
  sample_cell_t* cell = &sample_cells[cell_of_thread()];
  int64_t left = atomic_get_relaxed(&cell->left) - (int64_t)size;
  if (MI_UNLIKELY(left <= 0)) return sample_next(cell, left);
  atomic_set_relaxed(&cell->left, left);
  return false;
}

#endif
