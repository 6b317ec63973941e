#if !defined(_WIN32) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "support/child.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct capture_s {
  char* text;
  size_t length;
} capture_t;

static void capture_append(capture_t* capture, const char* data, size_t length) {
  for (size_t i = 0; i < length && capture->length + 1 < CHILD_TEXT_MAX; i++) {
    if (data[i] != '\r') capture->text[capture->length++] = data[i];
  }
  capture->text[capture->length] = 0;
}

void child_sibling(const char* name, char path[CHILD_PATH_MAX]) {
  char self[CHILD_PATH_MAX];
  child_self(self);
  char* end = strrchr(self, '/');
  char* back = strrchr(self, '\\');
  if (end == NULL || (back != NULL && back > end)) end = back;
  if (end != NULL) end[1] = 0;
#if defined(_WIN32)
  snprintf(path, CHILD_PATH_MAX, "%s%s.exe", self, name);
#else
  snprintf(path, CHILD_PATH_MAX, "%.*s%s", CHILD_PATH_MAX - 128, self, name);
#endif
}

void child_print(const child_result_t* result) {
  printf("child: exit code %u (0x%x), signal %d%s\n-- its output:\n%s-- its errors:\n%s--\n",
         result->exit_code, result->exit_code, result->signal,
         result->timed_out ? ", killed at the time limit" : "", result->output, result->error);
  fflush(stdout);
}

#if defined(_WIN32)

#include <windows.h>

typedef struct reader_s {
  HANDLE pipe;
  capture_t* capture;
} reader_t;

static DWORD WINAPI reader_entry(LPVOID arg) {
  reader_t* reader = arg;
  char data[4096];
  DWORD length;
  while (ReadFile(reader->pipe, data, sizeof(data), &length, NULL) && length > 0) {
    capture_append(reader->capture, data, length);
  }
  return 0;
}

// Quotes one argument by the rules of the C runtimes; returns the new end, or NULL when there is no room.
static char* quote(char* to, const char* end, const char* argument) {
  size_t backslashes = 0;
  if (to + 2 * strlen(argument) + 4 > end) return NULL;
  *to++ = '"';
  for (; *argument != 0; argument++) {
    if (*argument == '"') {
      while (backslashes-- > 0) *to++ = '\\';
      *to++ = '\\';
      backslashes = 0;
    } else {
      backslashes = *argument == '\\' ? backslashes + 1 : 0;
    }
    *to++ = *argument;
  }
  while (backslashes-- > 0) *to++ = '\\';
  *to++ = '"';
  *to++ = ' ';
  return to;
}

static bool open_pipe(HANDLE* read_end, HANDLE* write_end) {
  SECURITY_ATTRIBUTES inherit = {.nLength = sizeof(inherit), .bInheritHandle = TRUE};
  return CreatePipe(read_end, write_end, &inherit, 0) &&
         SetHandleInformation(*read_end, HANDLE_FLAG_INHERIT, 0);
}

