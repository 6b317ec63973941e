// Calls before the library was told of anything, and after the thread's heap was given back, and around that
// moment: from another DLL's DLL_THREAD_DETACH, from TLS callbacks of the program before and after ours, from
// FLS callbacks made before and after us, from destructors of thread_local objects and of pthread keys.
// Blocks go from thread to thread through all of them; nothing is lost.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <mimalloc-stats.h>
#include <mimalloc.h>

#include <windows.h>

extern "C" {
#include "modes.h"
#include "support/child.h"
}
#include "late.h"

#include <pthread.h>

#include <cstring>
#include <thread>
#include <vector>

static const late_functions_t functions = {&mi_malloc, &mi_free};
static volatile bool is_on;

enum { TLS_FIRST, TLS_LAST, FLS_FIRST, FLS_LAST, KEY, OBJECT, PLACES };
static late_place_t places[PLACES] = {{"TLS callback before ours", nullptr, 0},
                                      {"TLS callback after ours", nullptr, 0},
                                      {"FLS callback before ours", nullptr, 0},
                                      {"FLS callback after ours", nullptr, 0},
                                      {"pthread key", nullptr, 0},
                                      {"thread_local", nullptr, 0}};

static void visit(int place) {
  if (is_on) late_work(&places[place], &functions);
}

// The linker sorts these around .CRT$XLB. The C runtime's own, with the pthread keys and thread_local
// objects, lie between.
static void use_early();
static void NTAPI tls_first(PVOID, DWORD reason, PVOID) {
  if (reason == DLL_PROCESS_ATTACH) use_early();
  if (reason == DLL_THREAD_DETACH) visit(TLS_FIRST);
}
static void NTAPI tls_last(PVOID, DWORD reason, PVOID) {
  if (reason == DLL_THREAD_DETACH) visit(TLS_LAST);
}
extern "C" {
__attribute__((section(".CRT$XLAA"), used)) PIMAGE_TLS_CALLBACK detach_tls_first = &tls_first;
__attribute__((section(".CRT$XLY"), used)) PIMAGE_TLS_CALLBACK detach_tls_last = &tls_last;
}

static void NTAPI fls_first(PVOID) { visit(FLS_FIRST); }
static void NTAPI fls_last(PVOID) { visit(FLS_LAST); }
static void on_key(void*) { visit(KEY); }

struct object_t {
  long touched = 0;
  ~object_t() { visit(OBJECT); }
};
static thread_local object_t object;

static DWORD fls_indices[2];
static pthread_key_t key;

static DWORD WINAPI run_thread(LPVOID arg) {
  static char something;
  FlsSetValue(fls_indices[0], &something);
  FlsSetValue(fls_indices[1], &something);
  pthread_setspecific(key, &something);
  object.touched++;
  detach_dll_touch();
  if ((uintptr_t)arg % 4 != 3) modes_use_heap((uintptr_t)arg); // others never allocate before they end
  return 0;
}
static void detach_round(size_t i) { modes_run_thread(run_thread, (void*)i); }

static void test_calls_after_detach(void**) {
  is_on = true;
  detach_dll_start(&functions);
  for (auto& place : places) place.count = 0;
  long detaches = detach_dll_thread_detaches(), destructors = detach_dll_destructors();
  int64_t total = modes_level().threads_total;
  modes_flat_rounds("calls around the detach", detach_round, modes_many, false);
  // A thread that is gone gets no heap again, which nobody would give back: it is served by the late one.
  long rounds = (long)modes_many, with_warm_up = detach_dll_thread_detaches() - detaches;
  assert_in_range(modes_level().threads_total - total, 1, with_warm_up);
  assert_true(detach_dll_thread_detaches() - detaches >= rounds);
  assert_true(detach_dll_destructors() - destructors >= rounds);
  for (auto& place : places) {
    // A program without a TLS directory gets no callbacks, and its runtime none for what hangs on them.
    bool is_told_by_tls = &place <= &places[TLS_LAST] || &place >= &places[KEY];
    if (std::strcmp(modes_mode, "auto-fls") == 0 && is_told_by_tls) continue;
    if (place.count < rounds) fail_msg("%s: %ld calls for %ld threads", place.name, place.count, rounds);
  }
  is_on = false;
  detach_dll_stop();
  for (auto& place : places) mi_free(place.block);
}

