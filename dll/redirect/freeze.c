#include "freeze.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <tlhelp32.h>

// A thread leaves a function's first instructions within microseconds, and a runtime's malloc soon after, once the system lets
// it run. Both limits must be passed: a busy machine may let it wait, or this thread.
#define ATTEMPTS            1000
#define PATIENCE_MS         500
#define ATTEMPTS_WITH_STACK 100
#define STACK_PATIENCE_MS   100
#define STACK_SHOWN         ((size_t)2 * MI_KIB)

#define THREAD_RIGHTS       (THREAD_SUSPEND_RESUME | THREAD_GET_CONTEXT | THREAD_SET_CONTEXT)

#if defined(__aarch64__)
#define PROGRAM_COUNTER Pc
#define STACK_POINTER   Sp
#elif MI_64BIT
#define PROGRAM_COUNTER Rip
#define STACK_POINTER   Rsp
#else
#define PROGRAM_COUNTER Eip
#define STACK_POINTER   Esp
#endif

// ---- the list of threads --------------------------------------------------------------------------------

typedef bool thread_visit_t(freeze_t* freeze, DWORD id);

// Other threads of this process. False when the visitor stopped.
static bool visit_threads(HANDLE snapshot, freeze_t* freeze, thread_visit_t* visit) {
  DWORD process = GetCurrentProcessId(), self = GetCurrentThreadId();
  THREADENTRY32 entry = {.dwSize = sizeof(entry)};
  bool goes_on = true;
  for (BOOL more = Thread32First(snapshot, &entry); more && goes_on; more = Thread32Next(snapshot, &entry)) {
    if (entry.th32OwnerProcessID == process && entry.th32ThreadID != self)
      goes_on = visit(freeze, entry.th32ThreadID);
    entry.dwSize = sizeof(entry);
  }
  return goes_on;
}

static bool count_thread(freeze_t* freeze, DWORD id) {
  MI_UNUSED(id);
  freeze->capacity++;
  return true;
}

static bool open_thread(freeze_t* freeze, DWORD id) {
  HANDLE handle = OpenThread(THREAD_RIGHTS, FALSE, id);
  if (handle == NULL) return GetLastError() == ERROR_INVALID_PARAMETER; // it has ended
  freeze->threads[freeze->count++] = (freeze_thread_t){.handle = handle};
  return true;
}

static const char* open_threads(HANDLE snapshot, freeze_t* freeze) {
  visit_threads(snapshot, freeze, count_thread);
  if (freeze->capacity == 0) return NULL;
  freeze->threads = VirtualAlloc(NULL, freeze->capacity * sizeof(freeze_thread_t), MEM_RESERVE | MEM_COMMIT,
                                 PAGE_READWRITE);
  if (freeze->threads == NULL) return "there is no memory for the list of threads";
  if (visit_threads(snapshot, freeze, open_thread)) return NULL;
  freeze_close(freeze);
  return "a thread can't be opened, so it can't be stopped either";
}

// One snapshot: it lists all threads of the system, which takes milliseconds.
const char* freeze_open(freeze_t* freeze) {
  *freeze = (freeze_t){0};
  HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
  if (snapshot == INVALID_HANDLE_VALUE) return "the list of threads is not to be had";
  const char* problem = open_threads(snapshot, freeze);
  CloseHandle(snapshot);
  return problem;
}

void freeze_close(freeze_t* freeze) {
  for (size_t i = 0; i < freeze->count; i++) CloseHandle(freeze->threads[i].handle);
  if (freeze->threads != NULL) VirtualFree(freeze->threads, 0, MEM_RELEASE);
  *freeze = (freeze_t){0};
}

// ---- stopping -------------------------------------------------------------------------------------------

static bool get_context(const freeze_thread_t* thread, CONTEXT* context) {
  context->ContextFlags = CONTEXT_CONTROL;
  return GetThreadContext(thread->handle, context) != 0;
}

typedef struct question_s {
  freeze_place_t* place;
  void* context;
  bool with_stack;
} question_t;

static freeze_answer_t ask(const question_t* question, uintptr_t* address, uintptr_t stack) {
  MEMORY_BASIC_INFORMATION info;
  size_t shown = 0;
  if (question->with_stack && stack % sizeof(uintptr_t) == 0 &&
      VirtualQuery((const void*)stack, &info, sizeof(info)) != 0 && info.Protect == PAGE_READWRITE) {
    shown = (uintptr_t)info.BaseAddress + info.RegionSize - stack;
    if (shown > STACK_SHOWN) shown = STACK_SHOWN;
  }
  return question->place(question->context, address, (const uintptr_t*)stack, shown / sizeof(uintptr_t));
}

// SuspendThread returns before the thread has stopped; GetThreadContext waits until it has.
static bool stop_one(freeze_thread_t* thread, const question_t* question) {
  CONTEXT context __attribute__((aligned(16)));
  thread->moved_to = 0;
  thread->is_stopped = SuspendThread(thread->handle) != (DWORD)-1;
  if (!get_context(thread, &context)) {
    if (thread->is_stopped) ResumeThread(thread->handle);
    thread->is_stopped = false;
    thread->is_gone = true; // nothing but its end makes these fail for a handle with these rights
    return true;
  }
  uintptr_t address = (uintptr_t)context.PROGRAM_COUNTER;
  switch (ask(question, &address, (uintptr_t)context.STACK_POINTER)) {
  case FREEZE_STAY:
    return true;
  case FREEZE_MOVE:
    thread->moved_to = address;
    return true;
  default:
    return false;
  }
}

// A process may forbid to move threads (CET's strict mode): then they must leave by themselves.
static bool move_one(const freeze_thread_t* thread) {
  CONTEXT context __attribute__((aligned(16)));
  if (thread->moved_to == 0) return true;
  if (!get_context(thread, &context)) return false;
  context.PROGRAM_COUNTER = thread->moved_to;
  return SetThreadContext(thread->handle, &context) != 0;
}

static bool try_stop(freeze_t* freeze, const question_t* question) {
  for (size_t i = 0; i < freeze->count; i++) {
    if (!freeze->threads[i].is_gone && !stop_one(&freeze->threads[i], question)) return false;
  }
  for (size_t i = 0; i < freeze->count; i++) {
    if (!freeze->threads[i].is_gone && !move_one(&freeze->threads[i])) return false;
  }
  return true;
}

bool freeze_stop(freeze_t* freeze, freeze_place_t* place, void* context) {
  DWORD begin = GetTickCount(), waited = 0;
  for (unsigned attempt = 0; attempt < ATTEMPTS || waited < PATIENCE_MS; attempt++) {
    waited = GetTickCount() - begin;
    question_t question = {place, context, attempt < ATTEMPTS_WITH_STACK || waited < STACK_PATIENCE_MS};
    if (try_stop(freeze, &question)) return true;
    freeze_go(freeze);
    if (attempt % 16 == 15) {
      Sleep(1); // yielding alone never lets a thread of lower priority run
    } else {
      SwitchToThread();
    }
  }
  return false;
}

void freeze_go(freeze_t* freeze) {
  for (size_t i = 0; i < freeze->count; i++) {
    freeze_thread_t* thread = &freeze->threads[i];
    if (thread->is_stopped) ResumeThread(thread->handle);
    thread->is_stopped = false;
  }
}
