#include "diagnose.h"

#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "exit_codes.h"
#include "paths.h"
#include "report.h"

static const wchar_t* const variables[] = {[RECORD_NOTHING] = NULL,
                                           [RECORD_LEAKS] = L"MIMALLOC_LEAKS",
                                           [RECORD_PROFILE] = L"MIMALLOC_PROFILE",
                                           [RECORD_CHECK] = L"MIMALLOC_CHECK"};

enum { FOLLOWED_MOST = 1000 }; // reports of followed processes that are shown

static wchar_t* report_path; // with "%p" if each process has its own; NULL: none
static wchar_t* placeholder; // of that name without "%p", while the name is ours; NULL: none
static bool is_temporary;
static wchar_t* reader;  // mi-report.exe; NULL: it isn't beside us
static FILETIME started; // what is older was there before
static uint32_t followed[FOLLOWED_MOST];
static size_t followed_count;

// ---- names of reports -------------------------------------------------------------------------------------

static wchar_t* temporary_path(void) {
  wchar_t folder[MAX_PATH + 1];
  wchar_t* name = malloc((MAX_PATH + 1) * sizeof(wchar_t));
  if (name == NULL || GetTempPathW(MAX_PATH + 1, folder) == 0 ||
      GetTempFileNameW(folder, L"mir", 0, name) == 0)
    return NULL;
  return name;
}

static wchar_t* insert(const wchar_t* path, size_t at, size_t skipped, const wchar_t* text) {
  size_t room = wcslen(path) + wcslen(text) + 1;
  wchar_t* made = malloc(room * sizeof(wchar_t));
  if (made != NULL) swprintf(made, room, L"%.*ls%ls%ls", (int)at, path, text, path + at + skipped);
  return made;
}

// "folder\\r.json" becomes "folder\\r.%p.json".
static wchar_t* path_of_each(const wchar_t* path) {
  if (wcsstr(path, L"%p") != NULL) return insert(path, 0, 0, L"");
  const wchar_t* dot = wcsrchr(path_file_name(path), L'.');
  return insert(path, dot == NULL ? wcslen(path) : (size_t)(dot - path), 0, L".%p");
}

// As mimalloc.dll makes it: the process's number in the place of "%p". NULL: memory is short.
static wchar_t* path_of(const wchar_t* text) {
  const wchar_t* place = wcsstr(report_path, L"%p");
  return place == NULL ? insert(report_path, 0, 0, L"")
                       : insert(report_path, (size_t)(place - report_path), 2, text);
}

static wchar_t* path_of_process(uint32_t pid) {
  wchar_t digits[16];
  swprintf(digits, 16, L"%u", pid);
  return path_of(digits);
}

void diagnose_announce(uint32_t pid) {
  static wchar_t path[4096];
  DWORD length = GetEnvironmentVariableW(L"MIMALLOC_REPORT", path, 4096);
  if (length == 0 || length >= 4096 || wcsstr(path, L"%p") == NULL) return;
  report_path = path;
  wchar_t* own = path_of_process(pid);
  HANDLE file = own == NULL ? INVALID_HANDLE_VALUE
                            : CreateFileW(own, GENERIC_WRITE, FILE_SHARE_READ, NULL, CREATE_ALWAYS,
                                          FILE_ATTRIBUTE_NORMAL, NULL);
  if (file != INVALID_HANDLE_VALUE) CloseHandle(file); // else the process itself will say so
}

// ---- before -----------------------------------------------------------------------------------------------

void diagnose_forget(void) {
  for (size_t i = 1; i < sizeof(variables) / sizeof(variables[0]); i++)
    SetEnvironmentVariableW(variables[i], NULL);
  SetEnvironmentVariableW(L"MIMALLOC_REPORT", NULL);
}

