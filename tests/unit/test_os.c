// The operating system contract (os/os.h), checked on whichever layer is linked. Both layers must agree, or
// the native tests would prove nothing about Windows. This file is long because the contract is.
#include "support/check.h"
#include "support/child.h"
#include "support/test_data.h"
#include "support/test_thread.h"

#include "os/os.h"
#include "base/bits.h"
#if !defined(_WIN32)
#include "os_posix.h"
#endif

#include <errno.h>
#include <stdlib.h>

enum { CHILD_LIMIT_MS = 20000 };

static void run_self(const char* mode, child_result_t* result) {
  char self[CHILD_PATH_MAX];
  child_self(self);
  const char* arguments[] = {self, mode, NULL};
  assert_true(child_run(arguments, CHILD_LIMIT_MS, result));
  if (result->timed_out) child_print(result);
  assert_false(result->timed_out);
}

// ---- the child's side: what must kill a process ---------------------------------------------------------

static int child_main(const char* mode) {
  volatile char* p = NULL;
  os_init();
  if (strcmp(mode, "touch-committed") == 0) { // the control: the same steps without the fault
    p = os_reserve(MI_MIB);
    if (p == NULL || !os_commit((void*)p, MI_MIB)) return 10;
    p[5] = 1;
    return p[5] == 1 ? 42 : 11;
  }
  if (strcmp(mode, "touch-reserved") == 0) {
    p = os_reserve(MI_MIB);
    if (p == NULL) return 10;
    p[5] = 1;
    return 42;
  }
  if (strcmp(mode, "touch-decommitted") == 0) {
    p = os_reserve_and_commit(MI_MIB);
    if (p == NULL) return 10;
    p[os_page_size()] = 1;
    if (!os_decommit((char*)p + os_page_size(), os_page_size())) return 11;
    p[0] = 1; // its neighbours stay
    p[2 * os_page_size()] = 1;
    return p[os_page_size()] == 0 ? 42 : 43;
  }
  if (strcmp(mode, "touch-released") == 0) {
    p = os_reserve_and_commit(MI_MIB);
    if (p == NULL || !os_release((void*)p, MI_MIB)) return 10;
    return p[5] == 0 ? 42 : 43;
  }
  if (strcmp(mode, "abort") == 0) {
    os_write_error("last words\n", 11);
    os_abort();
  }
#if !defined(_WIN32) && MI_DEBUG
  if (strcmp(mode, "lock-twice") == 0) {
    os_lock_t lock = {0};
    os_lock_acquire(&lock);
    os_lock_acquire(&lock);
    return 42;
  }
#endif
  fprintf(stderr, "unknown mode %s\n", mode);
  return 98;
}

static void test_touching(void** state) {
  MI_UNUSED(state);
  static const char* const faulting[] = {"touch-reserved", "touch-decommitted", "touch-released"};
  static child_result_t result;
  run_self("touch-committed", &result);
  assert_int_equal(result.exit_code, 42);
  for (size_t i = 0; i < 3; i++) {
    run_self(faulting[i], &result);
    if (!child_faulted(&result)) child_print(&result);
    assert_true(child_faulted(&result));
  }
}

static void test_abort_and_errors(void** state) {
  MI_UNUSED(state);
  static child_result_t result;
  run_self("abort", &result);
  assert_true(child_aborted(&result));
  assert_string_equal(result.error, "last words\n");
  assert_string_equal(result.output, "");
#if !defined(_WIN32) && MI_DEBUG
  run_self("lock-twice", &result);
  assert_true(child_aborted(&result));
  assert_string_equal(result.error, "mimalloc: error: a thread takes a lock that it holds already\n");
#endif
}

// ---- memory ---------------------------------------------------------------------------------------------

static void test_system(void** state) {
  MI_UNUSED(state);
  assert_true(bits_is_power_of_two(os_page_size()));
  assert_in_range(os_page_size(), 4096, OS_GRANULARITY);
  assert_in_range(os_processor_count(), 1, 65536);
  size_t size = os_page_size();
  os_init(); // again: nothing changes
  assert_int_equal(os_page_size(), size);
}

