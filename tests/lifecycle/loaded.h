// mimalloc.dll through LoadLibrary: the functions that the tests here call.
#ifndef TESTS_LIFECYCLE_LOADED_H
#define TESTS_LIFECYCLE_LOADED_H

#include <mimalloc-stats.h>
#include <mimalloc.h>

#include <windows.h>

typedef struct loaded_s {
  HMODULE module;
  void* (*malloc)(size_t size);
  void* (*realloc)(void* p, size_t size);
  void (*free)(void* p);
  void (*collect)(bool force);
  bool (*stats_get)(mi_stats_t* stats);
} loaded_t;

// Through an integer: a FARPROC is no function of ours, and no object pointer either.
#define LOADED_FUNCTION(loaded, name)                                                                        \
  ((loaded)->name = (__typeof__((loaded)->name))(uintptr_t)GetProcAddress((loaded)->module, "mi_" #name))

static inline bool loaded_find_functions(loaded_t* loaded) {
  return loaded->module != NULL && LOADED_FUNCTION(loaded, malloc) != NULL &&
         LOADED_FUNCTION(loaded, realloc) != NULL && LOADED_FUNCTION(loaded, free) != NULL &&
         LOADED_FUNCTION(loaded, collect) != NULL && LOADED_FUNCTION(loaded, stats_get) != NULL;
}

#endif
