#include "entry.h"

#include <stdlib.h>

#include "candidate.h"
#include "delegate.h"
#include "diagnose.h"
#include "exit_codes.h"
#include "follow.h"
#include "inject_import.h"
#include "missing.h"
#include "modules.h"
#include "paths.h"
#include "remote.h"
#include "report.h"

// --- messages ----------------------------------------------------------------------------------------------

// Whom the messages are about: "'app.exe'" or "process 1234".
typedef struct subject_s {
  wchar_t text[MAX_PATH + 32];
} subject_t;

static subject_t subject_process(uint32_t pid) {
  subject_t subject;
  swprintf(subject.text, MAX_PATH + 32, L"process %u", pid);
  return subject;
}

static subject_t subject_program(const wchar_t* path) {
  subject_t subject;
  swprintf(subject.text, MAX_PATH + 32, L"'%.260ls'", path_file_name(path));
  return subject;
}

// Why the DLL doesn't load, found out by loading it here. 0: it does load.
static DWORD try_to_load(const wchar_t* dll) {
  // It shall say and do as little as possible here.
  SetEnvironmentVariableW(L"MIMALLOC_SHOW_STATS", NULL);
  SetEnvironmentVariableW(L"MIMALLOC_VERBOSE", NULL);
  diagnose_forget();
  SetEnvironmentVariableW(L"MIMALLOC_DISABLE_REDIRECT", L"1");
  UINT mode = SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOOPENFILEERRORBOX);
  DWORD error = LoadLibraryW(dll) != NULL ? 0 : GetLastError();
  SetErrorMode(mode);
  return error;
}

static int dll_does_not_load(const subject_t* subject, const wchar_t* dll) {
  DWORD error = try_to_load(dll);
  if (error == 0) {
    report_error(L"DLL '%ls' does not load in %ls", dll, subject->text);
    report_remedy(
        L"it does load in mi-run itself, so something there forbids it: a policy (only signed DLLs, say), a "
        L"virus scanner, or memory that is full");
    return EXIT_CANNOT;
  }
  report_error(L"DLL '%ls' does not load: %ls", dll, report_reason(error));
  switch (error) {
  case ERROR_DLL_INIT_FAILED:
    report_remedy(
        L"its own start-up code gave up: set MIMALLOC_VERBOSE=1 to see why, or take another build of it");
    break;
  case ERROR_MOD_NOT_FOUND:
  case ERROR_PROC_NOT_FOUND:
    report_remedy(L"it needs a DLL that is not there or too old; mimalloc.dll needs KERNEL32.dll alone, so "
                  L"see that this "
                  L"is the right file");
    break;
  case ERROR_ACCESS_DENIED:
    report_remedy(L"check the permissions of the file");
    break;
  default:
    report_remedy(L"take another build of the DLL, or get the file again");
    break;
  }
  return EXIT_CANNOT;
}

static int no_access(const subject_t* subject, const wchar_t* what) {
  DWORD error = GetLastError();
  report_error(L"%ls %ls: %ls", subject->text, what, report_reason(error));
  report_remedy(
      L"run mi-run as the user of the process or as administrator; protected processes (of Windows, virus "
      L"scanners, copy protection) let nobody in");
  return EXIT_CANNOT;
}

static int too_slow(const subject_t* subject, const wchar_t* dll, uint32_t timeout_s) {
  report_error(L"DLL '%ls' has not loaded in %ls within %u s", dll, subject->text, timeout_s);
  report_remedy(
      L"the process hangs in the loading of another DLL, or is suspended, or the machine is busy: then allow "
      L"more with --timeout");
  return EXIT_CANNOT;
}

static int other_dll(const subject_t* subject, const wchar_t* other, const wchar_t* remedy) {
  report_error(L"%ls has another %ls: '%ls'", subject->text, path_file_name(other), other);
  report_remedy(remedy);
  return EXIT_CANNOT;
}

// --- checks of a process -----------------------------------------------------------------------------------

