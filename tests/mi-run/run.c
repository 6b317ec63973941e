#include "run.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tlhelp32.h>

#include "support/check.h"

run_t ran;
wchar_t run_mi_run[MAX_PATH], run_dll[MAX_PATH], run_work[MAX_PATH];
static wchar_t folder_of_tests[MAX_PATH];

static void give_up(const char* what, const wchar_t* about) {
  printf("can't %s '%ls' (error %lu)\n", what, about, GetLastError());
  fflush(stdout);
  exit(99);
}

// --- processes ---------------------------------------------------------------------------------------------

typedef struct stream_s {
  HANDLE pipe, thread;
  char* text;
  size_t length;
} stream_t;

struct run_process_s {
  PROCESS_INFORMATION process;
  stream_t output, error;
  HANDLE input, input_thread;
  const char* input_text;
};

static DWORD WINAPI read_stream(LPVOID argument) {
  stream_t* stream = argument;
  char data[4096];
  DWORD length;
  while (ReadFile(stream->pipe, data, sizeof(data), &length, NULL) && length > 0) {
    for (DWORD i = 0; i < length && stream->length + 1 < RUN_TEXT_MAX; i++) {
      if (data[i] != '\r') stream->text[stream->length++] = data[i];
    }
  }
  stream->text[stream->length] = 0;
  return 0;
}

static DWORD WINAPI write_input(LPVOID argument) {
  run_process_t* run = argument;
  DWORD written;
  size_t length = run->input_text == NULL ? 0 : strlen(run->input_text);
  if (length > 0) WriteFile(run->input, run->input_text, (DWORD)length, &written, NULL);
  CloseHandle(run->input);
  return 0;
}

static HANDLE open_pipe(HANDLE* childs_end, bool child_writes) {
  SECURITY_ATTRIBUTES inherit = {.nLength = sizeof(inherit), .bInheritHandle = TRUE};
  HANDLE read_end, write_end;
  if (!CreatePipe(&read_end, &write_end, &inherit, 0)) give_up("make", L"a pipe");
  *childs_end = child_writes ? write_end : read_end;
  HANDLE own_end = child_writes ? read_end : write_end;
  SetHandleInformation(own_end, HANDLE_FLAG_INHERIT, 0);
  return own_end;
}

static HANDLE start_thread(LPTHREAD_START_ROUTINE entry, void* argument) {
  HANDLE thread = CreateThread(NULL, 0, entry, argument, 0, NULL);
  if (thread == NULL) give_up("start", L"a thread");
  return thread;
}

run_process_t* run_start(const wchar_t* line, const char* input, const wchar_t* folder, DWORD flags) {
  static wchar_t writable[RUN_LINE_MAX];
  run_process_t* run = calloc(1, sizeof(*run));
  wcscpy(writable, line);
  memset(&ran, 0, sizeof(ran));
  run->output.text = ran.output;
  run->error.text = ran.error;
  run->input_text = input;
  STARTUPINFOW startup = {.cb = sizeof(startup), .dwFlags = STARTF_USESTDHANDLES};
  run->input = open_pipe(&startup.hStdInput, false);
  run->output.pipe = open_pipe(&startup.hStdOutput, true);
  run->error.pipe = open_pipe(&startup.hStdError, true);
  if (!CreateProcessW(NULL, writable, NULL, NULL, TRUE, flags, NULL, folder, &startup, &run->process)) {
    give_up("start", line);
  }
  CloseHandle(startup.hStdInput);
  CloseHandle(startup.hStdOutput);
  CloseHandle(startup.hStdError);
  run->input_thread = start_thread(write_input, run);
  run->output.thread = start_thread(read_stream, &run->output);
  run->error.thread = start_thread(read_stream, &run->error);
  return run;
}

void run_end(run_process_t* run) {
  // The streams end when every process that inherited them has ended.
  HANDLE all[4] = {run->process.hProcess, run->output.thread, run->error.thread, run->input_thread};
  if (WaitForMultipleObjects(4, all, TRUE, RUN_LIMIT_MS) == WAIT_TIMEOUT) {
    printf("a run did not end within %d ms\n", RUN_LIMIT_MS);
    run_print();
    TerminateProcess(run->process.hProcess, 99);
    exit(99);
  }
  GetExitCodeProcess(run->process.hProcess, &ran.code);
  for (int i = 0; i < 4; i++) CloseHandle(all[i]);
  CloseHandle(run->process.hThread);
  CloseHandle(run->output.pipe);
  CloseHandle(run->error.pipe);
  free(run);
}

