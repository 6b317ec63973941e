// The bell of the native build: a pthread key whose destructor runs on each thread that ends.
#include "os/os.h"

#include "base/atomics.h"
#include <pthread.h>

static os_bell_hooks_t bell; // atomic fields: a thread may end while another one sets the hooks
static pthread_key_t bell_key;
static bool bell_key_made;
static pthread_once_t bell_once = PTHREAD_ONCE_INIT;

static void ring(void (**hook)(void)) {
  void (*call)(void) = atomic_get_acquire(hook);
  if (call != NULL) call();
}

static void bell_thread_exit(void* value) {
  MI_UNUSED(value); // the key is cleared already; a heap that a later destructor makes arms the bell again
  ring(&bell.thread_exit);
}

static void bell_make_key(void) { bell_key_made = pthread_key_create(&bell_key, bell_thread_exit) == 0; }

// A destructor, not atexit: it runs after the program's own atexit functions, and registering can't fail.
__attribute__((destructor)) static void bell_process_exit(void) {
  ring(&bell.process_done);
  ring(&bell.process_exit);
}

static void bell_set(const os_bell_hooks_t* hooks) {
  atomic_set_release(&bell.process_done, hooks->process_done);
  atomic_set_release(&bell.process_exit, hooks->process_exit);
  atomic_set_release(&bell.thread_exit, hooks->thread_exit);
}

void os_bell_init(const os_bell_hooks_t* hooks) {
  pthread_once(&bell_once, bell_make_key);
  bell_set(hooks);
}

// May come before os_bell_init, when the first allocations of two threads race.
void os_bell_arm_thread(void* value) {
  pthread_once(&bell_once, bell_make_key);
  if (bell_key_made) pthread_setspecific(bell_key, value);
}

void os_bell_free(void) { bell_set(&(os_bell_hooks_t){.thread_exit = NULL}); }

bool os_bell_is_per_fiber = false;
const char* os_bell_name(void) { return "pthread-key"; }
