// News of modules for Windows XP and Server 2003, whose loader has no notifications: its LdrLoadDll is hooked
// like a runtime's function. The DllMain of what was loaded has run by then, and other threads may be using
// it.
#ifndef DLL_REDIRECT_LOADER_HOOK_H
#define DLL_REDIRECT_LOADER_HOOK_H

#include "freeze.h"
#include "plan.h"

// `after_load` is called when LdrLoadDll has succeeded, without the loader lock unless the caller held it.
// Returns NULL, or why it can't be done.
const char* loader_hook_install(void (*after_load)(void), parse_readable_t* readable, freeze_t* freeze);

#endif
