#include "modes.h"

#include <stdlib.h>

const char* modes_mode;
bool modes_is_dll, modes_is_fls;
size_t modes_many;

enum { BLOCKS = 40 };

size_t modes_count(int argc, char** argv, size_t many) {
  const char* text = getenv("MI_TEST_COUNT");
  if (text == NULL) text = argc > 2 ? argv[2] : NULL;
  int count = text != NULL ? atoi(text) : 0;
  return count > 0 ? (size_t)count : many;
}

void modes_begin(int argc, char** argv, size_t many) {
  static const char* const modes[][2] = {{"dll", "DllMain"},
                                         {"tls", "tls-callback"},
                                         {"fls", "fls"},
                                         {"auto", "tls-callback"},
                                         {"auto-fls", "fls"}};
  setvbuf(stdout, NULL, _IOLBF, 4096);
  if (argc < 2) {
    fprintf(stderr,
            "usage: %s MODE [COUNT]\nmodes: dll tls fls auto auto-fls; MI_TEST_COUNT overrides COUNT\n",
            argv[0]);
    exit(99);
  }
  modes_many = modes_count(argc, argv, many);
  for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
    if (strcmp(argv[1], modes[i][0]) != 0) continue;
    modes_mode = argv[1];
    modes_is_dll = i == 0;
    modes_is_fls = strcmp(modes[i][1], "fls") == 0;
    if (strcmp(mi_thread_exit_mechanism(), modes[i][1]) == 0) return;
    fprintf(stderr, "mode %s: thread exits are told by %s, not by %s\n", argv[1], mi_thread_exit_mechanism(),
            modes[i][1]);
    exit(1);
  }
  fprintf(stderr, "there is no mode '%s'\n", argv[1]);
  exit(99);
}

level_t modes_level(void) {
  mi_stats_t_decl(stats);
  assert_true(mi_stats_get(&stats));
  level_t level = {.committed = stats.committed.current,
                   .reserved = stats.reserved.current,
                   .threads = stats.threads.current,
                   .pages = stats.pages.current,
                   .page_bytes = stats.page_committed.current,
                   .threads_total = stats.threads.total,
                   .os_calls = stats.mmap_calls.total + stats.commit_calls.total + stats.reset_calls.total +
                               stats.purge_calls.total};
  for (size_t i = 0; i <= MI_BIN_HUGE; i++) level.blocks += stats.malloc_bins[i].current;
  return level;
}

// With 32 bits an empty arena gives its address space back, and the next one may lie elsewhere: each of the 32 places that
// there are has a table of the page map once, which stays: one for each half of an arena that lies across two.
#define TABLES_BYTES (sizeof(void*) == 4 ? 2 * 256 * 1024 : 0)

void modes_assert_flat(const char* what, level_t before, size_t slack) {
  level_t after = modes_level();
  if (after.committed <= before.committed + (int64_t)slack &&
      after.reserved <= before.reserved + (int64_t)TABLES_BYTES && after.threads == before.threads &&
      after.blocks == before.blocks)
    return;
  fail_msg("%s: committed %lld -> %lld, reserved %lld -> %lld, heaps %lld -> %lld, blocks %lld -> %lld", what,
           (long long)before.committed, (long long)after.committed, (long long)before.reserved,
           (long long)after.reserved, (long long)before.threads, (long long)after.threads,
           (long long)before.blocks, (long long)after.blocks);
}

void modes_use_heap(uint64_t seed) {
  test_random_t random = {seed};
  char* blocks[BLOCKS];
  size_t sizes[BLOCKS];
  for (size_t i = 0; i < BLOCKS; i++) {
    sizes[i] = i == 0 ? 20000 : test_random_size(&random, 1, 4000);
    blocks[i] = mi_malloc(sizes[i]);
    if (blocks[i] == NULL) ExitProcess(91);
    pattern_fill_sampled(blocks[i], sizes[i], seed + i);
  }
  for (size_t i = 0; i < BLOCKS; i++) {
    if (pattern_mismatch_sampled(blocks[i], sizes[i], seed + i) != SIZE_MAX) ExitProcess(92);
    mi_free(blocks[i]);
  }
}

HANDLE modes_start_thread(LPTHREAD_START_ROUTINE run, void* arg) {
  HANDLE thread = CreateThread(NULL, 64 << 10, run, arg, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
  if (thread == NULL) {
    fprintf(stderr, "CreateThread failed (error %lu): too many threads, or too little memory?\n",
            GetLastError());
    exit(99);
  }
  return thread;
}

void modes_join(HANDLE thread) {
  WaitForSingleObject(thread, INFINITE);
  CloseHandle(thread);
}

void modes_run_thread(LPTHREAD_START_ROUTINE run, void* arg) { modes_join(modes_start_thread(run, arg)); }

void modes_flat_rounds(const char* what, void (*round)(size_t i), size_t rounds, bool reaps) {
  size_t warm_up = rounds < 1000 ? rounds / 10 + 10 : 100;
  for (size_t i = 0; i < warm_up; i++) round(i);
  if (reaps) mi_collect(true);
  level_t before = modes_level();
  for (size_t i = 0; i < rounds; i++) {
    round(i);
    if (rounds < 10000 || (i + 1) % (rounds / 10) != 0) continue;
    level_t now = modes_level();
    printf("%zu of %zu: committed %lld, heaps %lld, system calls %lld\n", i + 1, rounds,
           (long long)now.committed, (long long)now.threads, (long long)now.os_calls);
  }
  if (reaps) mi_collect(true);
  level_t after = modes_level();
  printf("%s: %s, %zu rounds: committed %lld -> %lld, heaps %lld -> %lld, system calls %lld -> %lld\n",
         modes_mode, what, rounds, (long long)before.committed, (long long)after.committed,
         (long long)before.threads, (long long)after.threads, (long long)before.os_calls,
         (long long)after.os_calls);
  modes_assert_flat(what, before, MODES_SLACK);
}
