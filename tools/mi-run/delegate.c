#include "delegate.h"

#include <stdlib.h>

#include "child.h"
#include "command_line.h"
#include "exit_codes.h"
#include "paths.h"
#include "report.h"

const wchar_t* delegate_path(void) {
  const wchar_t* path = path_beside_self(sizeof(void*) == 8 ? L"mi-run32.exe" : L"mi-run64.exe");
  if (path == NULL) return NULL;
  DWORD attributes = GetFileAttributesW(path);
  return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) == 0 ? path : NULL;
}

const wchar_t* delegate_own_arguments(void) { return command_line_arguments(GetCommandLineW()); }

int delegate_run(const wchar_t* path, const wchar_t* arguments) {
  static const wchar_t form[] = L"\"%ls\" --delegated %ls";
  size_t room = wcslen(form) + wcslen(path) + wcslen(arguments);
  wchar_t* line = malloc(room * sizeof(wchar_t));
  child_t child;
  if (line == NULL) {
    report_error(L"out of memory");
    report_remedy(L"close other programs");
    return EXIT_OWN_ERROR;
  }
  swprintf(line, room, form, path, arguments);
  report_note(L"'%ls' takes over: the program has another number of bits than this mi-run", path);
  int failed = child_start(path, line, &child);
  free(line);
  if (failed) return failed;
  return (int)child_wait(&child);
}
