// The part of MSVC's runtime that is linked into every program, as far as test_msvc.py needs it: entry, initializers,
// TLS directory, atexit. The rest is in DLLs, which have import libraries made from lists of names.
#include <stddef.h>

__declspec(dllimport) void exit(int code);
__declspec(dllimport) int _crt_atexit(void(__cdecl* function)(void));
int main(void);

typedef void(__cdecl* initializer_t)(void);
#define IN_SECTION(name) __attribute__((section(name), used))
IN_SECTION(".CRT$XCA") static const initializer_t initializers[1] = {NULL};
IN_SECTION(".CRT$XCZ") static const initializer_t initializers_end[1] = {NULL};

IN_SECTION(".CRT$XLA") static const void* const callbacks[1] = {NULL};
IN_SECTION(".CRT$XLZ") static const void* const callbacks_end[1] = {NULL};
unsigned long _tls_index;
static char tls_data[8];
const struct {
  const void *start, *end, *index, *callbacks;
  unsigned long zeros, flags;
} _tls_used = {tls_data, tls_data + 8, &_tls_index, callbacks + 1, 0, 0};

int atexit(void(__cdecl* function)(void)) { return _crt_atexit(function); }

void mainCRTStartup(void) {
  const initializer_t* end = initializers_end;
  for (const initializer_t* at = initializers + 1; at < end; at++) {
    if (*at != NULL) (*at)();
  }
  exit(main());
}
