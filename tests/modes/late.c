#include "late.h"

#include "support/test_data.h"

#include <windows.h>

static void check_and_free(void* p, size_t size, uint64_t tag, const late_functions_t* functions) {
  if (p == NULL || pattern_mismatch_sampled(p, size, tag) != SIZE_MAX)
    TerminateProcess(GetCurrentProcess(), LATE_ERROR);
  functions->free(p);
}

static void* filled(size_t size, uint64_t tag, const late_functions_t* functions) {
  void* p = functions->malloc(size);
  if (p == NULL) TerminateProcess(GetCurrentProcess(), LATE_ERROR);
  pattern_fill_sampled(p, size, tag);
  return p;
}

void late_work(late_place_t* place, const late_functions_t* functions) {
  void* small = filled(70, 1, functions);
  void* large = filled(20000, 2, functions);
  void* left = InterlockedExchangePointer(&place->block, filled(900, 3, functions));
  if (left != NULL) check_and_free(left, 900, 3, functions); // another thread's
  check_and_free(large, 20000, 2, functions);
  check_and_free(small, 70, 1, functions);
  InterlockedIncrement(&place->count);
}
