// A DLL in mimalloc.dll's place that needs no C runtime and tells in which state it found the process.
#include <windows.h>

BOOL WINAPI tiny_entry(HINSTANCE module, DWORD reason, LPVOID reserved);

static int crt_was_there;

__declspec(dllexport) int mi_version(void) { return crt_was_there; }

BOOL WINAPI tiny_entry(HINSTANCE module, DWORD reason, LPVOID reserved) {
  (void)module;
  (void)reserved;
  static const char text_with[] = "tiny: the C runtime was there before\n",
                    text_without[] = "tiny: no C runtime yet\n";
  if (reason == DLL_PROCESS_ATTACH) {
    DWORD written;
    crt_was_there = GetModuleHandleA("msvcrt.dll") != NULL;
    WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), crt_was_there ? text_with : text_without,
              crt_was_there ? sizeof(text_with) - 1 : sizeof(text_without) - 1, &written, NULL);
  }
  return TRUE;
}
