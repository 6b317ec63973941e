#include "blocks.h"
#include "sample.h"
#include "twins.h"

// What each call looks at is here, so that it is reached without a detour.
uint32_t* blocks_buckets;
unsigned blocks_bucket_bits;
sample_cell_t sample_cells[CELLS];
bool twins_are_sampled;

// What a sample doesn't concern goes straight on: nearly everything, so this is in the way of each call.
static inline uintptr_t decide_by_sample(const twin_t* twin, const uintptr_t* arguments) {
  unsigned kind = twin->kind;
  if (kind == TWIN_NEW || kind == TWIN_RESIZE) {
    if (MI_UNLIKELY(sample_takes(twin_size(twin, arguments)))) return TWIN_TAKEN;
    if (kind == TWIN_NEW) return TWIN_PASSED;
  } else if (kind != TWIN_FREE) {
    return kind == TWIN_SIZE || kind == TWIN_OWNS ? TWIN_PASSED : TWIN_HANDLED;
  }
  return MI_UNLIKELY(blocks_may_have(arguments[0])) ? TWIN_HANDLED : TWIN_PASSED;
}

uintptr_t twins_decide(const twin_t* twin, const uintptr_t* all) {
  if (!twins_are_sampled) return TWIN_TAKEN;
  uintptr_t decided = decide_by_sample(twin, all + twin->is_in_heap);
  return decided == TWIN_PASSED ? (uintptr_t)twin->original : decided;
}
