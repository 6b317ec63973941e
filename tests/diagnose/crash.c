// Leaks, and then ends by an exception that nobody catches ("crash", "overflow", "breakpoint"), by one that is caught
// ("caught"), or all at once by TerminateProcess ("terminate").
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

__attribute__((noinline, noclone)) static void* lose(void) {
  void* block = malloc(1234); // LINE lost
  __asm__ volatile("" : : "r"(block) : "memory");
  return block;
}

static LONG CALLBACK skip_it(EXCEPTION_POINTERS* pointers) {
  if (pointers->ExceptionRecord->ExceptionCode != 0xE0000001) return EXCEPTION_CONTINUE_SEARCH;
  return EXCEPTION_CONTINUE_EXECUTION;
}

int main(int argc, char** argv) {
  const char* end = argc > 1 ? argv[1] : "";
  lose();
  if (strcmp(end, "crash") == 0)
    RaiseException(STATUS_ILLEGAL_INSTRUCTION, EXCEPTION_NONCONTINUABLE, 0, NULL);
  if (strcmp(end, "overflow") == 0) RaiseException(STATUS_STACK_OVERFLOW, EXCEPTION_NONCONTINUABLE, 0, NULL);
  if (strcmp(end, "breakpoint") == 0) RaiseException(STATUS_BREAKPOINT, EXCEPTION_NONCONTINUABLE, 0, NULL);
  if (strcmp(end, "terminate") == 0) TerminateProcess(GetCurrentProcess(), 7);
  if (strcmp(end, "caught") == 0) {
    AddVectoredExceptionHandler(1, skip_it);
    RaiseException(0xE0000001, 0, 0, NULL);
  }
  puts("done");
  return 0;
}
