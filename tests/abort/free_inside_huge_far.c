// Frees a pointer into a block of 3,000,000 bytes, far from its start.
#include "misuse.h"

int main(void) {
  char* p = mi_malloc(3000000);
  mi_free(misuse(p + 2000000));
  return MISUSE_SURVIVED;
}
