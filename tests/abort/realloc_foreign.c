// Resizes a block of the C runtime's heap.
#include "misuse.h"

#include <stdlib.h>

int main(void) {
  void* p = mi_realloc(misuse(malloc(64)), 128);
  return p == NULL ? MISUSE_SURVIVED : MISUSE_SETUP_FAILED;
}