typedef enum bits_s { BITS_SAME, BITS_OTHER, BITS_UNKNOWN } bits_t;

static bits_t bits_of(HANDLE process) {
  BOOL own_is_32_on_64 = FALSE, is_32_on_64 = FALSE;
  if (!IsWow64Process(GetCurrentProcess(), &own_is_32_on_64) || !IsWow64Process(process, &is_32_on_64))
    return BITS_UNKNOWN;
  return own_is_32_on_64 == is_32_on_64 ? BITS_SAME : BITS_OTHER;
}

static int check_bits(HANDLE process, const subject_t* subject) {
  const int own = (int)(8 * sizeof(void*)), other = 96 - own;
  switch (bits_of(process)) {
  case BITS_SAME:
    return EXIT_DONE;
  case BITS_OTHER:
    report_error(L"%ls has %d bits, but this mi-run has %d", subject->text, other, own);
    report_remedy(
        L"use mi-run.exe and mimalloc.dll of the %d-bit build; as mi-run%d.exe beside this one, it would be "
        L"used by itself",
        other, other);
    return EXIT_CANNOT;
  default:
    return no_access(subject, L"can't be asked for its number of bits");
  }
}

// The mi-run that has the process's number of bits, when it isn't this one; NULL: there is none, or none is
// needed.
static const wchar_t* other_mi_run(const options_t* options, HANDLE process) {
  return options->delegated || bits_of(process) != BITS_OTHER ? NULL : delegate_path();
}

// After the loading: is it there, and alone?
static int check_modules(uint32_t pid, const subject_t* subject, const wchar_t* dll,
                         const wchar_t* remedy_for_other) {
  modules_found_t found = modules_find(pid, dll);
  if (found.error != 0) {
    SetLastError(found.error);
    return no_access(subject, L"can't be asked for its DLLs");
  }
  if (found.other != NULL) return other_dll(subject, found.other, remedy_for_other);
  if (!found.ours) return dll_does_not_load(subject, dll);
  report_note(L"'%ls' is in %ls at 0x%I64x", dll, subject->text, found.base);
  return EXIT_DONE;
}

// --- starting a program ------------------------------------------------------------------------------------

typedef enum outcome_e { OUTCOME_READY, OUTCOME_ENDED, OUTCOME_FAILED } outcome_t;

static outcome_t at_gate(const child_t* child, const subject_t* subject) {
  switch (child_run_to_gate(child)) {
  case CHILD_AT_GATE:
    return OUTCOME_READY;
  case CHILD_ENDED:
    return OUTCOME_ENDED;
  default:
    no_access(subject, L"can't be held before its start");
    return OUTCOME_FAILED;
  }
}

// The command line that brings the DLLs into another process, but for its number.
static wchar_t* adopting_line(const options_t* options, const wchar_t* dll) {
  static const wchar_t form[] = L"\"%ls\" --follow%ls --dll \"%ls\" --adopt ";
  wchar_t* self = path_self();
  size_t room = self == NULL ? 0 : sizeof(form) / sizeof(form[0]) + wcslen(self) + wcslen(dll) + 16;
  wchar_t* line = self == NULL ? NULL : malloc(room * sizeof(wchar_t));
  if (line != NULL) swprintf(line, room, form, self, options->verbose ? L" --verbose" : L"", dll);
  return line;
}

static int find_follow_dll(wchar_t** path) {
  *path = path_beside_self(FOLLOW_DLL);
  if (*path != NULL && GetFileAttributesW(*path) != INVALID_FILE_ATTRIBUTES) return EXIT_DONE;
  report_error(L"'%ls' not found, which --follow needs", *path == NULL ? FOLLOW_DLL : *path);
  report_remedy(L"put " FOLLOW_DLL L" of the same build beside mi-run.exe");
  return EXIT_NOT_FOUND;
}

