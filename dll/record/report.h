// The report of what was recorded: text for people, and JSON (docs/report-schema.md) for mi-report.
#ifndef DLL_RECORD_REPORT_H
#define DLL_RECORD_REPORT_H

#include "base/attributes.h"

typedef struct report_totals_s {
  uint64_t allocations;
  uint64_t not_recorded; // for want of memory
} report_totals_t;

typedef struct report_s {
  const char* mode;      // "leaks", "profile", "check"
  const char* reason;    // why it is written: "exit", "exception", "dump", "interval"
  uint32_t exception;    // its code
  bool is_check;         // with faults, without blocks
  uint64_t sample_bytes; // mean distance between samples; 0: all is recorded
  uint32_t depth;        // frames of a stack that are kept at most
  uint64_t elapsed_ms;
  report_totals_t totals;
  void* json; // file handles; NULL: not wanted
  void* text;
} report_t;

// Without locks. One thread at a time. False: it could not all be written.
bool report_write(const report_t* report);

#endif
