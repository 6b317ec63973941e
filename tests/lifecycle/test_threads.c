// Threads of every kind, in their thousands: each one's heap comes back, so memory stays where it was.
#include <stdlib.h>
#include "support/check.h"
#include "support/test_data.h"
#include "support/terminate.h"

#include <mimalloc-stats.h>
#include <mimalloc.h>

#include <process.h>
#include <windows.h>

enum { USE_BLOCKS = 50, AT_ONCE = 10 };

// What one thread does with its heap: blocks of all kinds, checked, a few of them left to the next thread.
static void* volatile left[4];

static void use_heap_up_to(uint64_t seed, size_t largest) {
  test_random_t random = {seed};
  char* blocks[USE_BLOCKS];
  size_t sizes[USE_BLOCKS];
  for (size_t i = 0; i < USE_BLOCKS; i++) {
    sizes[i] = test_random_size(&random, 1, i == 0 ? largest : 4000);
    blocks[i] = mi_malloc(sizes[i]);
    if (blocks[i] == NULL) ExitProcess(91);
    pattern_fill_sampled(blocks[i], sizes[i], seed + i);
  }
  for (size_t i = 0; i < 4; i++) mi_free(InterlockedExchangePointer(&left[i], mi_malloc(100 + 1000 * i)));
  for (size_t i = 0; i < USE_BLOCKS; i++) {
    if (pattern_mismatch_sampled(blocks[i], sizes[i], seed + i) != SIZE_MAX) ExitProcess(92);
    mi_free(blocks[i]);
  }
}

static void use_heap(uint64_t seed) { use_heap_up_to(seed, 300000); }

static volatile LONG64 threads_done;

static DWORD WINAPI run_plain(LPVOID arg) {
  use_heap((uintptr_t)arg);
  InterlockedIncrement64(&threads_done);
  return 0;
}

static unsigned __stdcall run_crt(void* arg) { return run_plain(arg); }

static HANDLE start_plain(size_t seed) { return CreateThread(NULL, 0, run_plain, (void*)seed, 0, NULL); }
static HANDLE start_crt(size_t seed) {
  return (HANDLE)_beginthreadex(NULL, 0, run_crt, (void*)seed, 0, NULL);
}

static void run_rounds(HANDLE (*start)(size_t seed), size_t rounds, size_t at_once) {
  HANDLE threads[2 * AT_ONCE];
  for (size_t round = 0; round < rounds; round += at_once) {
    for (size_t i = 0; i < at_once; i++) {
      threads[i] = start(round + i);
      if (threads[i] == NULL) fail_msg("thread %zu does not start", round + i);
    }
    WaitForMultipleObjects((DWORD)at_once, threads, TRUE, INFINITE);
    for (size_t i = 0; i < at_once; i++) CloseHandle(threads[i]);
  }
}

typedef struct level_s {
  int64_t committed, reserved, threads, threads_total, blocks;
} level_t;

static level_t level_now(void) {
  mi_stats_t_decl(stats);
  assert_true(mi_stats_get(&stats));
  level_t level = {.committed = stats.committed.current,
                   .reserved = stats.reserved.current,
                   .threads = stats.threads.current,
                   .threads_total = stats.threads.total};
  for (size_t i = 0; i <= MI_BIN_HUGE; i++) level.blocks += stats.malloc_bins[i].current;
  return level;
}

// Small pages are committed a MiB at a time, and a page may come or go at the wrong moment; a leak of 1000 bytes a
// thread would be 20 MiB.
static void assert_flat(level_t before, level_t after) {
  if (after.committed > before.committed + (2 << 20) || after.reserved > before.reserved ||
      after.threads != before.threads) {
    fail_msg("committed %lld -> %lld, reserved %lld -> %lld, threads %lld -> %lld",
             (long long)before.committed, (long long)after.committed, (long long)before.reserved,
             (long long)after.reserved, (long long)before.threads, (long long)after.threads);
  }
  assert_int_equal(after.blocks, before.blocks);
}

// One after the other: nothing but the last threads' leavings may be in memory. How many of them wait for their purge is
// chance; what is left of them after a collection is not.
static void check_rounds(HANDLE (*start)(size_t seed), size_t rounds) {
  run_rounds(start, 200, 1); // up to the level that the work itself needs
  mi_collect(true);
  level_t before = level_now();
  run_rounds(start, rounds, 1);
  level_t after = level_now();
  assert_int_equal(after.threads_total - before.threads_total, rounds); // each had a heap of its own
  assert_in_range(after.committed, 0, before.committed + (8 << 20));
  mi_collect(true);
  assert_flat(before, level_now());
}

