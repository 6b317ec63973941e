// A DLL that is linked with libmimalloc-crt.a, for test_links.py.
#include <stdlib.h>
#include <string.h>

char* linked_dll_copy(const char* text) { return strdup(text); }
