// The control: nothing is misused, so nothing may be said.
#include "misuse.h"

#include <string.h>

int main(void) {
  for (size_t size = 0; size < 300000; size = size * 3 / 2 + 1) {
    char* blocks[20];
    for (int i = 0; i < 20; i++) {
      blocks[i] = mi_malloc(size);
      if (blocks[i] == NULL) return MISUSE_SETUP_FAILED;
      memset(blocks[i], i, size); // also zeros: what a free block's link looks like
    }
    for (int i = 0; i < 20; i += 2) mi_free(blocks[i]);
    for (int i = 0; i < 20; i += 2) blocks[i] = mi_malloc_aligned_at(size + 8, 64, 8);
    for (int i = 0; i < 20; i++) mi_free(blocks[i]);
  }
  misuse(NULL);
  mi_free(NULL);
  return MISUSE_SURVIVED;
}
