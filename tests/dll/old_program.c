// A program of another line of mimalloc: declarations of its own, linked with an import library that dlltool made of that
// line's names, started with our DLL. Not compiled against our headers, on purpose: what a program of old relies on is
// written down here once more, as that line's compiler saw it. OLD_LINE is 34 or 24.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define IMPORT __declspec(dllimport)
typedef struct heap heap;
typedef struct theap theap;
typedef struct area {
  void* blocks;
  size_t reserved, committed, used, block_size, full_block_size;
#if OLD_LINE == 24
  int heap_tag;
#else
  void* reserved1;
#endif
} area;
typedef bool visitor(const heap* h, const area* a, void* block, size_t block_size, void* arg);
IMPORT int mi_version(void);
IMPORT void* mi_malloc(size_t size);
IMPORT void* mi_calloc(size_t count, size_t size);
IMPORT void* mi_realloc(void* p, size_t size);
IMPORT void mi_free(void* p);
IMPORT void* mi_malloc_aligned(size_t size, size_t alignment);
IMPORT size_t mi_usable_size(const void* p);
IMPORT heap* mi_heap_new(void);
IMPORT void mi_heap_delete(heap* h);
IMPORT void mi_heap_destroy(heap* h);
IMPORT void* mi_heap_malloc(heap* h, size_t size);
IMPORT void* mi_heap_recalloc(heap* h, void* p, size_t count, size_t size);
IMPORT bool mi_heap_visit_blocks(heap* h, bool blocks, visitor* function, void* arg);
IMPORT void mi_option_set(int option, long value);
IMPORT long mi_option_get(int option);
IMPORT void mi_collect(bool force);
#if OLD_LINE == 24
IMPORT heap* mi_heap_get_default(void);
IMPORT heap* mi_heap_get_backing(void);
IMPORT heap* mi_heap_set_default(heap* h);
IMPORT heap* mi_heap_new_ex(int tag, bool allow_destroy, int arena_id);
IMPORT bool mi_heap_check_owned(heap* h, const void* p);
IMPORT bool mi_heap_contains_block(heap* h, const void* p);
IMPORT void* mi_subproc_main(void);
IMPORT void* mi_subproc_new(void);
IMPORT void mi_subproc_delete(void* id);
#else
typedef struct {
  void* id;
} subproc_id;
IMPORT heap* mi_heap_main(void);
IMPORT heap* mi_heap_of(const void* p);
IMPORT bool mi_heap_contains(const heap* h, const void* p);
IMPORT theap* mi_heap_theap(heap* h);
IMPORT void* mi_theap_malloc(theap* t, size_t size);
IMPORT theap* mi_theap_get_default(void);
IMPORT theap* mi_theap_set_default(theap* t);
IMPORT int mi_reserve_os_memory_ex(size_t size, bool commit, bool large, bool exclusive, void** id);
IMPORT void* mi_arena_area(void* id, size_t* size);
IMPORT heap* mi_heap_new_in_arena(void* id);
IMPORT subproc_id mi_subproc_main(void);
IMPORT subproc_id mi_subproc_current(void);
IMPORT subproc_id mi_subproc_new(void);
IMPORT void mi_subproc_destroy(subproc_id id);
IMPORT void _mi_redirect_entry(unsigned long reason);
#endif

static int failures;
#define CHECK(condition)                                                                                     \
  do {                                                                                                       \
    if (!(condition)) printf("FAILED: line %d: %s\n", __LINE__, #condition), failures++;                     \
  } while (0)

static bool count(const heap* h, const area* a, void* block, size_t block_size, void* arg) {
  size_t* counts = (size_t*)arg;
  if (h == NULL || a == NULL || a->blocks == NULL || a->full_block_size < a->block_size) counts[2]++;
  if (a->committed > a->reserved || a->used * a->full_block_size > a->reserved) counts[2]++;
  counts[block == NULL ? 0 : 1]++;
  if (block != NULL && block_size < 100) counts[2]++;
  return true;
}

int main(void) {
  CHECK(mi_version() == 30403);
  char* p = (char*)mi_calloc(10, 10);
  p = (char*)mi_realloc(p, 5000);
  CHECK(p != NULL && p[99] == 0 && mi_usable_size(p) >= 5000);
  mi_free(p);
  p = (char*)mi_malloc_aligned(100, 4096);
  CHECK(p != NULL && (uintptr_t)p % 4096 == 0);
  mi_free(p);

  heap* h = mi_heap_new();
  CHECK(h != NULL);
  void* kept = NULL;
  for (int i = 0; i < 1000; i++) kept = mi_heap_malloc(h, 100);
  kept = mi_heap_recalloc(h, kept, 10, 10);
  memset(kept, 77, 100);
  size_t counts[3] = {0, 0, 0};
  CHECK(mi_heap_visit_blocks(h, true, &count, counts));
  CHECK(counts[0] > 0 && counts[1] == 1000 && counts[2] == 0);
  mi_heap_delete(h);
  CHECK(((char*)kept)[99] == 77);
  mi_free(kept);
  h = mi_heap_new();
  for (int i = 0; i < 1000; i++) CHECK(mi_heap_malloc(h, (size_t)i) != NULL);
  mi_heap_destroy(h);
  mi_option_set(15, 250); // purge_delay
  CHECK(mi_option_get(15) == 250);

#if OLD_LINE == 24
  h = mi_heap_new_ex(3, true, 0);
  CHECK(mi_heap_get_default() == mi_heap_get_backing());
  CHECK(mi_heap_set_default(h) == mi_heap_get_backing() && mi_heap_get_default() == h);
  p = (char*)mi_malloc(10);
  CHECK(mi_heap_check_owned(h, p) && mi_heap_contains_block(h, p) && !mi_heap_contains_block(h, p + 1));
  CHECK(mi_heap_set_default(mi_heap_get_backing()) == h);
  mi_heap_destroy(h);
  void* subproc = mi_subproc_new();
  CHECK(mi_subproc_main() != NULL && subproc != NULL && subproc != mi_subproc_main());
  mi_subproc_delete(subproc);
#else
  _mi_redirect_entry(1);
  h = mi_heap_new();
  theap* t = mi_heap_theap(h);
  p = (char*)mi_theap_malloc(t, 10);
  CHECK(mi_heap_of(p) == h && mi_heap_contains(h, p + 9));
  theap* before = mi_theap_get_default();
  CHECK(mi_theap_set_default(t) == before && mi_heap_of(mi_malloc(10)) == h);
  CHECK(mi_theap_set_default(before) == t && mi_heap_of(p = (char*)mi_malloc(10)) == mi_heap_main());
  mi_free(p);
  mi_heap_destroy(h);
  void* id = NULL;
  size_t size = 0;
  CHECK(mi_reserve_os_memory_ex(64 << 20, false, false, true, &id) == 0 && id != NULL);
  char* start = (char*)mi_arena_area(id, &size);
  CHECK(start != NULL && size >= 64 << 20);
  h = mi_heap_new_in_arena(id);
  p = (char*)mi_heap_malloc(h, 1000);
  CHECK(p >= start && p < start + size);
  mi_heap_delete(h);
  mi_free(p);
  subproc_id subproc = mi_subproc_new();
  CHECK(mi_subproc_main().id == mi_subproc_current().id && subproc.id != NULL);
  mi_subproc_destroy(subproc);
#endif
  mi_collect(true);
  printf("%d failures\n", failures);
  return failures != 0;
}
