// --leaks, --profile, --check, --report: what mimalloc.dll is told through the program's environment, and what becomes of
// its report when the program has ended.
#ifndef MI_RUN_DIAGNOSE_H
#define MI_RUN_DIAGNOSE_H

#include <stdint.h>

#include "options.h"

// Before the program is created. EXIT_DONE, or an exit code after a message.
int diagnose_begin(const options_t* options);

// After the program's end: has mi-report, if it is beside mi-run, print the report on standard error; with --follow, those
// of the processes that it started as well. `pid` and exit code
// are the program's.
void diagnose_end(const options_t* options, uint32_t pid, uint32_t code);

// The program was not run after all.
void diagnose_abandon(void);

// A process is followed and will write a report, if that is what our environment asks for: the file is there from now on, so
// that diagnose_end knows of it even if the process has not yet run by then.
void diagnose_announce(uint32_t pid);

// Takes the variables out of our own environment.
void diagnose_forget(void);

#endif
