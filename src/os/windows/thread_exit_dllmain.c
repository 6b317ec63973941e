// The bell of the DLL: none here, DllMain rings the life cycle itself (dll/dllmain.c).
#include "os/os.h"

bool os_bell_is_per_fiber = false;

void os_bell_init(const os_bell_hooks_t* hooks) { MI_UNUSED(hooks); }
void os_bell_arm_thread(void* value) { MI_UNUSED(value); }
void os_bell_free(void) {}
const char* os_bell_name(void) { return "DllMain"; }
