// Runs a program up to the middle of its work, runs another command while it stands there, and lets it go on. The program
// stands still because it waits for input, or because nobody takes its output: no timing is involved.
//
// usage: midway [--send FILE] [--see BYTES] [--then FILE] -- COMMAND... -- PROGRAM...
//
//   --send FILE   standard input of the program until the middle
//   --see BYTES   the middle is where the program has written so much (after all of --send was taken)
//   --then FILE   standard input after the middle
//   COMMAND       to run in the middle, with the program's process number added as last argument; it must return 0
//
// The program's output and exit code become midway's; its standard error is midway's. 98: COMMAND failed; 99: midway did.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

enum { COMMAND_FAILED = 98, MIDWAY_FAILED = 99, LIMIT_MS = 100000 };

typedef struct feeder_s {
  HANDLE pipe, sent, go_on;
  const wchar_t *first, *rest;
} feeder_t;

static HANDLE program; // to be ended with us

static void give_up(int code, const char* what, const wchar_t* about) {
  fprintf(stderr, "midway: %s '%ls' (error %lu)\n", what, about, GetLastError());
  fflush(stderr);
  if (program != NULL) TerminateProcess(program, 1);
  ExitProcess((UINT)code);
}

// A program that ends early doesn't take all: that is its business, and seen from its output.
static void send_file(HANDLE pipe, const wchar_t* path) {
  static char data[65536];
  DWORD length, written;
  if (path == NULL) return;
  HANDLE file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
  if (file == INVALID_HANDLE_VALUE) give_up(MIDWAY_FAILED, "can't open", path);
  while (ReadFile(file, data, sizeof(data), &length, NULL) && length > 0) {
    if (!WriteFile(pipe, data, length, &written, NULL)) break;
  }
  CloseHandle(file);
}

static DWORD WINAPI feed(LPVOID argument) {
  feeder_t* feeder = argument;
  send_file(feeder->pipe, feeder->first);
  SetEvent(feeder->sent);
  WaitForSingleObject(feeder->go_on, INFINITE);
  send_file(feeder->pipe, feeder->rest);
  CloseHandle(feeder->pipe);
  return 0;
}

// Small pipes: the program soon stands still when nobody reads.
static void open_pipe(HANDLE* own, HANDLE* childs, BOOL child_writes) {
  SECURITY_ATTRIBUTES inherit = {.nLength = sizeof(inherit), .bInheritHandle = TRUE};
  HANDLE ends[2];
  if (!CreatePipe(&ends[0], &ends[1], &inherit, 4096)) give_up(MIDWAY_FAILED, "can't make", L"a pipe");
  *own = child_writes ? ends[0] : ends[1];
  *childs = child_writes ? ends[1] : ends[0];
  SetHandleInformation(*own, HANDLE_FLAG_INHERIT, 0);
}

static HANDLE start(wchar_t* line, HANDLE input, HANDLE output, DWORD* pid) {
  STARTUPINFOW startup = {.cb = sizeof(startup), .dwFlags = STARTF_USESTDHANDLES};
  PROCESS_INFORMATION process;
  startup.hStdInput = input;
  startup.hStdOutput = output;
  startup.hStdError = GetStdHandle(STD_ERROR_HANDLE);
  if (!CreateProcessW(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &process))
    give_up(MIDWAY_FAILED, "can't start", line);
  CloseHandle(process.hThread);
  *pid = process.dwProcessId;
  return process.hProcess;
}

static DWORD wait_for(HANDLE process, const wchar_t* what) {
  DWORD code;
  if (WaitForSingleObject(process, LIMIT_MS) != WAIT_OBJECT_0)
    give_up(MIDWAY_FAILED, "waited too long for", what);
  GetExitCodeProcess(process, &code);
  return code;
}

static void copy_output(HANDLE from, unsigned long long upto) {
  char data[4096];
  DWORD length, written;
  unsigned long long seen = 0;
  while (seen < upto && ReadFile(from, data, sizeof(data), &length, NULL) && length > 0) {
    if (!WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), data, length, &written, NULL))
      give_up(MIDWAY_FAILED, "can't write to", L"standard output");
    seen += length;
  }
  if (seen < upto && upto != ~0ull) give_up(MIDWAY_FAILED, "ended before its middle:", L"the program");
}

static wchar_t* after_dashes(wchar_t* text) {
  wchar_t* found = text == NULL ? NULL : wcsstr(text, L" -- ");
  if (found == NULL) give_up(MIDWAY_FAILED, "there is no -- in", GetCommandLineW());
  *found = 0;
  return found + 4;
}

int wmain(int argc, wchar_t** argv);

int wmain(int argc, wchar_t** argv) {
  feeder_t feeder = {.sent = CreateEventW(NULL, TRUE, FALSE, NULL),
                     .go_on = CreateEventW(NULL, TRUE, FALSE, NULL)};
  unsigned long long see = 0;
  for (int i = 1; i + 1 < argc && wcscmp(argv[i], L"--") != 0; i += 2) {
    if (wcscmp(argv[i], L"--send") == 0) {
      feeder.first = argv[i + 1];
    } else if (wcscmp(argv[i], L"--then") == 0) {
      feeder.rest = argv[i + 1];
    } else if (wcscmp(argv[i], L"--see") == 0) {
      see = wcstoull(argv[i + 1], NULL, 10);
    } else {
      give_up(MIDWAY_FAILED, "unknown option", argv[i]);
    }
  }
  // The command lines are handed on as they were written.
  wchar_t* line = _wcsdup(GetCommandLineW());
  wchar_t* command = after_dashes(line);
  wchar_t* program_line = after_dashes(command);
  size_t capacity = wcslen(command) + 16;
  wchar_t* full_command = malloc(capacity * sizeof(wchar_t));
  if (full_command == NULL) give_up(MIDWAY_FAILED, "no memory for", command);

  HANDLE output, childs_input, childs_output;
  DWORD pid, command_pid;
  open_pipe(&feeder.pipe, &childs_input, FALSE);
  open_pipe(&output, &childs_output, TRUE);
  program = start(program_line, childs_input, childs_output, &pid);
  CloseHandle(childs_input);
  CloseHandle(childs_output);
  HANDLE thread = CreateThread(NULL, 0, feed, &feeder, 0, NULL);
  if (thread == NULL) give_up(MIDWAY_FAILED, "can't start", L"a thread");
  copy_output(output, see);
  if (WaitForSingleObject(feeder.sent, LIMIT_MS) != WAIT_OBJECT_0)
    give_up(MIDWAY_FAILED, "does not take its input:", L"the program");
  if (WaitForSingleObject(program, 0) == WAIT_OBJECT_0)
    give_up(MIDWAY_FAILED, "ended before its middle:", L"the program");

  swprintf(full_command, capacity, L"%ls %lu", command, pid);
  HANDLE middle =
      start(full_command, GetStdHandle(STD_INPUT_HANDLE), GetStdHandle(STD_ERROR_HANDLE), &command_pid);
  DWORD code = wait_for(middle, full_command);
  if (code != 0) {
    SetLastError(code);
    give_up(COMMAND_FAILED, "returned another code than 0:", full_command);
  }

  SetEvent(feeder.go_on);
  copy_output(output, ~0ull);
  return (int)wait_for(program, program_line);
}
