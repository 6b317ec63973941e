// One source, many PE files: make_seeds.py compiles it in different ways.
#ifdef SEED_CRT
#include <stdio.h>
#include <stdlib.h>

int main(void) {
  char* text = malloc(100);
  if (text == NULL) return 1;
  snprintf(text, 100, "hello %s", "there");
  puts(text);
  free(text);
  return 0;
}
#endif

#ifdef SEED_DELAY
__declspec(dllimport) int delayed_one(void);
__declspec(dllimport) int delayed_two(void);

// Room for the directory, which GNU ld does not write: a descriptor and the empty one.
__attribute__((section(".didat"), used)) unsigned char directory[64] = {1};

int main(int count, char** arguments) { return count > 1 ? delayed_one() + delayed_two() : 0; }
#endif

#ifdef SEED_SMALL
__declspec(dllimport) int second_function(void);
__declspec(dllimport) int third_function(void);
__declspec(dllimport) int third_by_number(void);

#ifdef SEED_MIMALLOC
__declspec(dllimport) int mi_version(void);
#else
static int mi_version(void) { return 0; }
#endif

int entry(void) { return second_function() + third_function() + third_by_number() + mi_version(); }
#endif

#ifdef SEED_NO_IMPORTS
int entry(void) { return 0; }
#endif

#ifdef SEED_DLL
__declspec(dllexport) int exported_one(void) { return 1; }
__declspec(dllexport) int exported_two(void) { return 2; }
#endif
