// Frees a block twice, others of its size being in use.
#include "misuse.h"

int main(void) {
  void* other = mi_malloc(32);
  void* p = mi_malloc(32);
  void* same = hidden(p);
  mi_free(p);
  mi_free(misuse(same));
  mi_free(other);
  return MISUSE_SURVIVED;
}
