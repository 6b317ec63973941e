// A DLL that imports malloc and free of a fake runtime (fake_crt.c), and nothing of any other.
#define _CRTIMP // the headers must not think that these functions come from another DLL
#include <stddef.h>
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

__declspec(dllimport) void* malloc(size_t size);
__declspec(dllimport) void free(void* block);
__declspec(dllimport) char* _strdup(const char* text);

__declspec(dllexport) void* user_malloc(size_t size) {
  void* volatile block = malloc(size); // not a tail call: the return address must lie in this DLL
  return block;
}
__declspec(dllexport) void user_free(void* block) { free(block); }
__declspec(dllexport) char* user_strdup(const char* text) { return _strdup(text); }
__declspec(dllexport) void* user_lookup(HMODULE module, const char* name) {
  return (void*)(UINT_PTR)GetProcAddress(module, name);
}

BOOL WINAPI user_entry(HINSTANCE module, DWORD reason, LPVOID reserved);
BOOL WINAPI user_entry(HINSTANCE module, DWORD reason, LPVOID reserved) {
  (void)module, (void)reason, (void)reserved;
  return TRUE;
}
