// A DLL that is not linked with libmimalloc-crt.a, for test_links.py: its functions are those of its runtime.
#include <malloc.h>
#include <stdlib.h>

void* other_malloc(size_t size) { return malloc(size); }
void* other_realloc(void* block, size_t size) { return realloc(block, size); }
size_t other_msize(void* block) { return _msize(block); }
void other_free(void* block) { free(block); }
