// Functions, files and lines for the places of a report, from the modules' files.
#ifndef MI_REPORT_SYMBOLS_H
#define MI_REPORT_SYMBOLS_H

#include "report.h"

typedef struct symbol_options_s {
  const char* symbolizer;     // a program, "none", or NULL: the first one that is there
  const char* const* folders; // where to look for modules first; ends with NULL
} symbol_options_t;

void symbols_resolve(report_t* report, const symbol_options_t* options);

// After symbols_resolve: marks as kept on purpose what runtimes that are linked into a program allocate for ever, known by
// their functions.
void symbols_mark_kept(report_t* report);

// Of a C++ function; itself when it is none.
const char* demangle(const char* name);

#endif
