// A program without a C++ runtime of its own calls mi_new where there is no memory, with stand-ins for C++ runtime DLLs
// in the process, or none. Built with -DIMPORTS it imports from msvcp140d.dll, the stand-in beside it.
//
//   program none           no C++ runtime, or the one that is imported
//   program gnu DLL        DLL, copied under the name of libstdc++-6.dll, is loaded
//   program crt            ucrtbased.dll, the stand-in, is loaded
//   program microsoft      msvcp140.dll is loaded, Wine's or Windows' own
//
// Prints what was raised, "gnu", "microsoft-standin" or "microsoft", and how often a new-handler was called. When
// nothing is raised, the process is ended by the DLL.
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <windows.h>

#include <mimalloc.h>

#if defined(IMPORTS)
__declspec(dllimport) int standin_mark(void);
#endif

static volatile int* handler_calls;

static LONG WINAPI on_exception(EXCEPTION_POINTERS* pointers) {
  const char* name;
  switch (pointers->ExceptionRecord->ExceptionCode) {
  case 0xE0000001:
    name = "gnu";
    break;
  case 0xE0000002:
    name = "microsoft-standin";
    break;
  case 0xE06D7363:
    name = "microsoft";
    break; // as Microsoft's C++ exceptions have it
  default:
    return EXCEPTION_CONTINUE_SEARCH;
  }
  printf("%s %d\n", name, handler_calls == NULL ? 0 : *handler_calls);
  fflush(stdout);
  TerminateProcess(GetCurrentProcess(), 0);
  return EXCEPTION_CONTINUE_SEARCH;
}

// `file` lies beside the program.
static HMODULE load_as(const char* file, const char* name) {
  char folder[MAX_PATH], path[2 * MAX_PATH], source[2 * MAX_PATH];
  GetModuleFileNameA(NULL, source, MAX_PATH);
  snprintf(strrchr(source, '\\') + 1, MAX_PATH, "%s", file);
  if (GetTempPathA(sizeof(folder), folder) == 0) return NULL;
  snprintf(path, sizeof(path), "%smi-standin-%lu", folder, GetCurrentProcessId());
  CreateDirectoryA(path, NULL);
  strncat(path, "\\", 2);
  strncat(path, name, MAX_PATH - 1);
  return CopyFileA(source, path, FALSE) ? LoadLibraryA(path) : NULL;
}

int main(int count, char** arguments) {
  const char* mode = count > 1 ? arguments[1] : "";
  AddVectoredExceptionHandler(1, on_exception);
#if defined(IMPORTS)
  if (standin_mark() != 1) return 100;
#endif
  if (strcmp(mode, "gnu") == 0 && count == 3) {
    HMODULE standin = load_as(arguments[2], "libstdc++-6.dll");
    handler_calls = standin == NULL ? NULL : (int*)(void*)GetProcAddress(standin, "standin_handler_calls");
    if (handler_calls == NULL) return 101;
  } else if (strcmp(mode, "microsoft") == 0) {
    if (LoadLibraryA("msvcp140.dll") == NULL) return 102;
  } else if (strcmp(mode, "crt") == 0) {
    HMODULE standin = LoadLibraryA("ucrtbased.dll");
    handler_calls = standin == NULL ? NULL : (int*)(void*)GetProcAddress(standin, "standin_handler_calls");
    if (handler_calls == NULL) return 103;
  } else if (strcmp(mode, "none") != 0) {
    return 104;
  }
  volatile size_t size = (size_t)PTRDIFF_MAX - 4096;
  if (mi_new_nothrow(size) != NULL) return 105;
  if (handler_calls != NULL) *handler_calls = 0;
  printf("%p\n", mi_new(size));
  return 106;
}
