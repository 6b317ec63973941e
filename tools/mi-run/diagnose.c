#include "diagnose.h"

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

static wchar_t* report_path; // NULL: none
static bool is_temporary;
static wchar_t* reader; // mi-report.exe; NULL: it isn't beside us

static wchar_t* temporary_path(void) {
  wchar_t folder[MAX_PATH + 1];
  wchar_t* name = malloc((MAX_PATH + 1) * sizeof(wchar_t));
  if (name == NULL || GetTempPathW(MAX_PATH + 1, folder) == 0 ||
      GetTempFileNameW(folder, L"mir", 0, name) == 0)
    return NULL;
  return name;
}

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
  if (report_path == NULL) {
    report_error(L"there is no place for the report: %ls", report_reason(GetLastError()));
    report_remedy(L"name a file with --report");
    return EXIT_OWN_ERROR;
  }
  // Now: the program has not run in vain then.
  HANDLE file = CreateFileW(report_path, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
  if (file == INVALID_HANDLE_VALUE) {
    report_error(L"'%ls' can't be written: %ls", report_path, report_reason(GetLastError()));
    report_remedy(L"name another file with --report");
    return EXIT_OWN_ERROR;
  }
  CloseHandle(file);
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
  if (report_path != NULL && is_temporary) DeleteFileW(report_path);
}

static bool is_empty(const wchar_t* path) {
  WIN32_FILE_ATTRIBUTE_DATA data;
  return !GetFileAttributesExW(path, GetFileExInfoStandard, &data) ||
         (data.nFileSizeHigh == 0 && data.nFileSizeLow == 0);
}

static void show(void) {
  wchar_t line[2 * 32768];
  STARTUPINFOW startup = {.cb = sizeof(startup),
                          .dwFlags = STARTF_USESTDHANDLES,
                          .hStdOutput =
                              GetStdHandle(STD_ERROR_HANDLE), // beside what the program printed there
                          .hStdError = GetStdHandle(STD_ERROR_HANDLE)};
  PROCESS_INFORMATION created;
  swprintf(line, sizeof(line) / sizeof(line[0]), L"\"%ls\" \"%ls\"", reader, report_path);
  if (!CreateProcessW(reader, line, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &created)) {
    report_warning(L"'%ls' can't be started: %ls; the report is in '%ls'", reader,
                   report_reason(GetLastError()), report_path);
    is_temporary = false;
    return;
  }
  WaitForSingleObject(created.hProcess, INFINITE);
  CloseHandle(created.hThread);
  CloseHandle(created.hProcess);
}

void diagnose_end(const options_t* options) {
  if (options->record == RECORD_NOTHING) return;
  if (is_empty(report_path)) {
    report_warning(
        L"the program left no report: it ended without telling (TerminateProcess), or could not record");
  } else if (reader != NULL) {
    diagnose_forget();
    show();
  }
  if (is_temporary)
    DeleteFileW(report_path);
  else
    report_note(L"the report is in '%ls'", report_path);
}
