#include "../host.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { STACK_BYTES = 64 * 1024 };

static uint64_t own_kib; // tables and stacks
static pthread_mutex_t stack_lock = PTHREAD_MUTEX_INITIALIZER;
static void* stack_spares;

_Noreturn static void fail(const char* what, int error) {
  fprintf(stderr, "bench: %s: %s\n", what, strerror(error));
  exit(2);
}

static uint64_t read_clock(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t host_now_ns(void) { return read_clock(CLOCK_MONOTONIC); }
uint64_t host_cpu_ns(void) { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }
uint64_t host_pause_clock_ns(void) { return read_clock(CLOCK_THREAD_CPUTIME_ID); }

static uint64_t status_field(const char* text, const char* name) {
  const char* field = strstr(text, name);
  return field != NULL ? strtoull(field + strlen(name), NULL, 10) : 0;
}

// By system calls alone: stdio would allocate.
enum { STATUS_BYTES = 4096 };
static void read_status(char* text) {
  int file = open("/proc/self/status", O_RDONLY);
  ssize_t length = file >= 0 ? read(file, text, STATUS_BYTES - 1) : -1;
  if (length < 0) fail("/proc/self/status", errno);
  close(file);
  text[length] = 0;
}

uint64_t host_address_space_kib(void) {
  char text[STATUS_BYTES];
  read_status(text);
  return status_field(text, "VmSize:");
}

void host_memory(host_memory_t* memory) {
  char text[STATUS_BYTES];
  read_status(text);
  uint64_t own = __atomic_load_n(&own_kib, __ATOMIC_RELAXED);
  uint64_t data = status_field(text, "VmData:");
  memory->rss = status_field(text, "VmRSS:");
  memory->rss_peak = status_field(text, "VmHWM:");
  memory->commit = data > own ? data - own : 0;
  memory->commit_peak = 0;
}

void* host_table(size_t bytes) {
  void* p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) fail("no memory for a workload's table", errno);
  __atomic_fetch_add(&own_kib, (bytes + 4095) / 4096 * 4, __ATOMIC_RELAXED);
  return p;
}

// Stacks are kept for the next thread: making one is no business of the allocator's.
static void* stack_take(void) {
  pthread_mutex_lock(&stack_lock);
  void* stack = stack_spares;
  if (stack != NULL) stack_spares = *(void**)stack;
  pthread_mutex_unlock(&stack_lock);
  return stack != NULL ? stack : host_table(STACK_BYTES);
}

static void stack_give(void* stack) {
  pthread_mutex_lock(&stack_lock);
  *(void**)stack = stack_spares;
  stack_spares = stack;
  pthread_mutex_unlock(&stack_lock);
}

static void* thread_main(void* arg) {
  host_thread_t* t = arg;
  t->run(t->arg);
  return NULL;
}

void host_thread_start(host_thread_t* t, void (*run)(void*), void* arg) {
  pthread_attr_t attributes;
  pthread_t id;
  t->run = run;
  t->arg = arg;
  pthread_attr_init(&attributes);
  t->stack = stack_take();
  pthread_attr_setstack(&attributes, t->stack, STACK_BYTES);
  int error = pthread_create(&id, &attributes, thread_main, t);
  if (error != 0) fail("a thread can't be started", error);
  pthread_attr_destroy(&attributes);
  t->handle = (uintptr_t)id;
}

void host_thread_join(host_thread_t* t) {
  int error = pthread_join((pthread_t)t->handle, NULL);
  if (error != 0) fail("a thread can't be joined", error);
  stack_give(t->stack);
}

// No destructors run. The system wakes who waits for the thread.
_Noreturn void host_thread_die(void) {
  for (;;) syscall(SYS_exit, 0);
}

_Static_assert(sizeof(sem_t) <= sizeof(host_semaphore_t), "a semaphore fits");
void host_semaphore_init(host_semaphore_t* s) { sem_init((sem_t*)s->handle, 0, 0); }
void host_semaphore_post(host_semaphore_t* s) { sem_post((sem_t*)s->handle); }
void host_semaphore_wait(host_semaphore_t* s) {
  while (sem_wait((sem_t*)s->handle) != 0) {}
}

void host_yield(void) { sched_yield(); }

void host_sleep_ms(unsigned ms) {
  struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
  while (nanosleep(&t, &t) != 0) {}
}

// The limit on private writable memory counts what mprotect makes writable, too.
bool host_limit_commit(uint64_t kib_more) {
  host_memory_t memory;
  host_memory(&memory);
  rlim_t bytes = (memory.commit + own_kib + kib_more) * 1024;
  struct rlimit limit = {bytes, bytes};
  return setrlimit(RLIMIT_DATA, &limit) == 0;
}
