// Indices of thread-local storage: the first 64 taken, all of them taken, and opaque ones as checking tools
// hand out. The library then uses the slow accessor, or one heap for all threads and says so. Each case is a
// process of its own, as the index is taken at the first use: test_indices MODE [CASE].
#include "support/check.h"
#include "support/child.h"
#include "support/terminate.h"
#include "support/test_data.h"

#include <mimalloc-stats.h>
#include <mimalloc.h>

#include <windows.h>

#include <stdlib.h>

// With mimalloc.dll, the first use is its load: so it is loaded when the case is set up.
typedef struct api_s {
  void* (*malloc)(size_t size);
  void (*free)(void* p);
  void (*collect)(bool force);
  bool (*stats_get)(mi_stats_t* stats);
  const char* (*thread_exit_mechanism)(void);
} api_t;
static api_t api;
static const char* mode;

#define FIND(name) (api.name = (__typeof__(api.name))(uintptr_t)GetProcAddress(module, "mi_" #name))

#if MODES_LOADS
static bool start_using(void) {
  HMODULE module = LoadLibraryA("mimalloc.dll");
  return module != NULL && FIND(malloc) && FIND(free) && FIND(collect) && FIND(stats_get) &&
         FIND(thread_exit_mechanism);
}
#else
static bool start_using(void) {
  api = (api_t){&mi_malloc, &mi_free, &mi_collect, &mi_stats_get, &mi_thread_exit_mechanism};
  return true;
}
#endif

static void expect(bool condition, const char* what) {
  if (condition) return;
  fprintf(stderr, "failed: %s\n", what);
  fflush(stderr);
  TerminateProcess(GetCurrentProcess(), 1);
}

// ---- what a process does with the library ------------------------------------------------------------

static void use_heap(uint64_t seed) {
  test_random_t random = {seed};
  char* blocks[40];
  size_t sizes[40];
  for (size_t i = 0; i < 40; i++) {
    sizes[i] = i == 0 ? 20000 : test_random_size(&random, 1, 4000);
    blocks[i] = api.malloc(sizes[i]);
    expect(blocks[i] != NULL, "malloc");
    pattern_fill_sampled(blocks[i], sizes[i], seed + i);
  }
  for (size_t i = 0; i < 40; i++) {
    expect(pattern_mismatch_sampled(blocks[i], sizes[i], seed + i) == SIZE_MAX, "contents");
    api.free(blocks[i]);
  }
}

static void* handed[16];

static DWORD WINAPI run_thread(LPVOID arg) {
  size_t i = (uintptr_t)arg;
  use_heap(i);
  api.free(handed[i % 16]); // the main thread's
  handed[i % 16] = api.malloc(300 + i);
  return 0;
}

static mi_stats_t stats_now(void) {
  mi_stats_t_decl(stats);
  expect(api.stats_get(&stats), "mi_stats_get");
  return stats;
}

static void threads(size_t rounds) {
  for (size_t round = 0; round < rounds; round++) {
    HANDLE started[4];
    for (size_t i = 0; i < 4; i++) {
      handed[i] = api.malloc(100);
      started[i] = CreateThread(NULL, 0, run_thread, (void*)i, 0, NULL);
      expect(started[i] != NULL, "CreateThread");
    }
    for (size_t i = 0; i < 4; i++) {
      WaitForSingleObject(started[i], INFINITE);
      CloseHandle(started[i]);
      api.free(handed[i]);
      handed[i] = NULL;
    }
  }
}

static void use_library(bool has_heaps) {
  expect(start_using(), "the library loads");
  SetLastError(12345);
  api.free(api.malloc(50000));
  expect(GetLastError() == 12345, "malloc and free leave the last error alone");
  use_heap(1);
  threads(20);
  api.collect(true);
  mi_stats_t before = stats_now();
  threads(100);
  api.collect(true);
  mi_stats_t after = stats_now();
  expect(after.threads.current == before.threads.current, "no heap is lost");
  expect(after.threads.current == (has_heaps ? 1 : 0), "as many heaps as threads can have");
  expect(after.threads.total == (has_heaps ? 1 + 4 * (20 + 100) : 0),
         "each thread has one heap of its own, or none");
  expect(after.committed.current <= before.committed.current + (1 << 20), "memory is flat");
  printf("used\n");
}

// ---- cases -------------------------------------------------------------------------------------------

static void take_all(void) {
  while (TlsAlloc() != TLS_OUT_OF_INDEXES) {}
}

static int case_direct(void) {
  use_library(true);
  return 0;
}

