// Everything that minject does with a file, done to bytes of any kind. Ends the program by abort() when a
// promise is broken; what AddressSanitizer finds is its affair.
#ifndef TESTS_EXERCISE_H
#define TESTS_EXERCISE_H

#include "bytes.h"

#include <stdbool.h>

typedef struct exercise_counts_s {
  unsigned long long files;
  unsigned long long accepted; // parsed as good PE files
  unsigned long long added;    // to which an import could be added
  unsigned long long restored; // that were the same again, byte for byte, after its removal
} exercise_counts_t;

void exercise(const uint8_t* data, size_t size, exercise_counts_t* counts);

#endif
