#include "support/test_thread.h"

#include <stdio.h>
#include <stdlib.h>

static void die(const char* what, long code) {
  fprintf(stderr, "test support: %s failed (error %ld); too many threads, or too little memory?\n", what,
          code);
  exit(99);
}

#if defined(_WIN32)

static DWORD WINAPI thread_entry(LPVOID arg) {
  test_thread_t* thread = arg;
  thread->run(thread->arg);
  return 0;
}

void test_thread_start(test_thread_t* thread, void (*run)(void* arg), void* arg) {
  thread->run = run;
  thread->arg = arg;
  thread->handle = CreateThread(NULL, 0, thread_entry, thread, 0, NULL);
  if (thread->handle == NULL) die("CreateThread", (long)GetLastError());
}

void test_thread_join(test_thread_t* thread) {
  if (WaitForSingleObject(thread->handle, INFINITE) != WAIT_OBJECT_0) {
    die("WaitForSingleObject", (long)GetLastError());
  }
  CloseHandle(thread->handle);
}

static void monitor_init(test_monitor_t* monitor) {
  InitializeCriticalSection(&monitor->lock);
  InitializeConditionVariable(&monitor->changed);
}
static void monitor_done(test_monitor_t* monitor) { DeleteCriticalSection(&monitor->lock); }
static void monitor_enter(test_monitor_t* monitor) { EnterCriticalSection(&monitor->lock); }
static void monitor_leave(test_monitor_t* monitor) { LeaveCriticalSection(&monitor->lock); }
static void monitor_wake_all(test_monitor_t* monitor) { WakeAllConditionVariable(&monitor->changed); }
static void monitor_wait(test_monitor_t* monitor) {
  if (!SleepConditionVariableCS(&monitor->changed, &monitor->lock, INFINITE)) {
    die("SleepConditionVariableCS", (long)GetLastError());
  }
}

#else

static void* thread_entry(void* arg) {
  test_thread_t* thread = arg;
  thread->run(thread->arg);
  return NULL;
}

void test_thread_start(test_thread_t* thread, void (*run)(void* arg), void* arg) {
  thread->run = run;
  thread->arg = arg;
  int error = pthread_create(&thread->handle, NULL, thread_entry, thread);
  if (error != 0) die("pthread_create", error);
}

void test_thread_join(test_thread_t* thread) {
  int error = pthread_join(thread->handle, NULL);
  if (error != 0) die("pthread_join", error);
}

static void monitor_init(test_monitor_t* monitor) {
  pthread_mutex_init(&monitor->lock, NULL);
  pthread_cond_init(&monitor->changed, NULL);
}
static void monitor_done(test_monitor_t* monitor) {
  pthread_cond_destroy(&monitor->changed);
  pthread_mutex_destroy(&monitor->lock);
}
static void monitor_enter(test_monitor_t* monitor) { pthread_mutex_lock(&monitor->lock); }
static void monitor_leave(test_monitor_t* monitor) { pthread_mutex_unlock(&monitor->lock); }
static void monitor_wake_all(test_monitor_t* monitor) { pthread_cond_broadcast(&monitor->changed); }
static void monitor_wait(test_monitor_t* monitor) { pthread_cond_wait(&monitor->changed, &monitor->lock); }

#endif

void test_event_init(test_event_t* event) {
  monitor_init(&event->monitor);
  event->set = false;
}

void test_event_done(test_event_t* event) { monitor_done(&event->monitor); }

void test_event_set(test_event_t* event) {
  monitor_enter(&event->monitor);
  event->set = true;
  monitor_wake_all(&event->monitor);
  monitor_leave(&event->monitor);
}

void test_event_clear(test_event_t* event) {
  monitor_enter(&event->monitor);
  event->set = false;
  monitor_leave(&event->monitor);
}

void test_event_wait(test_event_t* event) {
  monitor_enter(&event->monitor);
  while (!event->set) monitor_wait(&event->monitor);
  monitor_leave(&event->monitor);
}

void test_barrier_init(test_barrier_t* barrier, size_t count) {
  monitor_init(&barrier->monitor);
  barrier->count = count;
  barrier->waiting = 0;
  barrier->round = 0;
}

void test_barrier_done(test_barrier_t* barrier) { monitor_done(&barrier->monitor); }

void test_barrier_wait(test_barrier_t* barrier) {
  monitor_enter(&barrier->monitor);
  size_t round = barrier->round;
  if (++barrier->waiting == barrier->count) {
    barrier->waiting = 0;
    barrier->round++;
    monitor_wake_all(&barrier->monitor);
  } else {
    while (barrier->round == round) monitor_wait(&barrier->monitor);
  }
  monitor_leave(&barrier->monitor);
}
