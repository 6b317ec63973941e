// The bell of the static library: a TLS callback, which the loader calls like a DllMain for the module we are
// linked into, exe or DLL. Survives -flto and --gc-sections because of `used`; is pulled out of the archive
// with whatever calls os_bell_init.
#include "os/os.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <stdlib.h>

static os_bell_hooks_t bell;

static void NTAPI on_tls_event(PVOID module, DWORD reason, PVOID reserved) {
  MI_UNUSED(module);
  MI_UNUSED(reserved); // always NULL here: only DllMain can tell exit from unload
  if (reason == DLL_THREAD_DETACH && bell.thread_exit != NULL) bell.thread_exit();
}

// The linker sorts .CRT$XL* between the start and end marks of the runtime's callback table.
__attribute__((section(".CRT$XLB"), used)) static const PIMAGE_TLS_CALLBACK tls_callback = &on_tls_event;

static void on_exit(void) {
  if (bell.process_exit != NULL) bell.process_exit();
}

void os_bell_init(const os_bell_hooks_t* hooks) {
  bell = *hooks;
  // Not every system delivers the process detach to an exe's TLS callbacks.
  atexit(&on_exit);
}

void os_bell_arm_thread(void* value) { MI_UNUSED(value); }
const char* os_bell_name(void) { return "tls-callback"; }