// ---- std::thread -------------------------------------------------------------------------------------

static void std_thread_round(size_t i) {
  std::vector<std::thread> threads;
  for (size_t k = 0; k < 3; k++) threads.emplace_back([i, k] { modes_use_heap(i + k); });
  for (auto& thread : threads) thread.join();
}

static void test_std_thread(void**) {
  std_thread_round(0);
  int64_t heaps = modes_level().threads;
  modes_flat_rounds("std::thread, three at once", std_thread_round, 100, true);
  assert_int_equal(modes_level().threads, heaps);
}

// ---- before the library's own TLS callback -----------------------------------------------------------

enum { EARLY = 100 };
static char* early[EARLY];
static size_t early_size(size_t i) { return i == 0 ? 300000 : 1 + i * 37; }

// No C runtime yet: the program's TLS callbacks come before its start.
static void use_early() {
  if (GetEnvironmentVariableA("MODES_EARLY", nullptr, 0) == 0) return;
  for (size_t i = 0; i < EARLY; i++) {
    early[i] = static_cast<char*>(mi_malloc(early_size(i)));
    if (early[i] == nullptr) TerminateProcess(GetCurrentProcess(), 97);
    pattern_fill_sampled(early[i], early_size(i), i);
  }
}

// The child: what decides at run time had no TLS callback to see yet, and takes fiber-local storage.
static void test_goes_on_after_early_use(void**) {
  const char* expected = std::strcmp(modes_mode, "dll") == 0   ? "DllMain"
                         : std::strcmp(modes_mode, "tls") == 0 ? "tls-callback"
                                                               : "fls";
  assert_string_equal(mi_thread_exit_mechanism(), expected);
  for (size_t i = 0; i < EARLY; i++) {
    if (early[i] == nullptr) fail_msg("block %zu was not allocated early", i);
    assert_true(pattern_mismatch_sampled(early[i], early_size(i), i) == SIZE_MAX);
    mi_free(early[i]);
  }
  modes_flat_rounds("threads after an early use", detach_round, 100, false);
}

static void test_allocates_before_attach(void**) {
  static child_result_t result;
  char self[CHILD_PATH_MAX];
  child_self(self);
  const char* const arguments[] = {self, modes_mode, "early", nullptr};
  child_set_environment("MODES_EARLY", "1");
  bool started = child_run(arguments, 60000, &result);
  child_set_environment("MODES_EARLY", nullptr);
  assert_true(started);
  if (result.timed_out || result.exit_code != 0) {
    child_print(&result);
    fail_msg("%s: allocations before the library's TLS callback", modes_mode);
  }
}

int main(int argc, char** argv) {
  bool is_early = argc > 2 && std::strcmp(argv[2], "early") == 0;
  fls_indices[0] = FlsAlloc(fls_first);
  if (is_early) modes_mode = argv[1]; // whose mechanism may be another one
  if (!is_early) modes_begin(argc, argv, 500);
  modes_use_heap(0);
  fls_indices[1] = FlsAlloc(fls_last);
  pthread_key_create(&key, on_key);
  if (is_early) {
    const struct CMUnitTest tests[] = {CASE(test_goes_on_after_early_use)};
    return check_run(tests);
  }
  if (std::strcmp(modes_mode, "auto-fls") == 0) { // no TLS callback at all, so none comes before ours
    const struct CMUnitTest tests[] = {CASE(test_calls_after_detach), CASE(test_std_thread)};
    return check_run(tests);
  }
  const struct CMUnitTest tests[] = {CASE(test_calls_after_detach), CASE(test_std_thread),
                                     CASE(test_allocates_before_attach)};
  return check_run(tests);
}
