// Stands in for a C++ runtime DLL: what it is asked for can be seen from outside. STANDIN says for which:
//
//   1  libstdc++-6.dll
//   2  msvcp140d.dll, which keeps no new-handler
//   3  ucrtbased.dll, which does
//
// Instead of throwing they raise exceptions of their own.
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

void standin_throw(void);
void standin_throw(void) { RaiseException(0xE0000000 + STANDIN, 0, 0, NULL); }

typedef void new_handler_t(void);
int standin_handler_calls;
static void handler(void) { standin_handler_calls++; }
new_handler_t* standin_get_new_handler(void);
new_handler_t* standin_get_new_handler(void) { return standin_handler_calls < 3 ? handler : NULL; }

int standin_callnewh(size_t size);
int standin_callnewh(size_t size) { return size > 0 && ++standin_handler_calls < 4; }

int standin_mark(void); // for those that are to import something
int standin_mark(void) { return 1; }

BOOL WINAPI standin_entry(HINSTANCE module, DWORD reason, LPVOID reserved);
BOOL WINAPI standin_entry(HINSTANCE module, DWORD reason, LPVOID reserved) {
  (void)module, (void)reason, (void)reserved;
  return TRUE;
}
