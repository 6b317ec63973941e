// Statistics of heaps, sub-processes and threads.
#include "api_check.h"

#include <mimalloc-stats.h>

#define MIB(n) ((size_t)(n) << 20)

static void test_statistics(void** state) {
  (void)state;
  mi_heap_t* heap = mi_heap_new();
  mi_stats_t_decl(stats);
  assert_true(mi_heap_stats_get(heap, &stats));
  assert_int_equal(stats.malloc_normal_count.total, 0);
  void* blocks[300];
  for (size_t i = 0; i < 300; i++) blocks[i] = mi_heap_malloc(heap, 64);
  for (size_t i = 0; i < 100; i++) mi_free(blocks[i]);
  void* huge = mi_heap_malloc(heap, MIB(5));
  void* in_main = mi_malloc(64);
  assert_true(mi_heap_stats_get(heap, &stats));
  assert_int_equal(stats.malloc_normal_count.total, 300);
  assert_int_equal(stats.malloc_normal.current, 200 * (mi_good_size(64) + API_TAIL));
  assert_int_equal(stats.malloc_huge_count.total, 1);
  assert_true(stats.malloc_huge.current >= (int64_t)MIB(5));
  char* json = mi_heap_stats_get_json(heap, 0, NULL);
  assert_non_null(strstr(json, "\"malloc_normal_count\": 300,"));
  mi_free(json);
  mi_free(huge);
  mi_free(in_main);
  assert_true(mi_subproc_stats_get(mi_subproc_main(), &stats));
  assert_int_equal(stats.heaps.current, 2);
  assert_true(mi_subproc_stats_get_exclusive(mi_subproc_main(), &stats));
  assert_int_equal(stats.malloc_normal_count.total, 0);
  assert_true(stats.committed.current > 0);
  assert_false(mi_heap_stats_get(NULL, &stats));
  assert_null(mi_heap_stats_get_json(NULL, 0, NULL));
  stats.version = 99;
  assert_false(mi_heap_stats_get(heap, &stats));
  mi_heap_destroy(heap);
}

typedef struct text_s {
  char text[16 * 1024];
} text_t;

static void take_text(const char* message, void* arg) {
  text_t* text = arg;
  strncat(text->text, message, sizeof(text->text) - strlen(text->text) - 1);
}

static void test_printed_statistics(void** state) {
  (void)state;
  static text_t text;
  mi_heap_t* heap = mi_heap_new();
  void* p = mi_heap_malloc(heap, 64);
  mi_heap_stats_print_out(heap, take_text, &text);
  assert_non_null(strstr(text.text, "statistics of heap"));
  text.text[0] = 0;
  mi_thread_stats_print_out(take_text, &text);
  assert_non_null(strstr(text.text, "the calling thread"));
  text.text[0] = 0;
  mi_subproc_heap_stats_print_out(mi_subproc_main(), take_text, &text);
  assert_non_null(strstr(text.text, "statistics of sub-process"));
  assert_non_null(strstr(text.text, "statistics of the main heap"));
  assert_non_null(strstr(text.text, "statistics of heap"));
  mi_free(p);
  mi_heap_delete(heap);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_statistics),
      cmocka_unit_test(test_printed_statistics),
  };
  return check_run(tests);
}
