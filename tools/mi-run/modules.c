#include "modules.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <tlhelp32.h>

#include "paths.h"

// The list changes while it is read; Windows says so with these two and asks to try again.
static HANDLE snapshot(uint32_t pid) {
  HANDLE list;
  int tries = 0;
  do {
    list = CreateToolhelp32Snapshot(TH32CS_SNAPMODULE, pid);
  } while (list == INVALID_HANDLE_VALUE && ++tries < 100 &&
           (GetLastError() == ERROR_BAD_LENGTH || GetLastError() == ERROR_PARTIAL_COPY));
  return list;
}

modules_found_t modules_find(uint32_t pid, const wchar_t* dll) {
  modules_found_t found = {0};
  HANDLE list = snapshot(pid);
  if (list == INVALID_HANDLE_VALUE) {
    found.error = GetLastError();
    return found;
  }
  const wchar_t* name = path_file_name(dll);
  MODULEENTRY32W module = {.dwSize = sizeof(module)};
  // By name first; the DLL may also be there under a short name that the file system made up.
  for (int by_name = 1; by_name >= 0 && !found.ours; by_name--) {
    for (BOOL more = Module32FirstW(list, &module); more; more = Module32NextW(list, &module)) {
      bool same_name = _wcsicmp(module.szModule, name) == 0;
      if (by_name && !same_name) continue;
      // A path that fills the field was cut off, so the name must do.
      if (path_same_file(module.szExePath, dll) || (same_name && wcslen(module.szExePath) >= MAX_PATH - 1)) {
        found.ours = true;
        found.base = (uintptr_t)module.modBaseAddr;
      } else if (by_name && found.other == NULL) {
        found.other = _wcsdup(module.szExePath);
      }
    }
  }
  CloseHandle(list);
  return found;
}

processes_found_t processes_find(const wchar_t* name) {
  processes_found_t found = {0};
  PROCESSENTRY32W process = {.dwSize = sizeof(process)};
  size_t length = wcslen(name);
  HANDLE list = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
  if (list == INVALID_HANDLE_VALUE) return found;
  for (BOOL more = Process32FirstW(list, &process); more; more = Process32NextW(list, &process)) {
    const wchar_t* file = process.szExeFile;
    bool is_it =
        _wcsnicmp(file, name, length) == 0 && (file[length] == 0 || _wcsicmp(file + length, L".exe") == 0);
    if (!is_it || process.th32ProcessID == GetCurrentProcessId()) continue;
    if (found.count < PROCESSES_SHOWN) found.pids[found.count] = process.th32ProcessID;
    found.count++;
  }
  CloseHandle(list);
  return found;
}
