#include "core/report/callback.h"

#include "base/bits.h"

static uintptr_t seal_of(const callback_entry_t* entry) { return bits_mix((uintptr_t)entry) | 1; }

// Is the call that made `entry` still going on, above `now` on the running stack? Reads a place of the stack
// that may belong to anything by now.
__attribute__((no_sanitize("address"))) static bool is_going_on(const callback_entry_t* entry,
                                                                const void* now) {
  uintptr_t at = (uintptr_t)entry;
  return at > (uintptr_t)now && at < (uintptr_t)os_stack_base() &&
         *(const volatile uintptr_t*)&entry->seal == seal_of(entry);
}

bool callback_enter(callback_guard_t* guard, callback_entry_t* entry) {
  uint32_t self = os_thread_id();
  entry->seal = seal_of(entry);
  for (unsigned i = 0; i < CALLBACK_GUARD_THREADS; i++) {
    if (atomic_get_relaxed(&guard->threads[i]) != self) continue;
    if (is_going_on(atomic_get_relaxed(&guard->entries[i]), entry)) return false;
    atomic_set_relaxed(&guard->entries[i], entry);
    return true;
  }
  for (unsigned pass = 0; pass < 2; pass++) { // in the second, threads that died inside make room
    for (unsigned i = 0; i < CALLBACK_GUARD_THREADS; i++) {
      uint32_t holder = pass == 0 ? 0 : atomic_get_relaxed(&guard->threads[i]);
      if (holder != 0 && !os_thread_is_dead(holder)) continue;
      if (!atomic_cas_acq_rel(&guard->threads[i], &holder, self)) continue;
      atomic_set_relaxed(&guard->entries[i], entry);
      return true;
    }
  }
  return false;
}

void callback_leave(callback_guard_t* guard, callback_entry_t* entry) {
  for (unsigned i = 0; i < CALLBACK_GUARD_THREADS; i++) {
    if (atomic_get_relaxed(&guard->entries[i]) != entry) continue;
    atomic_set_relaxed(&guard->entries[i], (callback_entry_t*)NULL);
    atomic_set_release(&guard->threads[i], 0u);
  }
  entry->seal = 0;
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
