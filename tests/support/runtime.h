// The C runtime that this compiler's programs use. Windows only.
#ifndef TESTS_SUPPORT_RUNTIME_H
#define TESTS_SUPPORT_RUNTIME_H

#include <crtdefs.h> // defines _UCRT where that is it

// TEST_RUNTIME is the module that is in the process, TEST_RUNTIME_IMPORT a DLL that the import table of each program and DLL
// with start-up code names for it, TEST_RUNTIME_ABSENT a name of the same length that no DLL has.
// TEST_OTHER_RUNTIME is the module that such a program has not, or not by itself.
#if defined(_UCRT)
#define TEST_IS_UCRT        1
#define TEST_RUNTIME        "ucrtbase.dll"
#define TEST_OTHER_RUNTIME  "msvcrt.dll"
#define TEST_RUNTIME_IMPORT "api-ms-win-crt-runtime-l1-1-0.dll"
#define TEST_RUNTIME_ABSENT "absent-win-crt-runtime-l1-1-0.dll"
#else
#define TEST_IS_UCRT        0
#define TEST_RUNTIME        "msvcrt.dll"
#define TEST_OTHER_RUNTIME  "ucrtbase.dll"
#define TEST_RUNTIME_IMPORT "msvcrt.dll"
#define TEST_RUNTIME_ABSENT "absent.dll"
#endif

#endif