int diagnose_begin(const options_t* options) {
  if (options->record == RECORD_NOTHING) return EXIT_DONE;
  reader = path_beside_self(L"mi-report.exe");
  if (reader != NULL && GetFileAttributesW(reader) == INVALID_FILE_ATTRIBUTES) reader = NULL;
  is_temporary = options->report == NULL;
  report_path = is_temporary ? temporary_path() : path_absolute(options->report);
  wchar_t* probed = report_path;
  if (report_path != NULL && options->follow) {
    if (is_temporary) placeholder = report_path;
    report_path = path_of_each(report_path);
  }
  if (report_path != NULL && !is_temporary) probed = path_of_process(GetCurrentProcessId());
  if (report_path == NULL || probed == NULL) {
    report_error(L"there is no place for the report: %ls", report_reason(GetLastError()));
    report_remedy(L"name a file with --report");
    return EXIT_OWN_ERROR;
  }
  // Now: the program has not run in vain then.
  HANDLE file = CreateFileW(probed, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
  if (file == INVALID_HANDLE_VALUE) {
    report_error(L"'%ls' can't be written: %ls", probed, report_reason(GetLastError()));
    report_remedy(L"name another file with --report");
    return EXIT_OWN_ERROR;
  }
  if (GetFileType(file) != FILE_TYPE_DISK) {
    CloseHandle(file);
    report_error(L"'%ls' is a device, which can't keep the report", options->report);
    report_remedy(L"name a file with --report, or leave it out: the report is printed anyway");
    return EXIT_OWN_ERROR;
  }
  GetFileTime(file, NULL, NULL, &started); // by the clock of that disk
  CloseHandle(file);
  if (wcscmp(probed, report_path) != 0) DeleteFileW(probed);
  diagnose_forget(); // another mode that our own environment asks for
  SetEnvironmentVariableW(variables[options->record], L"1");
  if (options->exact) SetEnvironmentVariableW(L"MIMALLOC_CHECK_EXACT", L"1");
  SetEnvironmentVariableW(L"MIMALLOC_REPORT", report_path);
  SetEnvironmentVariableW(L"MIMALLOC_REPORT_TEXT", reader != NULL ? L"0" : NULL);
  if (reader == NULL)
    report_note(L"mi-report.exe is not beside mi-run: the DLL's own text has no functions and lines");
  return EXIT_DONE;
}

void diagnose_abandon(void) {
  if (report_path != NULL && is_temporary) DeleteFileW(placeholder != NULL ? placeholder : report_path);
}

// ---- afterwards -------------------------------------------------------------------------------------------

static bool is_empty(const wchar_t* path) {
  WIN32_FILE_ATTRIBUTE_DATA data;
  return !GetFileAttributesExW(path, GetFileExInfoStandard, &data) ||
         (data.nFileSizeHigh == 0 && data.nFileSizeLow == 0);
}

// The number in the file's name where report_path has "%p"; 0: it is another file.
static uint32_t process_of(const wchar_t* name, const wchar_t* wanted) {
  const wchar_t* place = wcsstr(wanted, L"%p");
  size_t before = (size_t)(place - wanted);
  if (_wcsnicmp(name, wanted, before) != 0 || name[before] < L'1' || name[before] > L'9') return 0;
  wchar_t* end;
  unsigned long pid = wcstoul(name + before, &end, 10);
  return _wcsicmp(end, place + 2) == 0 ? (uint32_t)pid : 0;
}

static void find_followed(uint32_t own) {
  WIN32_FIND_DATAW found;
  wchar_t* pattern = path_of(L"*");
  const wchar_t* wanted = path_file_name(report_path);
  if (pattern == NULL || wcsstr(wanted, L"%p") == NULL) return; // "%p" in a folder's name: nobody can tell
  HANDLE search = FindFirstFileW(pattern, &found);
  if (search == INVALID_HANDLE_VALUE) return;
  do {
    uint32_t pid = process_of(found.cFileName, wanted);
    if (pid == 0 || pid == own || CompareFileTime(&found.ftLastWriteTime, &started) < 0) continue;
    if (followed_count < FOLLOWED_MOST) followed[followed_count++] = pid;
  } while (FindNextFileW(search, &found));
  FindClose(search);
}

// False: it could not be shown.
static bool show(const wchar_t* path, bool has_title) {
  wchar_t line[2 * 32768];
  STARTUPINFOW startup = {.cb = sizeof(startup),
                          .dwFlags = STARTF_USESTDHANDLES,
                          .hStdOutput =
                              GetStdHandle(STD_ERROR_HANDLE), // beside what the program printed there
                          .hStdError = GetStdHandle(STD_ERROR_HANDLE)};
  PROCESS_INFORMATION created;
  swprintf(line, sizeof(line) / sizeof(line[0]), L"\"%ls\" %ls\"%ls\"", reader, has_title ? L"--title " : L"",
           path);
  if (!CreateProcessW(reader, line, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &created)) {
    report_warning(L"'%ls' can't be started: %ls; the report is in '%ls'", reader,
                   report_reason(GetLastError()), path);
    return false;
  }
  WaitForSingleObject(created.hProcess, INFINITE);
  CloseHandle(created.hThread);
  CloseHandle(created.hProcess);
  return true;
}

static bool is_running(uint32_t pid) {
  HANDLE process = OpenProcess(SYNCHRONIZE, FALSE, pid);
  bool runs = process != NULL && WaitForSingleObject(process, 0) == WAIT_TIMEOUT;
  if (process != NULL) CloseHandle(process);
  return runs;
}

#define LOST                                                                                                 \
  L"it ended without telling (TerminateProcess, fail-fast), or could not record, which the DLL says"

static void end_one(uint32_t pid, uint32_t code, bool is_followed, bool has_title) {
  wchar_t* path = path_of_process(pid);
  if (path == NULL) return;
  bool is_kept = !is_temporary;
  if (is_empty(path) && is_followed && is_running(pid)) {
    report_warning(L"process %u, which was followed, still runs: at its end, its report will be in '%ls'",
                   pid, path);
    is_kept = true;
  } else if (is_empty(path) && is_followed) {
    report_warning(L"process %u, which was followed, left no report: " LOST, pid);
  } else if (is_empty(path)) {
    report_warning(L"the program left no report: " LOST L"; its exit code is 0x%x", code);
  } else if (reader != NULL && !show(path, has_title)) {
    is_kept = true;
  }
  if (is_kept)
    report_note(L"the report is in '%ls'", path);
  else
    DeleteFileW(path);
  free(path);
}

void diagnose_end(const options_t* options, uint32_t pid, uint32_t code) {
  if (options->record == RECORD_NOTHING) return;
  if (options->follow) find_followed(pid);
  if (placeholder != NULL) DeleteFileW(placeholder);
  diagnose_forget();
  end_one(pid, code, false, followed_count > 0);
  for (size_t i = 0; i < followed_count; i++) end_one(followed[i], 0, true, true);
  if (followed_count == FOLLOWED_MOST)
    report_warning(L"%u processes were followed, at least: not all of their reports are shown",
                   FOLLOWED_MOST);
}
