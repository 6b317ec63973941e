#include "remote.h"

void* remote_string(HANDLE process, const wchar_t* text) {
  size_t bytes = (wcslen(text) + 1) * sizeof(wchar_t);
  void* memory = VirtualAllocEx(process, NULL, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  if (memory == NULL) return NULL;
  SIZE_T written;
  if (WriteProcessMemory(process, memory, text, bytes, &written)) return memory;
  DWORD error = GetLastError();
  remote_free(process, memory);
  SetLastError(error);
  return NULL;
}

void remote_free(HANDLE process, void* memory) { VirtualFreeEx(process, memory, 0, MEM_RELEASE); }

FARPROC remote_function(const char* name) { return GetProcAddress(GetModuleHandleW(L"kernel32"), name); }

remote_load_t remote_load(HANDLE process, const wchar_t* dll, uint32_t timeout_s) {
  void* path = remote_string(process, dll);
  if (path == NULL) return REMOTE_ERROR;
  union {
    FARPROC found;
    LPTHREAD_START_ROUTINE start;
  } load = {.found = remote_function("LoadLibraryW")};
  HANDLE thread = CreateRemoteThread(process, NULL, 0, load.start, path, 0, NULL);
  if (thread == NULL) {
    DWORD error = GetLastError();
    remote_free(process, path);
    SetLastError(error);
    return REMOTE_ERROR;
  }
  HANDLE ends[2] = {process, thread};
  DWORD which = WaitForMultipleObjects(2, ends, FALSE, timeout_s == 0 ? INFINITE : timeout_s * 1000);
  remote_load_t result;
  DWORD code;
  if (which == WAIT_TIMEOUT) {
    result = REMOTE_TIMED_OUT; // the thread still needs the string
  } else if (which == WAIT_OBJECT_0) {
    result = REMOTE_ENDED;
  } else if (which == WAIT_OBJECT_0 + 1 && GetExitCodeThread(thread, &code)) {
    remote_free(process, path);
    // The lower half of the address where the DLL lies now. It is zero for one place in 65536 of a 64-bit
    // process; the caller looks at the list of modules in either case.
    result = code != 0 ? REMOTE_LOADED : REMOTE_REFUSED;
  } else {
    result = REMOTE_ERROR;
  }
  DWORD error = GetLastError();
  CloseHandle(thread);
  SetLastError(error);
  return result;
}
