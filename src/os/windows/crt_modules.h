// The C runtime DLLs of this process. A process may hold none, one or several; each has an errno and a heap
// of its own.
#ifndef OS_WINDOWS_CRT_MODULES_H
#define OS_WINDOWS_CRT_MODULES_H

#include "base/attributes.h"

#define CRT_MODULES_MAX 32

// How many runtimes the table names. The functions below take an index under this number.
size_t crt_modules_count(void);

// The DLL's file name, "ucrtbase.dll".
const char* crt_modules_name(size_t index);

// A debug runtime puts a header of its own in front of each block.
bool crt_modules_is_debug(size_t index);

// What we call of a runtime.
typedef enum crt_function_e {
  CRT_ERRNO,
  CRT_GET_HEAP_HANDLE,
  CRT_FREE_DBG,
  CRT_MSIZE_DBG,
  CRT_FUNCTION_COUNT
} crt_function_t;

// True when crt_modules_handle has found the module before: it costs nothing to ask for it again, and takes
// no lock. (Asking for one that isn't loaded takes microseconds, under Wine a tenth of a millisecond.)
bool crt_modules_is_known(size_t index);

// The module's handle, NULL when it isn't loaded. A runtime that was seen once stays loaded until the
// process ends: we keep its functions' addresses, and it may own blocks that come to us. Any thread, also
// under the loader lock, but with none of our locks held: the loader has one too.
void* crt_modules_handle(size_t index);

// Finds those that nobody has asked for yet.
void crt_modules_find_new(void);

// From now on crt_modules_find_new does nothing while another thread uses the loader, which may be waiting
// in a DllMain for a lock that the caller holds. To be called under the loader lock, once those that are
// loaded are known.
void crt_modules_never_wait(void);

// Address of a function that it exports, or NULL.
void* crt_modules_function(size_t index, crt_function_t function);

#endif
