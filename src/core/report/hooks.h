// Functions that others hand to the core: the deferred free callback of the program, and a question that only
// the DLL can answer.
#ifndef CORE_REPORT_HOOKS_H
#define CORE_REPORT_HOOKS_H

#include "core/report/callback.h"

// ---- deferred free --------------------------------------------------------------------------------------

// As mi_deferred_free_fun: the program's chance to free what it has postponed.
typedef void hooks_deferred_free_t(bool force, unsigned long long heartbeat, void* arg);

extern callback_t hooks_deferred_free_callback;

void hooks_register_deferred_free(hooks_deferred_free_t* function, void* arg); // NULL: none

void hooks_deferred_free_slow(bool force, uint64_t heartbeat);

// Called from slow paths of allocation, on the allocating thread, with no lock held and the theap in a state
// that allows malloc and free. Not called while callbacks are held (message_hold_callbacks), nor from inside
// itself.
MI_INLINE void hooks_deferred_free(bool force, uint64_t heartbeat) {
  if (MI_UNLIKELY(atomic_get_relaxed(&hooks_deferred_free_callback.function) != NULL)) {
    hooks_deferred_free_slow(force, heartbeat);
  }
}

// ---- redirection ----------------------------------------------------------------------------------------

// Does malloc of the process's C runtime end up here? Set by the DLL; says no otherwise.
extern bool (*hooks_is_redirected)(void);

#endif
