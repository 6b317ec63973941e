// Calls the allocator by name. Build (DLL, then static):
//   x86_64-w64-mingw32-gcc-posix api.c -o api.exe $(pkg-config --cflags --libs mimalloc)
//   x86_64-w64-mingw32-gcc-posix api.c -o api.exe $(pkg-config --cflags --libs mimalloc-static)
#include <mimalloc.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  char* text = mi_strdup("a block of its own");
  double* grid = mi_calloc_aligned(1000, sizeof(double), 64);
  if (text == NULL || grid == NULL) return 1;
  text = mi_reallocf(text, 1000); // frees the block if it can't grow it
  if (text == NULL) return 1;
  strcat(text, ", grown");
  int version = mi_version();
  printf("mimalloc %d.%d.%d: %s; %u bytes of room; the grid is %saligned\n", version / 10000,
         version / 100 % 100, version % 100, text, (unsigned)mi_usable_size(text),
         (size_t)grid % 64 == 0 ? "" : "not ");
  mi_free(grid);
  mi_free(text);
  return 0;
}
