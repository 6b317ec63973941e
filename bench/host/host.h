/** What the workloads need of the operating system. host/posix and host/windows implement it; Meson picks one. */
#ifndef BENCH_HOST_H
#define BENCH_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Wall clock. */
uint64_t host_now_ns(void);
/** CPU time of the process, all threads, user and system. 10 ms steps under Wine. */
uint64_t host_cpu_ns(void);
/** CPU time of the calling thread where it can be read finely enough to time one call; else the wall clock. */
uint64_t host_pause_clock_ns(void);

/** Memory of the process in KiB. */
typedef struct host_memory_s {
  uint64_t rss;
  uint64_t rss_peak;
  /** Bytes that the system has promised: private writable memory, touched or not, without that of host_table and, natively, stacks. */
  uint64_t commit;
  /** The most of these, if the system keeps it, else 0. */
  uint64_t commit_peak;
} host_memory_t;
void host_memory(host_memory_t* memory);

/** Address space of the process in KiB, whether there is memory behind it or not. */
uint64_t host_address_space_kib(void);

/** Zeroed memory for the workloads' own tables, straight from the system; ends the process if there is none. */
void* host_table(size_t bytes);

typedef struct host_thread_s {
  uintptr_t handle;
  void* stack; /* where the system lets the caller bring one */
  void (*run)(void*);
  void* arg;
} host_thread_t;
/** The thread has a small stack: 64 KiB, or the least that the system gives. `t` must stay where it is. */
void host_thread_start(host_thread_t* t, void (*run)(void*), void* arg);
void host_thread_join(host_thread_t* t);
/** Ends the calling thread so that nobody is told of it; it can be joined as any other. */
_Noreturn void host_thread_die(void);

typedef struct host_semaphore_s {
  uintptr_t handle[4];
} host_semaphore_t;
void host_semaphore_init(host_semaphore_t* s);
void host_semaphore_post(host_semaphore_t* s);
void host_semaphore_wait(host_semaphore_t* s);

void host_yield(void);
void host_sleep_ms(unsigned ms);

/** From now on the process may commit only so many KiB more. False: this system has no such limit. */
bool host_limit_commit(uint64_t kib_more);

#endif
