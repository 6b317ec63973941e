// errno of the C runtimes. There is no saying which of them the caller was built with, so all get the code.
#include "os/os.h"
#include "crt_modules.h"

typedef int* __cdecl errno_address_t(void);

void os_set_errno(int code) {
  if (os_is_exiting()) return; // nobody will look, and a runtime may already have given its thread data up
  crt_modules_find_new();
  for (size_t i = 0; i < crt_modules_count(); i++) {
    if (!crt_modules_is_known(i)) continue;
    errno_address_t* errno_address = (errno_address_t*)crt_modules_function(i, CRT_ERRNO);
    if (errno_address == NULL) continue;
    int* address = errno_address();
    if (address != NULL) *address = code;
  }
}