bool child_run(const char* const* arguments, unsigned limit_ms, child_result_t* result) {
  memset(result, 0, sizeof(*result));
  char line[8 * CHILD_PATH_MAX];
  char* end = line;
  for (size_t i = 0; arguments[i] != NULL; i++) {
    end = quote(end, line + sizeof(line), arguments[i]);
    if (end == NULL) {
      printf("child: the command line is too long\n");
      return false;
    }
  }
  *end = 0;

  HANDLE output_read, output_write, error_read, error_write;
  if (!open_pipe(&output_read, &output_write) || !open_pipe(&error_read, &error_write)) {
    printf("child: no pipe (error %lu)\n", GetLastError());
    return false;
  }
  STARTUPINFOA startup = {.cb = sizeof(startup), .dwFlags = STARTF_USESTDHANDLES};
  startup.hStdInput = INVALID_HANDLE_VALUE;
  startup.hStdOutput = output_write;
  startup.hStdError = error_write;
  PROCESS_INFORMATION process;
  BOOL started = CreateProcessA(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &process);
  DWORD error = GetLastError();
  // Wine 8 fails to start a process now and then, whatever the program: 1 of 4,000 starts of one that only
  // returns, on a busy machine.
  for (int again = 0; !started && error == ERROR_INTERNAL_ERROR && again < 3; again++) {
    printf("child: can't start %s (error %lu of Wine's); once more\n", line, error);
    started = CreateProcessA(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &process);
    error = GetLastError();
  }
  CloseHandle(output_write);
  CloseHandle(error_write);
  if (!started) {
    printf("child: can't start %s (error %lu); was it built?\n", line, error);
    CloseHandle(output_read);
    CloseHandle(error_read);
    return false;
  }

  capture_t captures[2] = {{.text = result->output}, {.text = result->error}};
  reader_t readers[2] = {{.pipe = output_read, .capture = &captures[0]},
                         {.pipe = error_read, .capture = &captures[1]}};
  HANDLE threads[2];
  for (int i = 0; i < 2; i++) {
    threads[i] = CreateThread(NULL, 0, reader_entry, &readers[i], 0, NULL);
    if (threads[i] == NULL) {
      printf("child: no thread to read its output (error %lu)\n", GetLastError());
      exit(99);
    }
  }
  if (WaitForSingleObject(process.hProcess, limit_ms) == WAIT_TIMEOUT) {
    result->timed_out = true;
    TerminateProcess(process.hProcess, 0xFFFF);
    WaitForSingleObject(process.hProcess, INFINITE);
  }
  WaitForMultipleObjects(2, threads, TRUE, INFINITE);
  DWORD code = 0;
  GetExitCodeProcess(process.hProcess, &code);
  result->exit_code = code;
  for (int i = 0; i < 2; i++) {
    CloseHandle(threads[i]);
    CloseHandle(readers[i].pipe);
  }
  CloseHandle(process.hThread);
  CloseHandle(process.hProcess);
  return true;
}

// Both copies: the C runtime's, for getenv of this process, and Windows', which children inherit.
void child_set_environment(const char* name, const char* value) {
  char assignment[CHILD_PATH_MAX];
  snprintf(assignment, sizeof(assignment), "%s=%s", name, value == NULL ? "" : value);
  _putenv(assignment);
  SetEnvironmentVariableA(name, value);
}

void child_self(char path[CHILD_PATH_MAX]) {
  DWORD length = GetModuleFileNameA(NULL, path, CHILD_PATH_MAX);
  path[length < CHILD_PATH_MAX ? length : CHILD_PATH_MAX - 1] = 0;
}

bool child_aborted(const child_result_t* result) { return !result->timed_out && result->exit_code == 3; }
bool child_faulted(const child_result_t* result) {
  return !result->timed_out && result->exit_code == (unsigned)EXCEPTION_ACCESS_VIOLATION;
}

#else

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Reads both pipes until the child closed them (true) or the deadline passed (false).
static bool read_until(int pipes[2], capture_t captures[2], int64_t deadline) {
  struct pollfd polled[2] = {{.fd = pipes[0], .events = POLLIN}, {.fd = pipes[1], .events = POLLIN}};
  while (polled[0].fd >= 0 || polled[1].fd >= 0) {
    int64_t left = deadline - now_ms();
    if (left <= 0) return false;
    if (poll(polled, 2, (int)left) <= 0) continue;
    for (int i = 0; i < 2; i++) {
      if (polled[i].fd < 0 || polled[i].revents == 0) continue;
      char data[4096];
      ssize_t length = read(polled[i].fd, data, sizeof(data));
      if (length > 0) {
        capture_append(&captures[i], data, (size_t)length);
      } else if (length == 0 || errno != EINTR) {
        polled[i].fd = -1;
      }
    }
  }
  return true;
}

