// Frees a block for the second time after many others were freed and allocated.
#include "misuse.h"

int main(void) {
  void *blocks[100], *freed[50];
  for (int i = 0; i < 100; i++) blocks[i] = mi_malloc(48);
  for (int i = 0; i < 50; i++) {
    freed[i] = hidden(blocks[i]);
    mi_free(blocks[i]);
  }
  for (int i = 0; i < 20; i++) blocks[i] = mi_malloc(48); // which of the freed ones they are is chance
  for (int i = 0; i < 50; i++) {
    int reuses = 0;
    for (int k = 0; k < 20; k++) reuses += blocks[k] == freed[i];
    if (reuses > 0) continue;
    mi_free(misuse(freed[i]));
    return MISUSE_SURVIVED;
  }
  return MISUSE_SETUP_FAILED;
}