static void test_reserve(void** state) {
  MI_UNUSED(state);
  const size_t page = os_page_size();
  const size_t sizes[] = {page,   2 * page,    OS_GRANULARITY - page, OS_GRANULARITY, OS_GRANULARITY + page,
                          MI_MIB, 256 * MI_MIB};
  void* reserved[sizeof(sizes) / sizeof(sizes[0])];
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    reserved[i] = os_reserve(sizes[i]);
    assert_non_null(reserved[i]);
    assert_true(bits_is_aligned(reserved[i], OS_GRANULARITY));
  }
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    assert_true(os_commit((char*)reserved[i] + sizes[i] - page, page));
    assert_int_equal(pattern_nonzero((char*)reserved[i] + sizes[i] - page, page), SIZE_MAX);
    assert_true(os_release(reserved[i], sizes[i]));
  }
  assert_null(os_reserve((size_t)PTRDIFF_MAX + 1 - OS_GRANULARITY));
  assert_null(os_reserve(bits_align_down(SIZE_MAX, page)));
}

static void test_reserve_at(void** state) {
  MI_UNUSED(state);
  const size_t part = OS_GRANULARITY;
  char* base = os_reserve(4 * part);
  assert_non_null(base);
  assert_null(os_reserve_at(base, part)); // taken, also in its middle
  assert_null(os_reserve_at(base + 2 * part, part));
  assert_true(os_release(base, 4 * part));
  assert_ptr_equal(os_reserve_at(base + part, part), base + part);
  assert_null(os_reserve_at(base, 2 * part)); // its end is taken
  assert_ptr_equal(os_reserve_at(base, part), base);
  assert_ptr_equal(os_reserve_at(base + 2 * part, part), base + 2 * part);

  // Neighbours are still three reservations: none of the calls may span two of them.
  assert_false(os_commit(base, 2 * part));
  assert_true(os_commit(base, part));
  assert_true(os_commit(base + part, part));
  memset(base, 1, 2 * part);
#if !defined(_WIN32) // VirtualFree takes no size, and so can't notice
  assert_false(os_release(base, 3 * part));
#endif
  assert_true(os_release(base, part));
  assert_int_equal(base[part], 1);
  assert_true(os_release(base + part, part));
  assert_true(os_release(base + 2 * part, part));
}

static void test_commit(void** state) {
  MI_UNUSED(state);
  const size_t page = os_page_size(), size = 64 * page;
  char* base = os_reserve(size);
  assert_non_null(base);
  assert_true(os_commit(base + 4 * page, 4 * page));
  assert_int_equal(pattern_nonzero(base + 4 * page, 4 * page), SIZE_MAX);
  pattern_fill(base + 4 * page, 4 * page, 1);
  // A range over committed and uncommitted pages: the former keep their contents, the latter are zero.
  assert_true(os_commit(base, 16 * page));
  assert_int_equal(pattern_mismatch(base + 4 * page, 4 * page, 1), SIZE_MAX);
  assert_int_equal(pattern_nonzero(base, 4 * page), SIZE_MAX);
  assert_int_equal(pattern_nonzero(base + 8 * page, 8 * page), SIZE_MAX);

  pattern_fill(base, 16 * page, 2);
  assert_true(os_decommit(base + 4 * page, 4 * page));
  assert_true(os_decommit(base + 4 * page, 4 * page)); // again: they are just not committed
  assert_true(os_commit(base + 4 * page, 4 * page));
  assert_int_equal(pattern_nonzero(base + 4 * page, 4 * page), SIZE_MAX);
  assert_int_equal(pattern_mismatch(base, 4 * page, 2), SIZE_MAX);
  assert_false(os_commit(base + size - page, 2 * page + OS_GRANULARITY)); // over the end
  assert_true(os_release(base, size));
  assert_false(os_commit(base, page));
}

