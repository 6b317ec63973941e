/* One public header, MI_TEST_HEADER, and nothing before it: it must bring all it needs. */
#include MI_TEST_HEADER

/* Uses the header, so that macros are expanded too. */
int header_alone(void);

#ifdef MIMALLOC_OVERRIDE_H
static char* use(void) {
  void* p = realloc(calloc(2, 8), 32);
  free(p);
  return strdup("");
}
#elif defined(MIMALLOC_STATS_H)
static char* use(void) {
  int known;
  mi_stats_t_decl(stats);
  known = mi_stats_get(&stats) ? 1 : 0;
  return known ? mi_stats_get_json(0, NULL) : NULL;
}
#elif defined(MIMALLOC_H)
static char* use(void) {
  mi_heap_t* heap = mi_heap_new();
  int* numbers = mi_reallocn_tp(int, mi_malloc_tp(int), 4);
  mi_free(numbers);
  numbers = mi_heap_recalloc_tp(int, heap, mi_heap_zalloc_tp(int, heap), 4);
  mi_heap_delete(mi_heap_contains(heap, numbers) ? heap : NULL);
  mi_subproc_destroy(mi_subproc_new());
  mi_free(numbers);
  return mi_strdup("");
}
#else /* mimalloc-new-delete.h has nothing for C */
static char* use(void) { return (char*)0; }
#endif

int header_alone(void) { return use() != (char*)0; }

#if defined(MIMALLOC_H) && !defined(MI_STAT_VERSION)
/* A header that another one pulls in twice is harmless. */
#include MI_TEST_HEADER
#endif
