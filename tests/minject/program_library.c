// A DLL with a C runtime: minject edits it as it does programs.
#include <stdlib.h>

__declspec(dllexport) int library_function(void) {
  void* p = malloc(10);
  free(p);
  return p != NULL ? 42 : 0;
}
