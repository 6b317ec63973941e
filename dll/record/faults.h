// What `check` has found, in memory until the report and said at once.
#ifndef DLL_RECORD_FAULTS_H
#define DLL_RECORD_FAULTS_H

#include "base/attributes.h"
#include "guard.h"
#include "writer.h"

typedef enum fault_kind_e {
  FAULT_READ, // of memory that is none of the block's
  FAULT_WRITE,
  FAULT_OVERWRITTEN, // noticed later: bytes beside the block were written
  FAULT_DOUBLE_FREE,
  FAULT_INSIDE_FREE, // not the start of a block
  FAULT_WILD_FREE    // nobody's block
} fault_kind_t;

typedef struct fault_s {
  fault_kind_t kind;
  uintptr_t address;
  uint32_t thread;
  uint32_t stack; // where it happened, or was noticed; 0: nowhere
  bool has_block;
  guard_run_t block; // as it was then
  intptr_t offset;   // from the block's start
  uint32_t freed_ms; // ago
} fault_t;

void faults_start(void* text_file); // NULL: say nothing

// Any thread; from an exception handler, too. `run` may be NULL.
void faults_add(fault_kind_t kind, uintptr_t address, uint32_t stack, const guard_run_t* run,
                intptr_t offset);

size_t faults_count(void); // also those that there was no room for
void faults_json(writer_t* writer);
void faults_say_end(uint64_t unguarded);

#endif
