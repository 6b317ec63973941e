// The C++ runtime that the program is linked with, if it is. These names are the same in GCC's and Clang's
// runtimes.
#include "os/os.h"

typedef void new_handler_t(void);
extern new_handler_t* _ZSt15get_new_handlerv(void) __attribute__((weak));
extern void _ZSt17__throw_bad_allocv(void) __attribute__((weak));

bool os_cxx_call_new_handler(const void* caller, size_t size) {
  MI_UNUSED(caller);
  MI_UNUSED(size);
  new_handler_t* handler = _ZSt15get_new_handlerv == NULL ? NULL : _ZSt15get_new_handlerv();
  if (handler != NULL) handler();
  return handler != NULL;
}

void os_cxx_throw_bad_alloc(const void* caller) {
  MI_UNUSED(caller);
  if (_ZSt17__throw_bad_allocv != NULL) _ZSt17__throw_bad_allocv();
}
