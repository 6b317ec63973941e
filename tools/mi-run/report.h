// Messages on standard error: to a console as Unicode, to a file or pipe as UTF-8. Format strings are those
// of wide printf; strings are %ls, narrow ones %hs.
#ifndef MI_RUN_REPORT_H
#define MI_RUN_REPORT_H

#include <stdbool.h>
#include <wchar.h>

extern bool report_verbose;

// "mi-run: error: ..." and "mi-run: remedy: ...". An error is followed by its remedy.
void report_error(const wchar_t* format, ...);
void report_remedy(const wchar_t* format, ...);
// From now on errors are warnings, that this process is not followed: "'child.exe' (process 12)".
void report_not_followed(const wchar_t* subject);
void report_warning(const wchar_t* format, ...);
void report_note(const wchar_t* format, ...); // only when verbose

// Text as it is, to standard output.
void report_print(const wchar_t* format, ...);

// Windows' words for an error number: "Access is denied (error 5)". The text is overwritten by the next call.
const wchar_t* report_reason(unsigned long error);

#endif
