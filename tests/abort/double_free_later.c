// Frees a block for the second time after many others were freed and allocated.
#include "misuse.h"

int main(void) {
  void* blocks[100];
  for (int i = 0; i < 100; i++) blocks[i] = mi_malloc(48);
  void* same = hidden(blocks[10]);
  for (int i = 0; i < 50; i++) mi_free(blocks[i]);
  for (int i = 0; i < 20; i++) blocks[i] = mi_malloc(48); // reuses the ones freed last
  mi_free(misuse(same));
  return MISUSE_SURVIVED;
}
