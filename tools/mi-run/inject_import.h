// Puts the DLL in front of a suspended process' imports.
#ifndef MI_RUN_INJECT_IMPORT_H
#define MI_RUN_INJECT_IMPORT_H

#include <wchar.h>

#include "child.h"

// EXIT_DONE, or an exit code after a message.
int inject_import(const child_t* child, const wchar_t* dll);

// At the gate: closes the block that inject_import made to further writing.
void inject_import_finish(const child_t* child);

#endif
