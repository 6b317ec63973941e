// A program that imports nothing. Its exit code: 40 plus how many DLLs were initialised before mimalloc.dll;
// 1 when that is not there.
#include "loader_list.h"

int entry(void);

int entry(void) {
  static const wchar_t wanted[] = L"mimalloc.dll";
  const wchar_t* names[32];
  int count = loader_list_initialised(names, 32);
  for (int i = 0; i < count; i++) {
    int at = 0;
    while (wanted[at] != 0 && (names[i][at] | 0x20) == (wanted[at] | 0x20)) at++;
    if (wanted[at] == 0 && names[i][at] == 0) return 40 + i;
  }
  return 1;
}
