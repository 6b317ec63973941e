// A report as mimalloc.dll wrote it (docs/report-schema.md), ready to be shown.
#ifndef MI_REPORT_REPORT_H
#define MI_REPORT_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "common.h"

typedef struct location_s { // one function; several when the compiler put one into another
  const char* function;
  const char* file; // NULL: not known
  unsigned line;
} location_t;

typedef struct code_s { // a place in a module
  int module;           // -1: none
  uint64_t offset;
  location_t* locations; // innermost first; NULL: no symbols
  size_t location_count;
} code_t;

typedef struct module_s {
  const char* path; // as Windows has it
  const char* kind;
  uint64_t base;
  uint32_t size, timestamp;
  bool is_unloaded;
} module_t;

typedef enum metric_e { LIVE_BYTES, LIVE_BLOCKS, BYTES, ALLOCATIONS, METRIC_COUNT } metric_t;

typedef struct stack_s {
  double values[METRIC_COUNT]; // of the process: what a sample stands for
  double first;                // number of the first live allocation; -1: none
  const char* kept;            // NULL: not on purpose
  int keeper;                  // module
  size_t count;
  code_t** frames; // innermost first; each place is there once
} stack_t;

typedef struct trace_s { // frames of a fault, innermost first
  size_t count;
  code_t** frames;
} trace_t;

typedef struct fault_s {
  const char* kind;
  const char* address;
  unsigned thread, allocated_by, freed_by;
  bool has_block, is_freed;
  double size, offset, freed_ms;
  trace_t at, allocated, freed;
} fault_t;

typedef struct report_s {
  const char *file, *mode, *reason, *exception;
  unsigned pointer_bits, process;
  double elapsed_ms, sample_bytes, allocations, bytes, not_recorded;
  size_t module_count, stack_count, code_count;
  module_t* modules;
  stack_t* stacks;
  code_t** codes;
  fault_t* faults;
  size_t fault_count;
  double all_faults; // also those that there was no room for
} report_t;

extern const char* const metric_names[METRIC_COUNT];

// Ends the program when the file is no report.
report_t* report_read(const char* path);

// Its file's name: the first module.
const char* report_program(const report_t* report);

// "leaky.exe+0x1563", for a place without symbols.
const char* report_place(const report_t* report, const code_t* code);

// "1.5 MiB"
const char* amount(double bytes);

#endif
