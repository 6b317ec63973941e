// The bell of the native build: a pthread key whose destructor runs on each thread that ends.
#include "os/os.h"
#include "base/atomics.h"

#include <pthread.h>

static const os_bell_hooks_t* bell_hooks; // NULL until armed
static pthread_key_t bell_key;
static bool bell_key_made;

static void bell_thread_exit(void* value) {
  MI_UNUSED(value); // the key is cleared already; a heap that a later destructor makes arms the bell again
  const os_bell_hooks_t* hooks = atomic_get_acquire(&bell_hooks);
  if (hooks != NULL && hooks->thread_exit != NULL) hooks->thread_exit();
}

// A destructor, not atexit: it runs after the program's own atexit functions, and registering can't fail.
__attribute__((destructor)) static void bell_process_exit(void) {
  const os_bell_hooks_t* hooks = atomic_swap_acq_rel(&bell_hooks, NULL);
  if (hooks != NULL && hooks->process_exit != NULL) hooks->process_exit();
}

void os_bell_init(const os_bell_hooks_t* hooks) {
  if (!bell_key_made) bell_key_made = pthread_key_create(&bell_key, bell_thread_exit) == 0;
  atomic_set_release(&bell_hooks, hooks);
}

void os_bell_arm_thread(void* value) {
  if (bell_key_made) pthread_setspecific(bell_key, value);
}

const char* os_bell_name(void) { return "pthread-key"; }
