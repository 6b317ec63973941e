// Runs one program and reports how it went: exit code, seconds, processor seconds, peak RSS. A program of its own
// because the peak RSS that wait4 reports is never below that of the process it was forked from, and a Python process
// is larger than some of the programs that are measured.
//
// usage: timed LIMIT-SECONDS REPORT-FILE PROGRAM [ARGUMENT...]
// The report is one line: "<code> <seconds> <processor seconds> <KiB> <1 if killed at the limit>". The program
// inherits the standard streams.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t g_killed;
static volatile pid_t g_child;

static void on_alarm(int number) {
  (void)number;
  g_killed = 1;
  kill(g_child, SIGKILL);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char** argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: timed LIMIT-SECONDS REPORT-FILE PROGRAM [ARGUMENT...]\n");
    return 2;
  }
  double start = now();
  pid_t child = fork();
  if (child < 0) {
    perror("timed: fork");
    return 2;
  }
  if (child == 0) {
    execv(argv[3], argv + 3);
    perror(argv[3]);
    _exit(127);
  }
  g_child = child;
  struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &action, NULL);
  alarm((unsigned)atoi(argv[1]));
  int status;
  struct rusage usage;
  if (wait4(child, &status, 0, &usage) != child) {
    perror("timed: wait4");
    return 2;
  }
  double seconds = now() - start;
  int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  FILE* report = fopen(argv[2], "w");
  if (report == NULL ||
      fprintf(report, "%d %.6f %.6f %ld %d\n", code, seconds, cpu, usage.ru_maxrss, (int)g_killed) < 0 ||
      fclose(report) != 0) {
    perror(argv[2]);
    return 2;
  }
  return 0;
}
