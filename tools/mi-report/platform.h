// What differs between Windows and the rest.
#ifndef MI_REPORT_PLATFORM_H
#define MI_REPORT_PLATFORM_H

#include <stdbool.h>
#include <stdio.h>

#include "report.h"

bool is_windows(void);

// All text in here is UTF-8, also paths and main's arguments.
char** platform_arguments(int argc, char** argv);
FILE* file_open(const char* path, const char* mode);
void file_remove(const char* path);

// A shell's command, to read what it prints; NULL: it can't be started. Closing returns its exit code.
FILE* pipe_open(const char* command);
int pipe_close(FILE* pipe);

// The name of a fresh file; NULL: none can be made.
char* temporary_file(void);

// What a path of the process that was recorded is called here, if that can be told: under Wine "Z:\" is the root.
const char* path_here(const char* windows_path);
bool file_is_there(const char* path);

// Standard output without line ends changed.
void output_is_binary(void);

// Windows' own reader of symbols (PDB files), for one module. False: it knows none, or there is no such reader.
bool system_symbols(const char* path, code_t** codes, size_t count);

#endif