static void test_reserve_and_commit(void** state) {
  MI_UNUSED(state);
  const size_t size = 3 * OS_GRANULARITY + os_page_size();
  char* base = os_reserve_and_commit(size);
  assert_non_null(base);
  assert_true(bits_is_aligned(base, OS_GRANULARITY));
  assert_int_equal(pattern_nonzero(base, size), SIZE_MAX);
  pattern_fill(base, size, 3);
  assert_int_equal(pattern_mismatch(base, size, 3), SIZE_MAX);
  assert_true(os_decommit(base, size));
  assert_true(os_commit(base, size));
  assert_int_equal(pattern_nonzero(base, size), SIZE_MAX);
  assert_true(os_release(base, size));
}

static void test_release(void** state) {
  MI_UNUSED(state);
  const size_t size = 4 * OS_GRANULARITY;
  char* base = os_reserve_and_commit(size);
  assert_non_null(base);
  memset(base, 5, size);
  assert_false(os_release(base + OS_GRANULARITY, size - OS_GRANULARITY));
#if !defined(_WIN32)
  assert_false(os_release(base, size - OS_GRANULARITY));
  assert_false(os_release(base, size + OS_GRANULARITY));
#endif
  assert_int_equal(base[0] + base[size - 1], 10);
  assert_true(os_release(base, size));
  assert_false(os_release(base, size));
}

static void test_reset(void** state) {
  MI_UNUSED(state);
  const size_t page = os_page_size(), size = 16 * page;
  char* base = os_reserve_and_commit(size);
  assert_non_null(base);
  char* last = base + size - page;
  pattern_fill(base, size - page, 4);
  pattern_fill(last, page, 4);
  assert_true(os_reset(base + page, size - 2 * page));
  assert_int_equal(pattern_mismatch(base, page, 4), SIZE_MAX); // the pages of the range, no others
  assert_int_equal(pattern_mismatch(last, page, 4), SIZE_MAX);
  pattern_fill(base, size, 5); // and they can be used again at once
  assert_int_equal(pattern_mismatch(base, size, 5), SIZE_MAX);
#if !defined(_WIN32)
  pattern_fill(base, size, 6);
  assert_true(os_reset(base, size));
  if (MI_DEBUG) { // neither what was there nor zero
    assert_true(pattern_mismatch(base, size, 6) < 16);
    assert_true(pattern_nonzero(base, size) < 16);
  }
  assert_true(os_decommit(base, page));
  assert_false(os_reset(base, size));
#endif
  assert_true(os_release(base, size));
}

#if !defined(_WIN32)
static void test_balance(void** state) {
  MI_UNUSED(state);
  const size_t page = os_page_size();
  os_posix_balance_t before = os_posix_balance();
  char* a = os_reserve(100 * page);
  char* b = os_reserve_and_commit(10 * page);
  assert_true(os_commit(a + page, 70 * page)); // more than a word of the bitmap
  assert_true(os_commit(a, 2 * page));         // one of them for the second time
  assert_true(os_decommit(a + 65 * page, 20 * page));
  os_posix_balance_t now = os_posix_balance();
  assert_int_equal(now.reservations - before.reservations, 2);
  assert_int_equal(now.reserved - before.reserved, 110 * page);
  assert_int_equal(now.committed - before.committed, (65 + 10) * page);
  assert_true(os_posix_is_committed(a, 65 * page));
  assert_true(os_posix_is_committed(a + 65 * page - 1, 1));
  assert_false(os_posix_is_committed(a + 65 * page - 1, 2));
  assert_true(os_release(a, 100 * page));
  assert_true(os_release(b, 10 * page));
  now = os_posix_balance();
  assert_memory_equal(&now, &before, sizeof(now));

  // More reservations than fit into the table's first page, released in another order.
  enum { MANY = 1000 };
  static char* many[MANY];
  for (size_t i = 0; i < MANY; i++) {
    many[i] = os_reserve(page);
    assert_non_null(many[i]);
  }
  for (size_t i = 0; i < MANY; i++) assert_true(os_release(many[i * 7 % MANY], page));
  now = os_posix_balance();
  assert_memory_equal(&now, &before, sizeof(now));
}
#endif

