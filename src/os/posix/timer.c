// The timer of the native build: a thread that sleeps while nothing is to be done.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/os.h"
#include "base/atomics.h"

#include <pthread.h>
#include <time.h>

static struct {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  pthread_t thread;
  bool (*tick)(void);
  uint32_t period_ms;
  bool is_made, is_running, is_ending;
} timer = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void* run_timer(void* arg) {
  pthread_mutex_lock(&timer.mutex);
  while (!timer.is_ending) {
    if (!atomic_get_relaxed(&timer.is_running)) {
      pthread_cond_wait(&timer.changed, &timer.mutex);
      continue;
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + (uint64_t)timer.period_ms * 1000000;
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    int error = 0;
    while (!timer.is_ending && error == 0)
      error = pthread_cond_timedwait(&timer.changed, &timer.mutex, &until);
    if (timer.is_ending) break;
    atomic_set_relaxed(&timer.is_running, false); // who starts it from here on is heard
    bool (*tick)(void) = timer.tick;
    pthread_mutex_unlock(&timer.mutex);
    bool goes_on = tick();
    pthread_mutex_lock(&timer.mutex);
    if (goes_on) atomic_set_relaxed(&timer.is_running, true);
  }
  pthread_mutex_unlock(&timer.mutex);
  return arg;
}

void os_timer_start(uint32_t period_ms, bool (*tick)(void)) {
  if (atomic_get_relaxed(&timer.is_running)) return;
  pthread_mutex_lock(&timer.mutex);
  timer.period_ms = period_ms;
  timer.tick = tick;
  atomic_set_relaxed(&timer.is_running, true);
  if (!timer.is_made) timer.is_made = pthread_create(&timer.thread, NULL, run_timer, NULL) == 0;
  pthread_cond_signal(&timer.changed);
  pthread_mutex_unlock(&timer.mutex);
}

void os_timer_free(void) {
  pthread_mutex_lock(&timer.mutex);
  bool is_made = timer.is_made;
  timer.is_ending = true;
  pthread_cond_signal(&timer.changed);
  pthread_mutex_unlock(&timer.mutex);
  if (is_made) pthread_join(timer.thread, NULL);
  pthread_mutex_lock(&timer.mutex);
  timer.is_made = timer.is_ending = false;
  atomic_set_relaxed(&timer.is_running, false);
  pthread_mutex_unlock(&timer.mutex);
}
