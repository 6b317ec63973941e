// Calls after the thread's heap was given back, and around that moment: from another DLL's DLL_THREAD_DETACH, from TLS
// callbacks of the program before and after ours, from FLS callbacks made before and after us, from destructors of
// thread_local objects and of pthread keys. Blocks go from thread to thread through all of them; nothing is lost.
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
#include "late.h"

#include <pthread.h>

#include <cstring>

static const late_functions_t functions = {&mi_malloc, &mi_free};
static volatile bool is_on;

enum { TLS_FIRST, TLS_LAST, FLS_FIRST, FLS_LAST, KEY, OBJECT, PLACES };
static late_place_t places[PLACES] = {{"TLS callback before ours", nullptr, 0}, {"TLS callback after ours", nullptr, 0},
                                      {"FLS callback before ours", nullptr, 0}, {"FLS callback after ours", nullptr, 0},
                                      {"pthread key", nullptr, 0},              {"thread_local", nullptr, 0}};

static void visit(int place) {
  if (is_on) late_work(&places[place], &functions);
}

// The linker sorts these around .CRT$XLB. The C runtime's own, with the pthread keys and thread_local objects, lie between.
static void NTAPI tls_first(PVOID, DWORD reason, PVOID) {
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
  modes_flat_rounds("calls around the detach", detach_round, modes_many, false);
  long rounds = (long)modes_many;
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

int main(int argc, char** argv) {
  fls_indices[0] = FlsAlloc(fls_first);
  modes_begin(argc, argv, 500);
  modes_use_heap(0);
  fls_indices[1] = FlsAlloc(fls_last);
  pthread_key_create(&key, on_key);
  const struct CMUnitTest tests[] = {CASE(test_calls_after_detach)};
  return check_run(tests);
}
