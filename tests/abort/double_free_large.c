// Frees a block of 300,000 bytes twice.
#include "misuse.h"

int main(void) {
  void* other = mi_malloc(300000);
  void* p = mi_malloc(300000);
  void* same = hidden(p);
  mi_free(p);
  mi_free(misuse(same));
  mi_free(other);
  return MISUSE_SURVIVED;
}
