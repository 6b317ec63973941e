// A program with the static library in it, and without (WITHOUT_LIBRARY): what it imports besides is the
// library's doing.
#include <stdlib.h>

#if WITHOUT_LIBRARY
#define mi_malloc malloc
#define mi_free   free
#else
#include <mimalloc.h>
#endif

int main(void) {
  void* volatile p = mi_malloc(100);
  mi_free(p);
  return p == NULL;
}
