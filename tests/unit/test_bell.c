// The bell of the static library ("call me when this thread ends"), with hooks of the test's own.
#include "support/check.h"
#include "support/child.h"
#include "support/test_thread.h"

#include "os/os.h"
#include "base/atomics.h"

#include <stdlib.h>

static size_t thread_rings, process_rings;
static uint32_t ringing_thread;

static void on_thread_exit(void) {
  atomic_add_relaxed(&thread_rings, 1);
  atomic_set_relaxed(&ringing_thread, os_thread_id());
}

static void on_process_exit(void) {
  atomic_add_relaxed(&process_rings, 1);
  os_write_error("process exit\n", 13);
}

static const os_bell_hooks_t hooks = {.thread_exit = on_thread_exit, .process_exit = on_process_exit};

typedef struct worker_s {
  test_thread_t thread;
  uint32_t id;
  size_t rings_before_end;
} worker_t;

static void run_worker(void* arg) {
  worker_t* worker = arg;
  worker->id = os_thread_id();
  os_bell_arm_thread(worker);
  worker->rings_before_end = atomic_get_relaxed(&thread_rings);
}

static void test_thread_exit(void** state) {
  MI_UNUSED(state);
  os_bell_init(&hooks);
  for (size_t i = 0; i < 50; i++) {
    size_t before = atomic_get_relaxed(&thread_rings);
    worker_t worker;
    test_thread_start(&worker.thread, run_worker, &worker);
    test_thread_join(&worker.thread);
    assert_int_equal(worker.rings_before_end, before); // not before the thread ends
    assert_true(atomic_get_relaxed(&thread_rings) > before);
    assert_int_equal(atomic_get_relaxed(&ringing_thread), worker.id); // and on that thread
  }
  assert_int_equal(process_rings, 0);
  assert_true(strlen(os_bell_name()) > 3);
}

static void test_no_more_rings(void** state) {
  MI_UNUSED(state);
  os_bell_free();
  size_t before = atomic_get_relaxed(&thread_rings);
  worker_t worker;
  test_thread_start(&worker.thread, run_worker, &worker);
  test_thread_join(&worker.thread);
  assert_int_equal(atomic_get_relaxed(&thread_rings), before);
}

static void late_exit(void) { os_write_error("atexit\n", 7); }

static int child_main(const char* mode) {
  os_init();
  atexit(late_exit);
  os_bell_init(&hooks);
  os_bell_arm_thread(&thread_rings);
  if (strcmp(mode, "return") == 0) return 42;
  if (strcmp(mode, "exit") == 0) exit(43);
  return 98;
}

static void test_process_exit(void** state) {
  MI_UNUSED(state);
  static const char* const modes[] = {"return", "exit"};
  for (size_t i = 0; i < 2; i++) {
    static child_result_t result;
    char self[CHILD_PATH_MAX];
    child_self(self);
    const char* arguments[] = {self, modes[i], NULL};
    assert_true(child_run(arguments, 20000, &result));
    if (result.exit_code != 42 + i) child_print(&result);
    assert_int_equal(result.exit_code, 42 + i);
    // Once. Not before the program's own last functions, where the C runtime lets us choose.
    const char* rung = strstr(result.error, "process exit\n");
    assert_non_null(rung);
    assert_null(strstr(rung + 1, "process exit\n"));
    assert_non_null(strstr(result.error, "atexit\n"));
#if !defined(_WIN32)
    assert_string_equal(result.error, "atexit\nprocess exit\n");
#endif
  }
}

int main(int argc, char** argv) {
  if (argc > 1) return child_main(argv[1]);
  os_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_thread_exit), cmocka_unit_test(test_process_exit),
      cmocka_unit_test(test_no_more_rings), // last
  };
  return check_run(tests);
}
