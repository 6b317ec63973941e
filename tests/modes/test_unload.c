// Loading and unloading: mimalloc.dll, and third parties' DLLs that have the static library in them, alone
// and several of them in one process with a copy in the program. Nothing is left behind, and threads that
// knew a DLL end well after it went.
#include "modes.h"
#include "support/child.h"
#include "support/holdings.h"

#include <stdlib.h>

enum { OLD_THREADS = 8 };

typedef struct library_s {
  const char* file;
  const char* mechanism;
  HMODULE module;
  void* (*malloc)(size_t size);
  void (*free)(void* p);
  void (*collect)(bool force);
  bool (*stats_get)(mi_stats_t* stats);
  const char* (*thread_exit_mechanism)(void);
  void* (*hold)(void); // NULL for mimalloc.dll
} library_t;

static library_t libraries[] = {{.file = "mimalloc.dll", .mechanism = "DllMain"},
                                {.file = "modes_user_tls.dll", .mechanism = "tls-callback"},
                                {.file = "modes_user_fls.dll", .mechanism = "fls"},
                                {.file = "modes_user_auto.dll", .mechanism = "tls-callback"},
                                {.file = "modes_user_auto_fls.dll", .mechanism = "fls"}};
enum { LIBRARIES = sizeof(libraries) / sizeof(libraries[0]) };
static library_t* library; // the one of this mode

#define FIND(name) (one->name = (__typeof__(one->name))(uintptr_t)GetProcAddress(one->module, "mi_" #name))

static void load_one(library_t* one) {
  one->module = LoadLibraryA(one->file);
  if (one->module == NULL) fail_msg("%s does not load (error %lu)", one->file, GetLastError());
  assert_true(FIND(malloc) != NULL && FIND(free) != NULL && FIND(collect) != NULL &&
              FIND(stats_get) != NULL && FIND(thread_exit_mechanism) != NULL);
  one->hold = (void* (*)(void))(uintptr_t)GetProcAddress(one->module, "user_dll_hold");
  assert_string_equal(one->thread_exit_mechanism(), one->mechanism);
}
static void unload_one(library_t* one) {
  assert_true(FreeLibrary(one->module));
  assert_null(GetModuleHandleA(one->file)); // it is really gone, not pinned
}
static void load(void) { load_one(library); }
static void unload(void) { unload_one(library); }

static void use(const library_t* one, uint64_t seed) {
  test_random_t random = {seed};
  char* blocks[60];
  for (size_t i = 0; i < 60; i++) {
    size_t size = test_random_size(&random, 100, i == 0 ? 1000000 : 10000);
    blocks[i] = one->malloc(size);
    if (blocks[i] == NULL) ExitProcess(91);
    pattern_fill(blocks[i], 100, i);
  }
  for (size_t i = 0; i < 60; i++) {
    if (pattern_mismatch(blocks[i], 100, i) != SIZE_MAX) ExitProcess(92);
    one->free(blocks[i]);
  }
}

static int64_t heaps_of(const library_t* one) {
  mi_stats_t_decl(stats);
  assert_true(one->stats_get(&stats));
  return stats.threads.current;
}

static DWORD WINAPI run_use(LPVOID arg) {
  use(library, (uintptr_t)arg);
  return 0;
}

static DWORD WINAPI run_nothing(LPVOID arg) {
  (void)arg;
  return 0;
}

// ---- what a process has ------------------------------------------------------------------------------

typedef struct holdings_s {
  private_memory_t memory;
  DWORD tls_index, fls_index, handles;
  uintptr_t next_handle; // Wine 8 counts no handles, but gives out the lowest one that is free
} holdings_t;

static holdings_t holdings_now(void) {
  holdings_t now = {.memory = private_memory_now()};
  now.tls_index = TlsAlloc(); // the first free ones
  TlsFree(now.tls_index);
  now.fls_index = FlsAlloc(NULL);
  FlsFree(now.fls_index);
  assert_true(GetProcessHandleCount(GetCurrentProcess(), &now.handles));
  HANDLE event = CreateEventA(NULL, FALSE, FALSE, NULL);
  now.next_handle = (uintptr_t)event;
  CloseHandle(event);
  return now;
}

static void cycle(size_t i) {
  load();
  use(library, i);
  if (i % 2 == 0 && library->hold != NULL) assert_non_null(library->hold());
  modes_run_thread(run_use, (void*)i);
  if (i % 3 == 0) library->malloc(3000); // blocks alive
  unload();
  modes_run_thread(run_nothing, NULL); // a later thread ends well
}