// ---- time and environment -------------------------------------------------------------------------------

static void test_clock(void** state) {
  MI_UNUSED(state);
  uint32_t first = os_clock_ms(), previous = first, now;
  while ((now = os_clock_ms()) - first < 50) { // the test's time limit ends it if the clock stands still
    assert_true(now - previous < 10000);       // also says that it never goes back
    previous = now;
  }
}

static void test_environment(void** state) {
  MI_UNUSED(state);
  char value[8];
  child_set_environment("MI_TEST_OS", "1234567");
  assert_true(os_environment("MI_TEST_OS", value, sizeof(value)));
  assert_string_equal(value, "1234567");
  assert_false(os_environment("MI_TEST_OS", value, 7));
  child_set_environment("MI_TEST_OS", "12345678");
  assert_false(os_environment("MI_TEST_OS", value, sizeof(value)));
  child_set_environment("MI_TEST_OS", NULL);
  assert_false(os_environment("MI_TEST_OS", value, sizeof(value)));
  assert_false(os_environment("MI_TEST_OS_NEVER_SET", value, sizeof(value)));
}

static void test_environment_wide(void** state) {
  MI_UNUSED(state);
  wchar_t value[8];
  child_set_environment("MI_TEST_OS", "1234567");
  assert_true(os_environment_wide(L"MI_TEST_OS", value, 8));
  assert_memory_equal(value, L"1234567", sizeof(value));
  assert_false(os_environment_wide(L"MI_TEST_OS", value, 7));
  child_set_environment("MI_TEST_OS", NULL);
  assert_false(os_environment_wide(L"MI_TEST_OS", value, 8));
  assert_false(os_environment_wide(L"MI_TEST_\u00E4", value, 8));
#if !defined(_WIN32)
  static const wchar_t expected[] = {0xE4, 0x20AC, 0x1F600, 'x', 0xFFFD, 'y', 'z', 0};
  child_set_environment("MI_TEST_OS", "\u00E4\u20AC\U0001F600x\xFFyz");
  assert_true(os_environment_wide(L"MI_TEST_OS", value, 8));
  assert_memory_equal(value, expected, sizeof(expected));
  child_set_environment("MI_TEST_OS", NULL);
#endif
}

static void test_usage(void** state) {
  MI_UNUSED(state);
  os_process_usage_t before, after;
  os_process_usage(&before);
  const size_t size = 32 * MI_MIB;
  char* p = os_reserve_and_commit(size);
  assert_non_null(p);
  memset(p, 1, size);
  os_process_usage(&after);
  assert_true(before.current_rss > 0);
  assert_true(after.current_rss >= before.current_rss + size / 2);
  assert_true(after.peak_rss >= before.current_rss + size / 2);
  assert_true(after.elapsed_ms >= before.elapsed_ms);
  assert_true(after.elapsed_ms < 3600 * 1000);
  if (before.current_commit != 0) { // 0: the system doesn't tell
    assert_true(after.current_commit >= before.current_commit + size);
    assert_true(after.peak_commit >= after.current_commit);
  }
  assert_true(os_release(p, size));
}

static void test_full_path(void** state) {
  MI_UNUSED(state);
  char self[CHILD_PATH_MAX], path[4096], again[4096];
  child_self(self);
  size_t length = os_full_path(self, path, sizeof(path));
  assert_true(length > 0);
  assert_int_equal(length, strlen(path));
  assert_int_equal(os_full_path(path, again, sizeof(again)), length);
  assert_string_equal(again, path);
  assert_int_equal(os_full_path(path, again, length), 0); // no room for the NUL
  length = os_full_path(".", path, sizeof(path));
  assert_int_equal(length, strlen(path));
  assert_true(path[0] == '/' || path[1] == ':');
}

