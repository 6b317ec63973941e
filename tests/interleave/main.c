// The core's protocols under every order of their atomic operations, as far as a number of preemptions leads.
#include "interleave/scenarios.h"
#include "interleave/schedule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
  const char* name;
  const scenario_t* scenarios;
} groups[] = {{"pages", scenarios_pages},   {"slices", scenarios_slices}, {"heaps", scenarios_heaps},
              {"killed", scenarios_killed}, {"costs", scenarios_costs},   {NULL, NULL}};

static void usage(void) {
  printf("usage: interleave [--bound N] [--group NAME] [--scenario NAME]... [--schedule S] [--list]\n\n"
         "Runs two or three threads of the allocator in every order that at most N preemptions give (2), and "
         "checks\n"
         "after each that no block is handed out twice, none is damaged, and nothing is lost. A failure is "
         "printed with\n"
         "the schedule that led there.\n\n"
         "  --bound N        this many preemptions; more find more, and take longer\n"
         "  --group NAME     pages, slices, heaps, killed or costs alone\n"
         "  --scenario NAME  these alone; all whose names begin so\n"
         "  --schedule S     this schedule of one scenario, as a failure printed it: A12.B.A lets A pass 12 "
         "points, then\n"
         "                   B go as far as it can, then A; A3x kills A after 3\n"
         "  --list           the scenarios\n"
         "  -h, --help       this text\n\n"
         "Exit code: 0 all went well, 1 a schedule failed, 2 it can't be run like that.\n");
}

static bool is_chosen(const char* name, char** chosen, int count) {
  if (count == 0) return true;
  for (int i = 0; i < count; i++)
    if (strncmp(name, chosen[i], strlen(chosen[i])) == 0) return true;
  return false;
}

static int misused(const char* what) {
  fprintf(stderr, "interleave: error: %s; see --help\n", what);
  return 2;
}

int main(int argc, char** argv) {
  const char *text = NULL, *group = NULL;
  int bound = -1, chosen_count = 0;
  bool is_list = false;
  char** chosen = calloc((size_t)argc, sizeof(char*));
  for (int i = 1; i < argc; i++) {
    bool has_value = i + 1 < argc;
    if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) {
      usage();
      return 0;
    }
    if (strcmp(argv[i], "--list") == 0) {
      is_list = true;
    } else if (strcmp(argv[i], "--bound") == 0 && has_value) {
      bound = atoi(argv[++i]);
    } else if (strcmp(argv[i], "--group") == 0 && has_value) {
      group = argv[++i];
    } else if (strcmp(argv[i], "--scenario") == 0 && has_value) {
      chosen[chosen_count++] = argv[++i];
    } else if (strcmp(argv[i], "--schedule") == 0 && has_value) {
      text = argv[++i];
    } else {
      return misused(argv[i]);
    }
  }
  if (text != NULL && chosen_count != 1) return misused("--schedule needs one --scenario");
  schedule_begin();
  uint64_t runs = 0, points = 0;
  unsigned count = 0, failed = 0;
  clock_t start = clock();
  for (size_t g = 0; groups[g].name != NULL; g++) {
    if (group != NULL && strcmp(group, groups[g].name) != 0) continue;
    for (const scenario_t* at = groups[g].scenarios; at->name != NULL; at++) {
      if (!is_chosen(at->name, chosen, chosen_count)) continue;
      count++;
      if (is_list) {
        printf("%-28s %s\n", at->name, at->what);
        continue;
      }
      clock_t begin = clock();
      schedule_result_t result = schedule_scenario(at, bound, text);
      printf("%-28s %8llu schedules, %5llu points each, %5.2f s%s\n", at->name,
             (unsigned long long)result.runs,
             (unsigned long long)(result.runs == 0 ? 0 : result.points / result.runs),
             (double)(clock() - begin) / CLOCKS_PER_SEC, result.failed ? "  FAILED" : "");
      fflush(stdout);
      runs += result.runs;
      points += result.points;
      failed += result.failed;
    }
  }
  if (count == 0) return misused("there is no such scenario");
  if (is_list) return 0;
  printf("%u scenarios, %llu schedules, %llu points, %.1f s, %u failed\n", count, (unsigned long long)runs,
         (unsigned long long)points, (double)(clock() - start) / CLOCKS_PER_SEC, failed);
  return failed != 0;
}