static void test_many_cycles(void** state) {
  (void)state;
  for (size_t i = 0; i < 10; i++) cycle(i);
  holdings_t before = holdings_now();
  for (size_t i = 0; i < modes_many; i++) cycle(i);
  holdings_t after = holdings_now();
  printf("%s: %zu cycles: committed %zu -> %zu, reserved %zu -> %zu, TLS index %lu -> %lu, FLS index %lu -> "
         "%lu, "
         "handles %lu -> %lu, next handle %#zx -> %#zx\n",
         library->file, modes_many, before.memory.committed, after.memory.committed, before.memory.reserved,
         after.memory.reserved, before.tls_index, after.tls_index, before.fls_index, after.fls_index,
         before.handles, after.handles, (size_t)before.next_handle, (size_t)after.next_handle);
  assert_true(after.memory.committed <= before.memory.committed + (512 << 10));
  // Stacks that the system keeps for the next threads, and one more part of Wine's process heap.
  // What each cycle lost would be 64 MiB at least.
  assert_true(after.memory.reserved <= before.memory.reserved + (8 << 20) + WINE_HEAP_GROWS_BY);
  assert_int_equal(after.tls_index, before.tls_index);
  assert_int_equal(after.fls_index, before.fls_index);
  assert_int_equal(after.handles, before.handles);
  if (after.handles == 0) assert_int_equal(after.next_handle, before.next_handle);
}

// ---- threads older than the library, and threads that outlive it -------------------------------------

static test_event_t go, end;
static test_barrier_t used;
static void* of_old[OLD_THREADS];
static volatile bool by_all; // use every library that is loaded

static void run_old(void* arg) {
  test_event_wait(&go);
  for (size_t i = 0; i < LIBRARIES; i++) {
    if (libraries[i].module != NULL && (by_all || &libraries[i] == library)) use(&libraries[i], i);
  }
  if (library != NULL) of_old[(uintptr_t)arg] = library->malloc(777);
  test_barrier_wait(&used);
  test_event_wait(&end);
}

static test_thread_t old_threads[OLD_THREADS];
static void start_old(void) {
  test_event_init(&go);
  test_event_init(&end);
  test_barrier_init(&used, OLD_THREADS + 1);
  for (size_t i = 0; i < OLD_THREADS; i++) test_thread_start(&old_threads[i], run_old, (void*)i);
}
static void let_old_use(void) {
  test_event_set(&go);
  test_barrier_wait(&used);
}
static void end_old(void) {
  test_event_set(&end);
  for (size_t i = 0; i < OLD_THREADS; i++) test_thread_join(&old_threads[i]);
  test_event_done(&go);
  test_event_done(&end);
  test_barrier_done(&used);
}

static void test_threads_older_than_library(void** state) {
  (void)state;
  start_old();
  load();
  use(library, 1);
  int64_t heaps = heaps_of(library);
  let_old_use();
  assert_int_equal(heaps_of(library), heaps + OLD_THREADS);
  end_old();
  assert_int_equal(heaps_of(library), heaps); // a detach without an attach gave each heap back
  for (size_t i = 0; i < OLD_THREADS; i++) library->free(of_old[i]);
  unload();
}

static void test_live_threads_outlive_library(void** state) {
  (void)state;
  for (int round = 0; round < 5; round++) {
    start_old();
    load();
    let_old_use();
    if (round % 2 == 0) {
      for (size_t i = 0; i < OLD_THREADS; i++) library->free(of_old[i]); // else with blocks alive
    }
    unload();
    if (round == 4) load(); // it comes back among threads that knew its former self
    end_old();
    if (round == 4) {
      use(library, 2);
      unload();
    }
  }
}

static void test_unused(void** state) {
  (void)state;
  for (size_t i = 0; i < 20; i++) {
    HMODULE module = LoadLibraryA(library->file);
    assert_non_null(module);
    assert_true(FreeLibrary(module));
  }
  modes_use_heap(1);
}

// ---- nobody tells: reaping ---------------------------------------------------------------------------

static void test_disabled_thread_calls(void** state) {
  (void)state;
  load();
  // The system may refuse, as for a module with a TLS directory: then thread exits are told as ever.
  bool is_disabled = DisableThreadLibraryCalls(library->module);
  use(library, 1);
  for (size_t i = 0; i < 300; i++) modes_run_thread(run_use, (void*)i);
  assert_true(heaps_of(library) <= 16);
  library->collect(true);
  assert_int_equal(heaps_of(library), 1);
  printf("%s: DisableThreadLibraryCalls %s\n", library->file, is_disabled ? "granted" : "refused");
  unload();
}

