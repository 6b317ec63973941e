// mimalloc.dll loaded and unloaded at run time, in a program that was there before it.
#include "support/check.h"
#include "support/holdings.h"
#include "support/test_data.h"
#include "support/test_thread.h"

#include "loaded.h"

static loaded_t dll;

static void load(void) {
  dll.module = LoadLibraryA("mimalloc.dll");
  if (dll.module == NULL)
    fail_msg("mimalloc.dll does not load (error %lu); is its folder in WINEPATH?", GetLastError());
  assert_true(loaded_find_functions(&dll));
}

static void unload(void) {
  assert_true(FreeLibrary(dll.module));
  assert_null(GetModuleHandleA("mimalloc.dll")); // it is really gone, not pinned
}

static void use_heap(uint64_t seed) {
  test_random_t random = {seed};
  char* blocks[200];
  for (size_t i = 0; i < 200; i++) {
    size_t size = test_random_size(&random, 100, i < 3 ? 3000000 : 20000);
    blocks[i] = dll.malloc(size);
    assert_non_null(blocks[i]);
    pattern_fill(blocks[i], 100, i);
  }
  for (size_t i = 0; i < 200; i++) {
    assert_int_equal(pattern_mismatch(blocks[i], 100, i), SIZE_MAX);
    dll.free(blocks[i]);
  }
}

// ---- threads older than LoadLibrary ------------------------------------------------------------------

enum { OLD_THREADS = 8 };

typedef struct old_thread_s {
  test_thread_t thread;
  test_event_t *go, *end;
  test_barrier_t* used;
  void* block;
} old_thread_t;

static void run_old_thread(void* arg) {
  old_thread_t* old = arg;
  test_event_wait(old->go);
  if (dll.malloc != NULL) {
    for (int i = 0; i < 100; i++) dll.free(dll.malloc(50 + (size_t)i * 30));
    old->block = dll.malloc(777);
    pattern_fill(old->block, 777, 9);
  }
  test_barrier_wait(old->used);
  test_event_wait(old->end); // DLL_THREAD_DETACH comes after this
}

static void start_old_threads(old_thread_t threads[OLD_THREADS], test_event_t* go, test_event_t* end,
                              test_barrier_t* used) {
  test_event_init(go);
  test_event_init(end);
  test_barrier_init(used, OLD_THREADS + 1);
  for (size_t i = 0; i < OLD_THREADS; i++) {
    threads[i] = (old_thread_t){.go = go, .end = end, .used = used};
    test_thread_start(&threads[i].thread, run_old_thread, &threads[i]);
  }
}

static void test_older_threads(void** state) {
  (void)state;
  old_thread_t threads[OLD_THREADS];
  test_event_t go, end;
  test_barrier_t used;
  start_old_threads(threads, &go, &end, &used);
  load();
  dll.free(dll.malloc(1));
  mi_stats_t_decl(before);
  mi_stats_t_decl(during);
  mi_stats_t_decl(after);
  assert_true(dll.stats_get(&before));
  test_event_set(&go);
  test_barrier_wait(&used);
  assert_true(dll.stats_get(&during));
  assert_int_equal(during.threads.current - before.threads.current, OLD_THREADS);
  test_event_set(&end);
  for (size_t i = 0; i < OLD_THREADS; i++) test_thread_join(&threads[i].thread);
  assert_true(dll.stats_get(&after));
  assert_int_equal(after.threads.current,
                   before.threads.current); // detach without attach gave each heap back
  for (size_t i = 0; i < OLD_THREADS; i++) {
    assert_int_equal(pattern_mismatch(threads[i].block, 777, 9), SIZE_MAX);
    dll.free(threads[i].block);
  }
  use_heap(1); // adopts what they left
  unload();
  test_event_done(&go);
  test_event_done(&end);
  test_barrier_done(&used);
}

// Threads that used the library outlive it.
static void test_threads_outlive_library(void** state) {
  (void)state;
  old_thread_t threads[OLD_THREADS];
  test_event_t go, end;
  test_barrier_t used;
  start_old_threads(threads, &go, &end, &used);
  load();
  test_event_set(&go);
  test_barrier_wait(&used);
  for (size_t i = 0; i < OLD_THREADS; i++) dll.free(threads[i].block);
  unload();
  test_event_set(&end);
  for (size_t i = 0; i < OLD_THREADS; i++) test_thread_join(&threads[i].thread);
  load(); // and it comes back among threads that knew its former self
  use_heap(2);
  unload();
  test_event_done(&go);
  test_event_done(&end);
  test_barrier_done(&used);
}

// ---- again and again ---------------------------------------------------------------------------------

static DWORD first_free_tls_index(void) {
  DWORD index = TlsAlloc();
  assert_int_not_equal(index, TLS_OUT_OF_INDEXES);
  TlsFree(index);
  return index;
}

static void run_use_heap(void* arg) { use_heap(*(uint64_t*)arg); }

static void one_cycle(uint64_t seed) {
  load();
  use_heap(seed);
  test_thread_t threads[3];
  uint64_t seeds[3] = {seed * 3, seed * 3 + 1, seed * 3 + 2};
  for (size_t i = 0; i < 3; i++) test_thread_start(&threads[i], run_use_heap, &seeds[i]);
  for (size_t i = 0; i < 3; i++) test_thread_join(&threads[i]);
  use_heap(seed + 1);
  unload();
}

// What each cycle lost would be 64 MiB at least.
static void test_50_cycles(void** state) {
  (void)state;
  for (uint64_t i = 0; i < 3; i++) one_cycle(i); // the C runtime and Wine allocate a little at first
  private_memory_t before = private_memory_now();
  DWORD index_before = first_free_tls_index();
  for (uint64_t i = 0; i < 50; i++) one_cycle(100 + i);
  private_memory_t after = private_memory_now();
  if (after.committed > before.committed + (256 << 10) ||
      after.reserved > before.reserved + (4 << 20) + WINE_HEAP_GROWS_BY) {
    fail_msg("50 cycles: committed %zu -> %zu, reserved %zu -> %zu", before.committed, after.committed,
             before.reserved, after.reserved);
  }
  assert_int_equal(first_free_tls_index(), index_before);
}

// Loading twice is loading once: the first FreeLibrary changes nothing.
static void test_reference_count(void** state) {
  (void)state;
  load();
  void* p = dll.malloc(500);
  pattern_fill(p, 500, 4);
  assert_ptr_equal(LoadLibraryA("mimalloc.dll"), dll.module);
  assert_true(FreeLibrary(dll.module));
  assert_non_null(GetModuleHandleA("mimalloc.dll"));
  assert_int_equal(pattern_mismatch(p, 500, 4), SIZE_MAX);
  dll.free(p);
  unload();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_older_threads),
      cmocka_unit_test(test_threads_outlive_library),
      cmocka_unit_test(test_50_cycles),
      cmocka_unit_test(test_reference_count),
  };
  return check_run(tests);
}
