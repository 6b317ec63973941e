// Whether a thread's id is still its own: by the time when the thread began.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The 22nd field of /proc/self/task/ID/stat: ticks since the system started. The name in parentheses may hold
// anything.
static uint64_t birth_of(uint32_t id) {
  char path[64], text[512];
  int saved = errno;
  snprintf(path, sizeof(path), "/proc/self/task/%u/stat", (unsigned)id);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t length = file < 0 ? -1 : read(file, text, sizeof(text) - 1);
  if (file >= 0) close(file);
  errno = saved;
  if (length <= 0) return 0;
  text[length] = 0;
  const char* at = strrchr(text, ')');
  for (int field = 2; at != NULL && field < 22; field++) at = strchr(at + 1, ' ');
  return at == NULL ? 0 : strtoull(at, NULL, 10) + 1;
}

uint64_t os_thread_watch(void) { return birth_of(os_thread_id()); }
void os_thread_unwatch(uint64_t watch) { MI_UNUSED(watch); }

bool os_thread_is_another(uint32_t id, uint64_t watch) {
  uint64_t now = birth_of(id);
  return now != 0 && now != watch;
}
