// Threads of every kind, in every mode: each one's heap comes back by itself, without a collection.
#include "modes.h"
#include "support/child.h"

#include <process.h>
#include <stdlib.h>

// ---- one after the other -----------------------------------------------------------------------------

static DWORD WINAPI run_plain(LPVOID arg) {
  modes_use_heap((uintptr_t)arg);
  return 0;
}
static unsigned __stdcall run_crt(void* arg) { return run_plain(arg); }

static void plain_round(size_t i) { modes_run_thread(run_plain, (void*)i); }
static void crt_round(size_t i) { modes_join((HANDLE)_beginthreadex(NULL, 0, run_crt, (void*)i, 0, NULL)); }
static void remote_round(size_t i) {
  HANDLE thread = CreateRemoteThread(GetCurrentProcess(), NULL, 0, run_plain, (void*)i, 0, NULL);
  assert_non_null(thread);
  modes_join(thread);
}

static void test_create_thread(void** state) {
  (void)state;
  level_t before = modes_level();
  modes_flat_rounds("CreateThread", plain_round, 300, false);
  assert_true(modes_level().threads_total >= before.threads_total + 300); // each had a heap of its own
}
static void test_beginthreadex(void** state) {
  (void)state;
  modes_flat_rounds("_beginthreadex", crt_round, 300, false);
}
static void test_create_remote_thread(void** state) {
  (void)state;
  modes_flat_rounds("CreateRemoteThread", remote_round, 200, false);
}
static void test_many_in_sequence(void** state) {
  (void)state;
  modes_flat_rounds("many threads", plain_round, modes_many, false);
}

// ---- threads that do little --------------------------------------------------------------------------

static DWORD WINAPI run_nothing(LPVOID arg) {
  (void)arg;
  return 0;
}
static void nothing_round(size_t i) { modes_run_thread(run_nothing, (void*)i); }

static void test_never_allocates(void** state) {
  (void)state;
  int64_t total = modes_level().threads_total;
  modes_flat_rounds("never allocates", nothing_round, 300, false);
  assert_int_equal(modes_level().threads_total, total); // and costs no heap
}

enum { HANDED = 300 };
static void* handed[HANDED];

static DWORD WINAPI run_only_frees(LPVOID arg) {
  (void)arg;
  for (size_t i = 0; i < HANDED; i++) mi_free(handed[i]);
  return 0;
}
static void only_frees_round(size_t round) {
  for (size_t i = 0; i < HANDED; i++) handed[i] = mi_malloc(1 + i * (round % 10));
  modes_run_thread(run_only_frees, NULL);
}

static void test_only_frees(void** state) {
  (void)state;
  int64_t total = modes_level().threads_total;
  modes_flat_rounds("only frees", only_frees_round, 200, false);
  assert_int_equal(modes_level().threads_total, total);
}

// ---- a thousand at once ------------------------------------------------------------------------------

// 32-bit Wine 8 has room for 955 threads, whatever stacks they ask for.
enum { AT_ONCE = sizeof(void*) == 4 ? 500 : 1000 };
static HANDLE all_there, may_end;
static volatile LONG there;
static void* blocks_of[AT_ONCE];

static DWORD WINAPI run_at_once(LPVOID arg) {
  size_t i = (uintptr_t)arg;
  modes_use_heap(i);
  blocks_of[i] = mi_malloc(500);
  if (blocks_of[i] == NULL) ExitProcess(93);
  pattern_fill(blocks_of[i], 500, i);
  if (InterlockedIncrement(&there) == AT_ONCE) SetEvent(all_there);
  WaitForSingleObject(may_end, INFINITE);
  return 0;
}