HANDLE run_handle(const run_process_t* run) { return run->process.hProcess; }
DWORD run_pid(const run_process_t* run) { return run->process.dwProcessId; }

void run_line(const wchar_t* line, const char* input, const wchar_t* folder) {
  run_end(run_start(line, input, folder, 0));
}

void run_mi(const wchar_t* format, ...) {
  static wchar_t line[RUN_LINE_MAX];
  va_list arguments;
  swprintf(line, RUN_LINE_MAX, L"\"%ls\" ", run_mi_run);
  size_t length = wcslen(line);
  va_start(arguments, format);
  _vsnwprintf(line + length, RUN_LINE_MAX - length, format, arguments);
  va_end(arguments);
  run_line(line, NULL, NULL);
}

int run_count(const wchar_t* program) {
  PROCESSENTRY32W process = {.dwSize = sizeof(process)};
  HANDLE list = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
  int count = 0;
  if (list == INVALID_HANDLE_VALUE) give_up("list", L"processes");
  for (BOOL more = Process32FirstW(list, &process); more; more = Process32NextW(list, &process)) {
    if (_wcsicmp(process.szExeFile, program) == 0) count++;
  }
  CloseHandle(list);
  return count;
}

// --- checks ------------------------------------------------------------------------------------------------

void run_print(void) {
  printf("exit code %lu (0x%lx)\n-- output:\n%s-- errors:\n%s--\n", ran.code, ran.code, ran.output,
         ran.error);
  fflush(stdout);
}

void run_assert_contains(const char* in, const char* what, const char* text, const char* file, int line) {
  if (strstr(in, text) != NULL) return;
  printf("the %s lack: %s\n", what, text);
  run_print();
  _fail(file, line);
}

void run_assert_lacks(const char* in, const char* what, const char* text, const char* file, int line) {
  if (strstr(in, text) == NULL) return;
  printf("the %s must not have: %s\n", what, text);
  run_print();
  _fail(file, line);
}

void run_assert_code(DWORD code, const char* file, int line) {
  if (ran.code == code) return;
  printf("exit code expected: %lu (0x%lx)\n", code, code);
  run_print();
  _fail(file, line);
}

void run_todo(const wchar_t* words) { SetEnvironmentVariableW(L"MI_RUN_CHILD", words); }

// Several results stay good at once.
static wchar_t* next_text(void) {
  static wchar_t texts[16][2 * MAX_PATH];
  static int turn;
  return texts[turn++ % 16];
}

const wchar_t* run_unique(const wchar_t* name) {
  static int number;
  wchar_t* text = next_text();
  swprintf(text, 2 * MAX_PATH, L"mi-run-%ls-%lu-%d", name, GetCurrentProcessId(), number++);
  return text;
}

// --- files -------------------------------------------------------------------------------------------------

