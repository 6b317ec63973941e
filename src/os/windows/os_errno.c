// errno of the C runtimes. There is no saying which of them the caller was built with, so all get the code.
#include "os/os.h"
#include "base/atomics.h"
#include "crt_modules.h"
#include <windows.h>

typedef int* __cdecl errno_address_t(void);

// Threads that are setting errno. A runtime may have to allocate what holds it, by functions that
// lead to us: without memory, that would go on for ever.
static uint32_t setters[64];

// The thread's place in the list; NULL when it is there already, or when there is no room.
static uint32_t* enter(void) {
  uint32_t self = GetCurrentThreadId();
  enum { COUNT = sizeof(setters) / sizeof(setters[0]) };
  for (size_t i = 0; i < COUNT; i++) {
    if (atomic_get_relaxed(&setters[i]) == self) return NULL;
  }
  for (size_t i = 0; i < COUNT; i++) {
    uint32_t nobody = 0;
    if (atomic_cas_acq_rel(&setters[i], &nobody, self)) return &setters[i];
  }
  return NULL;
}

void os_set_errno(int code) {
  if (os_is_exiting()) return; // nobody will look, and a runtime may already have given its thread data up
  uint32_t* place = enter();
  if (place == NULL) return;
  crt_modules_find_new();
  for (size_t i = 0; i < crt_modules_count(); i++) {
    if (!crt_modules_is_known(i)) continue;
    errno_address_t* errno_address = (errno_address_t*)crt_modules_function(i, CRT_ERRNO);
    if (errno_address == NULL) continue;
    int* address = errno_address();
    if (address != NULL) *address = code;
  }
  atomic_set_release(place, 0u);
}