static void test_create_thread_400(void** state) {
  (void)state;
  check_rounds(start_plain, 400);
}
static void test_create_thread_many(void** state) {
  (void)state;
  check_rounds(start_plain,
               MANY_THREADS); // Meson defines it: 20,000 with the DLL, fewer for the static library
}
static void test_beginthreadex_400(void** state) {
  (void)state;
  check_rounds(start_crt, 400);
}

// Threads that all hold their heap at the same time, so that there are records for as many as there ever are after.
static volatile LONG meeting_count;
static HANDLE meeting_whole;

static DWORD WINAPI run_meeting(LPVOID arg) {
  use_heap((uintptr_t)arg);
  if (InterlockedIncrement(&meeting_count) == 2 * AT_ONCE) SetEvent(meeting_whole);
  WaitForSingleObject(meeting_whole, INFINITE);
  return run_plain(arg);
}

static HANDLE start_meeting(size_t seed) { return CreateThread(NULL, 0, run_meeting, (void*)seed, 0, NULL); }

// Ten at a time: how much they need at once is chance, what is left of it after a collection is not.
static void test_at_once(void** state) {
  (void)state;
  meeting_whole = CreateEventA(NULL, TRUE, FALSE, NULL);
  run_rounds(start_meeting, 2 * AT_ONCE, 2 * AT_ONCE);
  CloseHandle(meeting_whole);
  run_rounds(start_plain, 200, AT_ONCE);
  mi_collect(true);
  level_t before = level_now();
  run_rounds(start_plain, 2000, AT_ONCE);
  mi_stats_t_decl(stats);
  assert_true(mi_stats_get(&stats));
  assert_true(stats.committed.peak < 128 << 20);
  mi_collect(true);
  assert_flat(before, level_now());
}

// ---- pools -------------------------------------------------------------------------------------------

static volatile LONG pool_done;
static HANDLE pool_event;
// The pool may start a thread for each, with a stack. With 32 bits, after all the tests above, 400 of them leave no room.
enum { POOL_ITEMS = sizeof(void*) == 4 ? 60 : 400 };

static void pool_item_finished(void) {
  if (InterlockedIncrement(&pool_done) == POOL_ITEMS) SetEvent(pool_event);
}

static DWORD WINAPI run_work_item(LPVOID arg) {
  use_heap_up_to((uintptr_t)arg, 10000);
  pool_item_finished();
  return 0;
}

static VOID CALLBACK run_pool_work(PTP_CALLBACK_INSTANCE instance, PVOID arg, PTP_WORK work) {
  (void)instance;
  (void)work;
  use_heap_up_to((uintptr_t)arg, 10000);
  pool_item_finished();
}

static void run_pool(bool is_new_kind) {
  pool_done = 0;
  ResetEvent(pool_event);
  PTP_WORK work = is_new_kind ? CreateThreadpoolWork(run_pool_work, (void*)(size_t)7, NULL) : NULL;
  for (size_t i = 0; i < POOL_ITEMS; i++) {
    if (is_new_kind) {
      SubmitThreadpoolWork(work);
    } else {
      assert_true(QueueUserWorkItem(run_work_item, (void*)i, WT_EXECUTEDEFAULT));
    }
  }
  assert_int_equal(WaitForSingleObject(pool_event, 60000), WAIT_OBJECT_0);
  if (work != NULL) {
    WaitForThreadpoolWorkCallbacks(work, FALSE);
    CloseThreadpoolWork(work);
  }
}

// Pool threads live on; their number, and with it memory, is bounded by the pool.
static void test_pools(void** state) {
  (void)state;
  pool_event = CreateEventA(NULL, TRUE, FALSE, NULL);
  for (int kind = 0; kind < 2; kind++) {
    run_pool(kind == 1);
    mi_collect(true);
    level_t before = level_now();
    for (int i = 0; i < 5; i++) run_pool(kind == 1);
    mi_collect(true);
    level_t after = level_now();
    assert_int_equal(after.blocks, before.blocks);
    assert_in_range(after.threads, 0, 600);
    // A thread of the pool keeps its heap, of which a few pages are its own.
    if (after.committed > (after.threads + 2) * (8 << 20)) {
      fail_msg("kind %d: %lld bytes committed for %lld threads with a heap", kind, (long long)after.committed,
               (long long)after.threads);
    }
  }
  CloseHandle(pool_event);
}

// ---- threads that idle -------------------------------------------------------------------------------

enum { IDLE_THREADS = 50 };
static HANDLE idle_used, idle_end;
static volatile LONG idle_count;