static int case_first_64_taken(void) {
  DWORD index;
  while ((index = TlsAlloc()) < 64) {}
  TlsFree(index);
  use_library(true);
  DWORD next = TlsAlloc();
  expect(next > index, "the library has an index beyond the first 64");
  return 0;
}

static int case_all_taken(void) {
  take_all();
  expect(TlsAlloc() == TLS_OUT_OF_INDEXES, "all indices are taken");
  use_library(false);
  return 0;
}

// Without an index of fiber-local storage nobody tells of thread exits in mode fls: dead threads are found by
// reaping.
static int case_fls_all_taken(void) {
  while (FlsAlloc(NULL) != FLS_OUT_OF_INDEXES) {}
  use_library(true);
  bool needs_fls = strcmp(mode, "fls") == 0 || strcmp(mode, "auto-fls") == 0;
  expect((strcmp(api.thread_exit_mechanism(), "none") == 0) == needs_fls,
         "it says how it learns of thread exits");
  return 0;
}

// One heap for all threads, under a lock: killed in there, they leave it taken and its lists half changed.
static volatile LONG warm;
static DWORD WINAPI run_hammer(LPVOID arg) {
  test_random_t random = {(uintptr_t)arg};
  static void* volatile shared[32];
  for (size_t i = 0;; i++) {
    if (i == 50) InterlockedIncrement(&warm);
    size_t size = test_random_size(&random, 10, 10000);
    void* p = api.malloc(size);
    memset(p, 1, size);
    api.free(InterlockedExchangePointer(&shared[test_random_below(&random, 32)], p));
  }
  return 0;
}

static int case_all_taken_and_killed(void) {
  take_all();
  expect(start_using(), "the library loads");
  for (size_t round = 0; round < 8; round++) {
    HANDLE hammers[3];
    warm = 0;
    for (size_t i = 0; i < 3; i++)
      hammers[i] = CreateThread(NULL, 0, run_hammer, (void*)(round * 3 + i + 1), 0, NULL);
    while (warm < 3) SwitchToThread();
    for (size_t spins = 0; spins < round * 37 % 200; spins++) SwitchToThread();
    for (size_t i = 0; i < 3; i++) {
      expect(test_terminate_in_code(hammers[i], 1), "TerminateThread");
      CloseHandle(hammers[i]);
    }
    use_heap(round);
  }
  threads(20);
  printf("used\n");
  return 0;
}

// ---- opaque indices ----------------------------------------------------------------------------------
// Application Verifier and its like hand out indices that are no positions in the TEB. Here the functions in
// the import tables of the program, and of mimalloc.dll before its first use, are replaced by ones that do
// so.

static DWORD opaque_base = 0x5A0000;
static LONG opaque_allocs;

// By pointers, as the program's own import table is patched, too.
static DWORD(WINAPI* true_alloc)(void);
static PVOID(WINAPI* true_get)(DWORD);
static BOOL(WINAPI* true_set)(DWORD, PVOID);
static BOOL(WINAPI* true_free)(DWORD);

static DWORD WINAPI opaque_alloc(void) {
  DWORD index = true_alloc();
  opaque_allocs++;
  return index == TLS_OUT_OF_INDEXES ? index : index + opaque_base;
}
static DWORD true_index(DWORD index) {
  return index >= opaque_base && index < opaque_base + 2000 ? index - opaque_base : index;
}
static PVOID WINAPI opaque_get(DWORD index) { return true_get(true_index(index)); }
static BOOL WINAPI opaque_set(DWORD index, PVOID value) { return true_set(true_index(index), value); }
static BOOL WINAPI opaque_free(DWORD index) { return true_free(true_index(index)); }

static size_t patch_imports(char* base) {
  const struct {
    uintptr_t from, to;
  } patches[] = {{(uintptr_t)true_alloc, (uintptr_t)&opaque_alloc},
                 {(uintptr_t)true_get, (uintptr_t)&opaque_get},
                 {(uintptr_t)true_set, (uintptr_t)&opaque_set},
                 {(uintptr_t)true_free, (uintptr_t)&opaque_free}};
  IMAGE_NT_HEADERS* headers = (IMAGE_NT_HEADERS*)(base + ((IMAGE_DOS_HEADER*)base)->e_lfanew);
  IMAGE_DATA_DIRECTORY* imports = &headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT];
  size_t patched = 0;
  for (IMAGE_IMPORT_DESCRIPTOR* dll = (IMAGE_IMPORT_DESCRIPTOR*)(base + imports->VirtualAddress);
       dll->Name != 0; dll++) {
    for (uintptr_t* slot = (uintptr_t*)(base + dll->FirstThunk); *slot != 0; slot++) {
      for (size_t i = 0; i < 4; i++) {
        DWORD old;
        if (*slot != patches[i].from) continue;
        if (!VirtualProtect(slot, sizeof(*slot), PAGE_READWRITE, &old)) continue;
        *slot = patches[i].to;
        VirtualProtect(slot, sizeof(*slot), old, &old);
        patched++;
        break;
      }
    }
  }
  return patched;
}

