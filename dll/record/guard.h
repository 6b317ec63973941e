// Blocks that each stand at the end of pages of their own, before a page that nobody may touch, and whose pages become
// untouchable when they are freed: a wrong access ends in an exception at the very instruction.
//
//   run    the pages of one block and the inaccessible one behind them; stays what it is for ever and is used again for
//          blocks of as many pages, the one that was freed longest ago first
//   slack  bytes between the block's end and the inaccessible page, which alignment leaves; filled with a pattern that is
//          looked at when the block is freed
//
// All memory is one reservation. When it is used up, runs are used again; when there are none, or `most` blocks live, further
// ones go unguarded. Linux allows a process 65530 areas of different protection, and a guarded block makes two: under Wine
// there must be a limit, or nobody could have memory any more.
#ifndef DLL_RECORD_GUARD_H
#define DLL_RECORD_GUARD_H

#include "base/attributes.h"

typedef enum guard_state_e { GUARD_UNUSED, GUARD_LIVE, GUARD_FREED } guard_state_t;

typedef struct MI_ALIGNED(8) guard_run_s { // as store_take aligns: they lie side by side
  uintptr_t start;                         // of the pages
  uintptr_t address;                       // of the block
  size_t size;                             // as asked for
  uint32_t pages;                          // that are accessible while it lives
  uint32_t state;                          // guard_state_t
  uint32_t allocated_at, freed_at;         // numbers of stacks
  uint32_t allocated_by, freed_by;         // threads
  uint32_t freed_ms;                       // clock
  uint32_t next;                           // in its queue
} guard_run_t;

// `memory`: bytes of address space. `is_exact`: no slack, whatever that does to alignment.
bool guard_start(size_t memory, bool is_exact, uint32_t most);

// Memory reads as zero if `zero`. NULL: there is no room, or the alignment is above a page.
void* guard_allocate(size_t size, size_t alignment, bool zero, uint32_t stack);

bool guard_is_inside(const void* p); // of the reservation

// The run that the address lies in, the inaccessible page behind it included; NULL when it lies in none.
guard_run_t* guard_find(uintptr_t address);

// Makes a live block inaccessible. False: somebody else has freed it meanwhile.
bool guard_free(guard_run_t* run, uint32_t stack);

// Bytes around a live block that the program must not write, and has: how far from its start (negative: in front of it; at
// least its size: behind it). False: none.
bool guard_is_overwritten(const guard_run_t* run, intptr_t* where);

void guard_visit(void (*visit)(const guard_run_t* run)); // without locks

#endif
