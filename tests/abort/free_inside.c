// Frees a pointer into the middle of a small block.
#include "misuse.h"

int main(void) {
  char* p = mi_malloc(64);
  mi_free(misuse(p + 16));
  return MISUSE_SURVIVED;
}
