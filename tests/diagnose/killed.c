// Threads that allocate are terminated wherever they are, many times; then the program allocates and ends as if nothing were.
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

enum { ROUNDS = 200, THREADS = 3 };

static volatile LONG turns[THREADS];

__attribute__((noreturn)) static DWORD WINAPI work(void* number) {
  for (;;) {
    void* blocks[8];
    for (int i = 0; i < 8; i++) blocks[i] = malloc((size_t)(i + 1) * 24);
    for (int i = 0; i < 8; i++) free(blocks[i]);
    InterlockedIncrement(&turns[(INT_PTR)number]);
  }
}

int main(void) {
  for (int round = 0; round < ROUNDS; round++) {
    HANDLE threads[THREADS];
    for (INT_PTR i = 0; i < THREADS; i++) {
      turns[i] = 0;
      threads[i] = CreateThread(NULL, 0, work, (void*)i, 0, NULL);
    }
    for (int i = 0; i < THREADS; i++) {
      while (turns[i] < 2 + round % 7) SwitchToThread(); // an event: it has begun
      TerminateThread(threads[i], 0);
      WaitForSingleObject(threads[i], INFINITE);
      CloseHandle(threads[i]);
    }
  }
  for (int i = 0; i < 1000; i++) free(malloc((size_t)i));
  puts("done");
  return 0;
}
