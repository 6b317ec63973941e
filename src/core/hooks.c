#include "core/hooks.h"

#include "core/message.h"

bool callback_enter(callback_guard_t* guard) {
  uint32_t self = os_thread_id();
  for (unsigned i = 0; i < CALLBACK_GUARD_THREADS; i++) {
    if (atomic_get_relaxed(&guard->threads[i]) == self) return false;
  }
  for (unsigned i = 0; i < CALLBACK_GUARD_THREADS; i++) {
    uint32_t expected = 0;
    if (atomic_cas_acq_rel(&guard->threads[i], &expected, self)) return true;
  }
  return false;
}

void callback_leave(callback_guard_t* guard) {
  uint32_t self = os_thread_id();
  for (unsigned i = 0; i < CALLBACK_GUARD_THREADS; i++) {
    if (atomic_get_relaxed(&guard->threads[i]) == self) atomic_set_release(&guard->threads[i], 0u);
  }
}

void callback_set(callback_t* callback, callback_function_t* function, void* arg) {
  os_lock_acquire(&callback->lock);
  callback->arg = arg;
  atomic_set_release(&callback->function, function);
  os_lock_release(&callback->lock);
}

callback_function_t* callback_get(callback_t* callback, void** arg) {
  if (atomic_get_relaxed(&callback->function) == NULL) return NULL; // the usual case takes no lock
  os_lock_acquire(&callback->lock);
  callback_function_t* function = callback->function;
  *arg = callback->arg;
  os_lock_release(&callback->lock);
  return function;
}

callback_t hooks_deferred_free_callback;

void hooks_register_deferred_free(hooks_deferred_free_t* function, void* arg) {
  callback_set(&hooks_deferred_free_callback, (callback_function_t*)function, arg);
}

MI_COLD void hooks_deferred_free_slow(bool force, uint64_t heartbeat) {
  callback_t* callback = &hooks_deferred_free_callback;
  if (message_callbacks_are_held() || !callback_enter(&callback->guard)) return;
  void* arg;
  hooks_deferred_free_t* function = (hooks_deferred_free_t*)callback_get(callback, &arg);
  if (function != NULL) function(force, heartbeat, arg);
  callback_leave(&callback->guard);
}

static bool never_redirected(void) { return false; }
bool (*hooks_is_redirected)(void) = never_redirected;