static void test_errno(void** state) {
  MI_UNUSED(state);
  errno = 0;
  os_set_errno(ENOMEM);
  assert_int_equal(errno, ENOMEM);
}

// ---- threads --------------------------------------------------------------------------------------------

enum { THREADS = 4, ROUNDS = 20000 };

typedef struct shared_s {
  test_barrier_t barrier;
  os_lock_t lock;
  size_t counter; // guarded by `lock`
  uint32_t ids[THREADS];
  void* slots[THREADS];
  bool tried;
} shared_t;

typedef struct worker_s {
  test_thread_t thread;
  shared_t* shared;
  size_t index;
} worker_t;

static void run_workers(void (*run)(void*), shared_t* shared) {
  worker_t workers[THREADS];
  test_barrier_init(&shared->barrier, THREADS);
  for (size_t i = 0; i < THREADS; i++) {
    workers[i].shared = shared;
    workers[i].index = i;
    test_thread_start(&workers[i].thread, run, &workers[i]);
  }
  for (size_t i = 0; i < THREADS; i++) test_thread_join(&workers[i].thread);
  test_barrier_done(&shared->barrier);
}

static void worker_ids(void* arg) {
  worker_t* worker = arg;
  worker->shared->ids[worker->index] = os_thread_id();
  test_barrier_wait(&worker->shared->barrier); // all live at once
  if (os_thread_id() != worker->shared->ids[worker->index]) worker->shared->ids[worker->index] = 0;
}

static void test_thread_ids(void** state) {
  MI_UNUSED(state);
  shared_t shared = {0};
  run_workers(worker_ids, &shared);
  for (size_t i = 0; i < THREADS; i++) {
    assert_int_not_equal(shared.ids[i], 0);
    assert_int_not_equal(shared.ids[i], os_thread_id());
    for (size_t j = 0; j < i; j++) assert_int_not_equal(shared.ids[i], shared.ids[j]);
  }
}

static void worker_lock(void* arg) {
  worker_t* worker = arg;
  test_barrier_wait(&worker->shared->barrier);
  for (size_t i = 0; i < ROUNDS; i++) {
    if (i % 16 != 0 || !os_lock_try(&worker->shared->lock)) os_lock_acquire(&worker->shared->lock);
    size_t seen = *(volatile size_t*)&worker->shared->counter;
    if (i % 4096 == 0) os_yield(); // others run while the lock is held
    *(volatile size_t*)&worker->shared->counter = seen + 1;
    os_lock_release(&worker->shared->lock);
  }
}

static void worker_try(void* arg) {
  shared_t* shared = arg;
  shared->tried = os_lock_try(&shared->lock);
}

static bool try_on_another_thread(shared_t* shared) {
  test_thread_t thread;
  test_thread_start(&thread, worker_try, shared);
  test_thread_join(&thread);
  return shared->tried;
}

#if !defined(_WIN32)
static void worker_hold(void* arg) {
  shared_t* shared = arg;
  os_lock_acquire(&shared->lock);
  test_barrier_wait(&shared->barrier);
  test_barrier_wait(&shared->barrier);
}
#endif

// "Dead" needs evidence; a living thread never is, and nobody is without an id.
static void worker_alive(void* arg) {
  worker_t* worker = arg;
  worker->shared->ids[worker->index] = os_thread_id();
  test_barrier_wait(&worker->shared->barrier);
  for (size_t i = 0; i < THREADS; i++) {
    if (os_thread_is_dead(worker->shared->ids[i])) worker->shared->tried = true;
  }
  test_barrier_wait(&worker->shared->barrier);
}

