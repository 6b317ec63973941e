#include "support/terminate.h"

static bool is_in_code(const CONTEXT* context) {
#if defined(__x86_64__)
  const void* at = (const void*)context->Rip;
#else
  const void* at = (const void*)context->Eip;
#endif
  MEMORY_BASIC_INFORMATION info;
  if (VirtualQuery(at, &info, sizeof(info)) == 0) return false;
  return info.AllocationBase == GetModuleHandleA(NULL) ||
         info.AllocationBase == GetModuleHandleA("mimalloc.dll");
}

// Looks that follow at once would never let a thread out of the system call that it is in.
static void let_run(unsigned microseconds) {
  LARGE_INTEGER frequency, start, now;
  QueryPerformanceFrequency(&frequency);
  QueryPerformanceCounter(&start);
  do {
    YieldProcessor();
    QueryPerformanceCounter(&now);
  } while ((now.QuadPart - start.QuadPart) * 1000000 < frequency.QuadPart * microseconds);
}

bool test_terminate_in_code(HANDLE thread, DWORD code) {
  for (unsigned looks = 0; looks < 1000000; looks++) {
    CONTEXT context = {.ContextFlags = CONTEXT_CONTROL};
    if (SuspendThread(thread) == (DWORD)-1) return false;
    if (!GetThreadContext(thread, &context)) return false; // also waits until it stands still
    if (is_in_code(&context))
      return TerminateThread(thread, code) && WaitForSingleObject(thread, INFINITE) == WAIT_OBJECT_0;
    ResumeThread(thread);
    let_run(looks * 37 % 300);
  }
  SetLastError(ERROR_TIMEOUT);
  return false;
}
