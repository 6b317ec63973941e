// A program that knows nothing of mimalloc, for test_links.py: it is linked with libmimalloc-crt.a or
// libmimalloc-override.a in many ways, and sees for itself where its blocks lie. Exit code 0 and "ok" when all is well.
#include <direct.h>
#include <errno.h>
#include <malloc.h>
#include <mbstring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "is_ours.h"

#if __MINGW64_VERSION_MAJOR >= 12 && !defined(_UCRT) // whose headers have it for the UCRT alone
void* _recalloc(void* p, size_t count, size_t size);
#endif

static is_ours_t* is_ours;
static int failures;

static void expect(int condition, const char* what, int line) {
  if (condition) return;
  printf("linked.c:%d: %s\n", line, what);
  failures++;
}
#define EXPECT(condition) expect((condition) != 0, #condition, __LINE__)

// The compiler must neither drop nor merge the calls.
static void* volatile keep;
static void* kept(void* p) {
  keep = p;
  return keep;
}

static void ours_through_every_name(void) {
  void* p = kept(malloc(10));
  EXPECT(is_ours(p));
  p = kept(realloc(p, 5000));
  EXPECT(is_ours(p));
  EXPECT(_msize(p) >= 5000);
  EXPECT(_expand(p, 100) == p);
  free(p);
  p = kept(calloc(3, 100));
  EXPECT(is_ours(p));
  p = kept(_recalloc(p, 50, 100));
  EXPECT(is_ours(p) && ((char*)p)[4999] == 0);
  free(p);
  p = kept(strdup("a"));
  EXPECT(is_ours(p));
  free(p);
  p = kept(_strdup("b"));
  EXPECT(is_ours(p));
  free(p);
  p = kept(_wcsdup(L"c"));
  EXPECT(is_ours(p));
  free(p);
  p = kept(_mbsdup((const unsigned char*)"d"));
  EXPECT(is_ours(p));
  free(p);
  p = kept(_aligned_malloc(100, 128));
  EXPECT(is_ours(p) && ((uintptr_t)p & 127) == 0);
  p = kept(_aligned_realloc(p, 1000, 128));
  EXPECT(is_ours(p) && ((uintptr_t)p & 127) == 0);
  _aligned_free(p);
  p = kept(_aligned_offset_malloc(100, 128, 8));
  EXPECT(is_ours(p) && (((uintptr_t)p + 8) & 127) == 0);
  p = kept(_aligned_offset_realloc(p, 1000, 128, 8));
  EXPECT(is_ours(p) && (((uintptr_t)p + 8) & 127) == 0);
  _aligned_free(p);
  p = kept(__mingw_aligned_malloc(100, 64));
  EXPECT(is_ours(p) && ((uintptr_t)p & 63) == 0);
  __mingw_aligned_free(p);
  p = kept(_mm_malloc(100, 64));
  EXPECT(is_ours(p) && ((uintptr_t)p & 63) == 0);
  _mm_free(p);
}

static void ours_through_pointers(void) {
  void* (*volatile allocate)(size_t) = malloc;
  void (*volatile release)(void*) = free;
  void* p = allocate(100);
  EXPECT(is_ours(p));
  release(p);
}

static void the_runtimes_blocks_go_back(void) {
  char* p = kept(_getcwd(NULL, 0));
  EXPECT(p != NULL && !is_ours(p));
  size_t length = strlen(p);
  char* grown = kept(realloc(p, 4000));
  EXPECT(is_ours(grown) && strlen(grown) == length);
  free(grown);
  p = kept(_fullpath(NULL, "x", 0));
  EXPECT(p != NULL && !is_ours(p));
  free(p);
#ifdef _UCRT
  _putenv("MIMALLOC_LINKED=value");
  size_t size;
  EXPECT(_dupenv_s(&p, &size, "MIMALLOC_LINKED") == 0 && p != NULL && strcmp(p, "value") == 0 && !is_ours(p));
  free(p);
#endif
}

static void errors(void) {
  volatile size_t huge = (size_t)PTRDIFF_MAX;
  errno = 0;
  EXPECT(kept(malloc(huge)) == NULL && errno == ENOMEM);
  errno = 0;
  EXPECT(kept(calloc(huge, 4)) == NULL && errno == ENOMEM);
  EXPECT(kept(realloc(malloc(10), 0)) == NULL);
}

int main(void) {
  is_ours = find_is_ours();
  if (is_ours == NULL) return 1;
  ours_through_every_name();
  ours_through_pointers();
  the_runtimes_blocks_go_back();
  errors();
  if (failures == 0) printf("ok\n");
  return failures != 0;
}
