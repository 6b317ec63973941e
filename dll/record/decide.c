#include "blocks.h"
#include "sample.h"
#include "twins.h"

// What a sample doesn't concern goes straight on: nearly everything, so this is in the way of each call.
uintptr_t decide_by_sample(const twin_t* twin, const uintptr_t* arguments) {
  bool is_taken;
  switch (twin->kind) {
  case TWIN_FREE:
    return blocks_may_have(arguments[0]) ? TWIN_HANDLED : TWIN_PASSED;
  case TWIN_NEW:
    return sample_takes(twin_size(twin, arguments)) ? TWIN_TAKEN : TWIN_PASSED;
  case TWIN_RESIZE:
    is_taken = sample_takes(twin_size(twin, arguments));
    return is_taken ? TWIN_TAKEN : blocks_may_have(arguments[0]) ? TWIN_HANDLED : TWIN_PASSED;
  case TWIN_SIZE:
  case TWIN_OWNS:
    return TWIN_PASSED;
  default:
    return TWIN_HANDLED;
  }
}

uintptr_t twins_decide(const twin_t* twin, const uintptr_t* all) {
  uintptr_t decided = twins_decider == NULL ? TWIN_TAKEN : twins_decider(twin, all + twin->is_in_heap);
  return decided == TWIN_PASSED ? (uintptr_t)twin->original : decided;
}
