// Frees the address of a block that was never handed out, right behind those that were.
#include "misuse.h"

int main(void) {
  char* p = mi_malloc(2048);
  char* q = mi_malloc(2048);
  char* last = p > q ? p : q;
  mi_free(misuse(last + 8 * 2048));
  return MISUSE_SURVIVED;
}
