// crt_foreign.c in libmimalloc-override.a: a C runtime's functions are what they were.
#include "../redirect/redirect.h"

void* redirect_original(void* function) { return function; }
