#include "redirect.h"

#include "apply.h"
#include "base/atomics.h"
#include "base/text.h"
#include "loader_hook.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#define RUNTIMES_MAX 32

// Written under the loader lock only. Entries are added, never removed: other threads read them at any time.
static redirect_runtime_t runtimes[RUNTIMES_MAX];
static size_t runtime_count;

static const redirect_config_t* config;
static bool is_too_many; // runtimes

// GetProcAddress as the modules of the process have it in their import tables.
typedef FARPROC WINAPI get_proc_address_t(HMODULE module, const char* name);
static get_proc_address_t* get_proc_address;
static void* get_proc_address_values[2]; // kernel32's and kernelbase's

size_t redirect_count(void) { return atomic_get_acquire(&runtime_count); }
const redirect_runtime_t* redirect_runtime(size_t index) { return &runtimes[index]; }

static bool readable(const void* p, uintptr_t* from, uintptr_t* to) {
  const DWORD forms = PAGE_READONLY | PAGE_READWRITE | PAGE_WRITECOPY | PAGE_EXECUTE_READ |
                      PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY;
  MEMORY_BASIC_INFORMATION info;
  if (VirtualQuery(p, &info, sizeof(info)) == 0 || info.State != MEM_COMMIT) return false;
  if ((info.Protect & forms) == 0 || (info.Protect & PAGE_GUARD) != 0) return false;
  *from = (uintptr_t)info.BaseAddress;
  *to = *from + info.RegionSize;
  return true;
}

// ---- import tables --------------------------------------------------------------------------------------

static FARPROC WINAPI hooked_get_proc_address(HMODULE module, const char* name) {
  FARPROC found = get_proc_address(module, name);
  for (size_t i = 0; i < redirect_count() && found != NULL; i++) {
    if (runtimes[i].method != REDIRECT_IMPORTS || runtimes[i].module.base == NULL) continue;
    const plan_hook_t* hook = plan_find(runtimes[i].plan, (uintptr_t)found);
    if (hook != NULL) return (FARPROC)(uintptr_t)hook->replacement->function;
  }
  return found;
}

typedef struct collection_s {
  const redirect_runtime_t* runtime;
  apply_slot_t* slots; // NULL: only count
  size_t count, capacity;
} collection_t;

static void* new_value(const plan_runtime_t* plan, void* value) {
  if (value == get_proc_address_values[0] || value == get_proc_address_values[1])
    return (void*)(uintptr_t)hooked_get_proc_address;
  if ((uintptr_t)value - (uintptr_t)plan->image.base >= plan->image.size) return NULL;
  const plan_hook_t* hook = plan_find(plan, (uintptr_t)value);
  return hook == NULL ? NULL : (void*)(uintptr_t)hook->replacement->function;
}

static bool collect_slot(void* context, const char* dll, const char* function, void** slot) {
  MI_UNUSED(dll);
  MI_UNUSED(function); // what counts is where the slot leads, by whatever name
  collection_t* collection = context;
  void* value = new_value(collection->runtime->plan, *slot);
  if (value == NULL || *slot == NULL) return true;
  if (collection->slots != NULL) {
    if (collection->count == collection->capacity) return false;
    collection->slots[collection->count] = (apply_slot_t){.slot = slot, .new_value = value};
  }
  collection->count++;
  return true;
}

static bool collect_module(void* context, const module_t* module) {
  parse_image_t image;
  collection_t* collection = context;
  if (module->base == config->self || module->base == collection->runtime->module.base) return true;
  if (parse_image(module->base, SIZE_MAX, readable, &image) != NULL)
    return true; // no imports that could be found
  parse_imports(&image, collect_slot, collection);
  return true;
}

static const char* write_slots(const collection_t* collection, bool has_run) {
  freeze_t freeze;
  if (!has_run) return apply_slots(collection->slots, collection->count, NULL);
  const char* problem = freeze_open(&freeze);
  if (problem != NULL) return problem;
  problem = apply_slots(collection->slots, collection->count, &freeze);
  freeze_close(&freeze);
  return problem;
}

