// --leaks, --profile, --check, --report: what mimalloc.dll is told through the program's environment, and what becomes of
// its report when the program has ended.
#ifndef MI_RUN_DIAGNOSE_H
#define MI_RUN_DIAGNOSE_H

#include <stdbool.h>

#include "options.h"

// Before the program is created. EXIT_DONE, or an exit code after a message.
int diagnose_begin(const options_t* options);

// After the program's end: has mi-report, if it is beside mi-run, print the report on standard error.
void diagnose_end(const options_t* options);

// The program was not run after all.
void diagnose_abandon(void);

// Takes the variables out of our own environment.
void diagnose_forget(void);

#endif
