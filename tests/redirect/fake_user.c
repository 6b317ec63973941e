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

// Where an import lies. The first and the last one are far apart in the table, with the others between them.
#define SLOT(name) extern void* __MINGW_IMP_SYMBOL(name)
SLOT(GetProcAddress);
SLOT(_aligned_malloc);
SLOT(_expand);
SLOT(_msize);
SLOT(calloc);
SLOT(realloc);
__declspec(dllexport) void** user_slot(unsigned which) {
  switch (which) {
  case 0:
    return &__MINGW_IMP_SYMBOL(GetProcAddress);
  case 1:
    return &__MINGW_IMP_SYMBOL(_aligned_malloc);
  case 2:
    return &__MINGW_IMP_SYMBOL(_expand);
  case 3:
    return &__MINGW_IMP_SYMBOL(_msize);
  case 4:
    return &__MINGW_IMP_SYMBOL(calloc);
  default:
    return &__MINGW_IMP_SYMBOL(realloc);
  }
}

BOOL WINAPI user_entry(HINSTANCE module, DWORD reason, LPVOID reserved);
BOOL WINAPI user_entry(HINSTANCE module, DWORD reason, LPVOID reserved) {
  (void)module, (void)reason, (void)reserved;
  return TRUE;
}