static void test_dead_threads(void** state) {
  MI_UNUSED(state);
  size_t found_dead = 0;
  for (size_t round = 0; round < 5; round++) {
    shared_t shared = {0};
    run_workers(worker_alive, &shared);
    assert_false(shared.tried);
    for (size_t i = 0; i < THREADS; i++) found_dead += os_thread_is_dead(shared.ids[i]);
  }
  assert_false(os_thread_is_dead(os_thread_id()));
  assert_true(found_dead > 0); // not all: the system may give an id to a new thread at once
}

static void test_lock(void** state) {
  MI_UNUSED(state);
  shared_t shared = {0};
  run_workers(worker_lock, &shared);
  assert_int_equal(shared.counter, THREADS * ROUNDS);
  assert_int_equal(shared.lock.owner, 0);
  os_lock_acquire(&shared.lock);
  assert_false(try_on_another_thread(&shared));
  os_lock_release(&shared.lock);
  assert_true(try_on_another_thread(&shared));
  assert_false(os_is_exiting());
  // That thread is gone and left the lock taken.
  assert_false(os_lock_try(&shared.lock));
  os_lock_acquire(&shared.lock);
  assert_int_equal(shared.lock.owner, os_thread_id());
  os_lock_release(&shared.lock);
#if !defined(_WIN32)
  // At exit all others are dead, whatever their ids look like.
  test_barrier_init(&shared.barrier, 2);
  test_thread_t holder;
  test_thread_start(&holder, worker_hold, &shared);
  test_barrier_wait(&shared.barrier); // it has the lock
  os_posix_set_exiting(true);
  assert_true(os_is_exiting());
  os_lock_acquire(&shared.lock);
  os_posix_set_exiting(false);
  assert_int_equal(shared.lock.owner, os_thread_id());
  os_lock_release(&shared.lock);
  test_barrier_wait(&shared.barrier);
  test_thread_join(&holder);
  test_barrier_done(&shared.barrier);
#endif
}

static void worker_slot(void* arg) {
  worker_t* worker = arg;
  shared_t* shared = worker->shared;
  if (os_slot_get() != NULL || os_slot_get_fast() != NULL) return; // leaves slots[] NULL
  bool set = os_slot_set(worker);
  test_barrier_wait(&shared->barrier);
  void* fast = os_slot_get_fast();
  if (set && (fast == worker || fast == NULL)) shared->slots[worker->index] = os_slot_get();
  os_slot_set(NULL);
}

static void test_slot(void** state) {
  MI_UNUSED(state);
  shared_t shared = {0};
  assert_true(os_slot_init());
  assert_true(os_slot_set(&shared));
  run_workers(worker_slot, &shared);
  for (size_t i = 0; i < THREADS; i++) {
    assert_non_null(shared.slots[i]);
    for (size_t j = 0; j < i; j++) assert_ptr_not_equal(shared.slots[i], shared.slots[j]);
  }
  assert_ptr_equal(os_slot_get(), &shared);
  assert_true(os_slot_set(NULL));
  assert_null(os_slot_get());
  os_slot_free();
}

int main(int argc, char** argv) {
  if (argc > 1) return child_main(argv[1]);
  os_init();
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_system),
    cmocka_unit_test(test_reserve),
    cmocka_unit_test(test_reserve_at),
    cmocka_unit_test(test_commit),
    cmocka_unit_test(test_reserve_and_commit),
    cmocka_unit_test(test_release),
    cmocka_unit_test(test_reset),
    cmocka_unit_test(test_touching),
    cmocka_unit_test(test_abort_and_errors),
#if !defined(_WIN32)
    cmocka_unit_test(test_balance),
#endif
    cmocka_unit_test(test_clock),
    cmocka_unit_test(test_environment),
    cmocka_unit_test(test_environment_wide),
    cmocka_unit_test(test_usage),
    cmocka_unit_test(test_full_path),
    cmocka_unit_test(test_errno),
    cmocka_unit_test(test_thread_ids),
    cmocka_unit_test(test_dead_threads),
    cmocka_unit_test(test_lock),
    cmocka_unit_test(test_slot),
  };
  return check_run(tests);
}
