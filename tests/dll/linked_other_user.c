// Gives its blocks, which are ours as it is linked with libmimalloc-crt.a, to a DLL that is not linked with it, and
// takes some of that DLL's. With MIMALLOC_DISABLE_REDIRECT=1, too, all of them are resized and freed by whom they
// are from.
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

void* other_malloc(size_t size);
void* other_realloc(void* block, size_t size);
size_t other_msize(void* block);
void other_free(void* block);

typedef _Bool question_t(const void* p);
typedef _Bool redirected_t(void);
typedef void process_info_t(size_t*, size_t*, size_t*, size_t*, size_t*, size_t*, size_t*, size_t*);

static FARPROC function(const char* name) { return GetProcAddress(GetModuleHandleA("mimalloc.dll"), name); }

static int check(void) {
  question_t* is_ours = (question_t*)(void*)function("mi_is_in_heap_region");
  redirected_t* is_redirected = (redirected_t*)(void*)function("mi_is_redirected");
  process_info_t* process_info = (process_info_t*)(void*)function("mi_process_info");
  if (is_ours == NULL || is_redirected == NULL || process_info == NULL) return __LINE__;
  _Bool is_disabled = getenv("MIMALLOC_DISABLE_REDIRECT") != NULL;
  if (is_redirected() == is_disabled) return __LINE__;

  char* mine = malloc(100);
  strcpy(mine, "mine");
  if (!is_ours(mine) || other_msize(mine) < 100) return __LINE__;
  mine = other_realloc(mine, 10000);
  if (mine == NULL || strcmp(mine, "mine") != 0) return __LINE__;
  other_free(mine);

  char* others = other_malloc(100);
  strcpy(others, "others");
  if (is_ours(others) == is_disabled || _msize(others) < 100) return __LINE__;
  others = realloc(others, 10000);
  if (others == NULL || strcmp(others, "others") != 0) return __LINE__;
  free(others);
  others = other_malloc(100);
  other_free(others);

  // None of them is lost: 200 MB in all.
  size_t commit, before;
  process_info(NULL, NULL, NULL, NULL, NULL, &before, NULL, NULL);
  for (int i = 0; i < 20000; i++) {
    void* block = malloc(10000);
    if (block == NULL) return __LINE__;
    other_free(block);
  }
  process_info(NULL, NULL, NULL, NULL, NULL, &commit, NULL, NULL);
  return commit > before + 20000000 ? __LINE__ : 0;
}

int main(void) {
  int line = check();
  if (line != 0)
    printf("line %d\n", line);
  else
    printf("ok\n");
  return line != 0;
}
