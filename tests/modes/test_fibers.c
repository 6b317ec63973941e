// Fibers share their thread's heap. It must come back when the thread ends, whichever fiber it ends on, and
// not before, whichever fiber is deleted, in any order, by any thread. With fiber-local storage a thread that
// ends on a fiber that never came by the slow path isn't told of: there, and only there, a collection may be
// needed.
#include "modes.h"

enum { BLOCKS = 30 };

typedef struct work_s {
  void* back; // the fiber to return to
  char* blocks[BLOCKS];
  uint64_t seed;
} work_t;

static void expect(bool condition, UINT code) {
  if (!condition) {
    fprintf(stderr, "fibers: a check failed, code %u\n", code);
    fflush(stderr);
    ExitProcess(code);
  }
}

static size_t size_of(size_t i) { return i == 0 ? 20000 : 10 + i * i * 4; } // the first goes by the slow path

static void fill(work_t* work) {
  for (size_t i = 0; i < BLOCKS; i++) {
    work->blocks[i] = mi_malloc(size_of(i));
    expect(work->blocks[i] != NULL, 100);
    pattern_fill(work->blocks[i], size_of(i), work->seed + i);
  }
}

static void check_and_free(work_t* work) {
  for (size_t i = 0; i < BLOCKS; i++) {
    expect(pattern_mismatch(work->blocks[i], size_of(i), work->seed + i) == SIZE_MAX, 101);
    mi_free(work->blocks[i]);
    work->blocks[i] = NULL;
  }
}

// Fills at the first switch, frees at the second, and so on.
static VOID CALLBACK run_fill_and_free(PVOID arg) {
  work_t* work = arg;
  for (;;) {
    fill(work);
    SwitchToFiber(work->back);
    check_and_free(work);
    SwitchToFiber(work->back);
  }
}

static void fiber_rounds(const char* what, LPTHREAD_START_ROUTINE run, size_t rounds, bool reaps);

static LPTHREAD_START_ROUTINE round_function;
static void fiber_round(size_t i) { modes_run_thread(round_function, (void*)i); }
static void fiber_rounds(const char* what, LPTHREAD_START_ROUTINE run, size_t rounds, bool reaps) {
  round_function = run;
  modes_flat_rounds(what, fiber_round, rounds, reaps);
}

// ---- a thread becomes a fiber and a thread again -----------------------------------------------------

static DWORD WINAPI run_convert(LPVOID arg) {
  bool early = ((uintptr_t)arg & 1) != 0, ends_as_fiber = ((uintptr_t)arg & 2) != 0;
  void* kept = NULL;
  if (early) kept = mi_malloc(30000);
  expect(ConvertThreadToFiber(NULL) != NULL, 102);
  if (!early) kept = mi_malloc(30000);
  modes_use_heap((uintptr_t)arg);
  expect(mi_check_owned(kept), 103);
  if (!ends_as_fiber) {
    expect(ConvertFiberToThread(), 104);
    expect(mi_check_owned(kept), 105);
    modes_use_heap((uintptr_t)arg + 1);
  }
  mi_free(kept);
  return 0;
}

static void test_convert_to_fiber_and_back(void** state) {
  (void)state;
  fiber_rounds("ConvertThreadToFiber, ConvertFiberToThread", run_convert, 100, false);
}

// ---- a thousand fibers of one thread -----------------------------------------------------------------

enum { FIBERS = 1000 };
static work_t works[FIBERS];
static void* fibers[FIBERS];

static DWORD WINAPI run_thousand(LPVOID arg) {
  void* self = ConvertThreadToFiber(NULL);
  for (size_t i = 0; i < FIBERS; i++) {
    works[i] = (work_t){.back = self, .seed = i + (uintptr_t)arg};
    fibers[i] = CreateFiberEx(4096, 32 << 10, 0, run_fill_and_free, &works[i]);
    expect(fibers[i] != NULL, 106);
    SwitchToFiber(fibers[i]);
  }
  void* kept = mi_malloc(500);
  for (size_t i = 0; i < FIBERS; i += 3) SwitchToFiber(fibers[i]); // frees
  for (size_t i = 0; i < FIBERS; i++) {                            // in no order in particular
    size_t k = i * 7 % FIBERS;
    DeleteFiber(fibers[k]);
  }
  expect(mi_check_owned(kept), 107);
  mi_free(kept);
  return 0;
}

