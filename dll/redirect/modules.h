// The modules of the process, and news of those that come later.
#ifndef DLL_REDIRECT_MODULES_H
#define DLL_REDIRECT_MODULES_H

#include "base/attributes.h"

#define MODULE_NAME_MAX 64

typedef struct module_s {
  const void* base;
  char name[MODULE_NAME_MAX]; // "ucrtbase.dll"; what isn't ASCII shows as '?'
  bool is_system;             // lies in the folder of Windows' own DLLs
  const wchar_t* path;        // whole, valid while the module is shown; NULL: ask the loader
  size_t path_length;         // characters
} module_t;

// Return false to stop.
typedef bool modules_visit_t(void* context, const module_t* module);

// All modules that are mapped, also those whose DllMain has not run yet. Under the loader lock. False when
// the visitor stopped.
bool modules_visit(modules_visit_t* visit, void* context);

typedef struct modules_events_s {
  // A module was mapped; its DllMain has not run yet. Under the loader lock: call nothing that takes the
  // loader's locks.
  void (*loaded)(const module_t* module);
  // A module is about to be unmapped. The same holds.
  void (*unloaded)(const void* base);
} modules_events_t;

// Asks the loader to tell, for the rest of the process's life. Twice at most, for two who want to know. False when it
// can't (before Windows Vista).
bool modules_watch(const modules_events_t* events);

// For loaders that can't tell: takes and releases the loader lock. False when it isn't to be had; then don't
// release it.
bool modules_lock(uintptr_t* cookie);
void modules_unlock(uintptr_t cookie);

// A function of ntdll.dll, or NULL.
void* modules_ntdll(const char* function);

#endif
