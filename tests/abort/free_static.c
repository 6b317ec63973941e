// Frees static data, before anything else was asked of the allocator.
#include "misuse.h"

static long data[4];

int main(void) {
  mi_free(misuse(data));
  return MISUSE_SURVIVED;
}
