// Each different stack once, with what was allocated from there. Added to, never removed from; no lock.
#ifndef DLL_RECORD_STACKS_H
#define DLL_RECORD_STACKS_H

#include "images.h"

typedef struct stack_s {
  uint32_t hash;
  uint32_t next;        // number of the next one in the bucket
  uint32_t count;       // of frames
  uint32_t live_blocks; // these three are added up for a report
  uint64_t live_bytes;
  uint64_t first_sequence;     // of the first live block
  uint64_t allocations, bytes; // all there ever were
  frame_t frames[];
} stack_t;

bool stacks_start(size_t memory);

// Number of the stack, never 0; 0 when there is no memory left.
uint32_t stacks_add(const frame_t* frames, size_t count);

stack_t* stacks_at(uint32_t number);

// All of them: the number of the first, and of the one after it; 0 at the end.
uint32_t stacks_next(uint32_t number);

#endif