// Patches the import tables of `only`, or of all modules if NULL. `has_run`: threads may have called the
// runtime by them.
static const char* redirect_imports(redirect_runtime_t* runtime, const module_t* only, bool has_run) {
  collection_t collection = {.runtime = runtime};
  const char* problem = NULL;
  for (unsigned pass = 0; pass < 2; pass++) {
    collection.count = 0;
    if (only != NULL) {
      collect_module(&collection, only);
    } else {
      modules_visit(collect_module, &collection);
    }
    if (pass == 1 || collection.count == 0) break;
    collection.capacity = collection.count;
    collection.slots =
        VirtualAlloc(NULL, collection.count * sizeof(apply_slot_t), MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    if (collection.slots == NULL) return "there is no memory for the list of import slots";
  }
  if (collection.count > 0) problem = write_slots(&collection, has_run);
  if (collection.slots != NULL) VirtualFree(collection.slots, 0, MEM_RELEASE);
  if (problem == NULL) runtime->slot_count += collection.count;
  return problem;
}

// ---- one runtime ----------------------------------------------------------------------------------------

// Where no thread can be running in the module yet, nobody needs to be stopped.
static const char* write_jumps(const plan_runtime_t* plan, bool has_run) {
  freeze_t freeze;
  if (!has_run) return apply_jumps(plan, NULL);
  const char* problem = freeze_open(&freeze);
  if (problem != NULL) return problem;
  problem = apply_jumps(plan, &freeze);
  freeze_close(&freeze);
  return problem;
}

static bool fail(redirect_runtime_t* runtime, const char* problem, const char* name) {
  runtime->problem = problem;
  runtime->problem_name = name;
  return false;
}

static bool redirect_inline(redirect_runtime_t* runtime, bool has_run) {
  plan_runtime_t* plan = runtime->plan;
  void* memory = apply_memory(plan->image.base, plan->image.size);
  if (memory == NULL) return fail(runtime, "there is no memory near it", NULL);
  const char* problem = plan_inline(plan, (uintptr_t)memory) ? apply_trampolines(plan) : plan->problem;
  if (problem != NULL) {
    apply_memory_release(memory);
    plan->memory = 0;
    return fail(runtime, problem, plan->problem_name);
  }
  // First: a thread that comes through a jump may want to know at once whose it was.
  atomic_set_release(&runtime->method, REDIRECT_INLINE);
  problem = write_jumps(plan, has_run);
  if (problem == NULL) return true;
  atomic_set_release(&runtime->method, REDIRECT_NONE);
  return fail(runtime, problem, NULL);
}

static bool is_other_runtime(void* context, const module_t* module) {
  return module->base != context || !config->is_runtime(module->name);
}

// Is there code at `address`, and of nobody whose blocks a runtime's heap knows? (Before a module's imports are
// resolved, a jump through one of them leads nowhere.)
static bool is_strangers_code(uintptr_t address) {
  const DWORD code = PAGE_EXECUTE | PAGE_EXECUTE_READ | PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY;
  MEMORY_BASIC_INFORMATION info;
  if (VirtualQuery((const void*)address, &info, sizeof(info)) == 0) return false;
  if (info.State != MEM_COMMIT || (info.Protect & code) == 0) return false;
  return info.Type != MEM_IMAGE || modules_visit(is_other_runtime, info.AllocationBase);
}

// A function that somebody else sends elsewhere: there may be blocks from before that no heap of a runtime
// knows, and nobody could tell whose they are. NULL when there is none.
static const plan_hook_t* redirected_already(plan_runtime_t* plan) {
  for (size_t i = 0; i < plan->count; i++) {
    uintptr_t where = plan_leads_out(plan, &plan->hooks[i]);
    if (where != 0 && is_strangers_code(where)) return &plan->hooks[i];
  }
  return NULL;
}

static bool make_plan(redirect_runtime_t* runtime) {
  if (runtime->plan == NULL)
    runtime->plan = VirtualAlloc(NULL, sizeof(*runtime->plan), MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  plan_runtime_t* plan = runtime->plan;
  if (plan == NULL) return fail(runtime, "there is no memory for the plan", NULL);
  const char* problem = parse_image(runtime->module.base, SIZE_MAX, readable, &plan->image);
  if (problem != NULL) return fail(runtime, problem, NULL);
  bool is_variant = config->variant_name != NULL && parse_export(&plan->image, config->variant_name) != 0;
  bool resolved = plan_resolve(plan, is_variant ? config->variant_replacements : config->replacements,
                               config->required_count);
  runtime->function_count = plan->count;
  plan->is_exclusive = parse_export(&plan->image, config->debug_name) != 0;
  if (!resolved) return fail(runtime, plan->problem, plan->problem_name);
  const plan_hook_t* taken = redirected_already(plan);
  return taken == NULL || fail(runtime, "somebody else has redirected it already", taken->replacement->name);
}

static redirect_runtime_t* runtime_at(const void* base) {
  for (size_t i = 0; i < runtime_count; i++) {
    if (runtimes[i].module.base == base) return &runtimes[i];
  }
  return NULL;
}

// `has_run`: threads may be running in it, and must be stopped while it is changed.
static void adopt(const module_t* module, bool has_run) {
  // In the place of a runtime that has been unloaded, or in a new one.
  size_t index = 0;
  while (index < runtime_count && runtimes[index].module.base != NULL) index++;
  if (index == RUNTIMES_MAX) {
    is_too_many = true;
    config->report_too_many(module);
    return;
  }
  redirect_runtime_t* runtime = &runtimes[index];
  *runtime = (redirect_runtime_t){.method = REDIRECT_NONE, .plan = runtime->plan};
  runtime->module = *module;
  bool has_plan = make_plan(runtime);
  if (index == runtime_count) atomic_set_release(&runtime_count, runtime_count + 1);
  if (has_plan && !redirect_inline(runtime, has_run)) {
    atomic_set_release(&runtime->method, REDIRECT_IMPORTS);
    runtime->import_problem = redirect_imports(runtime, NULL, has_run);
    if (runtime->import_problem != NULL) atomic_set_release(&runtime->method, REDIRECT_NONE);
  }
  config->report_runtime(runtime);
}

static void forget(redirect_runtime_t* runtime) {
  runtime->method = REDIRECT_NONE;
  if (runtime->plan != NULL && runtime->plan->memory != 0) apply_memory_release((void*)runtime->plan->memory);
  if (runtime->plan != NULL) runtime->plan->memory = 0;
  runtime->module.base = NULL;
}

// ---- modules that may hold a runtime of their own -------------------------------------------------------

typedef struct import_kinds_s {
  bool has_runtime, has_heap, has_pages;
} import_kinds_t;

static bool starts_with(const char* text, const char* start) {
  while (*start != 0 && text_lower(*text) == *start) text++, start++;
  return *start == 0;
}

static bool equals(const char* a, const char* b) {
  while (*a != 0 && *a == *b) a++, b++;
  return *a == *b;
}

static bool look_at_slot(void* context, const char* dll, const char* function, void** slot) {
  MI_UNUSED(slot);
  import_kinds_t* kinds = context;
  if (config->is_runtime(dll) || starts_with(dll, "api-ms-win-crt-")) kinds->has_runtime = true;
  if (function != NULL && equals(function, "HeapAlloc")) kinds->has_heap = true;
  if (function != NULL && equals(function, "VirtualAlloc")) kinds->has_pages = true;
  return !kinds->has_runtime;
}

static void look_for_static_runtime(const module_t* module) {
  parse_image_t image;
  import_kinds_t kinds = {false, false, false};
  if (config->report_static == NULL || module->is_system || module->base == config->self) return;
  if (parse_image(module->base, SIZE_MAX, readable, &image) != NULL) return;
  parse_imports(&image, look_at_slot, &kinds);
  if ((kinds.has_heap || kinds.has_pages) && !kinds.has_runtime)
    config->report_static(module, kinds.has_heap);
}

typedef struct importer_s {
  const char* function;
  module_t* importer;
} importer_t;

static bool is_other_import(void* context, const char* dll, const char* function, void** slot) {
  MI_UNUSED(dll);
  MI_UNUSED(slot);
  return function == NULL || !equals(function, ((const importer_t*)context)->function);
}

static bool is_no_importer(void* context, const module_t* module) {
  parse_image_t image;
  importer_t* search = context;
  if (parse_image(module->base, SIZE_MAX, readable, &image) != NULL) return true;
  if (parse_imports(&image, is_other_import, search)) return true;
  *search->importer = *module;
  return false;
}

bool redirect_find_importer(const char* function, module_t* importer) {
  importer_t search = {function, importer};
  return !modules_visit(is_no_importer, &search);
}

// ---- all modules ----------------------------------------------------------------------------------------

static bool adopt_if_runtime(void* context, const module_t* module) {
  MI_UNUSED(context);
  if (config->is_runtime(module->name)) {
    if (runtime_at(module->base) == NULL) adopt(module, !config->is_alone);
  } else {
    look_for_static_runtime(module);
  }
  return true;
}

static void on_loaded(const module_t* module) {
  if (config->is_runtime(module->name)) {
    if (runtime_at(module->base) == NULL) adopt(module, false);
  } else {
    look_for_static_runtime(module);
  }
  for (size_t i = 0; i < runtime_count; i++) {
    if (runtimes[i].method == REDIRECT_IMPORTS) redirect_imports(&runtimes[i], module, false);
  }
}

static void on_unloaded(const void* base) {
  redirect_runtime_t* runtime = runtime_at(base);
  if (runtime != NULL) forget(runtime);
}

// ---- without notifications ------------------------------------------------------------------------------

static bool find_base(void* context, const module_t* module) { return module->base != context; }

static bool is_there(const redirect_runtime_t* runtime) {
  if (modules_visit(find_base, (void*)(uintptr_t)runtime->module.base)) return false;
  return runtime->method != REDIRECT_INLINE || apply_jumps_stand(runtime->plan);
}

static bool adopt_if_new(void* context, const module_t* module) {
  MI_UNUSED(context);
  if (config->is_runtime(module->name) && runtime_at(module->base) == NULL) adopt(module, true);
  return true;
}

static void look_again(void) {
  uintptr_t cookie;
  if (!modules_lock(&cookie)) return;
  for (size_t i = 0; i < runtime_count; i++) {
    if (runtimes[i].module.base != NULL && !is_there(&runtimes[i])) forget(&runtimes[i]);
  }
  modules_visit(adopt_if_new, NULL);
  for (size_t i = 0; i < runtime_count; i++) {
    if (runtimes[i].method == REDIRECT_IMPORTS) redirect_imports(&runtimes[i], NULL, true);
  }
  modules_unlock(cookie);
}

static void watch_by_hook(void) {
  freeze_t freeze;
  const char* problem = freeze_open(&freeze);
  if (problem == NULL) {
    problem = loader_hook_install(look_again, readable, &freeze);
    freeze_close(&freeze);
  }
  config->report_watch(problem == NULL ? "a hook in LdrLoadDll" : NULL, problem);
}

// ---- start ----------------------------------------------------------------------------------------------

static void* export_of(const char* dll, const char* name) {
  HMODULE module = GetModuleHandleA(dll);
  return module == NULL ? NULL : (void*)(uintptr_t)GetProcAddress(module, name);
}

void redirect_start(const redirect_config_t* new_config) {
  static const modules_events_t events = {on_loaded, on_unloaded};
  config = new_config;
  get_proc_address_values[0] = export_of("kernel32.dll", "GetProcAddress");
  get_proc_address_values[1] = export_of("kernelbase.dll", "GetProcAddress");
  get_proc_address = (get_proc_address_t*)(uintptr_t)get_proc_address_values[0];
  bool is_told = !config->without_notifications && modules_watch(&events);
  modules_visit(adopt_if_runtime, NULL);
  if (is_told) {
    config->report_watch("notifications of the loader", NULL);
  } else {
    watch_by_hook();
  }
}

// ---- questions ------------------------------------------------------------------------------------------

void* redirect_original(void* function) {
  for (size_t i = 0; i < redirect_count(); i++) {
    const plan_runtime_t* plan = runtimes[i].plan;
    if (runtimes[i].method != REDIRECT_INLINE) continue;
    const plan_hook_t* hook = plan_find(plan, (uintptr_t)function);
    if (hook != NULL) return (void*)plan_trampoline(plan, (size_t)(hook - plan->hooks));
  }
  return function;
}

void* redirect_export(const redirect_runtime_t* runtime, const char* name) {
  parse_image_t image = runtime->plan->image; // a copy: it remembers what it has read
  uint32_t rva = parse_export(&image, name);
  return rva == 0 ? NULL : (void*)(uintptr_t)(image.base + rva);
}

typedef struct search_s {
  const redirect_runtime_t* found;
} search_t;

static const redirect_runtime_t* runtime_around(const void* address) {
  for (size_t i = 0; i < redirect_count(); i++) {
    const redirect_runtime_t* runtime = &runtimes[i];
    if (runtime->method == REDIRECT_NONE || runtime->module.base == NULL) continue;
    if ((uintptr_t)address - (uintptr_t)runtime->module.base < runtime->plan->image.size) return runtime;
  }
  return NULL;
}

static bool search_slot(void* context, const char* dll, const char* function, void** slot) {
  MI_UNUSED(dll);
  MI_UNUSED(function);
  search_t* search = context;
  search->found = runtime_around(*slot);
  return search->found == NULL;
}

const redirect_runtime_t* redirect_runtime_of(const void* address) {
  MEMORY_BASIC_INFORMATION info;
  parse_image_t image;
  search_t search = {runtime_around(address)};
  if (search.found != NULL) return search.found;
  if (VirtualQuery(address, &info, sizeof(info)) == 0 || info.Type != MEM_IMAGE) return NULL;
  if (parse_image(info.AllocationBase, SIZE_MAX, readable, &image) != NULL) return NULL;
  parse_imports(&image, search_slot, &search);
  return search.found;
}

typedef void* __cdecl test_malloc_t(size_t size);
typedef void __cdecl test_free_t(void* block);
typedef char* __cdecl test_duplicate_t(const char* text);

// Is there an import table that still leads to the runtime?
static bool has_open_slots(const redirect_runtime_t* runtime) {
  uintptr_t cookie;
  collection_t collection = {.runtime = runtime};
  if (!modules_lock(&cookie)) return false; // not to be found out
  modules_visit(collect_module, &collection);
  modules_unlock(cookie);
  return collection.count > 0;
}

static bool runtime_works(const redirect_runtime_t* runtime) {
  void* functions[2] = {redirect_export(runtime, config->malloc_name),
                        redirect_export(runtime, config->free_name)};
  for (unsigned i = 0; i < 2; i++) {
    if (functions[i] == NULL) return false;
    // Nobody calls these by their own address, but by what import tables and GetProcAddress hold.
    if (runtime->method == REDIRECT_IMPORTS) functions[i] = new_value(runtime->plan, functions[i]);
  }
  if (runtime->method == REDIRECT_IMPORTS && has_open_slots(runtime)) return false;
  void* block = ((test_malloc_t*)(uintptr_t)functions[0])(1);
  bool works = block != NULL && config->is_ours(block);
  ((test_free_t*)(uintptr_t)functions[1])(block);
  // A runtime may call itself by other entries than it exports: for programs of one processor on another, it has both.
  void* duplicate =
      runtime->method == REDIRECT_INLINE ? redirect_export(runtime, config->duplicate_name) : NULL;
  if (works && duplicate != NULL) {
    block = ((test_duplicate_t*)(uintptr_t)duplicate)("");
    works = block != NULL && config->is_ours(block);
    ((test_free_t*)(uintptr_t)functions[1])(block);
  }
  return works;
}

bool redirect_works(void) {
  size_t count = 0;
  if (is_too_many) return false;
  for (size_t i = 0; i < redirect_count(); i++) {
    if (runtimes[i].module.base == NULL || runtimes[i].function_count == 0) continue;
    if (runtimes[i].method == REDIRECT_NONE || !runtime_works(&runtimes[i])) return false;
    count++;
  }
  return count > 0;
}
