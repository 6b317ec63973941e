// Memory and threads of another process.
#ifndef MI_RUN_REMOTE_H
#define MI_RUN_REMOTE_H

#include <stdbool.h>
#include <stdint.h>
#include <wchar.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

// A copy of the string in the process, for remote_free; NULL, with the last error set.
void* remote_string(HANDLE process, const wchar_t* text);
void remote_free(HANDLE process, void* memory);

// A function of kernel32. That DLL lies at the same address in all processes of one machine type until
// Windows starts anew, so the address is good for other processes.
FARPROC remote_function(const char* name);

typedef enum remote_load_e {
  REMOTE_LOADED,
  REMOTE_REFUSED,   // LoadLibraryW returned NULL
  REMOTE_TIMED_OUT, // it has not returned; the thread is still there
  REMOTE_ENDED,     // the process ended meanwhile
  REMOTE_ERROR,     // no memory or no thread in it: GetLastError
} remote_load_t;

// LoadLibraryW in a new thread of the process. timeout_s 0: waits without end.
remote_load_t remote_load(HANDLE process, const wchar_t* dll, uint32_t timeout_s);

#endif
