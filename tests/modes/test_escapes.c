// Calls of ours that never return: left by longjmp out of a callback, by a stack overflow, or with the thread
// killed inside a callback. Nothing stays locked, and callbacks are called again later. And the life cycle's
// functions by hand, in any order.
#include "modes.h"

#include <setjmp.h>

// ---- longjmp out of callbacks ------------------------------------------------------------------------

static __thread jmp_buf out;
static __thread bool is_armed;
static __thread volatile int inside; // of the calling thread
static volatile LONG calls, nested;

static void leave_callback(void) {
  InterlockedIncrement(&calls);
  if (inside) InterlockedIncrement(&nested);
  if (!is_armed) return;
  is_armed = false;
  longjmp(out, 1);
}

static void on_deferred_free(bool force, unsigned long long heartbeat, void* arg) {
  (void)force, (void)heartbeat, (void)arg;
  leave_callback();
}
static void on_output(const char* text, void* arg) {
  (void)text, (void)arg;
  leave_callback();
}
static void on_error(int code, void* arg) {
  (void)code, (void)arg;
  leave_callback();
}

static void allocate_slowly(void) {
  for (size_t i = 0; i < 300; i++) mi_free(mi_malloc(2000)); // slow calls, some of which ring the callback
}
static void print_something(void) { mi_stats_print(NULL); }
static void fail_allocation(void) {
  if (mi_malloc((size_t)-1) != NULL) ExitProcess(96);
}

typedef struct escape_s {
  const char* name;
  void (*provoke)(void);
} escape_t;
static const escape_t escapes[] = {
    {"deferred free", allocate_slowly}, {"output", print_something}, {"error", fail_allocation}};

// The same from a deeper place of the stack; the frames between are overwritten in the meantime.
static __attribute__((noinline)) void deeper(void (*provoke)(void), unsigned depth) {
  volatile char pad[1000];
  for (size_t i = 0; i < sizeof(pad); i++) pad[i] = (char)depth;
  if (depth == 0) {
    provoke();
  } else {
    deeper(provoke, depth - 1);
  }
  pad[0] = 1;
}

static void escape_once(void (*provoke)(void), unsigned depth) {
  is_armed = true;
  if (setjmp(out) == 0) {
    deeper(provoke, depth);
    ExitProcess(97); // the callback must be called
  }
}

static void register_all(bool on) {
  mi_register_deferred_free(on ? on_deferred_free : NULL, NULL);
  mi_register_output(on ? on_output : NULL, NULL);
  mi_register_error(on ? on_error : NULL, NULL);
  calls = nested = 0;
}

static void test_longjmp_out_of_callbacks(void** state) {
  (void)state;
  register_all(true);
  for (size_t kind = 0; kind < 3; kind++) {
    calls = 0;
    for (unsigned i = 0; i < 60; i++) escape_once(escapes[kind].provoke, i * 7 % 20);
    if (calls < 60) fail_msg("%s: %ld calls in 60 rounds", escapes[kind].name, calls);
    LONG before = calls;
    for (unsigned i = 0; i < 10; i++) deeper(escapes[kind].provoke, i); // and now they return
    assert_true(calls >= before + 10);
  }
  register_all(false);
  modes_use_heap(1);
}

static DWORD WINAPI run_escapes(LPVOID arg) {
  for (unsigned i = 0; i < 20; i++) escape_once(escapes[(uintptr_t)arg % 3].provoke, i % 5);
  modes_use_heap((uintptr_t)arg);
  return 0;
}
static void escapes_round(size_t i) {
  HANDLE threads[4];
  for (size_t k = 0; k < 4; k++) threads[k] = modes_start_thread(run_escapes, (void*)(i + k));
  for (size_t k = 0; k < 4; k++) modes_join(threads[k]);
}

// Threads end with their last call left: the entries that they leave behind don't keep others out.
static void test_longjmp_on_threads(void** state) {
  (void)state;
  register_all(true);
  modes_flat_rounds("longjmp out of callbacks", escapes_round, 50, true);
  register_all(false);
}

static HANDLE is_in_callback;
static void on_deferred_free_stays(bool force, unsigned long long heartbeat, void* arg) {
  (void)force, (void)heartbeat, (void)arg;
  SetEvent(is_in_callback);
  Sleep(INFINITE);
}
static DWORD WINAPI run_into_callback(LPVOID arg) {
  (void)arg;
  allocate_slowly();
  return 0;
}

static void test_killed_in_callback(void** state) {
  (void)state;
  is_in_callback = CreateEventA(NULL, FALSE, FALSE, NULL);
  for (int i = 0; i < 30; i++) { // more than may be inside at once
    mi_register_deferred_free(on_deferred_free_stays, NULL);
    HANDLE thread = modes_start_thread(run_into_callback, NULL);
    assert_int_equal(WaitForSingleObject(is_in_callback, 20000), WAIT_OBJECT_0);
    mi_register_deferred_free(NULL, NULL);
    assert_true(TerminateThread(thread, 7));
    modes_join(thread);
  }
  CloseHandle(is_in_callback);
  register_all(true);
  allocate_slowly();
  assert_true(calls > 0);
  register_all(false);
  mi_collect(true);
  assert_int_equal(modes_level().threads, 1);
}

// ---- stack overflow ----------------------------------------------------------------------------------

enum { DEPTH_MAX = 4000 };
static char* stacked[DEPTH_MAX];
static size_t stacked_count;
static void* recovery[5];
static char* recovery_stack;
static DWORD overflowing_thread;
static volatile LONG overflows;

static void recover(void) { __builtin_longjmp(recovery, 1); }

