// Runs a program to its end and keeps what it wrote: for tests of what must kill a process, or must not hang
// it.
#ifndef TESTS_CHILD_H
#define TESTS_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHILD_TEXT_MAX = 64 * 1024, CHILD_PATH_MAX = 1024, CHILD_ARGUMENTS_MAX = 16 };

typedef struct child_result_s {
  bool timed_out;              // was killed after the time limit
  int signal;                  // POSIX: the signal that ended it, else 0
  unsigned exit_code;          // 0 when a signal ended it
  char output[CHILD_TEXT_MAX]; // standard output; NUL-terminated, '\r' left out, cut at the capacity
  char error[CHILD_TEXT_MAX];  // standard error
} child_result_t;

// arguments: the program's path, its arguments, NULL. Prints why and returns false when it can't be started.
bool child_run(const char* const* arguments, unsigned limit_ms, child_result_t* result);

// Children inherit it. NULL unsets.
void child_set_environment(const char* name, const char* value);

// Path of the running program; path of a program (without ".exe") in its folder.
void child_self(char path[CHILD_PATH_MAX]);
void child_sibling(const char* name, char path[CHILD_PATH_MAX]);

// True when the child ended the way abort() does: SIGABRT, on Windows exit code 3.
bool child_aborted(const child_result_t* result);
// True when the child touched memory that it must not touch.
bool child_faulted(const child_result_t* result);

// Prints how the child ended and all its text: for failed checks.
void child_print(const child_result_t* result);

#endif
