// Life cycle, callbacks and information about the process.
#include "mimalloc.h"

#include "core/arenas/arena.h"
#include "core/report/hooks.h"
#include "core/report/message.h"
#include "core/stats/stats_print.h"
#include "lifecycle/runtime.h"

int mi_version(void) { return MI_MALLOC_VERSION; }
bool mi_is_redirected(void) { return hooks_is_redirected(); }

// ---- life cycle -------------------------------------------------------------------------------------------

void mi_process_init(void) { runtime_process_attach(); }
void mi_process_done(void) { runtime_process_done(); }
void mi_thread_init(void) { runtime_leave(runtime_enter()); }
void mi_thread_done(void) { runtime_thread_done(); }
void mi_thread_set_in_threadpool(void) {} // a thread's theap is given back when it ends, whoever runs it

// Upstream's redirecting DLL calls this one; redirection here needs no such call.
void _mi_redirect_entry(unsigned long reason);
void _mi_redirect_entry(unsigned long reason) { MI_UNUSED(reason); }

const char* mi_thread_exit_mechanism(void) {
  runtime_process_attach(); // the static library may decide at run time
  return os_bell_name();
}

void mi_collect(bool force) {
  // A thread without a theap gets one when all is wanted: somebody has to take over what dead threads left.
  theap_t* theap = force ? runtime_enter() : runtime_theap();
  if (theap == NULL) {
    arena_purge(&runtime_subproc()->arenas, false, NULL);
    return;
  }
  if (!thread_is_late(theap->thread)) hooks_deferred_free(force, ++theap->heartbeat);
  thread_collect(theap->thread, force);
  if (!force) return;
  thread_trim(theap->thread);
  runtime_leave(theap);
}

void mi_collect_reduce(size_t target_thread_owned) {
  (void)target_thread_owned;
  mi_collect(true);
}

// ---- callbacks --------------------------------------------------------------------------------------------

void mi_register_deferred_free(mi_deferred_free_fun* deferred_free, void* arg) {
  hooks_register_deferred_free(deferred_free, arg);
}
void mi_register_output(mi_output_fun* out, void* arg) { message_register_output(out, arg); }
void mi_register_error(mi_error_fun* fun, void* arg) { message_register_error(fun, arg); }

// ---- information ------------------------------------------------------------------------------------------

static void put(size_t* where, uint64_t value) {
  if (where != NULL) *where = value > SIZE_MAX ? SIZE_MAX : (size_t)value;
}

void mi_process_info(size_t* elapsed_msecs, size_t* user_msecs, size_t* system_msecs, size_t* current_rss,
                     size_t* peak_rss, size_t* current_commit, size_t* peak_commit, size_t* page_faults) {
  os_process_usage_t usage;
  stats_process_usage(&usage);
  put(elapsed_msecs, usage.elapsed_ms);
  put(user_msecs, usage.user_ms);
  put(system_msecs, usage.system_ms);
  put(current_rss, usage.current_rss);
  put(peak_rss, usage.peak_rss);
  put(current_commit, usage.current_commit);
  put(peak_commit, usage.peak_commit);
  put(page_faults, usage.page_faults);
}

void mi_process_info_print_out(mi_output_fun* out, void* arg) { stats_print_process(out, arg); }
void mi_process_info_print(void) { stats_print_process(NULL, NULL); }
