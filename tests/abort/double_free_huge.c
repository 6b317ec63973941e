// Frees a block that had a page to itself twice: after the first time its memory is nobody's.
#include "misuse.h"

int main(void) {
  void* p = mi_malloc(3000000);
  void* same = hidden(p);
  mi_free(p);
  mi_free(misuse(same));
  return MISUSE_SURVIVED;
}
