// Third parties' DLLs with the static library in them, loaded at the program's start, beside the program's
// own copy: each learns of its threads' ends by itself, and the process ends well with all of them.
#include "modes.h"

__declspec(dllimport) int user_tls_is_there(void);
__declspec(dllimport) int user_fls_is_there(void);

typedef struct copy_s {
  const char* file;
  const char* mechanism;
  void* (*malloc)(size_t size);
  void (*free)(void* p);
  bool (*stats_get)(mi_stats_t* stats);
  const char* (*thread_exit_mechanism)(void);
  void* (*hold)(void);
} copy_t;
static copy_t copies[] = {{.file = "modes_user_tls.dll", .mechanism = "tls-callback"},
                          {.file = "modes_user_fls.dll", .mechanism = "fls"}};
enum { COPIES = sizeof(copies) / sizeof(copies[0]) };

#define FIND(name, exported)                                                                                 \
  assert_true((copy->name = (__typeof__(copy->name))(uintptr_t)GetProcAddress(module, exported)) != NULL)

static DWORD WINAPI run_thread(LPVOID arg) {
  size_t seed = (uintptr_t)arg;
  void* blocks[COPIES][20];
  for (size_t i = 0; i < COPIES * 20; i++) {
    blocks[i % COPIES][i / COPIES] = copies[i % COPIES].malloc(100 + i * 50 + seed % 7);
    if (blocks[i % COPIES][i / COPIES] == NULL) ExitProcess(91);
  }
  modes_use_heap(seed);
  for (size_t i = 0; i < COPIES * 20; i++) copies[i % COPIES].free(blocks[i % COPIES][i / COPIES]);
  return 0;
}
static void thread_round(size_t i) { modes_run_thread(run_thread, (void*)i); }

static void test_copies_linked_at_start(void** state) {
  (void)state;
  assert_int_equal(user_tls_is_there() + user_fls_is_there(), 2);
  for (size_t i = 0; i < COPIES; i++) {
    copy_t* copy = &copies[i];
    HMODULE module = GetModuleHandleA(copy->file);
    assert_non_null(module);
    FIND(malloc, "mi_malloc");
    FIND(free, "mi_free");
    FIND(stats_get, "mi_stats_get");
    FIND(thread_exit_mechanism, "mi_thread_exit_mechanism");
    FIND(hold, "user_dll_hold");
    assert_string_equal(copy->thread_exit_mechanism(), copy->mechanism);
    assert_non_null(copy->hold()); // freed by a static destructor at the end
  }
  modes_flat_rounds("copies linked at start", thread_round, 300, false);
  for (size_t i = 0; i < COPIES; i++) {
    mi_stats_t_decl(stats);
    assert_true(copies[i].stats_get(&stats));
    assert_int_equal(stats.threads.current, 1);
    assert_true(stats.threads.total >= 300);
    assert_true(stats.committed.peak < 32 << 20);
  }
}

int main(int argc, char** argv) {
  modes_begin(argc, argv, 0);
  modes_use_heap(0);
  const struct CMUnitTest tests[] = {CASE(test_copies_linked_at_start)};
  return check_run(tests);
}