// A program for another processor: as Meson runs it, which says how in the environment (an emulator and its options).
static void exec_wrapped(const char* const* arguments) {
  char* rest = getenv("MESON_EXE_WRAPPER");
  const char* words[64];
  size_t count = 0;
  if (rest == NULL) return;
  for (char* word = strtok_r(rest, " ", &rest); word != NULL && count < 32; word = strtok_r(NULL, " ", &rest))
    words[count++] = word;
  if (count == 0) return;
  do {
    words[count++] = *arguments;
  } while (*arguments++ != NULL && count < sizeof(words) / sizeof(words[0]));
  execvp(words[0], (char* const*)(uintptr_t)words);
}

// qemu tells of a signal that ends the program on the program's standard error.
static void drop_emulators_line(char* text) {
  char* line = strstr(text, "qemu: uncaught target signal");
  char* end = line == NULL ? NULL : strchr(line, '\n');
  if (end != NULL) memmove(line, end + 1, strlen(end + 1) + 1);
}

bool child_run(const char* const* arguments, unsigned limit_ms, child_result_t* result) {
  memset(result, 0, sizeof(*result));
  int64_t deadline = now_ms() + limit_ms;
  int output[2], error[2];
  if (pipe2(output, O_CLOEXEC) != 0 || pipe2(error, O_CLOEXEC) != 0) {
    printf("child: no pipe (%s)\n", strerror(errno));
    return false;
  }
  if (access(arguments[0], X_OK) != 0) {
    printf("child: can't start %s (%s); was it built?\n", arguments[0], strerror(errno));
    return false;
  }
  fflush(NULL);
  pid_t pid = fork();
  if (pid < 0) {
    printf("child: fork failed (%s)\n", strerror(errno));
    return false;
  }
  if (pid == 0) {
    int input = open("/dev/null", O_RDONLY);
    dup2(input, STDIN_FILENO);
    dup2(output[1], STDOUT_FILENO);
    dup2(error[1], STDERR_FILENO);
    execv(arguments[0], (char* const*)(uintptr_t)arguments);
    if (errno == ENOEXEC) exec_wrapped(arguments);
    _exit(127);
  }
  close(output[1]);
  close(error[1]);
  capture_t captures[2] = {{.text = result->output}, {.text = result->error}};
  int pipes[2] = {output[0], error[0]};
  // A child that closed both streams but lives on is given the rest of its time, too.
  bool ended = read_until(pipes, captures, deadline);
  int status = 0;
  pid_t waited = 0;
  while (ended && (waited = waitpid(pid, &status, WNOHANG)) == 0) {
    if (now_ms() >= deadline) {
      ended = false;
    } else {
      poll(NULL, 0, 1);
    }
  }
  if (!ended) {
    result->timed_out = true;
    kill(pid, SIGKILL);
    waited = waitpid(pid, &status, 0);
  }
  close(output[0]);
  close(error[0]);
  if (waited == pid && WIFEXITED(status)) result->exit_code = (unsigned)WEXITSTATUS(status);
  if (waited == pid && WIFSIGNALED(status)) result->signal = WTERMSIG(status);
  drop_emulators_line(result->error);
  return true;
}

void child_set_environment(const char* name, const char* value) {
  if (value == NULL) {
    unsetenv(name);
  } else {
    setenv(name, value, 1);
  }
}

void child_self(char path[CHILD_PATH_MAX]) {
  ssize_t length = readlink("/proc/self/exe", path, CHILD_PATH_MAX - 1);
  path[length > 0 ? length : 0] = 0;
}

// AddressSanitizer turns the signal into exit code 1 and a report.
bool child_faulted(const child_result_t* result) {
  return !result->timed_out &&
         (result->signal == SIGSEGV || result->signal == SIGBUS ||
          // AddressSanitizer tells of it, and then exits, or aborts if its options say so (Meson 1.6 sets them).
          ((result->exit_code != 0 || result->signal == SIGABRT) && strstr(result->error, "AddressSanitizer") != NULL));
}
// AddressSanitizer's way to end at a fault isn't the program's.
bool child_aborted(const child_result_t* result) {
  return !result->timed_out && result->signal == SIGABRT && !child_faulted(result);
}

#endif
