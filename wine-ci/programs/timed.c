// Runs one program and reports how it went: exit code, seconds, processor seconds, peak RSS. A program of its own
// because the peak RSS that wait4 reports is never below that of the process it was forked from, and a Python process
// is larger than some of the programs that are measured.
//
// usage: timed LIMIT-SECONDS REPORT-FILE OTHERS PROGRAM [ARGUMENT...]
// OTHERS is how many more processes the program starts and leaves to us: a Windows program that another one starts is, to
// Linux, nobody's child once it runs. Their end is awaited, their processor time added, and the larger peak RSS reported.
// The report is one line: "<code> <seconds> <processor seconds> <KiB> <1 if killed at the limit>". The program
// inherits the standard streams.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
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
  if (argc < 5) {
    fprintf(stderr, "usage: timed LIMIT-SECONDS REPORT-FILE OTHERS PROGRAM [ARGUMENT...]\n");
    return 2;
  }
  int others = atoi(argv[3]);
  prctl(PR_SET_CHILD_SUBREAPER, others > 0);
  double start = now();
  pid_t child = fork();
  if (child < 0) {
    perror("timed: fork");
    return 2;
  }
  if (child == 0) {
    execv(argv[4], argv + 4);
    perror(argv[4]);
    _exit(127);
  }
  g_child = child;
  struct sigaction action = {.sa_handler = on_alarm, };
  sigaction(SIGALRM, &action, NULL);
  alarm((unsigned)atoi(argv[1]));
  int code = 0;
  double cpu = 0, seconds = 0;
  long rss = 0;
  for (int left = others + 1; left > 0;) {
    int status;
    struct rusage usage;
    pid_t ended = wait4(-1, &status, 0, &usage);
    if (ended < 0 && g_killed) break; // the program left fewer than it was said to
    if (ended < 0) {
      perror("timed: wait4");
      return 2;
    }
    left--;
    if (ended == child) {
      seconds = now() - start;
      code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      if (g_killed || code != 0) left = 0; // what it has started is not to be waited for
    }
    cpu += (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    if (usage.ru_maxrss > rss) rss = usage.ru_maxrss;
  }
  FILE* report = fopen(argv[2], "w");
  if (report == NULL ||
      fprintf(report, "%d %.6f %.6f %ld %d\n", code, seconds, cpu, rss, (int)g_killed) < 0 ||
      fclose(report) != 0) {
    perror(argv[2]);
    return 2;
  }
  return 0;
}
