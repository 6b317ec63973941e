// Linked with a_early.dll and b_user.dll: early_program ROUNDS CODE runs ROUNDS threads and ends with CODE.
// Exit codes of its own: 80 wrong order of initialisation, 81 an error in a_early, 82 memory grew, 83 heaps
// were lost.
#include "support/test_thread.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

__declspec(dllimport) long early_errors(void);
__declspec(dllimport) bool early_is_first(void);
__declspec(dllimport) int64_t user_committed(void);
__declspec(dllimport) int64_t user_threads(void);
__declspec(dllimport) void user_work(void);

static void run(void* arg) {
  (void)arg;
  user_work();
}

static void rounds(int count) {
  for (int i = 0; i < count; i++) {
    test_thread_t thread;
    test_thread_start(&thread, run, NULL);
    test_thread_join(&thread);
  }
}

int main(int argc, char** argv) {
  if (argc != 3) return 99;
  if (!early_is_first()) return 80;
  user_work();
  rounds(50);
  int64_t committed = user_committed(), threads = user_threads();
  rounds(atoi(argv[1]));
  if (early_errors() != 0) return 81;
  if (user_committed() > committed + (1 << 20)) {
    printf("committed %lld -> %lld\n", (long long)committed, (long long)user_committed());
    return 82;
  }
  if (user_threads() != threads) {
    printf("threads with a heap %lld -> %lld\n", (long long)threads, (long long)user_threads());
    return 83;
  }
  return atoi(argv[2]);
}
