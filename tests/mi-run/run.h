// Runs command lines and keeps all that came of it; files for the tests to play with. Everything that fails
// for another reason than the one under test ends the test program with a message.
#ifndef TESTS_MI_RUN_RUN_H
#define TESTS_MI_RUN_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <wchar.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

enum { RUN_TEXT_MAX = 256 * 1024, RUN_LINE_MAX = 32768, RUN_LIMIT_MS = 60000 };

typedef struct run_s {
  DWORD code;                // exit code, all 32 bits
  char output[RUN_TEXT_MAX]; // UTF-8, '\r' left out, NUL-terminated
  char error[RUN_TEXT_MAX];
} run_t;

extern run_t ran; // what the last run_* left

// Absolute paths. The files of this build come from the test program's command line (run_begin).
extern wchar_t run_mi_run[MAX_PATH], run_dll[MAX_PATH];
extern wchar_t run_work[MAX_PATH]; // a folder of this test program's own, empty at its start

// Arguments: a name for the work folder, then mi-run.exe and mimalloc.dll.
void run_begin(const wchar_t* name);
// A program or DLL of the tests, beside the test program: "child-program.exe".
const wchar_t* run_built(const wchar_t* name);

// Runs a whole command line with this text as standard input (NULL: an empty one), in `folder` (NULL: the
// current one). A run that takes longer than RUN_LIMIT_MS is ended, and the test with it.
void run_line(const wchar_t* line, const char* input, const wchar_t* folder);
// mi-run with these options and so on, as a format of wide printf.
void run_mi(const wchar_t* format, ...);

// A run that goes on while the test does something. run_end waits for it and fills `ran`.
typedef struct run_process_s run_process_t;
run_process_t* run_start(const wchar_t* line, const char* input, const wchar_t* folder, DWORD flags);
void run_end(run_process_t* run);
HANDLE run_handle(const run_process_t* run);
DWORD run_pid(const run_process_t* run);

void run_print(void); // for failed checks

#define assert_output(text)    run_assert_contains(ran.output, "output", text, __FILE__, __LINE__)
#define assert_no_output(text) run_assert_lacks(ran.output, "output", text, __FILE__, __LINE__)
#define assert_error(text)     run_assert_contains(ran.error, "errors", text, __FILE__, __LINE__)
#define assert_code(code)      run_assert_code(code, __FILE__, __LINE__)
void run_assert_contains(const char* in, const char* what, const char* text, const char* file, int line);
void run_assert_lacks(const char* in, const char* what, const char* text, const char* file, int line);
void run_assert_code(DWORD code, const char* file, int line);

// What child-program does (MI_RUN_CHILD).
void run_todo(const wchar_t* words);

// A name for events that no other run of any test has.
const wchar_t* run_unique(const wchar_t* name);

// How many processes run whose program file has this name.
int run_count(const wchar_t* program);

// --- files -------------------------------------------------------------------------------------------------

// Path of a file in the work folder; `name` may hold folders, which are made.
const wchar_t* file_path(const wchar_t* name);
const wchar_t* file_copy(const wchar_t* from, const wchar_t* name); // returns the new path
const wchar_t* file_write(const wchar_t* name, const void* bytes, size_t size);

typedef struct file_bytes_s {
  uint8_t* bytes;
  size_t size;
} file_bytes_t;
file_bytes_t file_read(const wchar_t* path);

// A copy in which something is changed: each function changes the bytes; file_write stores them.
uint8_t* pe_header(file_bytes_t file);               // of "PE\0\0"
uint8_t* pe_directory(file_bytes_t file, int index); // (RVA, size)
void pe_set16(uint8_t* at, uint32_t value);
void pe_set32(uint8_t* at, uint32_t value);
void pe_rename(file_bytes_t file, const char* from, const char* to); // every occurrence; of the same length

#endif
