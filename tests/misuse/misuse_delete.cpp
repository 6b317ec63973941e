// The operators of C++ as a program gets them; see size_mismatch.c.
#include <mimalloc-new-delete.h>

extern "C" void sized_delete(void* p, size_t size);
extern "C" void* plain_new(size_t size);

void sized_delete(void* p, size_t size) { ::operator delete(p, size); }
void* plain_new(size_t size) { return ::operator new(size); }
