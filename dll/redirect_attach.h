// Redirects the process's C runtimes to us when the DLL is loaded, and says with MIMALLOC_VERBOSE what was
// done.
#ifndef DLL_REDIRECT_ATTACH_H
#define DLL_REDIRECT_ATTACH_H

// On DLL_PROCESS_ATTACH, after runtime_process_attach. `module`: our own handle. Does nothing when the
// environment has MIMALLOC_DISABLE_REDIRECT=1; otherwise the DLL stays loaded until the process ends, because
// the hooks lead into it.
void redirect_attach(const void* module);

#endif
