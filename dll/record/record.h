// Diagnostics for programs that nobody can rebuild: what was allocated where, and is it still there. Off unless the
// environment asks (docs/diagnose.md); then every way to a block leads through twins.h.
#ifndef DLL_RECORD_RECORD_H
#define DLL_RECORD_RECORD_H

#include "redirect/plan.h"

// On DLL_PROCESS_ATTACH, before the runtimes are redirected.
void record_attach(const void* module);

// What to redirect runtimes to: `replacements`, or a table with twins in it. For two tables at most.
const plan_replacement_t* record_replacements(const plan_replacement_t* replacements);

// Who has called us: `address`, a return address, unless that is one of our own, as it is when a twin stands between; then the
// first one on the stack that isn't.
const void* record_caller(const void* address);

// Blocks that live and that the allocator itself doesn't know, as they are guarded.
bool record_owns(const void* p);

// On DLL_PROCESS_DETACH at the process's end: writes the report. All other threads are dead.
void record_process_exit(void);

// Exported: writes a report now, into the file that MIMALLOC_REPORT names with a number before its extension. False: nothing
// is recorded, or it can't be written. Any thread.
bool mi_profile_dump(void);

#endif
