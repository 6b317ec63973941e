#include "redirect_attach.h"

#include "api/alloc_fast.h"
#include "base/text.h"
#include "core/report/hooks.h"
#include "core/report/message.h"
#include "core/report/options.h"
#include "crt_modules.h"
#include "record/record.h"
#include "redirect/redirect.h"
#include "redirect_table.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

// ---- what it says ---------------------------------------------------------------------------------------

// Under the loader lock no callback of the program may be called.
static void report_runtime(const redirect_runtime_t* runtime) {
  size_t count = runtime->function_count;
  size_t hooked = runtime->method == REDIRECT_INLINE ? count : 0,
         imported = runtime->method == REDIRECT_IMPORTS ? count : 0;
  const char *name = runtime->problem_name, *import_problem = runtime->import_problem;
  size_t left = count - hooked - imported;
  message_hold_callbacks();
  if (runtime->problem == NULL) {
    message_verbose("redirect: %-24s %6zu %6zu %6zu\n", runtime->module.name, hooked, imported, left);
  } else {
    message_verbose("redirect: %-24s %6zu %6zu %6zu  %s%s%s%s%s\n", runtime->module.name, hooked, imported,
                    left, name == NULL ? "" : name, name == NULL ? "" : ": ", runtime->problem,
                    import_problem == NULL ? "" : "; ", import_problem == NULL ? "" : import_problem);
  }
  message_release_callbacks();
}

static void report_static(const module_t* module, bool uses_heaps) {
  message_hold_callbacks();
  if (uses_heaps) {
    message_verbose(
        "redirect: %s uses heaps but no C runtime DLL: if a runtime is linked into it, that can't "
        "be redirected\n",
        module->name);
  } else {
    message_verbose(
        "redirect: %s takes pages from the system and uses no C runtime DLL, as Go programs do: what it "
        "allocates can't be redirected\n",
        module->name);
  }
  message_release_callbacks();
}

static void report_too_many(const module_t* module) {
  message_warning("redirect: %s is left alone: there are too many C runtimes in this process\n",
                  module->name);
}

static void report_watch(const char* how, const char* problem) {
  if (how != NULL) {
    message_verbose("redirect: modules that come later are told by %s\n", how);
  } else {
    message_warning("redirect: C runtimes that are loaded later can't be redirected: %s\n", problem);
  }
}

// ---- start ----------------------------------------------------------------------------------------------

static bool is_runtime(const char* module_name) {
  for (size_t i = 0; i < crt_modules_count(); i++) {
    if (text_equal_ignoring_case(module_name, crt_modules_name(i))) return true;
  }
  return false;
}

static bool is_ours(const void* block) { return block_is_ours(block) || record_owns(block); }

static redirect_config_t config = {
    .required_count = REDIRECT_REQUIRED,
    .malloc_name = "malloc",
    .free_name = "free",
    .duplicate_name = "_strdup",
    .debug_name = "_malloc_dbg",
    .is_runtime = is_runtime,
    .is_ours = is_ours,
    .report_runtime = report_runtime,
    .report_too_many = report_too_many,
    .report_watch = report_watch,
};

static bool pin(const void* module) {
  HMODULE handle;
  return GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
                            (LPCSTR)module, &handle) != 0;
}

// Those that may own blocks from before. A program that held a lock which a DllMain waits for would otherwise
// wait for the loader when it first frees such a block: each for the other.
static void know_runtimes(void) {
  for (size_t i = 0; i < redirect_count(); i++) {
    for (size_t k = 0; k < crt_modules_count(); k++) {
      if (text_equal_ignoring_case(redirect_runtime(i)->module.name, crt_modules_name(k)))
        crt_modules_handle(k);
    }
  }
  crt_modules_never_wait();
}

// In a process of which a part takes its blocks from us by libmimalloc-crt.a, and frees by the runtimes' names in
// other parts, the runtimes must know our blocks: without that such a free would end the process or lose the block.
static bool must_serve_frees(void) {
  module_t linked;
  if (!redirect_find_importer("mi_crt_free", &linked)) return false;
  message_verbose(
      "redirect: %s is linked with libmimalloc-crt.a: runtimes still learn to free and resize its blocks, "
      "for modules that are not\n",
      linked.name);
  config.replacements = record_replacements(redirect_table_of_frees());
  config.required_count = REDIRECT_FREES_REQUIRED;
  return true;
}

void redirect_attach(const void* module, bool is_start) {
  bool is_disabled = options_redirect_is_disabled();
  if (is_disabled) message_verbose("redirect: disabled by the environment\n");
  message_hold_callbacks();
  bool is_wanted = !is_disabled || must_serve_frees();
  if (is_wanted && !pin(module)) {
    message_warning("redirect: C runtimes are left alone, because this DLL can't be kept loaded (error %u)\n",
                    (unsigned)GetLastError());
    is_wanted = false;
  }
  if (is_wanted) {
    message_verbose("redirect: this DLL stays loaded until the process ends%s\n",
                    is_disabled ? "" : " (MIMALLOC_DISABLE_REDIRECT=1 in the environment: no redirection)");
    message_verbose("redirect: %-24s %6s %6s %6s  %s\n", "functions of", "inline", "import", "left", "why");
    config.self = module;
    if (!is_disabled) {
      config.replacements = record_replacements(redirect_table);
      config.variant_name = "_recalloc";
      config.variant_replacements = record_replacements(redirect_table_for_recalloc());
    }
    config.is_alone = is_start;
    if (option_is_enabled(option_verbose)) config.report_static = report_static; // else nobody needs to look
    redirect_start(&config);
    know_runtimes();
    if (!is_disabled) hooks_is_redirected = redirect_works;
  }
  message_release_callbacks();
}
