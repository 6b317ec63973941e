// Work that others do with the library at times when it may not expect them: in DLL_THREAD_DETACH and
// DLL_PROCESS_DETACH of other DLLs, in destructors, in FLS and TLS callbacks. Each place has a block that it
// hands from thread to thread.
#ifndef TESTS_MODES_LATE_H
#define TESTS_MODES_LATE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct late_functions_s {
  void* (*malloc)(size_t size);
  void (*free)(void* p);
} late_functions_t;

typedef struct late_place_s {
  const char* name;
  void* volatile block; // left by the last one who was here
  volatile long count;
} late_place_t;

enum { LATE_ERROR = 89 }; // exit code when a block was damaged

void late_work(late_place_t* place, const late_functions_t* functions);

// detach_dll.dll: does it in its DLL_THREAD_DETACH, in the destructor of a thread_local object and in its
// DLL_PROCESS_DETACH, once it was given functions to call.
__declspec(dllexport) void detach_dll_start(const late_functions_t* functions);
__declspec(dllexport) long detach_dll_thread_detaches(void);
__declspec(dllexport) long detach_dll_destructors(void);
__declspec(dllexport) void detach_dll_touch(void); // makes the calling thread's thread_local object
__declspec(dllexport) void detach_dll_stop(void);  // frees what is left; no more work

#ifdef __cplusplus
}
#endif

#endif
