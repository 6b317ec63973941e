// Frees an address in memory that we manage but that is nobody's now.
#include "misuse.h"

int main(void) {
  char* p = mi_malloc(3000000);
  char* inside = hidden(p + 65536);
  mi_free(p);
  mi_collect(true);
  mi_free(misuse(inside));
  return MISUSE_SURVIVED;
}
