// Which DLL is to blame when Windows' loader says only that one is missing or unfit.
#ifndef MI_RUN_MISSING_H
#define MI_RUN_MISSING_H

#include <stdbool.h>
#include <wchar.h>

typedef struct missing_s {
  wchar_t name[260];       // as it is imported
  wchar_t needed_by[1024]; // path of who imports it
  wchar_t unfit[1024];     // the file that was found but can't be loaded; empty: none was found
} missing_t;

// Walks the imports of a program, and theirs, in the loader's order and through its folders. False: all of
// them are there and fit, as far as can be seen without loading them.
bool missing_find(const wchar_t* app, missing_t* missing);

#endif
