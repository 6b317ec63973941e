// Frees the only block of its size twice.
#include "misuse.h"

int main(void) {
  void* p = mi_malloc(100);
  void* same = hidden(p);
  mi_free(p);
  mi_free(misuse(same));
  return MISUSE_SURVIVED;
}
