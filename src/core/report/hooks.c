#include "core/report/hooks.h"

#include "core/report/message.h"

callback_t hooks_deferred_free_callback;

void hooks_register_deferred_free(hooks_deferred_free_t* function, void* arg) {
  callback_set(&hooks_deferred_free_callback, (callback_function_t*)function, arg);
}

MI_COLD void hooks_deferred_free_slow(bool force, uint64_t heartbeat) {
  callback_t* callback = &hooks_deferred_free_callback;
  callback_entry_t entry;
  if (message_callbacks_are_held() || !callback_enter(&callback->guard, &entry)) return;
  void* arg;
  hooks_deferred_free_t* function = (hooks_deferred_free_t*)callback_get(callback, &arg);
  if (function != NULL) function(force, heartbeat, arg);
  callback_leave(&callback->guard, &entry);
}

static bool never_redirected(void) { return false; }
bool (*hooks_is_redirected)(void) = never_redirected;
