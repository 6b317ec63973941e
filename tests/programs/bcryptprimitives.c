// Stands in for a DLL that Wine 8 lacks and libvips-42.dll imports. The numbers are the same in each run, so that the tests'
// outputs can be compared; nothing secret hangs on them.
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length);

BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length) {
  static volatile LONG calls;
  unsigned state = (unsigned)InterlockedIncrement(&calls) * 2654435761u;
  for (SIZE_T i = 0; i < length; i++) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    data[i] = (BYTE)state;
  }
  return TRUE;
}
