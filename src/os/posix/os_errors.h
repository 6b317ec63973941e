// Numbers of errors in which the C runtimes of the platforms differ.
#ifndef OS_POSIX_ERRORS_H
#define OS_POSIX_ERRORS_H

#include <errno.h>

#define OS_EOVERFLOW    EOVERFLOW
#define OS_ENAMETOOLONG ENAMETOOLONG

#endif
