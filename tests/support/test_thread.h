// Threads and the two ways in which tests let them wait for each other, on POSIX and Windows.
// None of these functions returns an error: a test that can't get a thread prints why and ends.
#ifndef TESTS_TEST_THREAD_H
#define TESTS_TEST_THREAD_H

#include <stdbool.h>
#include <stddef.h>

#if defined(_WIN32)
#include <windows.h>
typedef struct test_thread_s {
  void (*run)(void* arg);
  void* arg;
  HANDLE handle;
} test_thread_t;
typedef struct test_monitor_s {
  CRITICAL_SECTION lock;
  CONDITION_VARIABLE changed;
} test_monitor_t;
#else
#include <pthread.h>
typedef struct test_thread_s {
  void (*run)(void* arg);
  void* arg;
  pthread_t handle;
} test_thread_t;
typedef struct test_monitor_s {
  pthread_mutex_t lock;
  pthread_cond_t changed;
} test_monitor_t;
#endif

// *thread must stay where it is until it was joined.
void test_thread_start(test_thread_t* thread, void (*run)(void* arg), void* arg);
void test_thread_join(test_thread_t* thread);

// An event: once set, everybody who waits or will wait passes, until it is cleared.
typedef struct test_event_s {
  test_monitor_t monitor;
  bool set;
} test_event_t;

void test_event_init(test_event_t* event);
void test_event_done(test_event_t* event);
void test_event_set(test_event_t* event);
void test_event_clear(test_event_t* event);
void test_event_wait(test_event_t* event);

// A barrier: the first count-1 threads wait for the last; may be used again at once.
typedef struct test_barrier_s {
  test_monitor_t monitor;
  size_t count, waiting, round;
} test_barrier_t;

void test_barrier_init(test_barrier_t* barrier, size_t count);
void test_barrier_done(test_barrier_t* barrier);
void test_barrier_wait(test_barrier_t* barrier);

#endif
