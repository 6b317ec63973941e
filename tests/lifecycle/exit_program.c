// Ends while eight threads allocate and free as fast as they can: exit_program WAY CODE.
#include "support/test_data.h"
#include "support/test_thread.h"

#include <mimalloc.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 8, SLOTS = 64, WARM_UP = 200 };

static void* volatile slots[SLOTS];
static volatile LONG warm;
static HANDLE all_warm, never;

static void hammer(void* arg) {
  test_random_t random = {(uintptr_t)arg};
  for (size_t i = 0;; i++) {
    size_t kind = test_random_below(&random, 16);
    size_t size = test_random_size(&random, 1, kind == 0 ? 2000000 : 5000);
    void* p = kind == 1 ? mi_zalloc(size) : mi_malloc(size);
    if (kind == 2) p = mi_realloc(p, size * 3);
    p = InterlockedExchangePointer(&slots[test_random_below(&random, SLOTS)], p);
    mi_free(p); // often another thread's
    if (i == WARM_UP && InterlockedIncrement(&warm) == THREADS) SetEvent(all_warm);
  }
}

static DWORD WINAPI run_exit(LPVOID arg) { ExitProcess((UINT)(uintptr_t)arg); }

int main(int argc, char** argv) {
  if (argc != 3) return 99;
  const char* way = argv[1];
  int code = atoi(argv[2]);
  all_warm = CreateEventA(NULL, TRUE, FALSE, NULL);
  never = CreateEventA(NULL, TRUE, FALSE, NULL);
  static test_thread_t threads[THREADS];
  for (size_t i = 0; i < THREADS; i++) test_thread_start(&threads[i], hammer, (void*)(i + 1));
  WaitForSingleObject(all_warm, INFINITE);
  if (strcmp(way, "return") == 0) return code;
  if (strcmp(way, "exit") == 0) exit(code);
  if (strcmp(way, "ExitProcess") == 0) ExitProcess((UINT)code);
  if (strcmp(way, "TerminateProcess") == 0) TerminateProcess(GetCurrentProcess(), (UINT)code);
  if (strcmp(way, "thread") == 0) {
    CloseHandle(CreateThread(NULL, 0, run_exit, (void*)(uintptr_t)(unsigned)code, 0, NULL));
    WaitForSingleObject(never, INFINITE);
  }
  fprintf(stderr, "exit_program: no way '%s'\n", way);
  return 98;
}
