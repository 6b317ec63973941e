// Takes a block from the DLL, which is ours as the DLL is linked with libmimalloc-crt.a, and frees it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "is_ours.h"

char* linked_dll_copy(const char* text);

int main(void) {
  is_ours_t* is_ours = find_is_ours();
  char* text = linked_dll_copy("text");
  if (is_ours == NULL || !is_ours(text) || strcmp(text, "text") != 0) return 1;
  free(text);
  printf("ok\n");
  return 0;
}