static void remove_folder(const wchar_t* folder) {
  wchar_t pattern[2 * MAX_PATH];
  WIN32_FIND_DATAW found;
  swprintf(pattern, 2 * MAX_PATH, L"%ls\\*", folder);
  HANDLE list = FindFirstFileW(pattern, &found);
  if (list == INVALID_HANDLE_VALUE) return;
  do {
    if (wcscmp(found.cFileName, L".") == 0 || wcscmp(found.cFileName, L"..") == 0) continue;
    wchar_t path[2 * MAX_PATH];
    swprintf(path, 2 * MAX_PATH, L"%ls\\%ls", folder, found.cFileName);
    if ((found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0) {
      remove_folder(path);
    } else {
      SetFileAttributesW(path, FILE_ATTRIBUTE_NORMAL);
      if (!DeleteFileW(path)) give_up("delete", path);
    }
  } while (FindNextFileW(list, &found));
  FindClose(list);
  RemoveDirectoryW(folder);
}

void run_begin(const wchar_t* name) {
  int count;
  wchar_t** arguments = __wargv;
  count = __argc;
  if (arguments == NULL || count < 3) {
    printf("usage: test MI-RUN.EXE MIMALLOC.DLL\n");
    exit(99);
  }
  GetFullPathNameW(arguments[1], MAX_PATH, run_mi_run, NULL);
  GetFullPathNameW(arguments[2], MAX_PATH, run_dll, NULL);
  GetModuleFileNameW(NULL, folder_of_tests, MAX_PATH);
  *wcsrchr(folder_of_tests, L'\\') = 0;
  swprintf(run_work, MAX_PATH, L"%ls\\%ls.work", folder_of_tests, name);
  remove_folder(run_work);
  if (!CreateDirectoryW(run_work, NULL)) give_up("make", run_work);
  // What the options of whoever runs the tests say must not show in the programs' output.
  SetEnvironmentVariableW(L"MIMALLOC_SHOW_STATS", NULL);
  SetEnvironmentVariableW(L"MIMALLOC_VERBOSE", NULL);
}

const wchar_t* run_built(const wchar_t* name) {
  wchar_t* text = next_text();
  swprintf(text, 2 * MAX_PATH, L"%ls\\%ls", folder_of_tests, name);
  return text;
}

const wchar_t* file_path(const wchar_t* name) {
  wchar_t* text = next_text();
  swprintf(text, 2 * MAX_PATH, L"%ls\\%ls", run_work, name);
  for (wchar_t* at = text + wcslen(run_work) + 1; (at = wcschr(at, L'\\')) != NULL; at++) {
    *at = 0;
    CreateDirectoryW(text, NULL);
    *at = L'\\';
  }
  return text;
}

const wchar_t* file_copy(const wchar_t* from, const wchar_t* name) {
  const wchar_t* to = file_path(name);
  if (!CopyFileW(from, to, FALSE)) give_up("copy to", to);
  return to;
}

const wchar_t* file_write(const wchar_t* name, const void* bytes, size_t size) {
  const wchar_t* path = file_path(name);
  DWORD written;
  HANDLE file = CreateFileW(path, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
  if (file == INVALID_HANDLE_VALUE || (size > 0 && !WriteFile(file, bytes, (DWORD)size, &written, NULL))) {
    give_up("write", path);
  }
  CloseHandle(file);
  return path;
}

file_bytes_t file_read(const wchar_t* path) {
  DWORD length;
  HANDLE file =
      CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
  if (file == INVALID_HANDLE_VALUE) give_up("open", path);
  file_bytes_t read = {.size = GetFileSize(file, NULL)};
  read.bytes = malloc(read.size + 1);
  if (!ReadFile(file, read.bytes, (DWORD)read.size, &length, NULL) || length != read.size)
    give_up("read", path);
  CloseHandle(file);
  return read;
}

void pe_set16(uint8_t* at, uint32_t value) {
  at[0] = (uint8_t)value;
  at[1] = (uint8_t)(value >> 8);
}

void pe_set32(uint8_t* at, uint32_t value) {
  pe_set16(at, value & 0xFFFF);
  pe_set16(at + 2, value >> 16);
}

uint8_t* pe_header(file_bytes_t file) {
  uint8_t* at = file.bytes + file.bytes[0x3C] + (file.bytes[0x3D] << 8);
  if (memcmp(at, "PE\0\0", 4) != 0) give_up("find", L"the PE header");
  return at;
}

uint8_t* pe_directory(file_bytes_t file, int index) {
  uint8_t* optional = pe_header(file) + 24;
  return optional + (optional[1] == 2 ? 112 : 96) + 8 * index;
}

void pe_rename(file_bytes_t file, const char* from, const char* to) {
  size_t length = strlen(from) + 1;
  bool found = false;
  for (size_t i = 0; i + length <= file.size; i++) {
    if (memcmp(file.bytes + i, from, length) == 0) {
      memcpy(file.bytes + i, to, length);
      found = true;
    }
  }
  if (!found || strlen(to) + 1 != length) {
    printf("no '%s' to rename\n", from);
    exit(99);
  }
}
