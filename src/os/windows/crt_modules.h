// The C runtime DLLs of this process. A process may hold none, one or several; each has an errno and a heap of its own.
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

// True when crt_modules_handle has found the module before: it costs nothing to ask for it again. (Asking for one that
// isn't loaded takes microseconds, under Wine a tenth of a millisecond.)
bool crt_modules_is_known(size_t index);

// The module's handle, NULL when it isn't loaded. A runtime that was seen once stays loaded until the process ends: we
// keep its functions' addresses, and it may own blocks that come to us.
// Any thread, also under the loader lock, but with none of our locks held: the loader has one too.
void* crt_modules_handle(size_t index);

// Address of a function that it exports, or NULL.
void* crt_modules_function(size_t index, const char* function);

#endif
