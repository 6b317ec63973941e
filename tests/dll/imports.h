// All names that programs may import, and where this program's import table has their addresses (made by make_imports.py).
#ifndef TESTS_DLL_IMPORTS_H
#define TESTS_DLL_IMPORTS_H

#include <stddef.h>

typedef void import_function_t(void);

// The linker's name of an entry of the import table; in 32 bits the compiler adds an underscore.
#if defined(__i386__)
#define IMPORTED(name) _imp__##name
#else
#define IMPORTED(name) __imp_##name
#endif

typedef struct import_s {
  const char* name;
  import_function_t** entry;
} import_t;

extern const import_t imports[];
extern const size_t import_count;

#endif
