// Another program that knows symbols: llvm-symbolizer or addr2line.
#ifndef MI_REPORT_EXTERNAL_H
#define MI_REPORT_EXTERNAL_H

#include "pe_file.h"
#include "report.h"

// The one to use: `wanted` (a path or a name), or the first of the usual ones. NULL: none.
const char* external_find(const char* wanted);

// Resolves the codes, all of one file. False: it doesn't answer as it should.
bool external_resolve(const char* program, const char* path, const pe_file_t* file, code_t** codes,
                      size_t count);

#endif
