// Takes blocks from heaps of its own; two of them are lost, the others end with their heap or are freed.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

typedef struct heap heap_t;
static heap_t*(__cdecl* heap_new)(void);
static void(__cdecl* heap_delete)(heap_t*);
static void(__cdecl* heap_destroy)(heap_t*);
static void*(__cdecl* heap_malloc)(heap_t*, size_t);
static void*(__cdecl* heap_zalloc)(heap_t*, size_t);
static char*(__cdecl* heap_strdup)(heap_t*, const char*);
static void*(__cdecl* heap_realloc)(heap_t*, void*, size_t);
static void*(__cdecl* heap_recalloc_aligned_at)(heap_t*, void*, size_t, size_t, size_t, size_t);
static BOOLEAN(__cdecl* any_heap_contains)(const void*);

static void* find(const char* name) {
  FARPROC function = GetProcAddress(GetModuleHandleA("mimalloc.dll"), name);
  if (function == NULL) exit(2);
  return (void*)(UINT_PTR)function;
}

__attribute__((noinline, noclone)) static void lose(heap_t* deleted, heap_t* kept) {
  void* first = heap_malloc(deleted, 1500); // LINE outlives
  void* second = heap_zalloc(kept, 700);    // LINE kept
  __asm__ volatile("" : : "r"(first), "r"(second) : "memory");
}

static void need(int condition, const char* what) {
  if (condition) return;
  printf("wrong: %s\n", what);
  exit(3);
}

int main(void) {
  heap_new = find("mi_heap_new");
  heap_delete = find("mi_heap_delete");
  heap_destroy = find("mi_heap_destroy");
  heap_malloc = find("mi_heap_malloc");
  heap_zalloc = find("mi_heap_zalloc");
  heap_strdup = find("mi_heap_strdup");
  heap_realloc = find("mi_heap_realloc");
  heap_recalloc_aligned_at = find("mi_heap_recalloc_aligned_at");
  any_heap_contains = find("mi_any_heap_contains");
  heap_t *destroyed = heap_new(), *deleted = heap_new(), *kept = heap_new();

  char* text = heap_strdup(destroyed, "text");
  text = heap_realloc(destroyed, text, 5000);
  need(strcmp(text, "text") == 0, "a block that was resized keeps its contents");
  char* mine = malloc(20);
  strcpy(mine, "malloc's");
  need(any_heap_contains(mine), "malloc's block is in a heap");
  mine = heap_realloc(destroyed, mine, 3000);
  need(strcmp(mine, "malloc's") == 0, "a block that came into a heap keeps its contents");
  // The last of six arguments counts: what lies 16 bytes into the block is aligned.
  char* grown = heap_recalloc_aligned_at(destroyed, NULL, 10, 30, 256, 16);
  need(grown != NULL && ((UINT_PTR)grown + 16) % 256 == 0 && grown[299] == 0, "alignment at an offset");
  free(heap_malloc(destroyed, 100));
  for (int i = 0; i < 1000; i++) need(heap_malloc(destroyed, 64) != NULL, "memory");
  lose(deleted, kept);
  heap_delete(deleted);
  heap_destroy(destroyed);
  puts("done");
  return 0;
}
