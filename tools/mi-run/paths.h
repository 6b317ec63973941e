// Finding files, by the rules that the user knows from the command prompt. Strings that are returned live as
// long as mi-run does.
#ifndef MI_RUN_PATHS_H
#define MI_RUN_PATHS_H

#include <stdbool.h>
#include <wchar.h>

// The absolute form of a path; NULL when there is none or memory is short.
wchar_t* path_absolute(const wchar_t* path);

wchar_t* path_self(void); // of mi-run.exe; NULL: memory is short

// `name` in the folder of mi-run.exe.
wchar_t* path_beside_self(const wchar_t* name);

const wchar_t* path_file_name(const wchar_t* path); // what comes after the last separator

// The file that a program's name means: a path, or a name that is looked for in the current folder and those
// of PATH. Each with ".exe" too if that is missing. NULL: not found; *is_folder then tells that a folder of
// that name was.
wchar_t* path_of_program(const wchar_t* name, bool* is_folder);

// A name for the same file that has only ASCII characters and fits the loader's buffers; the last part stays
// as it is if possible. NULL: there is none.
char* path_ascii(const wchar_t* path);

bool path_same_file(const wchar_t* a, const wchar_t* b);

#endif
