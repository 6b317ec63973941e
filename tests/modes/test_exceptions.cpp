// C++ exceptions thrown out of callbacks, through our frames, into the program.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <mimalloc-stats.h>
#include <mimalloc.h>

#include <windows.h>

extern "C" {
#include "modes.h"
}

#include <new>
#include <stdexcept>

static bool is_armed;
static int calls;

static void throw_out() {
  calls++;
  if (!is_armed) return;
  is_armed = false;
  throw std::runtime_error("out of the callback");
}
static void on_deferred_free(bool, unsigned long long, void*) { throw_out(); }
static void on_output(const char*, void*) { throw_out(); }
static void on_error(int, void*) { throw_out(); }

// By mi_new, which may throw: the rest of the interface is noexcept, and the compiler ends a program whose
// exception comes through there.
static void allocate_slowly() {
  for (int i = 0; i < 300; i++) mi_free(mi_new(2000));
}
static void fail_allocation() {
  try {
    mi_free(mi_new((size_t)PTRDIFF_MAX + 1));
  } catch (const std::bad_alloc&) {}
}

static void fail_allocation_with_handler() {
  mi_free(mi_new((size_t)PTRDIFF_MAX + 1)); // the handler throws
}

static void throw_often(void (*provoke)()) {
  calls = 0;
  for (int i = 0; i < 30; i++) {
    bool is_caught = false;
    is_armed = true;
    try {
      provoke();
    } catch (const std::runtime_error&) {
      is_caught = true;
    }
    assert_true(is_caught);
    modes_use_heap((uint64_t)i);
  }
  assert_true(calls >= 30);
}

static DWORD WINAPI use_heap(LPVOID) {
  modes_use_heap(1);
  return 0;
}

static void test_exceptions_out_of_callbacks(void**) {
  mi_register_deferred_free(on_deferred_free, nullptr);
  throw_often(allocate_slowly);
  mi_register_deferred_free(nullptr, nullptr);
  mi_register_error(on_error, nullptr);
  throw_often(fail_allocation);
  mi_register_error(nullptr, nullptr);
  mi_option_set(mi_option_show_errors, 1);
  mi_option_set(mi_option_max_errors, -1);
  mi_register_output(on_output, nullptr);
  throw_often(fail_allocation);
  mi_register_output(nullptr, nullptr);
  mi_option_set(mi_option_show_errors, 0);
  if (!modes_is_dll) { // the DLL does not know of the program's C++ runtime
    std::set_new_handler(throw_out);
    throw_often(fail_allocation_with_handler);
    std::set_new_handler(nullptr);
  }
  modes_run_thread(use_heap, nullptr);
}

int main(int argc, char** argv) {
  modes_begin(argc, argv, 0);
  const struct CMUnitTest tests[] = {CASE(test_exceptions_out_of_callbacks)};
  return check_run(tests);
}
