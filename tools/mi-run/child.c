#include "child.h"

#include <stdlib.h>

#include "command_line.h"
#include "exit_codes.h"
#include "remote.h"
#include "report.h"

enum { ELEVATION_REQUIRED = 740 }; // MinGW-w64's winerror.h lacks it

static HANDLE child_process; // for console_event

// Ctrl-C and Ctrl-Break reach every process of the console: the program decides, mi-run stays to return its
// exit code. When the console closes, Windows ends a process as soon as this returns; that must not be before
// the program is through with its own clean-up.
static BOOL WINAPI console_event(DWORD event) {
  if (event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT && child_process != NULL) {
    WaitForSingleObject(child_process, INFINITE);
  }
  return TRUE;
}

// What this process was started with is what the program shall be started with. lpReserved2 carries the C
// runtimes' file descriptors.
static void take_startup_over(STARTUPINFOW* startup) {
  STARTUPINFOW own;
  GetStartupInfoW(&own);
  *startup = (STARTUPINFOW){.cb = sizeof(*startup)};
  startup->lpDesktop = own.lpDesktop;
  startup->dwX = own.dwX;
  startup->dwY = own.dwY;
  startup->dwXSize = own.dwXSize;
  startup->dwYSize = own.dwYSize;
  startup->dwXCountChars = own.dwXCountChars;
  startup->dwYCountChars = own.dwYCountChars;
  startup->dwFillAttribute = own.dwFillAttribute;
  startup->wShowWindow = own.wShowWindow;
  startup->cbReserved2 = own.cbReserved2;
  startup->lpReserved2 = own.lpReserved2;
  startup->dwFlags =
      own.dwFlags & (STARTF_USESHOWWINDOW | STARTF_USESIZE | STARTF_USEPOSITION | STARTF_USECOUNTCHARS |
                     STARTF_USEFILLATTRIBUTE | STARTF_FORCEONFEEDBACK | STARTF_FORCEOFFFEEDBACK);
  startup->hStdInput = GetStdHandle(STD_INPUT_HANDLE);
  startup->hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
  startup->hStdError = GetStdHandle(STD_ERROR_HANDLE);
  if (startup->hStdInput != NULL || startup->hStdOutput != NULL || startup->hStdError != NULL) {
    startup->dwFlags |= STARTF_USESTDHANDLES;
  }
}

// A job that ends its process when its last handle is closed: that is mi-run's, also when mi-run is killed.
// What the program starts itself is left out of the job (silent breakaway), as it may outlive the program.
static HANDLE join_job(HANDLE process) {
  HANDLE job = CreateJobObjectW(NULL, NULL);
  if (job != NULL) {
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {.BasicLimitInformation.LimitFlags =
                                                       JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE |
                                                       JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK};
    if (SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof(limits)) &&
        AssignProcessToJobObject(job, process)) {
      return job;
    }
  }
  // Before Windows 8, a process can't be in two jobs.
  report_note(L"no job for the program (%ls): if mi-run is killed, the program lives on",
              report_reason(GetLastError()));
  if (job != NULL) CloseHandle(job);
  return NULL;
}

static int cannot_start(const wchar_t* path, DWORD error) {
  report_error(L"'%ls' can't be started: %ls", path, report_reason(error));
  switch (error) {
  case ELEVATION_REQUIRED:
    report_remedy(L"it asks for administrator's rights: run mi-run from an elevated command prompt");
    break;
  case ERROR_ACCESS_DENIED:
    report_remedy(
        L"check the permissions of the file, and that no policy or virus scanner forbids the program");
    break;
  case ERROR_BAD_EXE_FORMAT:
  case ERROR_EXE_MACHINE_TYPE_MISMATCH:
    report_remedy(L"this Windows can't run it: see whether it starts without mi-run");
    break;
  default:
    report_remedy(L"see whether it starts without mi-run");
    break;
  }
  return EXIT_CANNOT;
}

static int out_of_memory(void) {
  report_error(L"out of memory");
  report_remedy(L"close other programs");
  return EXIT_OWN_ERROR;
}

