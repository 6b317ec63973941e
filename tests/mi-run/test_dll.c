// DLLs that take mimalloc's place, each with something wrong; what, the compiler is told:
//   REFUSES  its start-up code returns FALSE
//   HANGS    its start-up code waits for the event that MI_RUN_HANG names
//   NAMELESS it does not export mi_version
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#if defined(NAMELESS)
__declspec(dllexport) int some_version(void);
__declspec(dllexport) int some_version(void) { return 1; }
#else
__declspec(dllexport) int mi_version(void);
__declspec(dllexport) int mi_version(void) { return 1; }
#endif

BOOL WINAPI DllMain(HINSTANCE module, DWORD reason, LPVOID reserved);
BOOL WINAPI DllMain(HINSTANCE module, DWORD reason, LPVOID reserved) {
  (void)module;
  (void)reserved;
  if (reason != DLL_PROCESS_ATTACH) return TRUE;
#if defined(REFUSES)
  return FALSE;
#elif defined(HANGS)
  wchar_t name[64];
  GetEnvironmentVariableW(L"MI_RUN_HANG", name, 64);
  WaitForSingleObject(CreateEventW(NULL, TRUE, FALSE, name), 60000);
#endif
  return TRUE;
}
