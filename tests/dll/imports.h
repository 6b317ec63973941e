// Addresses of all names that programs may import, as this program's import table has them (made by make_imports.py).
#ifndef TESTS_DLL_IMPORTS_H
#define TESTS_DLL_IMPORTS_H

#include <stddef.h>

typedef struct import_s {
  const char* name;
  void (*address)(void);
} import_t;

extern const import_t imports[];
extern const size_t import_count;

#endif
