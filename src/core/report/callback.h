// One callback of the program, with its argument.
//
// A callback may call any function of ours, from which we must not call it again on the same thread. Without
// thread-local storage at hand, a guard is a short list of the threads that are inside.
#ifndef CORE_REPORT_CALLBACK_H
#define CORE_REPORT_CALLBACK_H

#include "base/atomics.h"
#include "os/os.h"

#define CALLBACK_GUARD_THREADS 8

// A variable on the stack of the function that calls the callback, while it does. A callback may also be left
// by longjmp or an exception: then the stack is cut back, or another fiber's, or something else lies where
// the entry was, and the guard sees that the thread isn't inside any more.
typedef struct callback_entry_s {
  uintptr_t seal;
} callback_entry_t;

typedef struct callback_guard_s {
  uint32_t threads[CALLBACK_GUARD_THREADS]; // ids of the threads that are inside; 0: free
  callback_entry_t* entries[CALLBACK_GUARD_THREADS];
} callback_guard_t;

// False when the calling thread is inside already, or when too many threads are: then don't call, and don't
// leave.
bool callback_enter(callback_guard_t* guard, callback_entry_t* entry);
void callback_leave(callback_guard_t* guard, callback_entry_t* entry);

typedef void callback_function_t(void); // stands for any function; cast back to what was set

typedef struct callback_s {
  callback_function_t* function; // NULL: none
  void* arg;
  os_lock_t lock; // function and arg belong together
  callback_guard_t guard;
} callback_t;

void callback_set(callback_t* callback, callback_function_t* function, void* arg);
callback_function_t* callback_get(callback_t* callback, void** arg);

#endif