// ---- several copies ----------------------------------------------------------------------------------

static DWORD WINAPI run_use_all(LPVOID arg) {
  for (size_t i = 0; i < LIBRARIES; i++) use(&libraries[i], (uintptr_t)arg + i);
  modes_use_heap((uintptr_t)arg); // the program's own copy
  return 0;
}

static void test_several_copies(void** state) {
  (void)state;
  library_t* saved = library;
  for (size_t round = 0; round < 4; round++) {
    for (size_t i = 0; i < LIBRARIES; i++) load_one(&libraries[(i + round) % LIBRARIES]);
    level_t before = modes_level();
    for (size_t i = 0; i < LIBRARIES; i++) use(&libraries[i], i);
    for (size_t i = 0; i < 20; i++) modes_run_thread(run_use_all, (void*)i);
    for (size_t i = 0; i < LIBRARIES; i++) assert_int_equal(heaps_of(&libraries[i]), 1);
    assert_int_equal(modes_level().threads, before.threads);
    // Threads that know all of them end after they went, in whatever order.
    library = NULL;
    by_all = true;
    start_old();
    let_old_use();
    for (size_t i = 0; i < LIBRARIES; i++) {
      library_t* one = &libraries[(i * 2 + round) % LIBRARIES];
      unload_one(one);
      one->module = NULL;
    }
    end_old();
    by_all = false;
    library = saved;
    modes_use_heap(round);
  }
}

// ---- with hooks in the C runtimes --------------------------------------------------------------------

// What the child below does: the module outlives every FreeLibrary, and its heap goes on. The library's own
// blocks lie in its memory, and code of the runtimes leads to it.
static int stay_loaded(void) {
  load();
  void* block = library->malloc(100);
  for (int i = 0; i < 3; i++) FreeLibrary(library->module);
  if (GetModuleHandleA(library->file) != library->module) return 1;
  use(library, 1);
  modes_run_thread(run_use, (void*)(uintptr_t)2);
  library->free(block);
  library->module = LoadLibraryA(library->file);
  if (library->module == NULL ||
      library->malloc != (void* (*)(size_t))(uintptr_t)GetProcAddress(library->module, "mi_malloc"))
    return 2;
  printf("stayed\n");
  return 0;
}

// The tests above run with MIMALLOC_DISABLE_REDIRECT=1; here the runtimes' functions lead to the module.
static void test_stays_with_hooks(void** state) {
  (void)state;
  static child_result_t result;
  char self[CHILD_PATH_MAX];
  child_self(self);
  child_set_environment("MIMALLOC_DISABLE_REDIRECT", NULL);
  child_set_environment("MIMALLOC_VERBOSE", "1");
  bool started = child_run((const char*[]){self, library->file, "stay", NULL}, 60000, &result);
  child_set_environment("MIMALLOC_VERBOSE", NULL);
  child_set_environment("MIMALLOC_DISABLE_REDIRECT", "1");
  assert_true(started);
  bool hooks = strcmp(library->mechanism, "DllMain") == 0; // a static library leaves the runtimes alone
  if (!hooks) {
    assert_int_equal(result.exit_code, 1);
    return;
  }
  if (result.exit_code != 0 || strcmp(result.output, "stayed\n") != 0 ||
      strstr(result.error, "this DLL stays loaded until the process ends") == NULL) {
    child_print(&result);
    fail_msg("%s: FreeLibrary with hooks in the C runtimes", library->file);
  }
}

int main(int argc, char** argv) {
  setvbuf(stdout, NULL, _IOLBF, 4096);
  const char* file = argc > 1 ? argv[1] : "";
  bool is_child = argc > 2 && strcmp(argv[2], "stay") == 0;
  modes_many = modes_count(argc, argv, 1000);
  for (size_t i = 0; i < LIBRARIES; i++) {
    if (strcmp(libraries[i].file, file) == 0) library = &libraries[i];
  }
  if (library == NULL) {
    fprintf(stderr, "usage: %s DLL [COUNT]; '%s' is none of the DLLs that it knows\n", argv[0], file);
    return 99;
  }
  if (is_child) return stay_loaded();
  const struct CMUnitTest tests[] = {CASE(test_many_cycles),
                                     CASE(test_threads_older_than_library),
                                     CASE(test_live_threads_outlive_library),
                                     CASE(test_unused),
                                     CASE(test_disabled_thread_calls),
                                     CASE(test_several_copies),
                                     CASE(test_stays_with_hooks)};
  return check_run(tests);
}
