// Frees a pointer into the middle of a block of 3,000,000 bytes.
#include "misuse.h"

int main(void) {
  char* p = mi_malloc(3000000);
  mi_free(misuse(p + 1000));
  return MISUSE_SURVIVED;
}
