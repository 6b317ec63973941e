// Puts DLLs in front of a suspended process' imports.
#ifndef MI_RUN_INJECT_IMPORT_H
#define MI_RUN_INJECT_IMPORT_H

#include <wchar.h>

#include "child.h"

// One DLL to put in front.
typedef struct injected_s {
  const wchar_t* dll;
  const char* symbol;  // an export of it
  const wchar_t* note; // for it to find in the process, see follow.h; NULL: none
} injected_t;

// The last one put in comes first. EXIT_DONE, or an exit code after a message.
int inject_import(const child_t* child, const injected_t* injected);

// At the gate: closes the blocks that inject_import made to further writing.
void inject_import_finish(const child_t* child);

#endif