static void thousand_round(size_t i) {
  modes_run_thread(run_thousand, (void*)i);
  for (size_t k = 0; k < FIBERS; k++) {
    if (k % 3 != 0) check_and_free(&works[k]); // blocks of deleted fibers of a thread that is gone
  }
}

static void test_thousand_fibers(void** state) {
  (void)state;
  thousand_round(1);
  mi_collect(true);
  level_t before = modes_level();
  for (size_t i = 0; i < 3; i++) thousand_round(i);
  mi_collect(true);
  modes_assert_flat("a thousand fibers", before, MODES_SLACK);
}

// ---- the first fiber is deleted first ----------------------------------------------------------------

typedef struct first_s {
  void* first;
  void* kept;
  uint64_t seed;
} first_t;

static VOID CALLBACK run_after_first(PVOID arg) {
  first_t* first = arg;
  modes_use_heap(first->seed);
  DeleteFiber(first->first);
  expect(mi_check_owned(first->kept), 108); // the thread lives, and so does its heap
  modes_use_heap(first->seed + 1);
  void* p = mi_malloc(100);
  expect(mi_check_owned(p), 109);
  mi_free(p);
  mi_free(first->kept);
  ExitThread(0);
}

static DWORD WINAPI run_first_deleted(LPVOID arg) {
  static first_t first; // this stack goes with the fiber
  first.seed = (uintptr_t)arg;
  if (first.seed % 2 == 0) modes_use_heap(first.seed); // has its record from when it was no fiber yet
  first.first = ConvertThreadToFiber(NULL);
  modes_use_heap(first.seed);
  first.kept = mi_malloc(2000);
  SwitchToFiber(CreateFiber(0, run_after_first, &first));
  return 0;
}

static void test_first_fiber_deleted_first(void** state) {
  (void)state;
  fiber_rounds("first fiber deleted first", run_first_deleted, 100, false);
}

// ---- where a thread ends -----------------------------------------------------------------------------

static VOID CALLBACK run_end_here(PVOID arg) {
  if (arg != NULL) modes_use_heap(5);
  ExitThread(0);
}
static VOID CALLBACK run_return(PVOID arg) {
  if (arg != NULL) modes_use_heap(6);
}
static VOID CALLBACK run_delete_self(PVOID arg) {
  if (arg != NULL) modes_use_heap(7);
  DeleteFiber(GetCurrentFiber());
}

static void end_on(LPFIBER_START_ROUTINE run, bool allocates) {
  ConvertThreadToFiber(NULL);
  modes_use_heap(3);
  SwitchToFiber(CreateFiber(0, run, allocates ? (void*)1 : NULL));
}

static DWORD WINAPI run_ends_on_last(LPVOID arg) {
  (void)arg;
  end_on(run_end_here, true);
  return 0;
}
static DWORD WINAPI run_ends_on_idle(LPVOID arg) {
  (void)arg;
  end_on(run_end_here, false);
  return 0;
}
static DWORD WINAPI run_procedure_returns(LPVOID arg) {
  (void)arg;
  end_on(run_return, true);
  return 0;
}
static DWORD WINAPI run_deletes_itself(LPVOID arg) {
  (void)arg;
  end_on(run_delete_self, true);
  return 0;
}

static void test_ends_on_last_fiber(void** state) {
  (void)state;
  fiber_rounds("thread ends on its last fiber", run_ends_on_last, 100, false);
}
static void test_ends_on_fiber_that_never_allocated(void** state) {
  (void)state;
  fiber_rounds("thread ends on a fiber that never allocated", run_ends_on_idle, 100, modes_is_fls);
}
static void test_fiber_procedure_returns(void** state) {
  (void)state;
  fiber_rounds("fiber procedure returns", run_procedure_returns, 100, false);
}
static void test_deletes_itself(void** state) {
  (void)state;
  fiber_rounds("DeleteFiber of oneself", run_deletes_itself, 100, false);
}

// ---- fibers that wander between threads --------------------------------------------------------------

static work_t wandering;
static void* wanderer;

static DWORD WINAPI run_thread_a(LPVOID arg) {
  wandering = (work_t){.back = ConvertThreadToFiber(NULL), .seed = (uintptr_t)arg};
  modes_use_heap(1);
  wanderer = CreateFiber(0, run_fill_and_free, &wandering);
  SwitchToFiber(wanderer); // allocates here
  return 0;
}

