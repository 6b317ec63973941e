// A number below CELLS for the calling thread. Threads have one in common when there are more of them, or by chance.
#ifndef DLL_RECORD_CELL_H
#define DLL_RECORD_CELL_H

#include "teb.h"

#define CELLS 64u

MI_INLINE uint32_t cell_of_thread(void) {
  uint32_t teb = (uint32_t)((uintptr_t)teb_read(TEB_SELF) >> 12);
  return teb * 0x9E3779B1u >> 26;
}

#endif
