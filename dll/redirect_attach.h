// Redirects the process's C runtimes to us when the DLL is loaded, and says with MIMALLOC_VERBOSE what was
// done.
#ifndef DLL_REDIRECT_ATTACH_H
#define DLL_REDIRECT_ATTACH_H

#include "base/attributes.h"

// On DLL_PROCESS_ATTACH, after runtime_process_attach. `module`: our own handle. `is_start`: the loader initialises
// the program's own DLLs; whatever other threads there are wait until it is done, so none needs to be stopped.
// Does nothing when the environment has MIMALLOC_DISABLE_REDIRECT=1; otherwise the DLL stays loaded until the
// process ends, because the hooks lead into it.
void redirect_attach(const void* module, bool is_start);

#endif
