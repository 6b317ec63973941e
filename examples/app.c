// Knows nothing of mimalloc: malloc and its family are taken over when it is linked.
//   x86_64-w64-mingw32-gcc-posix app.c -o app.exe $(pkg-config --libs mimalloc-crt)
// MIMALLOC_SHOW_STATS=1 shows at its end what it was served.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES 1000

int main(void) {
  char* lines[LINES];
  size_t length = 0;
  for (int i = 0; i < LINES; i++) {
    char text[50];
    snprintf(text, sizeof(text), "line %d", i);
    lines[i] = strdup(text);
    if (lines[i] == NULL) return 1;
    length += strlen(lines[i]) + 1;
  }
  char* all = malloc(length + 1);
  if (all == NULL) return 1;
  all[0] = '\0';
  for (int i = 0; i < LINES; i++) {
    strcat(strcat(all, lines[i]), "\n");
    free(lines[i]);
  }
  printf("%u bytes in %d lines\n", (unsigned)strlen(all), LINES);
  free(all);
  return 0;
}
