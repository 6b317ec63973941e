#include "sample.h"

static uint64_t mean_bytes, start_seed;

void sample_start(uint64_t mean, uint64_t seed) {
  mean_bytes = mean;
  start_seed = seed;
}

// xorshift64*: enough for distances.
static uint64_t next_random(sample_cell_t* cell) {
  uint64_t x = cell->random;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  cell->random = x;
  return x * 0x2545F4914F6CDD1Du;
}

// The natural logarithm of 0 < x <= 1, to about 1e-4: x = m * 2^e with 1 <= m < 2, and a polynomial for log2(m).
static double logarithm(double x) {
  union {
    double value;
    uint64_t bits;
  } number = {.value = x};
  double exponent = (double)((int)(number.bits >> 52) - 1023);
  number.bits = (number.bits & 0xFFFFFFFFFFFFFu) | 0x3FF0000000000000u;
  double t = (number.value - 1) / (number.value + 1), t2 = t * t; // ln(m) = 2 artanh(t)
  return exponent * 0.6931471805599453 + 2 * t * (1 + t2 * (1.0 / 3 + t2 * (1.0 / 5 + t2 / 7)));
}

static int64_t distance(sample_cell_t* cell) {
  double uniform = ((double)(int64_t)(next_random(cell) >> 11) + 1) / 9007199254740992.0;
  double bytes = -logarithm(uniform) * (double)(int64_t)mean_bytes;
  return bytes < 1 ? 1 : (int64_t)bytes;
}

bool sample_next(sample_cell_t* cell, int64_t left) {
  if (!cell->is_started) {
    cell->random = (start_seed + (uint64_t)(cell - sample_cells) + 1) * 0x9E3779B97F4A7C15u | 1;
    cell->is_started = true;
    left += distance(cell);
  }
  // A block larger than many distances is one sample, as its weight is computed from its size.
  bool is_taken = left <= 0;
  atomic_set_relaxed(&cell->left, is_taken ? distance(cell) : left);
  return is_taken;
}
