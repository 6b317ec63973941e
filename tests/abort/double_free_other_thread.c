// Another thread frees a block; then its owner frees it again.
#include "misuse.h"
#include "support/test_thread.h"

static void run(void* arg) { mi_free(arg); }

int main(void) {
  void* other = mi_malloc(32);
  void* p = mi_malloc(32);
  void* same = hidden(p);
  test_thread_t thread;
  test_thread_start(&thread, run, p);
  test_thread_join(&thread);
  mi_free(misuse(same));
  mi_free(other);
  return MISUSE_SURVIVED;
}
