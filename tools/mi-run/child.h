// The program as a process of its own: started suspended, held at its gate, let go, waited for.
//
// The gate: before its first instruction, the program's first thread works off what was queued for it. mi-run
// queues "set this event" and "suspend yourself" there. So when the event is set, the loader has done its
// work (all DLLs that the program imports are initialised), the program has not begun, and mi-run can look
// and decide.
#ifndef MI_RUN_CHILD_H
#define MI_RUN_CHILD_H

#include <stdbool.h>
#include <stdint.h>

#include "options.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

typedef struct child_s {
  const wchar_t* path;
  HANDLE process, thread;
  DWORD pid;
  HANDLE job; // ends the program when mi-run is killed; NULL: there is none
} child_t;

// Creates the process, suspended, with this process' console, environment, folder, handles and start-up
// information. EXIT_DONE, or an exit code after a message; then there is no process.
int child_create(const options_t* options, const wchar_t* path, child_t* child);

// The same with this whole command line, and running at once.
int child_start(const wchar_t* path, const wchar_t* line, child_t* child);

// Lets one function of kernel32 with one argument run in the first thread before the program begins.
bool child_queue(const child_t* child, const char* function, uintptr_t argument);

typedef enum child_gate_e {
  CHILD_AT_GATE, // suspended there
  CHILD_ENDED,   // before it got there
  CHILD_ERROR,   // GetLastError
} child_gate_t;

// Sets a freshly created process going, up to its gate.
child_gate_t child_run_to_gate(const child_t* child);

// Lets the suspended program go. False, with the last error set: it can't be done.
bool child_release(const child_t* child);

// Waits for its end and returns its exit code.
DWORD child_wait(const child_t* child);

// Ends a process that must not run; returns when it is gone.
void child_kill(const child_t* child);

#endif
