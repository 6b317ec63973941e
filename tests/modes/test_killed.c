// Threads that nobody tells of: terminated, idle or in the middle of our code, or because somebody called
// DisableThreadLibraryCalls on our module. Reaping finds their heaps, their memory is used again.
#include "modes.h"
#include "support/terminate.h"

enum { KEPT = 500 };
static char* kept[KEPT]; // by the main thread, through everything

static size_t kept_size(size_t i) { return 10 + i * 13; }

static void keep(void) {
  for (size_t i = 0; i < KEPT; i++) {
    kept[i] = mi_malloc(kept_size(i));
    assert_non_null(kept[i]);
    pattern_fill(kept[i], kept_size(i), i);
  }
}

static void check_kept(void) {
  for (size_t i = 0; i < KEPT; i++) assert_int_equal(pattern_mismatch(kept[i], kept_size(i), i), SIZE_MAX);
}

// ---- idle --------------------------------------------------------------------------------------------

enum { LEFT = 20 };
typedef struct victim_s {
  HANDLE ready;
  char* left[LEFT];
} victim_t;

static DWORD WINAPI run_victim(LPVOID arg) {
  victim_t* victim = arg;
  modes_use_heap(1);
  for (size_t i = 0; i < LEFT; i++) {
    victim->left[i] = mi_malloc(200 + i * 100);
    pattern_fill(victim->left[i], 200 + i * 100, i);
  }
  SetEvent(victim->ready);
  Sleep(INFINITE);
  return 0;
}

static void kill_one(size_t i) {
  victim_t victim = {.ready = CreateEventA(NULL, FALSE, FALSE, NULL)};
  HANDLE thread = modes_start_thread(run_victim, &victim);
  WaitForSingleObject(victim.ready, INFINITE);
  assert_true(TerminateThread(thread, 5));
  modes_join(thread);
  CloseHandle(victim.ready);
  for (size_t k = 0; k < LEFT; k++) {
    assert_int_equal(pattern_mismatch(victim.left[k], 200 + k * 100, k), SIZE_MAX);
    mi_free(victim.left[k]);
  }
  (void)i;
}

// Without any collection by the program: the starts of threads alone keep memory flat.
static void test_terminated(void** state) {
  (void)state;
  for (size_t i = 0; i < 200; i++) kill_one(i);
  level_t before = modes_level();
  for (size_t i = 0; i < modes_many; i++) kill_one(i);
  level_t after = modes_level();
  printf("%s: TerminateThread, %zu rounds: committed %lld -> %lld, heaps %lld -> %lld, system calls %lld -> "
         "%lld\n",
         modes_mode, modes_many, (long long)before.committed, (long long)after.committed,
         (long long)before.threads, (long long)after.threads, (long long)before.os_calls,
         (long long)after.os_calls);
  assert_int_equal(after.blocks, before.blocks);
  assert_true(after.committed <= before.committed + (4 << 20));
  assert_true(after.threads <= 16); // that many dead ones may not have been looked at yet
  mi_collect(true);
  assert_int_equal(modes_level().threads, 1); // us
  check_kept();
}

// ---- inside the allocator ----------------------------------------------------------------------------

enum { HAMMERS = 4, SHARED = 64 };
static char* volatile shared[SHARED]; // filled blocks, written completely before they are handed over
static volatile LONG64 hammered;
static volatile LONG warm;
enum { WARM_UP = 30 };
// Memory between pages is lost where a thread is killed within a few instructions of taking it or letting go of it:
// 4 MiB at most each time.
enum { LOST_MAX = 16 << 20 };

static void check_shared(char* p) {
  if (p == NULL) return;
  uint32_t size;
  memcpy(&size, p, sizeof(size));
  if (pattern_mismatch_sampled(p + 8, size - 8, size) != SIZE_MAX) ExitProcess(94);
  mi_free(p);
}

static DWORD WINAPI run_hammer(LPVOID arg) {
  test_random_t random = {(uintptr_t)arg};
  for (size_t i = 0;; i++) {
    if (i == WARM_UP) InterlockedIncrement(&warm);
    uint32_t size =
        (uint32_t)test_random_size(&random, 16, test_random_below(&random, 64) == 0 ? 2000000 : 20000);
    char* p = mi_malloc(size);
    if (p == NULL) ExitProcess(95);
    memcpy(p, &size, sizeof(size));
    pattern_fill_sampled(p + 8, size - 8, size);
    // Every other loop keeps it within this thread.
    if (size % 2 == 0)
      p = InterlockedExchangePointer((void* volatile*)&shared[test_random_below(&random, SHARED)], p);
    check_shared(p);
    InterlockedIncrement64(&hammered);
  }
}

