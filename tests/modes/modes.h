// What the tests of the modes share. A mode is a way in which the library learns of thread exits: each test
// program here is linked once for each of them, and its first argument says which one it must find itself in:
//   dll       mimalloc.dll, told by DllMain
//   tls       static library, TLS callback
//   fls       static library, fiber-local storage
//   auto      static library that decides at run time, on a system that delivers TLS callbacks
//   auto-fls  the same where none is delivered: the program's TLS directory was taken away (without_tls.py)
#ifndef TESTS_MODES_H
#define TESTS_MODES_H

#include "support/check.h"
#include "support/test_data.h"
#include "support/test_thread.h"

#include <mimalloc-stats.h>
#include <mimalloc.h>

#include <windows.h>

extern const char* modes_mode; // first argument
extern bool modes_is_dll;      // mode dll
extern bool modes_is_fls;      // thread exits are told by fiber-local storage
extern size_t modes_many;      // how many times the long cases run: see modes_count
// MI_TEST_COUNT of the environment, for runs by hand; else the second argument; else `many`.
size_t modes_count(int argc, char** argv, size_t many);
void modes_begin(int argc, char** argv, size_t many);

typedef struct level_s {
  int64_t committed, reserved, threads, threads_total, blocks, os_calls;
  int64_t pages, page_bytes; // with blocks in them
} level_t;
level_t modes_level(void);
// Fails unless memory, blocks and heaps in use are what they were. `slack`: bytes that may be committed more.
void modes_assert_flat(const char* what, level_t before, size_t slack);
enum { MODES_SLACK = 1 << 20 }; // what a page that comes or goes at the wrong moment may change

// Allocates, fills, checks and frees blocks of all sizes; goes by the slow path for sure.
void modes_use_heap(uint64_t seed);

// Runs `run` on a thread and waits for its end. The thread's stack is small, so that thousands may live.
void modes_run_thread(LPTHREAD_START_ROUTINE run, void* arg);
HANDLE modes_start_thread(LPTHREAD_START_ROUTINE run, void* arg);
void modes_join(HANDLE thread);

// A tenth of them as warm-up, then all of `rounds` calls with the level compared before and after. `reaps`:
// heaps that are left over may be found by a collection.
void modes_flat_rounds(const char* what, void (*round)(size_t i), size_t rounds, bool reaps);

#define CASE(function) cmocka_unit_test(function)

#endif
