// The two files, looked at before anything is started: can this program and this DLL come together? Each
// function returns EXIT_DONE, or reports what is wrong and returns the exit code for it.
#ifndef MI_RUN_CANDIDATE_H
#define MI_RUN_CANDIDATE_H

#include <stdint.h>

#include "options.h"

// What mi-run imports from the DLL and takes as the sign that it is mimalloc.
#define CANDIDATE_SYMBOL "mi_version"

// The machine that mi-run was built for: program and DLL must be for the same.
uint16_t candidate_own_machine(void);
const wchar_t* candidate_machine_name(uint16_t machine);

// Finds the program as the command prompt would.
int candidate_find_app(const wchar_t* name, wchar_t** path);
// --dll's file; NULL: the one beside mi-run.
int candidate_find_dll(const wchar_t* name, wchar_t** path);

int candidate_check_app(const wchar_t* path, method_t method);
int candidate_check_dll(const wchar_t* path);

#endif
