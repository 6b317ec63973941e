// Frees a pointer into the middle of a block of 100,000 bytes, in another 64 KiB than its start.
#include "misuse.h"

int main(void) {
  char* p = mi_malloc(100000);
  mi_free(misuse(p + 80000));
  return MISUSE_SURVIVED;
}
