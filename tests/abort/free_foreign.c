// Frees a block of the C runtime's heap.
#include "misuse.h"

#include <stdlib.h>

int main(void) {
  mi_free(mi_malloc(8));
  mi_free(misuse(malloc(64)));
  return MISUSE_SURVIVED;
}
