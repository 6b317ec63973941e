// The log file that an environment variable names (os.h), and the names of such variables.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/os.h"
#include "base/atomics.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void os_environment_names(const char* prefix, void (*visit)(void* context, const char* name), void* context) {
  char name[64];
  for (char** at = environ; at != NULL && *at != NULL; at++) {
    size_t length = strcspn(*at, "=");
    if (length == 0 || length >= sizeof(name)) continue;
    memcpy(name, *at, length);
    name[length] = 0;
    if (text_begins_ignoring_case(name, prefix)) visit(context, name);
  }
}

enum { STATE_UNREAD, STATE_READING, STATE_NONE, STATE_FILE, STATE_TOO_LONG };

static uint32_t state;
static char path[PATH_MAX]; // absolute; whole once the state is STATE_FILE

// Adds `name` to the path with each %p replaced. False: it doesn't fit.
static bool expand(const char* name, size_t length) {
  for (; *name != 0; name++) {
    if (length + 12 >= sizeof(path)) return false;
    if (name[0] == '%' && name[1] == 'p') {
      length += (size_t)snprintf(path + length, sizeof(path) - length, "%d", (int)getpid());
      name++;
    } else {
      path[length++] = *name;
    }
  }
  path[length] = 0;
  return true;
}

static uint32_t read_variable(const char* variable) {
  const char* value = getenv(variable);
  if (value == NULL || *value == 0 || strcmp(value, "debugger") == 0) return STATE_NONE;
  size_t length = 0;
  if (value[0] != '/') {
    if (getcwd(path, sizeof(path)) == NULL) return STATE_TOO_LONG;
    length = strlen(path);
    if (length + 1 >= sizeof(path)) return STATE_TOO_LONG;
    path[length++] = '/';
  }
  return expand(value, length) ? STATE_FILE : STATE_TOO_LONG;
}

static bool append(const char* text, size_t length) {
  int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0) return false;
  ssize_t written;
  do written = write(file, text, length);
  while (written < 0 && errno == EINTR);
  close(file);
  return written == (ssize_t)length;
}

os_log_t os_log_write(const char* variable, const char* text, size_t length) {
  int saved = errno;
  uint32_t unread = STATE_UNREAD;
  os_log_t result = OS_LOG_NONE;
  if (atomic_get_acquire(&state) == STATE_UNREAD &&
      atomic_cas_acq_rel(&state, &unread, (uint32_t)STATE_READING))
    atomic_set_release(&state, read_variable(variable));
  uint32_t now =
      atomic_get_acquire(&state); // STATE_READING: another thread is about to know; this text doesn't wait
  if (now == STATE_FILE) {
    result = append(text, length) ? OS_LOG_WRITTEN : OS_LOG_FAILED;
  } else if (now == STATE_TOO_LONG) {
    result = OS_LOG_FAILED;
  }
  errno = saved;
  return result;
}
