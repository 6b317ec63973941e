// Numbers of errors in which the C runtimes of the platforms differ.
#ifndef OS_WINDOWS_ERRORS_H
#define OS_WINDOWS_ERRORS_H

#define OS_EOVERFLOW    132
#define OS_ENAMETOOLONG 38

#endif
