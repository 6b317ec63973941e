// A DLL that imports operator new and delete of msvcr120.dll, and nothing of any other runtime.
#include <stddef.h>
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

// The assembler doesn't like the runtime's names for them: the import library translates.
__declspec(dllimport) void* operator_new(size_t size);
__declspec(dllimport) void operator_delete(void* block);

__declspec(dllexport) void* new_user_new(size_t size) {
  void* volatile block = operator_new(size); // not a tail call: the return address must lie in this DLL
  return block;
}
__declspec(dllexport) void new_user_delete(void* block) { operator_delete(block); }

BOOL WINAPI user_entry(HINSTANCE module, DWORD reason, LPVOID reserved);
BOOL WINAPI user_entry(HINSTANCE module, DWORD reason, LPVOID reserved) {
  (void)module, (void)reason, (void)reserved;
  return TRUE;
}
