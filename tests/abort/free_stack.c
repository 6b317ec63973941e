// Frees a variable on the stack.
#include "misuse.h"

int main(void) {
  long on_stack[4] = {0};
  mi_free(mi_malloc(8));
  mi_free(misuse(on_stack));
  return MISUSE_SURVIVED;
}