static void find_true_functions(void) {
  HMODULE kernel32 = GetModuleHandleA("kernel32.dll");
#define TRUE_FUNCTION(name, exported)                                                                        \
  (true_##name = (__typeof__(true_##name))(uintptr_t)GetProcAddress(kernel32, exported))
  expect(TRUE_FUNCTION(alloc, "TlsAlloc") && TRUE_FUNCTION(get, "TlsGetValue") &&
             TRUE_FUNCTION(set, "TlsSetValue") && TRUE_FUNCTION(free, "TlsFree"),
         "KERNEL32 has the functions of thread-local storage");
}

#if MODES_LOADS
// The loader tells of a module after its imports are bound and before it is initialised.
typedef struct loaded_notification_s {
  ULONG flags;
  const void *full_name, *base_name;
  char* base;
  ULONG size;
} loaded_notification_t;
typedef VOID(CALLBACK* notify_t)(ULONG reason, const loaded_notification_t* loaded, void* context);
typedef LONG(NTAPI* register_t)(ULONG flags, notify_t function, void* context, void** cookie);

static VOID CALLBACK on_load(ULONG reason, const loaded_notification_t* loaded, void* context) {
  (void)context;
  if (reason == 1) patch_imports(loaded->base); // LDR_DLL_NOTIFICATION_REASON_LOADED
}

static void make_indices_opaque(void) {
  static void* cookie;
  register_t notify_me =
      (register_t)(uintptr_t)GetProcAddress(GetModuleHandleA("ntdll.dll"), "LdrRegisterDllNotification");
  expect(notify_me != NULL && notify_me(0, on_load, NULL, &cookie) == 0, "LdrRegisterDllNotification");
}
#else
static void make_indices_opaque(void) {
  expect(patch_imports((char*)GetModuleHandleA(NULL)) >= 3, "imports patched");
}
#endif

static int case_opaque_index(void) {
  find_true_functions();
  make_indices_opaque();
  use_library(true);
  expect(opaque_allocs > 0, "the library's index is an opaque one");
  return 0;
}

// Such an index may also look like another slot of the TEB: no index of the C runtime's comes that far.
static int case_opaque_low_index(void) {
  opaque_base = 40;
  return case_opaque_index();
}

// ---- the test ----------------------------------------------------------------------------------------

typedef struct index_case_s {
  const char* name;
  int (*run)(void);
  bool says_so; // that no index is left
} index_case_t;
static const index_case_t cases[] = {{"direct", case_direct, false},
                                     {"first_64_taken", case_first_64_taken, false},
                                     {"all_taken", case_all_taken, true},
                                     {"all_taken_and_killed", case_all_taken_and_killed, true},
                                     {"opaque_index", case_opaque_index, false},
                                     {"opaque_low_index", case_opaque_low_index, false},
                                     {"fls_all_taken", case_fls_all_taken, false}};
enum { CASES = sizeof(cases) / sizeof(cases[0]) };

static void run_case(void** state) {
  const index_case_t* one = *state;
  static child_result_t result;
  char self[CHILD_PATH_MAX];
  child_self(self);
  child_set_environment("MIMALLOC_SHOW_ERRORS", "1");
  assert_true(child_run((const char*[]){self, mode, one->name, NULL}, 200000, &result));
  bool said =
      strstr(result.error, "no thread-local storage index is left in this process (TlsAlloc failed)") != NULL;
  if (result.timed_out || result.exit_code != 0 || strcmp(result.output, "used\n") != 0 ||
      said != one->says_so || (!one->says_so && result.error[0] != 0)) {
    child_print(&result);
    fail_msg("%s: %s", mode, one->name);
  }
}

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: %s MODE [CASE]\n", argv[0]);
    return 99;
  }
  mode = argv[1];
  for (size_t i = 0; argc > 2 && i < CASES; i++) {
    if (strcmp(argv[2], cases[i].name) == 0) return cases[i].run();
  }
  if (argc > 2) return 99;
  static struct CMUnitTest tests[CASES];
  for (size_t i = 0; i < CASES; i++) {
    tests[i] = (struct CMUnitTest){
        .name = cases[i].name, .test_func = run_case, .initial_state = (void*)(uintptr_t)&cases[i]};
  }
  return check_run(tests);
}