static void at_once_round(size_t round) {
  static HANDLE threads[AT_ONCE];
  (void)round;
  there = 0;
  all_there = CreateEventA(NULL, TRUE, FALSE, NULL);
  may_end = CreateEventA(NULL, TRUE, FALSE, NULL);
  int64_t before = modes_level().threads;
  for (size_t i = 0; i < AT_ONCE; i++) threads[i] = modes_start_thread(run_at_once, (void*)i);
  WaitForSingleObject(all_there, INFINITE);
  assert_int_equal(modes_level().threads - before, AT_ONCE);
  SetEvent(may_end);
  for (size_t i = 0; i < AT_ONCE; i++) modes_join(threads[i]);
  assert_int_equal(modes_level().threads, before);
  for (size_t i = 0; i < AT_ONCE; i++) {
    assert_int_equal(pattern_mismatch(blocks_of[i], 500, i), SIZE_MAX);
    mi_free(blocks_of[i]);
  }
  CloseHandle(all_there);
  CloseHandle(may_end);
}

static void test_thousand_at_once(void** state) {
  (void)state;
  at_once_round(0);
  mi_collect(true);
  level_t before = modes_level();
  at_once_round(1);
  mi_collect(true);
  modes_assert_flat("a thousand at once", before, MODES_SLACK);
}

// ---- pools -------------------------------------------------------------------------------------------

enum { POOL_ITEMS = 300 };
static volatile LONG pool_done;
static HANDLE pool_event;

static DWORD WINAPI run_item(LPVOID arg) {
  mi_thread_set_in_threadpool();
  modes_use_heap((uintptr_t)arg);
  if (InterlockedIncrement(&pool_done) == POOL_ITEMS) SetEvent(pool_event);
  return 0;
}

static void pool_round(void) {
  pool_done = 0;
  ResetEvent(pool_event);
  for (size_t i = 0; i < POOL_ITEMS; i++)
    assert_true(QueueUserWorkItem(run_item, (void*)i, WT_EXECUTEDEFAULT));
  assert_int_equal(WaitForSingleObject(pool_event, 60000), WAIT_OBJECT_0);
}

static void test_thread_pool(void** state) {
  (void)state;
  pool_event = CreateEventA(NULL, TRUE, FALSE, NULL);
  pool_round();
  int64_t blocks = modes_level().blocks;
  for (int i = 0; i < 5; i++) pool_round();
  level_t after = modes_level();
  assert_int_equal(after.blocks, blocks);
  assert_in_range(after.threads, 1, 600); // the pool's threads live on, as many as it likes, with a heap each
  CloseHandle(pool_event);
}

// ---- what it says about itself -----------------------------------------------------------------------

static void test_says_its_mode(void** state) {
  (void)state;
  static child_result_t result;
  char self[CHILD_PATH_MAX], expected[128];
  child_self(self);
  child_set_environment("MIMALLOC_VERBOSE", "1");
  bool started = child_run((const char*[]){self, modes_mode, "mechanism", NULL}, 30000, &result);
  child_set_environment("MIMALLOC_VERBOSE", NULL);
  assert_true(started);
  assert_int_equal(result.exit_code, 0);
  snprintf(expected, sizeof(expected), "thread exits are told by %s\n", mi_thread_exit_mechanism());
  if (strstr(result.error, expected) == NULL) {
    child_print(&result);
    fail_msg("MIMALLOC_VERBOSE does not say: %s", expected);
  }
  snprintf(expected, sizeof(expected), "%s\n", mi_thread_exit_mechanism());
  assert_string_equal(result.output, expected);
}

int main(int argc, char** argv) {
  modes_begin(argc, argv, 1000);
  modes_use_heap(0); // the main thread's own heap isn't counted below
  if (argc > 2 && strcmp(argv[2], "mechanism") == 0) {
    printf("%s\n", mi_thread_exit_mechanism());
    return 0;
  }
  const struct CMUnitTest tests[] = {
      CASE(test_create_thread),    CASE(test_beginthreadex), CASE(test_create_remote_thread),
      CASE(test_never_allocates),  CASE(test_only_frees),    CASE(test_thousand_at_once),
      CASE(test_many_in_sequence), CASE(test_thread_pool),   CASE(test_says_its_mode),
  };
  return check_run(tests);
}