static DWORD WINAPI run_idle(LPVOID arg) {
  (void)arg;
  for (size_t size = 1000; size < 3000000; size += size / 20) { // every size class on the way
    char* p = mi_malloc(size);
    if (p == NULL) ExitProcess(93);
    p[0] = p[size - 1] = 1;
    mi_free(p);
  }
  if (InterlockedIncrement(&idle_count) == IDLE_THREADS) SetEvent(idle_used);
  WaitForSingleObject(idle_end, INFINITE);
  return 0;
}

// A thread that has freed all it had and waits for work holds little: what it keeps for its next malloc is
// bounded, however many sizes it used.
static void test_idle_threads(void** state) {
  (void)state;
  idle_used = CreateEventA(NULL, TRUE, FALSE, NULL);
  idle_end = CreateEventA(NULL, TRUE, FALSE, NULL);
  mi_collect(true);
  level_t before = level_now();
  HANDLE threads[IDLE_THREADS];
  for (size_t i = 0; i < IDLE_THREADS; i++) threads[i] = CreateThread(NULL, 0, run_idle, NULL, 0, NULL);
  assert_int_equal(WaitForSingleObject(idle_used, 60000), WAIT_OBJECT_0);
  mi_collect(true);
  level_t after = level_now();
  SetEvent(idle_end);
  WaitForMultipleObjects(IDLE_THREADS, threads, TRUE, INFINITE);
  for (size_t i = 0; i < IDLE_THREADS; i++) CloseHandle(threads[i]);
  CloseHandle(idle_used);
  CloseHandle(idle_end);
  int64_t each = (after.committed - before.committed) / IDLE_THREADS;
  if (each > 8 << 20) fail_msg("each idle thread holds %lld bytes of committed memory", (long long)each);
}

// ---- threads that end badly --------------------------------------------------------------------------

static HANDLE waiting_event;

// So often on the slow path that others can tell for certain whether it lives: its record holds a handle.
static void be_busy(void) {
  for (int i = 0; i < 300; i++) mi_free(mi_malloc(70000));
}

static DWORD WINAPI run_busy(LPVOID arg) {
  (void)arg;
  be_busy();
  return 0;
}
static HANDLE start_busy(size_t seed) { return CreateThread(NULL, 0, run_busy, (void*)seed, 0, NULL); }

// Wine 8's GetProcessHandleCount counts none.
enum { HANDLE_END = 0x4000, HANDLE_STEP = 4 };
static size_t handles_now(void) {
  size_t count = 0;
  DWORD flags;
  for (uintptr_t handle = HANDLE_STEP; handle < HANDLE_END; handle += HANDLE_STEP)
    count += GetHandleInformation((HANDLE)handle, &flags) != 0;
  return count;
}

static DWORD WINAPI run_idly(LPVOID arg) {
  (void)arg;
  return 0;
}
static HANDLE start_idly(size_t seed) { return CreateThread(NULL, 0, run_idly, (void*)seed, 0, NULL); }

// The first of all: a record that keeps a handle when its thread has ended keeps it while others have the record.
static void test_handles(void** state) {
  (void)state;
  run_rounds(start_idly, AT_ONCE, AT_ONCE);
  be_busy(); // this thread has one
  size_t before = handles_now();
  run_rounds(start_busy, 100, AT_ONCE);
  size_t after = handles_now(); // the process's timer may have come with some
  if (after >= before + AT_ONCE / 2) fail_msg("%zu handles before, %zu after", before, after);
}

static DWORD WINAPI run_until_terminated(LPVOID arg) {
  void** block = arg;
  be_busy();
  *block = mi_malloc(1000);
  pattern_fill(*block, 1000, 3);
  SetEvent(waiting_event);
  Sleep(INFINITE);
  return 0;
}

// TerminateThread: nobody is told. Its blocks can be freed, its heap is found and taken over, all others go
// on.
static void test_terminated(void** state) {
  (void)state;
  waiting_event = CreateEventA(NULL, FALSE, FALSE, NULL);
  mi_collect(true);
  level_t before = level_now();
  size_t handles = handles_now();
  for (int i = 0; i < 20; i++) {
    void* block = NULL;
    HANDLE thread = CreateThread(NULL, 0, run_until_terminated, &block, 0, NULL);
    assert_non_null(thread);
    assert_int_equal(WaitForSingleObject(waiting_event, 60000), WAIT_OBJECT_0);
    assert_true(TerminateThread(thread, 5));
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
    assert_int_equal(pattern_mismatch(block, 1000, 3), SIZE_MAX);
    mi_free(block);
  }
  run_rounds(start_plain, 100, AT_ONCE);
  mi_collect(true);
  assert_flat(before, level_now());
  assert_int_equal(handles_now(), handles);
  CloseHandle(waiting_event);
}