static DWORD WINAPI run_thread_b(LPVOID arg) {
  (void)arg;
  wandering.back = ConvertThreadToFiber(NULL);
  modes_use_heap(2);
  SwitchToFiber(wanderer); // frees here
  SwitchToFiber(wanderer); // and allocates
  void* kept = mi_malloc(300);
  if (wandering.seed % 2 == 0) {
    DeleteFiber(wanderer); // outlived the thread that made it
    wanderer = NULL;
  }
  expect(mi_check_owned(kept), 110);
  mi_free(kept);
  return 0;
}

static void wandering_round(size_t i) {
  modes_run_thread(run_thread_a, (void*)i);
  modes_run_thread(run_thread_b, NULL);
  void* kept = mi_malloc(300);
  if (wanderer != NULL) DeleteFiber(wanderer); // outlived both; we are no fiber
  expect(mi_check_owned(kept), 111);
  mi_free(kept);
  check_and_free(&wandering);
}

static void test_fiber_wanders_and_outlives(void** state) {
  (void)state;
  modes_flat_rounds("fiber allocates on A, frees on B, outlives A", wandering_round, 100, false);
}

// Ends on the fiber that another thread made and used.
static HANDLE fiber_is_ready;
static void* of_other;
static DWORD WINAPI run_leave_fiber(LPVOID arg) {
  wandering = (work_t){.back = ConvertThreadToFiber(NULL), .seed = 4};
  (void)arg;
  modes_use_heap(4);
  of_other = CreateFiber(0, run_end_here, (void*)1);
  return 0;
}
static DWORD WINAPI run_end_on_it(LPVOID arg) {
  (void)arg;
  ConvertThreadToFiber(NULL);
  modes_use_heap(4);
  SwitchToFiber(of_other);
  return 0;
}
static void swapped_round(size_t i) {
  (void)i;
  modes_run_thread(run_leave_fiber, NULL);
  modes_run_thread(run_end_on_it, NULL);
}
static void test_ends_on_fiber_of_other_thread(void** state) {
  (void)state;
  modes_flat_rounds("thread ends on a fiber that another thread made", swapped_round, 100, false);
}

// ---- DeleteFiber from another thread -----------------------------------------------------------------

static HANDLE was_deleted;
static first_t deleted;

static VOID CALLBACK run_waits(PVOID arg) {
  (void)arg;
  modes_use_heap(8);
  SetEvent(fiber_is_ready);
  WaitForSingleObject(was_deleted, INFINITE);
  expect(mi_check_owned(deleted.kept), 112);
  modes_use_heap(9);
  mi_free(deleted.kept);
  ExitThread(0);
}

static DWORD WINAPI run_is_robbed(LPVOID arg) {
  if ((uintptr_t)arg % 2 == 0) modes_use_heap(1); // before it is a fiber: what FLS has of it says "no fiber"
  deleted.first = ConvertThreadToFiber(NULL);
  deleted.kept = mi_malloc(2000);
  SwitchToFiber(CreateFiber(0, run_waits, NULL));
  return 0;
}

static void robbed_round(size_t i) {
  HANDLE thread = modes_start_thread(run_is_robbed, (void*)i);
  WaitForSingleObject(fiber_is_ready, INFINITE);
  void* kept = mi_malloc(300);
  DeleteFiber(deleted.first); // the first fiber of a living thread, by one that is no fiber
  expect(mi_check_owned(kept), 113);
  void* fresh = mi_malloc(300);
  expect(mi_check_owned(fresh), 114); // and we still allocate from our own heap
  mi_free(fresh);
  mi_free(kept);
  SetEvent(was_deleted);
  modes_join(thread);
}

static void test_delete_from_other_thread(void** state) {
  (void)state;
  fiber_is_ready = CreateEventA(NULL, FALSE, FALSE, NULL);
  was_deleted = CreateEventA(NULL, FALSE, FALSE, NULL);
  modes_flat_rounds("DeleteFiber from another thread", robbed_round, 100, false);
  CloseHandle(fiber_is_ready);
  CloseHandle(was_deleted);
}

int main(int argc, char** argv) {
  modes_begin(argc, argv, 0);
  modes_use_heap(0);
  const struct CMUnitTest tests[] = {
      CASE(test_convert_to_fiber_and_back),
      CASE(test_thousand_fibers),
      CASE(test_first_fiber_deleted_first),
      CASE(test_ends_on_last_fiber),
      CASE(test_ends_on_fiber_that_never_allocated),
      CASE(test_fiber_procedure_returns),
      CASE(test_deletes_itself),
      CASE(test_fiber_wanders_and_outlives),
      CASE(test_ends_on_fiber_of_other_thread),
      CASE(test_delete_from_other_thread),
  };
  return check_run(tests);
}
