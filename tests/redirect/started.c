// At the start of a process no thread needs to be stopped while its runtimes are hooked: those that other DLLs have
// started wait in the loader until all DLLs are initialised. So what such a thread allocates comes from us.
#include <mimalloc.h>
#include <stdio.h>
#include <stdlib.h>

__declspec(dllimport) int starter_came_late(void);
__declspec(dllimport) void* starter_block(void);

int main(void) {
  if (!mi_is_redirected()) {
    printf("not ok started: nothing is redirected\n");
  } else if (starter_came_late()) {
    printf("not ok started: a_starter.dll was not initialised first\n");
  } else if (!mi_is_in_heap_region(starter_block())) {
    printf("not ok started: a thread ran before the runtime was hooked\n");
  } else {
    printf("ok started\n");
    return 0;
  }
  return 1;
}