static int create(const wchar_t* path, wchar_t* line, DWORD flags, child_t* child) {
  *child = (child_t){.path = path};
  STARTUPINFOW startup;
  take_startup_over(&startup);
  PROCESS_INFORMATION created;
  // A handler, not SetConsoleCtrlHandler(NULL, TRUE): the program would inherit that.
  SetConsoleCtrlHandler(console_event, TRUE);
  if (!CreateProcessW(path, line, NULL, NULL, TRUE, flags, NULL, NULL, &startup, &created))
    return cannot_start(path, GetLastError());
  child->process = created.hProcess;
  child->thread = created.hThread;
  child->pid = created.dwProcessId;
  child->job = join_job(child->process);
  child_process = child->process;
  return EXIT_DONE;
}

int child_create(const options_t* options, const wchar_t* path, child_t* child) {
  size_t room = utf16_length(options->app) + utf16_length(options->tail) + 3;
  wchar_t* line = malloc(room * sizeof(wchar_t)); // CreateProcessW wants to write there
  if (line == NULL) return out_of_memory();
  command_line_compose(line, options->app, options->app_quoted, options->tail);
  int failed = create(path, line, CREATE_SUSPENDED, child);
  free(line);
  if (!failed) report_note(L"process %lu created, suspended", child->pid);
  return failed;
}

int child_start(const wchar_t* path, const wchar_t* line, child_t* child) {
  wchar_t* writable = _wcsdup(line);
  if (writable == NULL) return out_of_memory();
  int failed = create(path, writable, 0, child);
  free(writable);
  return failed;
}

bool child_queue(const child_t* child, const char* function, uintptr_t argument) {
  union {
    FARPROC found;
    PAPCFUNC call;
  } routine = {.found = remote_function(function)};
  return QueueUserAPC(routine.call, child->thread, argument) != 0;
}

child_gate_t child_run_to_gate(const child_t* child) {
  const uintptr_t this_thread = (uintptr_t)-2; // what GetCurrentThread returns
  child_gate_t result = CHILD_ERROR;
  HANDLE reached = CreateEventW(NULL, TRUE, FALSE, NULL), in_child = NULL;
  if (reached == NULL) return CHILD_ERROR;
  if (DuplicateHandle(GetCurrentProcess(), reached, child->process, &in_child, EVENT_MODIFY_STATE, FALSE,
                      0) &&
      child_queue(child, "SetEvent", (uintptr_t)in_child) &&
      child_queue(child, "SuspendThread", this_thread) && ResumeThread(child->thread) != (DWORD)-1) {
    HANDLE either[2] = {reached, child->process};
    DWORD which = WaitForMultipleObjects(2, either, FALSE, INFINITE);
    if (which == WAIT_OBJECT_0) {
      result = CHILD_AT_GATE;
      // Takes the event out of the program's table of handles again, by moving it here.
      HANDLE moved;
      if (DuplicateHandle(child->process, in_child, GetCurrentProcess(), &moved, 0, FALSE,
                          DUPLICATE_CLOSE_SOURCE | DUPLICATE_SAME_ACCESS)) {
        CloseHandle(moved);
      }
    } else if (which == WAIT_OBJECT_0 + 1) {
      result = CHILD_ENDED;
    }
  }
  DWORD error = GetLastError();
  CloseHandle(reached);
  SetLastError(error);
  return result;
}

bool child_release(const child_t* child) {
  for (;;) {
    DWORD suspended = ResumeThread(child->thread); // how often it was, before
    if (suspended == (DWORD)-1) return WaitForSingleObject(child->process, 0) == WAIT_OBJECT_0;
    if (suspended > 0) return true;
    // Between setting the event and suspending itself: a few instructions.
    if (WaitForSingleObject(child->process, 0) == WAIT_OBJECT_0) return true;
    SwitchToThread();
  }
}

DWORD child_wait(const child_t* child) {
  DWORD code = EXIT_OWN_ERROR;
  WaitForSingleObject(child->process, INFINITE);
  GetExitCodeProcess(child->process, &code);
  return code;
}

void child_kill(const child_t* child) {
  TerminateProcess(child->process, EXIT_CANNOT);
  WaitForSingleObject(child->process, INFINITE);
}
