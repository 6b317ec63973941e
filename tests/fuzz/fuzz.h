// What fuzz targets share. A target is one function; libFuzzer calls it with inputs that it makes up (wine-
// ci/fuzz), and replay.c with the files of a corpus, in any build.
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

#define PROMISE(condition)                                                                                   \
  do {                                                                                                       \
    if (!(condition)) {                                                                                      \
      fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #condition);                        \
      abort();                                                                                               \
    }                                                                                                        \
  } while (0)

#endif
