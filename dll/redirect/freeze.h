// Stops all other threads of the process while code is written that they may be running.
//
// To be used under the loader lock: a thread that starts meanwhile waits for that lock before it runs any
// code of its own, so the list of threads made at the beginning stays complete.
//
// While threads are stopped one of them may hold any lock, that of the heap or of the loader: the functions
// below then make system calls only, and whoever uses them must neither allocate nor take a lock nor print.
#ifndef DLL_REDIRECT_FREEZE_H
#define DLL_REDIRECT_FREEZE_H

#include "base/attributes.h"

typedef struct freeze_thread_s {
  void* handle;
  bool is_stopped;    // by us
  bool is_gone;       // it has ended
  uintptr_t moved_to; // where it is to go on; 0: where it is
} freeze_thread_t;

typedef struct freeze_s {
  freeze_thread_t* threads;
  size_t count;
  size_t capacity;
} freeze_t;

// Opens all other threads. NULL, or why that is impossible.
const char* freeze_open(freeze_t* freeze);
void freeze_close(freeze_t* freeze);

typedef enum freeze_answer_e {
  FREEZE_STAY, // the thread may be where it is
  FREEZE_MOVE, // it must go on at *address
  FREEZE_LATER // it must leave this place by itself
} freeze_answer_t;

// May a thread whose next instruction lies at *address stay there? `stack`: the innermost words of its stack,
// among them the addresses that it will return to. Words may also be left from earlier calls, so after a tenth of a
// second `place` is shown none (word_count 0) and judges by the address alone.
typedef freeze_answer_t freeze_place_t(void* context, uintptr_t* address, const uintptr_t* stack,
                                       size_t word_count);

// Stops all threads, at places that `place` allows. False: that was not to be had within half a second; all
// run.
bool freeze_stop(freeze_t* freeze, freeze_place_t* place, void* context);

// Lets them run.
void freeze_go(freeze_t* freeze);

#endif