// Puts the DLL into the imports of a process that has not begun, and before it the one that follows.
static int inject(const options_t* options, const child_t* child, const wchar_t* dll) {
  const injected_t mimalloc = {.dll = dll, .symbol = CANDIDATE_SYMBOL};
  if (options->follow) {
    wchar_t *follow, *line = adopting_line(options, dll);
    int failed = find_follow_dll(&follow);
    if (!failed && line == NULL) {
      report_error(L"out of memory");
      report_remedy(L"close other programs");
      failed = EXIT_OWN_ERROR;
    }
    if (!failed)
      failed = inject_import(child, &(injected_t){.dll = follow, .symbol = FOLLOW_SYMBOL, .note = line});
    free(line);
    if (failed) return failed;
  }
  return inject_import(child, &mimalloc);
}

static outcome_t by_import(const options_t* options, const child_t* child, const subject_t* subject,
                           const wchar_t* dll, int* failed) {
  *failed = inject(options, child, dll);
  if (*failed != EXIT_DONE) return OUTCOME_FAILED;
  *failed = EXIT_CANNOT;
  outcome_t outcome = at_gate(child, subject);
  if (outcome == OUTCOME_READY) inject_import_finish(child);
  return outcome;
}

static outcome_t by_apc(const child_t* child, const subject_t* subject, const wchar_t* dll) {
  void* path = remote_string(child->process, dll);
  if (path == NULL || !child_queue(child, "LoadLibraryW", (uintptr_t)path)) {
    no_access(subject, L"can't be given work before its start");
    return OUTCOME_FAILED;
  }
  outcome_t outcome = at_gate(child, subject);
  if (outcome == OUTCOME_READY) remote_free(child->process, path);
  return outcome;
}

static outcome_t by_thread(const child_t* child, const subject_t* subject, const wchar_t* dll,
                           uint32_t timeout_s) {
  switch (remote_load(child->process, dll, timeout_s)) {
  case REMOTE_LOADED:
    return OUTCOME_READY;
  case REMOTE_REFUSED:
    return OUTCOME_READY; // or the program ended just now: the list of modules tells
  case REMOTE_ENDED:
    return OUTCOME_ENDED;
  case REMOTE_TIMED_OUT:
    too_slow(subject, dll, timeout_s);
    return OUTCOME_FAILED;
  default:
    no_access(subject, L"can't be given a thread");
    return OUTCOME_FAILED;
  }
}

// Exit codes that Windows' loader gives a process whose DLLs don't come together.
static const wchar_t* loader_failure(DWORD code) {
  switch (code) {
  case 0xC0000135:
    return L"a DLL was not found";
  case 0xC0000138:
  case 0xC0000139:
    return L"a DLL lacks a function that is imported from it";
  case 0xC0000142:
    return L"the start-up code of a DLL failed";
  case 0xC000007B:
    return L"a DLL is damaged or for another machine";
  case 0xC0000428:
    return L"a DLL is not signed as a policy demands";
  default:
    return NULL;
  }
}

// Names the DLL that the loader doesn't name. False: it can't be made out.
static bool say_missing(const child_t* child, const subject_t* subject, DWORD code) {
  missing_t missing;
  if ((code != 0xC0000135 && code != 0xC000007B) || !missing_find(child->path, &missing)) return false;
  if (missing.unfit[0] == 0) {
    report_error(L"%ls can't start: DLL '%ls' was not found, which '%ls' needs (exit code 0x%lx)",
                 subject->text, missing.name, missing.needed_by, code);
    report_remedy(
        L"put it into the folder of '%ls' or into one that PATH lists; without mi-run it is missing, too",
        child->path);
  } else {
    report_error(
        L"%ls can't start: '%ls', which '%ls' needs, is damaged or for another machine (exit code 0x%lx)",
        subject->text, missing.unfit, missing.needed_by, code);
    report_remedy(L"put the DLL for %ls into its place", candidate_machine_name(candidate_own_machine()));
  }
  return true;
}

