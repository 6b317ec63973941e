// Source lines from a PE file's .debug_line (DWARF 2 to 5). Only that: which line a place in code belongs to. What the
// compiler put into other functions is told by an external symbolizer alone (docs/decisions/0006).
#ifndef MI_REPORT_DWARF_LINES_H
#define MI_REPORT_DWARF_LINES_H

#include "pe_file.h"

typedef struct lines_s lines_t;

lines_t* lines_read(const pe_file_t* file); // NULL: there are none

// False: no line is known there. *name may be NULL all the same.
bool lines_find(const lines_t* lines, uint32_t rva, const char** name, unsigned* line);

#endif
