// Random numbers, from the kernel.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/os.h"

#include <sys/random.h>
#include <time.h>
#include <unistd.h>

void os_random(uint64_t random[2]) {
  if (getrandom(random, 2 * sizeof(uint64_t), 0) == (ssize_t)(2 * sizeof(uint64_t))) return;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  random[0] = (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec ^
              (uint64_t)(uintptr_t)random << 20; // a kernel before 3.17
  random[1] = (uint64_t)getpid() << 32 ^ (uint64_t)(uintptr_t)&os_random;
}

uint64_t os_random_place(void) {
  uint64_t random[2];
  os_random(random);
  return random[0];
}