static int ended_early(const child_t* child, const subject_t* subject, const wchar_t* dll) {
  DWORD code = child_wait(child);
  const wchar_t* failure = loader_failure(code);
  if (failure == NULL) {
    report_note(L"%ls ended by itself before its start, exit code %lu (0x%lx)", subject->text, code, code);
    return (int)code;
  }
  if (try_to_load(dll) != 0) return dll_does_not_load(subject, dll);
  if (say_missing(child, subject, code)) return (int)code;
  report_error(L"%ls ended while Windows loaded it: %ls (exit code 0x%lx)", subject->text, failure, code);
  report_remedy(L"'%ls' loads in mi-run itself: see whether the program starts without mi-run", dll);
  return (int)code;
}

int entry_run(const options_t* options, const wchar_t* app, const wchar_t* dll) {
  subject_t subject = subject_program(app);
  if (options->stats) SetEnvironmentVariableW(L"MIMALLOC_SHOW_STATS", L"1");
  child_t child;
  int failed = diagnose_begin(options);
  if (!failed) failed = child_create(options, app, &child);
  if (failed) {
    diagnose_abandon();
    return failed;
  }

  outcome_t outcome = OUTCOME_FAILED;
  const wchar_t* other = other_mi_run(options, child.process); // for .NET programs, only the process shows it
  if (other != NULL) {
    child_kill(&child);
    diagnose_abandon(); // the other one makes its own
    return delegate_run(other, delegate_own_arguments());
  }
  failed = check_bits(child.process, &subject);
  if (!failed) {
    failed = EXIT_CANNOT;
    switch (options->method) {
    case METHOD_IMPORT:
      outcome = by_import(options, &child, &subject, dll, &failed);
      break;
    case METHOD_THREAD:
      outcome = by_thread(&child, &subject, dll, options->timeout_s);
      break;
    case METHOD_APC:
      outcome = by_apc(&child, &subject, dll);
      break;
    }
  }
  if (outcome == OUTCOME_READY && modules_find(child.pid, dll).error != 0 &&
      WaitForSingleObject(child.process, 5000) == WAIT_OBJECT_0) {
    outcome = OUTCOME_ENDED; // it was about to, when its thread was waited for
  }
  if (outcome == OUTCOME_ENDED) {
    diagnose_abandon();
    return ended_early(&child, &subject, dll);
  }
  if (outcome == OUTCOME_READY) {
    failed = check_modules(
        child.pid, &subject, dll,
        options->method == METHOD_IMPORT
            ? L"remove that one, or name it with --dll"
            : L"leave --method away, so that this one comes first, or name that one with --dll");
    if (!failed && !child_release(&child)) failed = no_access(&subject, L"can't be set going");
  }
  if (failed) {
    child_kill(&child);
    diagnose_abandon();
    return failed;
  }
  report_note(L"%ls runs", subject.text);
  DWORD code = child_wait(&child);
  report_note(L"%ls ended, exit code %lu (0x%lx)", subject.text, code, code);
  diagnose_end(options, child.pid, code);
  return (int)code;
}

// --- a running process -------------------------------------------------------------------------------------

static int open_process(uint32_t pid, const subject_t* subject, HANDLE* process) {
  *process = OpenProcess(PROCESS_CREATE_THREAD | PROCESS_QUERY_INFORMATION | PROCESS_VM_OPERATION |
                             PROCESS_VM_READ | PROCESS_VM_WRITE | SYNCHRONIZE,
                         FALSE, pid);
  if (*process == NULL) {
    if (GetLastError() != ERROR_INVALID_PARAMETER) return no_access(subject, L"does not let mi-run in");
  } else if (WaitForSingleObject(*process, 0) != WAIT_OBJECT_0) {
    return EXIT_DONE;
  }
  report_error(L"there is no process %u", pid);
  report_remedy(L"take the number from the task manager or tasklist; it may have ended");
  return EXIT_NOT_FOUND;
}

