// Brings the DLL into a process and makes sure that it is there: what mi-run is about.
#ifndef MI_RUN_ENTRY_H
#define MI_RUN_ENTRY_H

#include <wchar.h>

#include "child.h"
#include "options.h"

// Starts the program with the DLL in it, waits for its end. Returns its exit code, or an exit code of
// mi-run's after a message; then the program is gone.
int entry_run(const options_t* options, const wchar_t* app, const wchar_t* dll);

// Brings the DLL into a running process. EXIT_DONE, or an exit code after a message.
int entry_attach(const options_t* options, const wchar_t* dll);

// Brings the DLL, and the one that follows, into a process that is suspended before its first instruction.
// Every error is a warning then, about a process that is not followed; entry_adopt_begin says which, before
// anything else.
void entry_adopt_begin(const options_t* options);
int entry_adopt(const options_t* options, const wchar_t* dll);

#endif