static void drain_shared(void) {
  for (size_t i = 0; i < SHARED; i++)
    check_shared(InterlockedExchangePointer((void* volatile*)&shared[i], NULL));
}

static void kill_hammers(size_t round) {
  HANDLE threads[HAMMERS];
  warm = 0;
  for (size_t i = 0; i < HAMMERS; i++)
    threads[i] = modes_start_thread(run_hammer, (void*)(round * HAMMERS + i + 1));
  while (warm < HAMMERS)
    SwitchToThread(); // a thread that dies in DLL_THREAD_ATTACH takes the loader lock along
  LONG64 start = hammered;
  while (hammered < start + (LONG64)(round * 37 % 500)) SwitchToThread();
  for (size_t i = 0; i < HAMMERS; i++) {
    assert_true(test_terminate_in_code(threads[i], 6));
    CloseHandle(threads[i]);
  }
}

// Killed anywhere: the blocks that a thread had itself are lost to anybody, as with any allocator, and so are the pages
// that they keep alive. A block may have been taken and not counted yet, or uncounted and not given back yet, so each
// death may cost a page more than the blocks counted: unit-killed-anywhere holds that to one by single steps. Nothing else
// is lost, and no memory outside of pages.
static void test_terminated_inside(void** state) {
  (void)state;
  size_t rounds = modes_many / 10;
  mi_collect(true);
  level_t before = modes_level();
  for (size_t i = 0; i < rounds; i++) kill_hammers(i);
  drain_shared();
  mi_collect(true);
  level_t after = modes_level();
  int64_t killed = (int64_t)rounds * HAMMERS;
  int64_t lost_blocks = after.blocks - before.blocks, lost_pages = after.pages - before.pages;
  int64_t lost_bytes = after.committed - after.page_bytes - (before.committed - before.page_bytes);
  printf("%s: killed inside, %lld threads: heaps %lld, blocks lost %lld, pages of %lld bytes kept by them "
         "%lld, bytes "
         "committed outside of pages %+lld\n",
         modes_mode, (long long)killed, (long long)after.threads, (long long)lost_blocks,
         (long long)(after.page_bytes - before.page_bytes), (long long)lost_pages, (long long)lost_bytes);
  assert_int_equal(after.threads, 1);
  assert_true(lost_blocks <= killed * 2); // what each had in its hands
  assert_true(lost_pages <= lost_blocks + killed);
  assert_true(lost_bytes <= LOST_MAX);
  check_kept();
  modes_use_heap(1); // and all is in working order
  for (size_t i = 0; i < 50; i++) kill_one(i);
}

// ---- DisableThreadLibraryCalls -----------------------------------------------------------------------

static DWORD WINAPI run_use(LPVOID arg) {
  modes_use_heap((uintptr_t)arg);
  return 0;
}

static void test_disabled_thread_calls(void** state) {
  (void)state;
  HMODULE module = GetModuleHandleA("mimalloc.dll");
  assert_non_null(module);
  assert_true(DisableThreadLibraryCalls(module));
  for (size_t i = 0; i < 200; i++) modes_run_thread(run_use, (void*)i);
  level_t before = modes_level();
  for (size_t i = 0; i < modes_many; i++) modes_run_thread(run_use, (void*)i);
  level_t after = modes_level();
  printf("%s: DisableThreadLibraryCalls, %zu rounds: committed %lld -> %lld, heaps %lld -> %lld\n",
         modes_mode, modes_many, (long long)before.committed, (long long)after.committed,
         (long long)before.threads, (long long)after.threads);
  assert_true(after.threads >= 2); // nobody told of them
  assert_true(after.threads <= 16);
  assert_true(after.committed <= before.committed + (4 << 20));
  assert_int_equal(after.blocks, before.blocks);
  mi_collect(true);
  assert_int_equal(modes_level().threads, 1);
}

// 32-bit Wine 8 never gives back the 2 MiB of address space that a terminated thread had: a program without
// us can kill 955, then CreateThread fails.
int main(int argc, char** argv) {
  modes_begin(argc, argv, sizeof(void*) == 4 ? 250 : 1000);
  keep();
  const struct CMUnitTest tests[] = {CASE(test_terminated), CASE(test_terminated_inside),
                                     CASE(test_disabled_thread_calls)};
  // Only the DLL can be robbed of its thread calls: the rest are programs.
  if (modes_is_dll) return check_run(tests);
  const struct CMUnitTest static_tests[] = {CASE(test_terminated), CASE(test_terminated_inside)};
  return check_run(static_tests);
}
