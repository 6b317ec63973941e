// Sends the allocation functions of every C runtime DLL of the process to replacements: those that are loaded
// now, and those that come later, before their DllMain.
//
//   redirect_start --- for each module that is a runtime: adopt
//     |                  |- parse, plan ------------------- nothing is written
//     |                  |- apply_trampolines, apply_jumps  jumps at the runtime's functions
//     |                  '- or apply_slots ---------------- import tables of all modules, and GetProcAddress
//     '- modules_watch: adopt those that come; or loader_hook, then look again after each LoadLibrary
//
// All or nothing for each runtime. Knows nothing of the allocator: replacements and reports come and go
// through redirect_config_t.
#ifndef DLL_REDIRECT_REDIRECT_H
#define DLL_REDIRECT_REDIRECT_H

#include "modules.h"
#include "plan.h"

typedef enum redirect_method_e {
  REDIRECT_INLINE,  // jumps at the functions themselves: every call arrives, the runtime's own included
  REDIRECT_IMPORTS, // other modules' import tables and GetProcAddress: the runtime's own calls don't arrive
  REDIRECT_NONE     // left as it is
} redirect_method_t;

typedef struct redirect_runtime_s {
  module_t module; // base NULL: unloaded
  redirect_method_t method;
  size_t function_count;      // that the runtime has of those to replace; 0: it is no runtime after all
  size_t slot_count;          // import slots written; REDIRECT_IMPORTS only
  const char* problem;        // why it isn't inline; NULL: it is
  const char* problem_name;   // the function concerned, or NULL
  const char* import_problem; // why it isn't by imports either
  plan_runtime_t* plan;
} redirect_runtime_t;

typedef struct redirect_config_s {
  const plan_replacement_t* replacements; // ends with a NULL name; the first `required_count` make a runtime
  size_t required_count;
  // For runtimes that have a function of this name, other ones. NULL: for none.
  const char* variant_name;
  const plan_replacement_t* variant_replacements;
  const char* malloc_name; // of the functions for the self-test
  const char* free_name;
  // A function of the runtime that duplicates a text by a malloc from inside; what has none isn't tried by it.
  const char* duplicate_name;
  bool (*is_runtime)(const char* module_name);
  bool (*is_ours)(const void* block);
  // A function that only debug runtimes have. Their functions call each other and add a header on the way
  // back, so no thread may be in any of them when they are hooked.
  const char* debug_name;
  const void* self;           // module whose imports are left alone
  bool is_alone;              // at redirect_start no other thread can be running code of a runtime
  bool without_notifications; // as if the loader couldn't tell of later modules
  // What happens; under the loader lock, on any thread.
  void (*report_runtime)(const redirect_runtime_t* runtime);
  // A module uses the system's heaps, or else its pages, but no runtime DLL: it may hold a runtime of its own.
  // NULL: don't look.
  void (*report_static)(const module_t* module, bool uses_heaps);
  // There is no room to remember one more runtime: it is left alone.
  void (*report_too_many)(const module_t* module);
  // How we are told of later modules; NULL: not at all, `problem` says why.
  void (*report_watch)(const char* how, const char* problem);
} redirect_config_t;

// Once, under the loader lock, by code that stays loaded until the process ends, as must the replacements and
// `config`.
void redirect_start(const redirect_config_t* config);

// A module that imports a function of this name, from whatever DLL. False when there is none. Under the loader
// lock, at any time.
bool redirect_find_importer(const char* function, module_t* importer);

// Behavioural: does what each runtime allocates now come from us, also what it allocates by itself? False when
// there is no runtime, or more of them than the engine has room for. By imports, the runtime's own calls don't
// arrive, and aren't tried.
bool redirect_works(void);

// Where to call a runtime's function as it was: its trampoline if it is hooked, else the function itself.
void* redirect_original(void* function);

// The runtime whose functions the code at `address` calls (the first that it imports from, or the one it
// belongs to), or NULL. Slow.
const redirect_runtime_t* redirect_runtime_of(const void* address);

// A function that the runtime exports, as it is now, or NULL.
void* redirect_export(const redirect_runtime_t* runtime, const char* name);

// Runtimes seen so far, also unloaded ones.
size_t redirect_count(void);
const redirect_runtime_t* redirect_runtime(size_t index);

#endif
