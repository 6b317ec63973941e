// Frees an address where nothing is.
#include "misuse.h"

int main(void) {
  mi_free(mi_malloc(8));
  mi_free(misuse((void*)(uintptr_t)0x12340));
  return MISUSE_SURVIVED;
}
