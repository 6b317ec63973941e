// The two files, looked at before anything is started: can this program and this DLL come together? Each
// function returns EXIT_DONE, or reports what is wrong and returns the exit code for it.
#ifndef MI_RUN_CANDIDATE_H
#define MI_RUN_CANDIDATE_H

#include <stdbool.h>
#include <stdint.h>

#include "options.h"

// What mi-run imports from the DLL and takes as the sign that it is mimalloc.
#define CANDIDATE_SYMBOL "mi_version"

// The machine that mi-run was built for: program and DLL must be for the same.
uint16_t candidate_own_machine(void);
const wchar_t* candidate_machine_name(uint16_t machine);

// Is it a program for the other number of bits, so that the other mi-run can start it?
bool candidate_is_other_bits(const wchar_t* path);

// Finds the program as the command prompt would.
int candidate_find_app(const wchar_t* name, wchar_t** path);
// --dll's file; NULL: the one beside mi-run: mimalloc.dll, mimalloc64.dll or x64\mimalloc.dll (32 bits:
// mimalloc32.dll, x86\mimalloc.dll), whichever is there for mi-run's own machine.
int candidate_find_dll(const wchar_t* name, wchar_t** path);

int candidate_check_app(const wchar_t* path, method_t method);
int candidate_check_dll(const wchar_t* path);

#endif
