// exit_program WAY CODE [no-index]: ends in that way, with that code, while eight threads allocate and free;
// and its atexit function, its static destructor and another DLL's DLL_PROCESS_DETACH allocate and free after
// that. Each of them says that it was there.
#include "late.h"
extern "C" {
#include "support/test_data.h"
}

#include <mimalloc.h>

#include <windows.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

enum { THREADS = 8, SLOTS = 64, WARM_UP = 100 };

static const late_functions_t functions = {&mi_malloc, &mi_free};
static late_place_t at_exit = {"atexit", nullptr, 0}, in_destructor = {"destructor", nullptr, 0};
static void* volatile slots[SLOTS];
static volatile LONG warm;
static HANDLE all_warm, never;

static void say(const char* text) {
  DWORD written;
  WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), text, (DWORD)std::strlen(text), &written, nullptr);
}

static void work_hard(late_place_t* place, const char* text) {
  for (int i = 0; i < 50; i++) {
    late_work(place, &functions);
    mi_free(InterlockedExchangePointer(&slots[i], mi_malloc((size_t)i * 50))); // another thread's
  }
  say(text);
}

struct destructor_t {
  bool is_used = false;
  ~destructor_t() {
    if (is_used) work_hard(&in_destructor, "static destructor\n");
  }
};
static destructor_t destructor; // constructed before the first allocation
static void on_exit_work(void) { work_hard(&at_exit, "atexit function\n"); }

static DWORD WINAPI hammer(LPVOID arg) {
  test_random_t random = {(uintptr_t)arg};
  for (size_t i = 0;; i++) {
    size_t kind = test_random_below(&random, 16);
    size_t size = test_random_size(&random, 1, kind == 0 ? 400000 : 5000);
    void* p = kind == 1 ? mi_zalloc(size) : mi_malloc(size);
    if (kind == 2) p = mi_realloc(p, size * 3);
    mi_free(InterlockedExchangePointer(&slots[test_random_below(&random, SLOTS)], p));
    if (i == WARM_UP && InterlockedIncrement(&warm) == THREADS) SetEvent(all_warm);
  }
}

static DWORD WINAPI run_exit(LPVOID arg) { std::exit((int)(uintptr_t)arg); }
static DWORD WINAPI run_exit_process(LPVOID arg) {
  mi_free(mi_malloc(1000));
  ExitProcess((UINT)(uintptr_t)arg);
}
static DWORD WINAPI run_bare_exit_process(LPVOID arg) { ExitProcess((UINT)(uintptr_t)arg); } // has no heap

int main(int argc, char** argv) {
  if (argc < 3) return 99;
  const char* way = argv[1];
  int code = std::atoi(argv[2]);
  SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX);
  all_warm = CreateEventA(nullptr, TRUE, FALSE, nullptr);
  never = CreateEventA(nullptr, TRUE, FALSE, nullptr);
  if (argc > 3) { // one heap for all threads, and a lock that dying threads are likely to hold
    while (TlsAlloc() != TLS_OUT_OF_INDEXES) {}
  }
  std::atexit(on_exit_work);
  destructor.is_used = true;
  detach_dll_start(&functions);
  for (int i = 0; i < 20; i++) late_work(&at_exit, &functions); // the memory that the end needs is there
  for (size_t i = 0; i < THREADS; i++)
    CloseHandle(CreateThread(nullptr, 0, hammer, (void*)(i + 1), 0, nullptr));
  WaitForSingleObject(all_warm, INFINITE);
  if (std::strcmp(way, "return") == 0) return code;
  if (std::strcmp(way, "exit") == 0) std::exit(code);
  if (std::strcmp(way, "ExitProcess") == 0) ExitProcess((UINT)code);
  if (std::strcmp(way, "TerminateProcess") == 0) TerminateProcess(GetCurrentProcess(), (UINT)code);
  if (std::strcmp(way, "abort") == 0) std::abort();
  bool is_exit = std::strcmp(way, "exit-on-thread") == 0;
  bool is_bare = std::strcmp(way, "ExitProcess-on-bare-thread") == 0;
  if (is_exit || is_bare || std::strcmp(way, "ExitProcess-on-thread") == 0) {
    auto run = is_exit ? run_exit : is_bare ? run_bare_exit_process : run_exit_process;
    CloseHandle(CreateThread(nullptr, 0, run, (void*)(uintptr_t)(unsigned)code, 0, nullptr));
    WaitForSingleObject(never, INFINITE);
  }
  std::fprintf(stderr, "exit_program: no way '%s'\n", way);
  return 98;
}