static int find_process(const wchar_t* name, uint32_t* pid) {
  processes_found_t found = processes_find(name);
  if (found.count == 1) {
    *pid = found.pids[0];
    report_note(L"'%ls' is process %u", name, *pid);
    return EXIT_DONE;
  }
  if (found.count == 0) {
    report_error(L"there is no process of a program '%ls'", name);
    report_remedy(L"take the name from the task manager or tasklist; it may have ended");
    return EXIT_NOT_FOUND;
  }
  wchar_t numbers[256];
  size_t length = 0;
  for (uint32_t i = 0; i < found.count && i < PROCESSES_SHOWN; i++)
    length += (size_t)swprintf(numbers + length, 256 - length, i == 0 ? L"%u" : L", %u", found.pids[i]);
  report_error(L"%u processes have a program '%ls': %ls%ls", found.count, name, numbers,
               found.count > PROCESSES_SHOWN ? L", ..." : L"");
  report_remedy(L"say which one by its number");
  return EXIT_CANNOT;
}

int entry_attach(const options_t* options, const wchar_t* dll) {
  uint32_t pid = options->pid;
  int failed = options->pid_name == NULL ? EXIT_DONE : find_process(options->pid_name, &pid);
  if (failed) return failed;
  subject_t subject = subject_process(pid);
  HANDLE process;
  failed = open_process(pid, &subject, &process);
  const wchar_t* other = failed ? NULL : other_mi_run(options, process);
  if (other != NULL) return delegate_run(other, delegate_own_arguments());
  if (!failed) failed = check_bits(process, &subject);
  if (failed) return failed;

  const wchar_t* remedy = L"two allocators would not know of each other's blocks: let that one do";
  modules_found_t before = modules_find(pid, dll);
  if (before.other != NULL) return other_dll(&subject, before.other, remedy);
  if (before.ours) {
    report_warning(L"%ls has '%ls' already: nothing to do", subject.text, dll);
    return EXIT_DONE;
  }
  switch (remote_load(process, dll, options->timeout_s)) {
  case REMOTE_LOADED:
  case REMOTE_REFUSED:
    return check_modules(pid, &subject, dll, remedy);
  case REMOTE_ENDED:
    report_error(L"%ls ended meanwhile", subject.text);
    report_remedy(L"start it with mi-run instead of attaching to it");
    return EXIT_NOT_FOUND;
  case REMOTE_TIMED_OUT:
    return too_slow(&subject, dll, options->timeout_s);
  default:
    return no_access(&subject, L"can't be given a thread");
  }
}

// --- a process that a followed one starts ------------------------------------------------------------------

static subject_t subject_started(uint32_t pid) {
  union {
    FARPROC found;
    BOOL(WINAPI* call)(HANDLE, DWORD, wchar_t*, DWORD*);
  } name = {.found = remote_function("QueryFullProcessImageNameW")}; // since Windows Vista
  subject_t subject = subject_process(pid);
  wchar_t path[1024];
  DWORD length = 1024;
  HANDLE process = OpenProcess(PROCESS_QUERY_INFORMATION, FALSE, pid);
  if (process != NULL && name.found != NULL && name.call(process, 0, path, &length))
    swprintf(subject.text, MAX_PATH + 32, L"'%.250ls' (process %u)", path_file_name(path), pid);
  if (process != NULL) CloseHandle(process);
  return subject;
}

void entry_adopt_begin(const options_t* options) { report_not_followed(subject_started(options->pid).text); }

int entry_adopt(const options_t* options, const wchar_t* dll) {
  subject_t subject = subject_started(options->pid);
  child_t child = {.path = path_file_name(subject.text), .pid = options->pid};
  int failed = open_process(options->pid, &subject, &child.process);
  if (failed) return failed;
  const wchar_t* other = other_mi_run(options, child.process);
  if (other != NULL) { // with its own DLL, not this one's
    wchar_t arguments[64];
    swprintf(arguments, 64, L"--follow%ls --adopt %u", options->verbose ? L" --verbose" : L"", options->pid);
    return delegate_run(other, arguments);
  }
  failed = check_bits(child.process, &subject);
  if (!failed) failed = inject(options, &child, dll);
  if (!failed) {
    diagnose_announce(options->pid);
    inject_import_finish(&child);
    report_note(L"%ls is followed", subject.text);
  }
  return failed;
}
