// What the allocator says: verbose information, warnings, errors. Formats into a buffer on the stack,
// allocates nothing. A registered output or error callback is user code: never called while the process is
// attached, exited or unloaded under the loader lock; the text goes to standard error then
// (message_hold_callbacks). So does all text without such a callback, unless the environment variable
// MIMALLOC_LOG names a file or "debugger" (os_log_write).
#ifndef CORE_REPORT_MESSAGE_H
#define CORE_REPORT_MESSAGE_H

#include "base/attributes.h"
#include "os_errors.h"

typedef void message_output_t(const char* text, void* arg);
typedef void message_error_t(int code, void* arg);

// Codes given to the error callback; the numbers are errno's of the C runtimes, which agree on all but the
// last.
enum {
  MESSAGE_EAGAIN = 11,
  MESSAGE_ENOMEM = 12,
  MESSAGE_EFAULT = 14,
  MESSAGE_EINVAL = 22,
  MESSAGE_EOVERFLOW = OS_EOVERFLOW
};

void message_register_output(message_output_t* output, void* arg); // NULL: back to standard error
void message_register_error(message_error_t* error, void* arg);    // NULL: back to the default

void message_print(const char* format, ...) MI_PRINTF(1, 2);   // as is, always
void message_verbose(const char* format, ...) MI_PRINTF(1, 2); // "mimalloc: ", when option verbose is on
void message_warning(const char* format, ...)
    MI_PRINTF(1, 2); // "mimalloc: warning: ", when show_errors or verbose
// "mimalloc: error: ", when show_errors or verbose or in a debug build; then the error callback; without a
// callback a debug build aborts on EFAULT, EAGAIN and EINVAL (memory misuse). Limited by options
// max_errors/max_warnings.
void message_error(int code, const char* format, ...) MI_PRINTF(2, 3);
// The same for misuse of memory: shown whatever the options say if `always`, and in secure builds.
// MIMALLOC_ABORT_ON_ERROR=1 in the environment ends the process after it, as secure and checking builds do.
void message_misuse(bool always, int code, const char* format, ...) MI_PRINTF(3, 4);
// The same, but shown whatever the options say (each call site reports once by itself).
void message_error_always(int code, const char* format, ...) MI_PRINTF(2, 3);

// Prints through `output` (or the registered one / standard error when NULL); for reports.
void message_print_to(message_output_t* output, void* arg, const char* format, ...) MI_PRINTF(3, 4);

// While held (> 0) user callbacks are not called. Nests; process-wide.
void message_hold_callbacks(void);
void message_release_callbacks(void);
// The same for the calling thread alone, while it has a lock to which a callback's malloc might come. One
// thread at a time.
void message_hold_callbacks_here(void);
void message_release_callbacks_here(void);
bool message_callbacks_are_held(void);

#endif