static LONG CALLBACK on_exception(EXCEPTION_POINTERS* exception) {
  if (exception->ExceptionRecord->ExceptionCode != EXCEPTION_STACK_OVERFLOW ||
      GetCurrentThreadId() != overflowing_thread)
    return EXCEPTION_CONTINUE_SEARCH;
  InterlockedIncrement(&overflows);
#if defined(__x86_64__)
  exception->ContextRecord->Rip = (DWORD64)(uintptr_t)&recover;
  exception->ContextRecord->Rsp = ((DWORD64)(uintptr_t)recovery_stack & ~(DWORD64)15) - 8;
#else
  exception->ContextRecord->Eip = (DWORD)(uintptr_t)&recover;
  exception->ContextRecord->Esp = ((DWORD)(uintptr_t)recovery_stack & ~15u) - 4;
#endif
  return EXCEPTION_CONTINUE_EXECUTION;
}

static size_t stacked_size(size_t i) { return i % 5 == 0 ? 3000000 : i % 3 == 0 ? 70000 : 1200 + i; }

static __attribute__((noinline)) void dig(size_t depth, size_t step) {
  volatile char pad[700];
  pad[0] = (char)depth;
  char* p = mi_malloc(stacked_size(depth));
  if (p == NULL) ExitProcess(99);
  memcpy(p, &depth, sizeof(depth));
  stacked[depth] = p;
  stacked_count = depth + 1;
  if (depth >= step && depth % 2 == 0) {
    mi_free(stacked[depth - step]);
    stacked[depth - step] = NULL;
  }
  if (depth + 1 == DEPTH_MAX) return; // the stack should have been full by now
  dig(depth + 1, step);
  if (pad[0] != (char)depth) ExitProcess(97);
}

static DWORD WINAPI run_overflow(LPVOID arg) {
  size_t shift = (uintptr_t)arg;
  volatile char* pad = __builtin_alloca(16 + shift * 16 % 4096); // another place in the page each time
  pad[0] = 1;
  modes_use_heap(1);
  overflowing_thread = GetCurrentThreadId();
  recovery_stack = (char*)pad - 8192;
  stacked_count = 0;
  memset(stacked, 0, sizeof(stacked));
  if (__builtin_setjmp(recovery) == 0) {
    dig(0, 3);
    ExitProcess(98);
  }
  overflowing_thread = 0;
  for (size_t i = 0; i < stacked_count; i++) { // the thread goes on, and so does its heap
    if (stacked[i] == NULL) continue;
    if (memcmp(stacked[i], &i, sizeof(i)) != 0) ExitProcess(90);
    mi_free(stacked[i]);
  }
  modes_use_heap(2);
  return 0;
}

static void test_stack_overflow(void** state) {
  (void)state;
  enum { ROUNDS = 120 };
  void* handler = AddVectoredExceptionHandler(1, on_exception);
  for (size_t i = 0; i < ROUNDS; i++) {
    HANDLE thread = modes_start_thread(run_overflow, (void*)i);
    if (WaitForSingleObject(thread, 20000) != WAIT_OBJECT_0) fail_msg("round %zu: a lock is left taken", i);
    DWORD code = 0;
    GetExitCodeThread(thread, &code);
    assert_int_equal(code, 0);
    CloseHandle(thread);
    modes_use_heap(i);
    mi_free(mi_malloc(3000000));
  }
  RemoveVectoredExceptionHandler(handler);
  assert_int_equal(overflows, ROUNDS);
  mi_collect(true);
  assert_int_equal(modes_level().threads, 1);
}

// ---- by hand -----------------------------------------------------------------------------------------

static void any_call(size_t choice) {
  switch (choice) {
  case 0:
    mi_thread_done();
    break;
  case 1:
    mi_thread_init();
    break;
  case 2:
    mi_thread_set_in_threadpool();
    break;
  case 3:
    mi_process_done();
    break;
  case 4:
    mi_process_init();
    break;
  case 5:
    mi_collect(choice % 2 == 0);
    break;
  }
}

static DWORD WINAPI run_by_hand(LPVOID arg) {
  test_random_t random = {(uintptr_t)arg};
  char* blocks[8] = {NULL};
  for (size_t i = 0; i < 60; i++) {
    size_t choice = test_random_below(&random, 10), k = test_random_below(&random, 8);
    any_call(choice);
    if (choice < 4 && i % 2 == 0) any_call(choice); // twice
    if (blocks[k] != NULL) {
      if (pattern_mismatch(blocks[k], 100 + k * 300, k) != SIZE_MAX) ExitProcess(94);
      mi_free(blocks[k]);
      blocks[k] = NULL;
    } else {
      blocks[k] = mi_malloc(100 + k * 300);
      if (blocks[k] == NULL) ExitProcess(95);
      pattern_fill(blocks[k], 100 + k * 300, k);
    }
  }
  for (size_t k = 0; k < 8; k++) mi_free(blocks[k]);
  return 0;
}
static void by_hand_round(size_t i) { modes_run_thread(run_by_hand, (void*)(i + 1)); }

static void test_calls_by_hand(void** state) {
  (void)state;
  modes_flat_rounds("life cycle by hand", by_hand_round, 300, false);
  for (size_t i = 0; i < 6; i++) { // on the main thread, too
    any_call(i);
    any_call(5 - i);
    any_call(i);
    modes_use_heap(i);
  }
}

int main(int argc, char** argv) {
  modes_begin(argc, argv, 0);
  modes_use_heap(0);
  const struct CMUnitTest tests[] = {CASE(test_longjmp_out_of_callbacks), CASE(test_longjmp_on_threads),
                                     CASE(test_killed_in_callback), CASE(test_stack_overflow),
                                     CASE(test_calls_by_hand)};
  return check_run(tests);
}