// Killed in the middle of malloc and free, wherever that is: no other thread hangs, no living block is
// damaged or given out twice. What the killed one held is lost, a few blocks each time.
enum { KILLS = 60, VICTIM_SLOTS = 40 };
static void* volatile victim_slots[VICTIM_SLOTS];
static volatile LONG victim_steps;

static DWORD WINAPI run_victim(LPVOID arg) {
  test_random_t random = {(uintptr_t)arg};
  for (;;) {
    size_t size = test_random_size(&random, 16, 30000);
    uint64_t* p = mi_malloc(size);
    if (p == NULL) ExitProcess(94);
    p[0] = size;
    pattern_fill_sampled(p + 1, size - 8, size);
    p = InterlockedExchangePointer(&victim_slots[test_random_below(&random, VICTIM_SLOTS)], p);
    if (p != NULL) {
      if (pattern_mismatch_sampled(p + 1, (size_t)p[0] - 8, p[0]) != SIZE_MAX) ExitProcess(95);
      mi_free(p);
    }
    InterlockedIncrement(&victim_steps);
  }
}

static void test_killed_in_malloc(void** state) {
  (void)state;
  for (int kill = 0; kill < KILLS; kill++) {
    LONG steps = victim_steps;
    HANDLE thread = CreateThread(NULL, 0, run_victim, (void*)(size_t)(kill + 1), 0, NULL);
    assert_non_null(thread);
    while (victim_steps - steps < 20 + kill * 7) use_heap((uint64_t)kill); // goes on beside it
    assert_true(test_terminate_in_code(thread, 6));
    CloseHandle(thread);
    use_heap((uint64_t)kill);
    if (kill % 10 == 9) mi_collect(true); // finds the dead
  }
  for (size_t i = 0; i < VICTIM_SLOTS; i++) {
    uint64_t* p = victim_slots[i];
    if (p == NULL) continue;
    assert_int_equal(pattern_mismatch_sampled(p + 1, (size_t)p[0] - 8, p[0]), SIZE_MAX);
    mi_free(p);
    victim_slots[i] = NULL;
  }
  mi_collect(true);
  run_rounds(start_plain, 200, AT_ONCE);
}

static DWORD WINAPI run_exit_thread(LPVOID arg) {
  use_heap((uintptr_t)arg);
  ExitThread(0);
}
static HANDLE start_exiting(size_t seed) {
  return CreateThread(NULL, 0, run_exit_thread, (void*)seed, 0, NULL);
}

static void test_exit_thread(void** state) {
  (void)state;
  check_rounds(start_exiting, 100);
}

// Fibers of one thread share its heap; a thread that ends on another fiber than the one it began on gives it
// back too.
static VOID CALLBACK run_fiber(PVOID arg) {
  use_heap(11);
  SwitchToFiber(arg);
  use_heap(12);
  ExitThread(0); // on this fiber
}

static DWORD WINAPI run_fibers(LPVOID arg) {
  use_heap((uintptr_t)arg);
  void* self = ConvertThreadToFiber(NULL);
  void* fibers[3];
  for (int i = 0; i < 3; i++) fibers[i] = CreateFiber(0, run_fiber, self);
  for (int i = 0; i < 3; i++) SwitchToFiber(fibers[i]);
  DeleteFiber(fibers[0]); // neither finished nor current
  DeleteFiber(fibers[1]);
  use_heap(13);
  SwitchToFiber(fibers[2]);
  return 0;
}
static HANDLE start_fibers(size_t seed) { return CreateThread(NULL, 0, run_fibers, (void*)seed, 0, NULL); }

static void test_fibers(void** state) {
  (void)state;
  check_rounds(start_fibers, 100);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_handles),
      cmocka_unit_test(test_create_thread_400),
      cmocka_unit_test(test_create_thread_many),
      cmocka_unit_test(test_beginthreadex_400),
      cmocka_unit_test(test_at_once),
      cmocka_unit_test(test_exit_thread),
      cmocka_unit_test(test_fibers),
      cmocka_unit_test(test_idle_threads),
      cmocka_unit_test(test_terminated),
      cmocka_unit_test(test_killed_in_malloc), // blocks are lost
      cmocka_unit_test(test_pools),            // last: the pool's threads end when it likes
  };
  return check_run(tests);
}
