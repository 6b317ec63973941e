// What the mi-run of the other number of bits does for this one: it lies beside it, as mi-run32.exe or
// mi-run64.exe.
#ifndef MI_RUN_DELEGATE_H
#define MI_RUN_DELEGATE_H

#include <wchar.h>

// The path of that mi-run; NULL: there is none.
const wchar_t* delegate_path(void);

// Runs it with these arguments, and waits. Returns its exit code, or one of mi-run's own after a message.
int delegate_run(const wchar_t* path, const wchar_t* arguments);

// Those of this process, as they stand in its command line.
const wchar_t* delegate_own_arguments(void);

#endif
