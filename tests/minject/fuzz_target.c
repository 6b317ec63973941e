// For libFuzzer; wine-ci/fuzz --target minject builds and runs it.
#include "exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  exercise_counts_t counts = {0};
  exercise(data, size, &counts);
  return 0;
}
