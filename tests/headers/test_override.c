// mimalloc-override.h at work: the C runtime's names, written as always, give our blocks.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mimalloc-override.h"

static int failures;

#define CHECK(condition)                                                                                     \
  do {                                                                                                       \
    if (!(condition)) {                                                                                      \
      printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                         \
      failures++;                                                                                            \
    }                                                                                                        \
  } while (0)

static int is_ours(const void* p) { return p != NULL && mi_is_in_heap_region(p) && mi_usable_size(p) > 0; }

int main(void) {
  char* text = (char*)malloc(10);
  CHECK(is_ours(text));
  strcpy(text, "nine char");
  text = (char*)realloc(text, 5000);
  CHECK(is_ours(text) && strcmp(text, "nine char") == 0);
  char* copy = strdup(text);
  CHECK(is_ours(copy) && strcmp(copy, text) == 0);
  free(copy);
  copy = strndup(text, 4);
  CHECK(is_ours(copy) && strcmp(copy, "nine") == 0);
  free(copy);
  free(text);

  int* zeros = (int*)calloc(100, sizeof(int));
  CHECK(is_ours(zeros) && zeros[0] == 0 && zeros[99] == 0);
  CHECK(malloc_usable_size(zeros) >= 400 && _msize(zeros) >= 400);
  zeros = (int*)_recalloc(zeros, 1000, sizeof(int));
  CHECK(is_ours(zeros) && zeros[999] == 0);
  free(zeros);

  void* aligned = aligned_alloc(256, 1024);
  CHECK(is_ours(aligned) && (size_t)aligned % 256 == 0);
  free(aligned);
  aligned = NULL;
  CHECK(posix_memalign(&aligned, 64, 100) == 0 && is_ours(aligned) && (size_t)aligned % 64 == 0);
  cfree(aligned);
  aligned = _aligned_malloc(100, 128);
  CHECK(is_ours(aligned) && (size_t)aligned % 128 == 0);
  aligned = _aligned_realloc(aligned, 5000, 128);
  CHECK(is_ours(aligned) && (size_t)aligned % 128 == 0);
  _aligned_free(aligned);

  wchar_t* wide = _wcsdup(L"wide");
  CHECK(is_ours(wide) && wcscmp(wide, L"wide") == 0);
  free(wide);
  if (failures == 0) printf("all as expected\n");
  return failures == 0 ? 0 : 1;
}
