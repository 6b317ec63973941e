// For tests of misuse in secure builds, whose process would end: errors are counted, and it lives on.
#ifndef TESTS_UNIT_COUNTED_ERRORS_H
#define TESTS_UNIT_COUNTED_ERRORS_H

#include "base/attributes.h"

#include <mimalloc.h>

static int errors, last_error;
static void on_error(int error, void* arg) {
  MI_UNUSED(arg);
  errors++;
  last_error = error;
}

static int set_up(void** state) {
  MI_UNUSED(state);
  mi_register_error(on_error, NULL);
  mi_collect(true);
  errors = last_error = 0;
  return 0;
}

static int tear_down(void** state) {
  MI_UNUSED(state);
  mi_register_error(NULL, NULL);
  mi_collect(true);
  return 0;
}

// The same pointer, and the compiler knows nothing of it.
static inline void* hide(void* p) {
  __asm__ volatile("" : "+r"(p));
  return p;
}

#endif
