// long because it is one list of checks: everything that a program may do with its runtime's memory.
//
// A program that knows nothing of mimalloc, built for msvcrt and for the UCRT, checks what redirection
// promises:
//
//   program early                    mimalloc.dll is among its imports (built with -DEARLY)
//   program late DLL                 it loads DLL in the middle of its life, with blocks of every
//                                    kind allocated and with threads that allocate all the time
//   program disabled DLL             the same with MIMALLOC_DISABLE_REDIRECT=1 in the environment: nothing
//                                    is redirected
//   program wild DLL                 frees pointers that nobody allocated
//   program locked DLL               frees a block from before while another thread holds the loader's lock
//   program exhausted DLL            allocates where there is no memory at all
//   program twice DLL                loads two copies of mimalloc.dll
//   program imports                  loads mimalloc.dll when only a runtime's users can be redirected, by
//                                    their imports
//   program inside                   loads mimalloc.dll while a thread is in a function that _aligned_realloc
//                                    has called
//   program inside-debug             the same for malloc of a debug runtime
//   program fakes DLL                with the fake runtimes: one that only imports can redirect, and a
//                                    debug runtime
//   program load DLL MODULE...       loads both and says whether all is redirected
//
// Prints "ok NAME" or "not ok NAME: why" for each check; the exit code is the number of those that failed, or
// 100 when it can't begin.
#include <direct.h>
#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <windows.h>

#include "mimalloc.h" // for the numbers of options; all functions are looked up

#if defined(_UCRT)
#define RUNTIME "ucrtbase.dll"
#define IS_UCRT 1
#else
#define RUNTIME "msvcrt.dll"
#define IS_UCRT 0
#endif

#define TEST_BITS (sizeof(void*) == 8 ? 64 : 32)

// ---- checks ---------------------------------------------------------------------------------------------

static unsigned failed;
static const char* check_name;
static bool check_failed;

#define CHECK(condition)                                                                                     \
  do {                                                                                                       \
    if (!(condition) && !check_failed) {                                                                     \
      printf("not ok %s: line %d: %s\n", check_name, __LINE__, #condition);                                  \
      check_failed = true;                                                                                   \
    }                                                                                                        \
  } while (0)

#define RUN(check)                                                                                           \
  do {                                                                                                       \
    check_name = #check;                                                                                     \
    check_failed = false;                                                                                    \
    check();                                                                                                 \
    if (check_failed) {                                                                                      \
      failed++;                                                                                              \
    } else {                                                                                                 \
      printf("ok %s\n", check_name);                                                                         \
    }                                                                                                        \
    fflush(stdout);                                                                                          \
  } while (0)

static void fill(void* p, size_t size, unsigned seed) {
  for (size_t i = 0; i < size; i++) ((unsigned char*)p)[i] = (unsigned char)(seed * 31 + i);
}
static bool is_filled(const void* p, size_t size, unsigned seed) {
  for (size_t i = 0; i < size; i++) {
    if (((const unsigned char*)p)[i] != (unsigned char)(seed * 31 + i)) return false;
  }
  return true;
}
static bool is_zero(const void* p, size_t from, size_t to) {
  for (size_t i = from; i < to; i++) {
    if (((const unsigned char*)p)[i] != 0) return false;
  }
  return true;
}
static bool is_aligned(const void* p, size_t alignment, size_t offset) {
  return (((uintptr_t)p + offset) & (alignment - 1)) == 0;
}

// ---- the runtime and mimalloc, by name ------------------------------------------------------------------

static HMODULE runtime, mimalloc;

// Not inlined: the compiler would keep GetProcAddress's address in a register across the loading of a runtime
// that only imports can redirect, which is what no redirection of imports can reach.
static __attribute__((noinline)) void* lookup(HMODULE module, const char* name) {
  return (void*)(uintptr_t)GetProcAddress(module, name);
}

static bool (*is_ours)(const void*);
static bool (*is_redirected)(void);
static void (*option_set)(int, long);
static void (*process_info)(size_t*, size_t*, size_t*, size_t*, size_t*, size_t*, size_t*, size_t*);

static void find_mimalloc(HMODULE module) {
  mimalloc = module;
  is_ours = (bool (*)(const void*))(uintptr_t)lookup(module, "mi_is_in_heap_region");
  is_redirected = (bool (*)(void))(uintptr_t)lookup(module, "mi_is_redirected");
  option_set = (void (*)(int, long))(uintptr_t)lookup(module, "mi_option_set");
  process_info = (void (*)(size_t*, size_t*, size_t*, size_t*, size_t*, size_t*, size_t*, size_t*))(
      uintptr_t)lookup(module, "mi_process_info");
  if (is_ours == NULL || is_redirected == NULL || option_set == NULL || process_info == NULL) exit(100);
}

static HMODULE load(const char* path) {
  HMODULE module = LoadLibraryA(path);
  if (module == NULL) {
    printf("not ok load: %s can't be loaded (error %u)\n", path, (unsigned)GetLastError());
    exit(100);
  }
  return module;
}

typedef void* malloc_t(size_t);
typedef void* calloc_t(size_t, size_t);
typedef void* realloc_t(void*, size_t);
typedef void* recalloc_t(void*, size_t, size_t);
typedef void free_t(void*);
typedef size_t msize_t(void*);
typedef void* aligned_malloc_t(size_t, size_t);
typedef void* aligned_offset_malloc_t(size_t, size_t, size_t);
typedef void* aligned_realloc_t(void*, size_t, size_t);
typedef void* aligned_recalloc_t(void*, size_t, size_t, size_t);
typedef void* aligned_offset_recalloc_t(void*, size_t, size_t, size_t, size_t);
typedef size_t aligned_msize_t(void*, size_t, size_t);

#define FUNCTION(type, name) ((type*)(uintptr_t)lookup(runtime, name))

static HANDLE runtime_heap(void) { return (HANDLE)_get_heap_handle(); }
static bool is_runtimes(const void* p) { return HeapValidate(runtime_heap(), 0, p); }

static size_t amount(size_t n) { // that the compiler can't foresee
  volatile size_t x = n;
  return x;
}
#define MORE_THAN_AN_ARENA ((size_t)(TEST_BITS == 64 ? 2100 : 200) * 1024 * 1024) // the system must be asked
#define IMPOSSIBLE         amount((size_t)PTRDIFF_MAX - 100)

// ---- what is allocated now ------------------------------------------------------------------------------

static void every_function_gives_blocks_of_ours(void) {
  void* blocks[] = {malloc(10),
                    calloc(3, 5),
                    realloc(NULL, 20),
                    strdup("one"),
                    _strdup("two"),
                    _wcsdup(L"three"),
                    FUNCTION(malloc_t, "malloc")(30),
                    FUNCTION(calloc_t, "calloc")(4, 5),
                    FUNCTION(realloc_t, "realloc")(NULL, 20)};
  for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) CHECK(is_ours(blocks[i]));
  CHECK(strcmp(blocks[3], "one") == 0 && wcscmp(blocks[5], L"three") == 0 && is_zero(blocks[1], 0, 15));
  for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) free(blocks[i]);

  // Second names, where the runtime has them.
  static const char* const names[] = {"_malloc_base", "_o_malloc", "_o__malloc_base"};
  static const char* const frees[] = {"_free_base", "_o_free", "_o__free_base"};
  for (size_t i = 0; i < 3; i++) {
    CHECK((lookup(runtime, names[i]) != NULL) == IS_UCRT);
    if (!IS_UCRT) continue;
    void* p = FUNCTION(malloc_t, names[i])(100);
    CHECK(is_ours(p));
    FUNCTION(free_t, frees[i])(p);
  }
  if (IS_UCRT) {
    void* p = FUNCTION(recalloc_t, "_recalloc")(NULL, 10, 10);
    CHECK(is_ours(p) && is_zero(p, 0, 100));
    fill(p, 100, 1);
    p = FUNCTION(recalloc_t, "_o__recalloc")(p, 100, 10);
    CHECK(is_ours(p) && is_filled(p, 100, 1) && is_zero(p, 100, 1000));
    free(p);
  }
}

// _recalloc zeroes what comes behind the size that the block was asked for with, whatever was there before.
static void recalloc_zeroes_behind_the_old_size(void) {
  recalloc_t* recalloc_function = FUNCTION(recalloc_t, "_recalloc");
  for (size_t size = 1; size < 200000; size += 1 + size / 13) {
    void* probe = malloc(size);
    size_t full = _msize(probe), larger = size + (full - size + 1) / 2;
    free(probe);
    void* dirty[4]; // what the next blocks are made of
    for (size_t i = 0; i < 4; i++) dirty[i] = memset(malloc(full), 0xEE, full);
    for (size_t i = 0; i < 4; i++) free(dirty[i]);
    unsigned char* p = malloc(size);
    fill(p, size, 3);
    p = recalloc_function(p, 1, larger);
    CHECK(p != NULL && is_filled(p, size, 3) && is_zero(p, size, larger));
    // The same after realloc has made it smaller, and larger.
    fill(p, larger, 4);
    p = recalloc_function(realloc(p, size), 1, larger);
    CHECK(p != NULL && is_filled(p, size, 4) && is_zero(p, size, larger));
    p = recalloc_function(memset(realloc(p, 2 * size), 5, 2 * size), 2, larger);
    CHECK(p != NULL && is_zero(p, 2 * size, 2 * larger));
    free(p);
  }
}

static void aligned_functions_give_blocks_of_ours(void) {
  for (size_t alignment = 16; alignment <= 4096; alignment *= 16) {
    void* p = _aligned_malloc(500, alignment);
    CHECK(is_ours(p) && is_aligned(p, alignment, 0));
    fill(p, 500, 2);
    p = _aligned_realloc(p, 5000, alignment);
    CHECK(is_ours(p) && is_aligned(p, alignment, 0) && is_filled(p, 500, 2));
    _aligned_free(p);
    p = _aligned_offset_malloc(500, alignment, 24);
    CHECK(is_ours(p) && is_aligned(p, alignment, 24));
    fill(p, 500, 3);
    p = _aligned_offset_realloc(p, 5000, alignment, 24);
    CHECK(is_ours(p) && is_aligned(p, alignment, 24) && is_filled(p, 500, 3));
    if (IS_UCRT) CHECK(FUNCTION(aligned_msize_t, "_aligned_msize")(p, alignment, 24) >= 5000);
    _aligned_free(p);
    if (!IS_UCRT) continue;
    // Wine's own functions of these names only end the process.
    p = FUNCTION(aligned_recalloc_t, "_aligned_recalloc")(NULL, 10, 50, alignment);
    CHECK(is_ours(p) && is_aligned(p, alignment, 0) && is_zero(p, 0, 500));
    fill(p, 500, 4);
    p = FUNCTION(aligned_recalloc_t, "_o__aligned_recalloc")(p, 100, 50, alignment);
    CHECK(is_aligned(p, alignment, 0) && is_filled(p, 500, 4) && is_zero(p, 500, 5000));
    _aligned_free(p);
    p = FUNCTION(aligned_offset_recalloc_t, "_aligned_offset_recalloc")(NULL, 10, 50, alignment, 8);
    CHECK(is_ours(p) && is_aligned(p, alignment, 8) && is_zero(p, 0, 500));
    _aligned_free(p);
  }
}

static void the_runtimes_own_memory_comes_from_us(void) {
  char* folder = _getcwd(NULL, 0);
  wchar_t* wide_folder = _wgetcwd(NULL, 0);
  char* path = _fullpath(NULL, "x", 0);
  wchar_t* wide_path = _wfullpath(NULL, L"x", 0);
  char* temporary = _tempnam(NULL, "mi");
  CHECK(is_ours(folder) && is_ours(wide_folder) && is_ours(path) && is_ours(wide_path) && is_ours(temporary));
  CHECK(strlen(folder) == wcslen(wide_folder) && strstr(path, "x") != NULL);
  free(folder), free(wide_folder), free(path), free(wide_path), free(temporary);

  // Wine's msvcrt.dll doesn't have this one.
  errno_t (*dupenv)(char**, size_t*, const char*) =
      (errno_t(*)(char**, size_t*, const char*))(uintptr_t)lookup(runtime, "_dupenv_s");
  char* value = NULL;
  size_t size = 0;
  CHECK(dupenv != NULL || !IS_UCRT);
  _putenv("MI_TEST_VALUE=12345");
  if (dupenv != NULL)
    CHECK(dupenv(&value, &size, "MI_TEST_VALUE") == 0 && is_ours(value) && strcmp(value, "12345") == 0);
  free(value);

  // The buffer of a stream: the second (UCRT) or third member (msvcrt, Wine's UCRT) of what FILE points to.
  FILE* file = tmpfile();
  CHECK(file != NULL && fputs("text", file) >= 0);
  CHECK(is_ours(((void**)file)[2]) || (IS_UCRT && is_ours(((void**)file)[1])));
  rewind(file);
  char text[8] = "";
  CHECK(fgets(text, sizeof(text), file) != NULL && strcmp(text, "text") == 0);
  fclose(file);
}

static void operators_of_the_runtime_come_from_us(void) {
  bool is_64 = TEST_BITS == 64;
  const char *new_name = is_64 ? "??2@YAPEAX_K@Z" : "??2@YAPAXI@Z",
             *delete_name = is_64 ? "??3@YAXPEAX@Z" : "??3@YAXPAX@Z";
  const char *new_array = is_64 ? "??_U@YAPEAX_K@Z" : "??_U@YAPAXI@Z",
             *delete_array = is_64 ? "??_V@YAXPEAX@Z" : "??_V@YAXPAX@Z";
  void* p = FUNCTION(malloc_t, new_name)(100);
  CHECK(is_ours(p));
  FUNCTION(free_t, delete_name)(p);
  p = FUNCTION(malloc_t, new_array)(100);
  CHECK(is_ours(p));
  FUNCTION(free_t, delete_array)(p);
}

// ---- errors ---------------------------------------------------------------------------------------------

static void errno_and_last_error_are_as_the_runtime_has_them(void) {
  errno = 0;
  CHECK(malloc(IMPOSSIBLE) == NULL && errno == ENOMEM);
  errno = 0;
  CHECK(calloc(amount(SIZE_MAX / 2), 3) == NULL && errno == ENOMEM);
  void* p = malloc(100);
  errno = 0;
  CHECK(realloc(p, IMPOSSIBLE) == NULL && errno == ENOMEM);
  errno = 0;
  CHECK(_aligned_malloc(100, amount(48)) == NULL && errno == EINVAL);
  errno = EDOM;
  SetLastError(1234);
  free(p);
  p = malloc(100);
  p = realloc(p, 3000);
  free(p);
  free(NULL);
  CHECK(errno == EDOM && GetLastError() == 1234);
}

static void realloc_of_size_zero_frees(void) {
  for (int i = 0; i < 3000; i++) {
    void* p = malloc(256 * 1024);
    if (p == NULL) break;
    memset(p, 1, 256 * 1024);
    void* volatile result = realloc(p, amount(0));
    CHECK(result == NULL);
  }
  size_t committed = 0;
  process_info(NULL, NULL, NULL, NULL, NULL, &committed, NULL, NULL);
  CHECK(committed < (size_t)300 * 1024 * 1024); // kept, these blocks would be 750 MiB
}

static volatile int handler_calls;
static volatile size_t handler_size;

static int __cdecl give_up_after_three(size_t size) {
  handler_size = size;
  return ++handler_calls < 3;
}

static int __cdecl make_room(size_t size) {
  handler_size = size;
  handler_calls++;
  option_set(mi_option_disallow_os_alloc, 0);
  return handler_calls < 100; // rather than for ever
}

typedef int set_mode_t(int mode);
typedef void* set_handler_t(int(__cdecl* handler)(size_t size));
#define SET_HANDLER                                                                                          \
  (TEST_BITS == 64 ? "?_set_new_handler@@YAP6AH_K@ZP6AH0@Z@Z" : "?_set_new_handler@@YAP6AHI@ZP6AHI@Z@Z")

static void new_handlers_are_called(void) {
  set_mode_t* set_mode = FUNCTION(set_mode_t, "?_set_new_mode@@YAHH@Z");
  set_handler_t* set_handler = FUNCTION(set_handler_t, SET_HANDLER);
  CHECK(set_mode != NULL && set_handler != NULL);
  if (set_mode == NULL || set_handler == NULL) return;
  set_handler(give_up_after_three);

  handler_calls = 0;
  CHECK(malloc(IMPOSSIBLE) == NULL && handler_calls == 0); // mode 0: malloc doesn't ask
  CHECK(set_mode(1) == 0);
  errno = 0;
  CHECK(malloc(IMPOSSIBLE) == NULL && handler_calls == 3 && handler_size == IMPOSSIBLE && errno == ENOMEM);
  handler_calls = 0;
  CHECK(calloc(IMPOSSIBLE, 1) == NULL && handler_calls == 3);
  void* p = malloc(100);
  handler_calls = 0;
  CHECK(realloc(p, IMPOSSIBLE) == NULL && handler_calls == 3);
  free(p);

  // A handler that finds memory.
  set_handler(make_room);
  handler_calls = 0;
  option_set(mi_option_disallow_os_alloc, 1);
  p = malloc(MORE_THAN_AN_ARENA);
  option_set(mi_option_disallow_os_alloc, 0);
  CHECK(p != NULL && handler_calls == 1 && handler_size == MORE_THAN_AN_ARENA);
  free(p);
  set_mode(0);
  set_handler(NULL);
}

// ---- blocks from before ---------------------------------------------------------------------------------

enum { OLD = 200, STREAMS = 4 };
static struct {
  void *plain[OLD], *sized, *grown, *shrunk, *freed, *emptied, *expanded, *recalloced, *zeroed;
  void *aligned[OLD], *aligned_grown, *offset_grown, *aligned_sized, *aligned_recalloced, *aligned_emptied;
  char* text;
  FILE* streams[STREAMS];
  size_t sized_is;
  int heapmin_is;
} old;

static void allocate_old(void) {
  for (unsigned i = 0; i < OLD; i++) {
    fill(old.plain[i] = malloc(1 + 37 * i), 1 + 37 * i, i);
    fill(old.aligned[i] = _aligned_malloc(1 + 37 * i, (size_t)16 << i % 8), 1 + 37 * i, i);
  }
  old.heapmin_is = _heapmin();
  old.sized = malloc(1234);
  old.sized_is = _msize(old.sized);
  fill(old.grown = malloc(700), 700, 1);
  fill(old.shrunk = malloc(70000), 70000, 2);
  old.freed = malloc(100);
  old.emptied = malloc(100);
  old.expanded = malloc(1000);
  fill(old.recalloced = calloc(10, 10), 100, 3);
  fill(old.zeroed = calloc(1, 3000), 3000, 4);
  fill(old.aligned_grown = _aligned_malloc(900, 256), 900, 5);
  fill(old.offset_grown = _aligned_offset_malloc(900, 256, 24), 900, 6);
  old.aligned_sized = _aligned_malloc(2000, 64);
  fill(old.aligned_recalloced = _aligned_malloc(300, 64), 300, 7);
  old.aligned_emptied = _aligned_malloc(300, 64);
  old.text = _strdup("from before");
  for (int i = 0; i < STREAMS; i++) {
    old.streams[i] = tmpfile();
    if (old.streams[i] == NULL) exit(100);
    fputs("from before", old.streams[i]);
  }
  _putenv("MI_TEST_BEFORE=1");
}

static void old_blocks_are_freed(void) {
  for (unsigned i = 0; i < OLD; i++) {
    CHECK(!is_ours(old.plain[i]) && is_filled(old.plain[i], 1 + 37 * i, i));
    CHECK(is_runtimes(old.plain[i]));
    free(old.plain[i]);
    CHECK(is_filled(old.aligned[i], 1 + 37 * i, i));
    void* origin = ((void**)old.aligned[i])[-1];
    CHECK(is_runtimes(origin));
    _aligned_free(old.aligned[i]);
    CHECK(!is_runtimes(origin));
  }
  CHECK(is_runtimes(old.freed));
  free(old.freed);
  CHECK(!is_runtimes(old.freed)); // really
  CHECK(strcmp(old.text, "from before") == 0);
  free(old.text);
}

static void old_blocks_are_resized(void) {
  void* p = realloc(old.grown, 7000);
  CHECK(is_ours(p) && is_filled(p, 700, 1) && !is_runtimes(old.grown));
  free(p);
  p = realloc(old.shrunk, 500);
  CHECK(is_filled(p, 500, 2));
  free(p);
  void* volatile none = realloc(old.emptied, amount(0));
  CHECK(none == NULL && !is_runtimes(old.emptied));
  CHECK(_msize(old.sized) == old.sized_is);
  free(old.sized);
  CHECK(_expand(old.expanded, 500) == old.expanded);
  errno = 0;
  CHECK(_expand(old.expanded, (size_t)1 << 30) == NULL);
  CHECK(is_runtimes(old.expanded));
  free(old.expanded);
  recalloc_t* recalloc = FUNCTION(recalloc_t, "_recalloc");
  if (recalloc != NULL) {
    p = recalloc(old.recalloced, 100, 10);
    CHECK(is_ours(p) && is_filled(p, 100, 3) && is_zero(p, 100, 1000) && !is_runtimes(old.recalloced));
    free(p);
    p = recalloc(old.zeroed, 1, 100);
    CHECK(is_filled(p, 100, 4));
    free(p);
  }
}

static void old_aligned_blocks_are_resized(void) {
  void* origin = ((void**)old.aligned_grown)[-1];
  void* p = _aligned_realloc(old.aligned_grown, 9000, 256);
  CHECK(is_ours(p) && is_aligned(p, 256, 0) && is_filled(p, 900, 5) && !is_runtimes(origin));
  _aligned_free(p);
  p = _aligned_offset_realloc(old.offset_grown, 9000, 256, 24);
  CHECK(is_ours(p) && is_aligned(p, 256, 24) && is_filled(p, 900, 6));
  _aligned_free(p);
  void* volatile none = _aligned_realloc(old.aligned_emptied, amount(0), 64);
  CHECK(none == NULL);
  if (IS_UCRT) {
    size_t size = FUNCTION(aligned_msize_t, "_aligned_msize")(old.aligned_sized, 64, 0);
    CHECK(size >= 2000 && size < 2200);
    p = FUNCTION(aligned_recalloc_t, "_aligned_recalloc")(old.aligned_recalloced, 100, 30, 64);
    CHECK(is_ours(p) && is_filled(p, 300, 7) && is_aligned(p, 64, 0));
    CHECK(is_zero(p, 600, 3000)); // of a block of the runtime we know the size roughly
    _aligned_free(p);
  }
  _aligned_free(old.aligned_sized);
}

static void the_runtimes_old_memory_goes_on(void) {
  for (int i = 0; i < STREAMS; i++) {
    char text[64] = "";
    CHECK(fputs(" and now", old.streams[i]) >= 0);
    rewind(old.streams[i]);
    CHECK(fgets(text, sizeof(text), old.streams[i]) != NULL && strcmp(text, "from before and now") == 0);
    CHECK(fclose(old.streams[i]) == 0); // frees a buffer from before
  }
  CHECK(getenv("MI_TEST_BEFORE") != NULL);
  for (int i = 0; i < 100; i++) { // the table of variables grows, and the old ones are freed
    char variable[32];
    snprintf(variable, sizeof(variable), "MI_TEST_%d=%d", i, i);
    CHECK(_putenv(variable) == 0);
  }
  _putenv("MI_TEST_BEFORE=2");
  CHECK(strcmp(getenv("MI_TEST_BEFORE"), "2") == 0 && strcmp(getenv("MI_TEST_57"), "57") == 0);
}

static void the_runtimes_heap_functions_work(void) {
  CHECK(_heapchk() == _HEAPOK);
  CHECK(_heapmin() == old.heapmin_is);
  HANDLE heap = runtime_heap();
  CHECK(heap != NULL && HeapValidate(heap, 0, NULL));
}

// ---- threads --------------------------------------------------------------------------------------------

enum { HAMMERS = 8, HAMMER_SLOTS = 100 };
static volatile LONG hammers_ready, hammers_stop, hammer_errors, hammer_rounds;

static DWORD WINAPI hammer(void* arg) {
  uint64_t random = (uint64_t)(uintptr_t)arg * 0x9E3779B97F4A7C15u + 1;
  struct {
    unsigned char* p;
    size_t size;
    bool aligned;
  } slots[HAMMER_SLOTS] = {{NULL, 0, false}};
  for (unsigned round = 0; !hammers_stop; round++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    size_t i = (size_t)(random >> 33) % HAMMER_SLOTS, size = 1 + (size_t)(random >> 45) % 700;
    bool bad = slots[i].p != NULL && !is_filled(slots[i].p, slots[i].size, (unsigned)i);
    if (slots[i].aligned) {
      if (round % 2 == 0) {
        slots[i].p = _aligned_realloc(slots[i].p, size, 64);
        bad = bad || !is_filled(slots[i].p, size < slots[i].size ? size : slots[i].size, (unsigned)i);
      } else {
        _aligned_free(slots[i].p);
        slots[i].p = malloc(size);
        slots[i].aligned = false;
      }
    } else if (slots[i].p != NULL && round % 3 == 0) {
      slots[i].p = realloc(slots[i].p, size);
      bad = bad || !is_filled(slots[i].p, size < slots[i].size ? size : slots[i].size, (unsigned)i);
    } else {
      free(slots[i].p);
      slots[i].aligned = round % 5 == 0;
      slots[i].p = slots[i].aligned ? _aligned_malloc(size, 64)
                   : round % 7 == 0 ? calloc(1, size)
                                    : malloc(size);
    }
    if (bad) InterlockedIncrement(&hammer_errors);
    slots[i].size = size;
    fill(slots[i].p, size, (unsigned)i);
    if (round == 300) InterlockedIncrement(&hammers_ready);
    InterlockedIncrement(&hammer_rounds);
  }
  for (size_t i = 0; i < HAMMER_SLOTS; i++) {
    if (slots[i].aligned) {
      _aligned_free(slots[i].p);
    } else {
      free(slots[i].p);
    }
  }
  return 0;
}

static HANDLE hammers[HAMMERS];

static void start_hammers(void) {
  for (uintptr_t i = 0; i < HAMMERS; i++) hammers[i] = CreateThread(NULL, 0, hammer, (void*)i, 0, NULL);
  while (hammers_ready < HAMMERS) SwitchToThread();
}

static void threads_went_on_unharmed(void) {
  LONG rounds = hammer_rounds;
  while (hammer_rounds < rounds + 20000) SwitchToThread();
  InterlockedExchange(&hammers_stop, 1);
  CHECK(WaitForMultipleObjects(HAMMERS, hammers, TRUE, 60000) == WAIT_OBJECT_0);
  CHECK(hammer_errors == 0);
}

// ---- the library itself ---------------------------------------------------------------------------------

static void the_library_says_so(void) { CHECK(is_redirected()); }

static void the_library_stays_loaded(void) {
  char path[MAX_PATH];
  CHECK(GetModuleFileNameA(mimalloc, path, sizeof(path)) > 0);
  for (int i = 0; i < 5; i++) FreeLibrary(mimalloc);
  CHECK(GetModuleHandleA("mimalloc.dll") == mimalloc);
  void* p = malloc(10);
  CHECK(is_ours(p));
  free(p);
}

static void all_that_is_new(void) {
  RUN(every_function_gives_blocks_of_ours);
  RUN(aligned_functions_give_blocks_of_ours);
  RUN(the_runtimes_own_memory_comes_from_us);
  RUN(errno_and_last_error_are_as_the_runtime_has_them);
  RUN(realloc_of_size_zero_frees);
  if (IS_UCRT) RUN(recalloc_zeroes_behind_the_old_size); // msvcrt has no _recalloc
  if (!IS_UCRT) { // which has no operators, and Wine's has no way to set a handler
    RUN(operators_of_the_runtime_come_from_us);
    RUN(new_handlers_are_called);
  }
  RUN(the_library_says_so);
  RUN(the_library_stays_loaded);
}

// ---- modes ----------------------------------------------------------------------------------------------

static unsigned late(const char* dll) {
  allocate_old();
  start_hammers();
  find_mimalloc(load(dll));
  RUN(old_blocks_are_freed);
  RUN(threads_went_on_unharmed);
  RUN(old_blocks_are_resized);
  RUN(old_aligned_blocks_are_resized);
  RUN(the_runtimes_old_memory_goes_on);
  RUN(the_runtimes_heap_functions_work);
  all_that_is_new();
  return failed;
}

static void nothing_is_redirected(void) {
  void* p = malloc(10);
  CHECK(!is_ours(p) && is_runtimes(p) && !is_redirected());
  CHECK(*(unsigned char*)lookup(runtime, "malloc") != 0xE9);
  free(p);
}

static void the_library_can_be_unloaded(void) {
  CHECK(FreeLibrary(mimalloc));
  CHECK(GetModuleHandleA("mimalloc.dll") == NULL);
  free(malloc(10));
}

static unsigned disabled(const char* dll) {
  find_mimalloc(load(dll));
  RUN(nothing_is_redirected);
  RUN(the_library_can_be_unloaded);
  return failed;
}

static void wild_pointers_do_no_harm(void) {
  static char memory[256];
  char local[64];
  free(memory + 64);
  free((void*)(uintptr_t)((uintptr_t)local & ~(uintptr_t)15));
  free((void*)(uintptr_t)0x12340);
  free((void*)(uintptr_t) ~(uintptr_t)15);
  _aligned_free(memory + 64);
  void* volatile result = realloc(memory + 64, 10);
  CHECK(result == NULL);
  CHECK(_msize(memory + 64) == (size_t)-1);
  free(malloc(10));
  if (IS_UCRT) return; // Wine's has no way to set a handler
  FUNCTION(set_handler_t, SET_HANDLER)(give_up_after_three);
  FUNCTION(set_mode_t, "?_set_new_mode@@YAHH@Z")(1);
  result = realloc(memory + 64, 10); // no memory that a handler finds would help
  CHECK(result == NULL && handler_calls == 0);
}

static unsigned wild(const char* dll) {
  find_mimalloc(load(dll));
  RUN(wild_pointers_do_no_harm);
  return failed;
}

// ---- a thread that may not wait for the loader ----------------------------------------------------------

static HANDLE worker_done;
static volatile LONG worker_ready, loader_is_taken;

static DWORD WINAPI use_memory(void* arg) {
  InterlockedExchange(&worker_ready, 1);
  while (!loader_is_taken) SwitchToThread();
  free(arg); // the first block from before that is freed
  errno = 0;
  if (malloc(IMPOSSIBLE) == NULL && errno == ENOMEM) SetEvent(worker_done);
  return 0;
}

// As when a DllMain waits for a lock that this thread holds.
static void memory_is_used_while_the_loader_is_locked(void) {
  LONG(NTAPI * lock)
  (ULONG, ULONG*, ULONG_PTR*) = (LONG(NTAPI*)(ULONG, ULONG*, ULONG_PTR*))(uintptr_t)lookup(
      GetModuleHandleA("ntdll.dll"), "LdrLockLoaderLock");
  LONG(NTAPI * unlock)
  (ULONG, ULONG_PTR) =
      (LONG(NTAPI*)(ULONG, ULONG_PTR))(uintptr_t)lookup(GetModuleHandleA("ntdll.dll"), "LdrUnlockLoaderLock");
  ULONG_PTR cookie;
  CHECK(lock != NULL && unlock != NULL && lock(0, NULL, &cookie) >= 0);
  if (check_failed) return;
  InterlockedExchange(&loader_is_taken, 1);
  CHECK(WaitForSingleObject(worker_done, 20000) == WAIT_OBJECT_0);
  unlock(0, cookie);
}

static unsigned locked(const char* dll) {
  void* block = malloc(100);
  worker_done = CreateEventA(NULL, TRUE, FALSE, NULL);
  HANDLE worker = CreateThread(NULL, 0, use_memory, block, 0, NULL);
  while (!worker_ready) SwitchToThread();
  find_mimalloc(load(dll));
  RUN(memory_is_used_while_the_loader_is_locked);
  WaitForSingleObject(worker, 20000);
  return failed;
}

// ---- no memory at all -----------------------------------------------------------------------------------

static DWORD WINAPI find_no_memory(void* arg) {
  (void)arg;
  errno = 0;
  void* volatile p = malloc(100);
  return p == NULL && errno == ENOMEM;
}

// The runtimes' errno may need memory itself.
static void errno_is_set_without_memory(void) {
  DWORD good = 2;
  HANDLE thread = CreateThread(NULL, 0, find_no_memory, NULL, 0, NULL);
  CHECK(WaitForSingleObject(thread, 20000) == WAIT_OBJECT_0 && GetExitCodeThread(thread, &good));
  option_set(mi_option_disallow_os_alloc, 0);
  CHECK(good == 1);
}

static unsigned exhausted(const char* dll) {
  load("msvcr120_clr0400.dll");
  errno = 0; // Wine's runtime has it from its DllMain on or ends the process
  find_mimalloc(load(dll));
  // All that there is is one small arena, and that is taken.
  option_set(mi_option_arena_reserve, 64 * 1024);
  free(malloc(10));
  option_set(mi_option_disallow_os_alloc, 1);
  for (size_t size = (size_t)32 << 20; size > 0; size /= 2) {
    while (malloc(size) != NULL) {}
  }
  RUN(errno_is_set_without_memory);
  return failed;
}

// ---- two copies -----------------------------------------------------------------------------------------

// The second one leaves alone what the first one has taken: neither knows the other one's blocks.
static void two_copies_do_no_harm(void) {
  void* p = malloc(100);
  CHECK(is_ours(p));
  fill(p, 100, 1);
  bool (*second)(void) = (bool (*)(void))(uintptr_t)lookup(load("mimalloc-second.dll"), "mi_is_redirected");
  CHECK(second != NULL && !second() && is_redirected());
  p = realloc(p, 3000);
  CHECK(p != NULL && is_filled(p, 100, 1) && is_ours(p));
  free(p);
}

static unsigned twice(const char* dll) {
  find_mimalloc(load(dll));
  RUN(two_copies_do_no_harm);
  return failed;
}

// ---- fake runtimes --------------------------------------------------------------------------------------

static HMODULE debug_runtime, unmovable, user;
static void *debug_block, *debug_resized;

static LONG counter(HMODULE module, const char* name) { return *(volatile LONG*)lookup(module, name); }

static void blocks_of_a_debug_runtime_go_back_to_it(void) {
  free_t* fake_free = (free_t*)(uintptr_t)lookup(debug_runtime, "free");
  msize_t* fake_msize = (msize_t*)(uintptr_t)lookup(debug_runtime, "_msize");
  realloc_t* fake_realloc = (realloc_t*)(uintptr_t)lookup(debug_runtime, "realloc");
  malloc_t* fake_malloc = (malloc_t*)(uintptr_t)lookup(debug_runtime, "malloc");
  LONG freed = counter(debug_runtime, "fake_free_count");
  CHECK(fake_msize(debug_block) == 100); // exact, as its header has it
  fake_free(debug_block);
  CHECK(counter(debug_runtime, "fake_free_count") == freed + 1);
  void* p = fake_realloc(debug_resized, 1000);
  CHECK(is_ours(p) && is_filled(p, 200, 9));
  CHECK(counter(debug_runtime, "fake_free_count") == freed + 2);
  fake_free(p);
  p = fake_malloc(10);
  CHECK(is_ours(p));
  free(p); // by the other runtime's name: all the same
  CHECK(counter(debug_runtime, "fake_free_count") == freed + 2 &&
        counter(debug_runtime, "fake_bad_count") == 0);
}

static void what_cannot_be_hooked_is_redirected_by_imports(void) {
  malloc_t* user_malloc = (malloc_t*)(uintptr_t)lookup(user, "user_malloc");
  free_t* user_free = (free_t*)(uintptr_t)lookup(user, "user_free");
  char* (*user_strdup)(const char*) = (char* (*)(const char*))(uintptr_t)lookup(user, "user_strdup");
  void* p = user_malloc(10);
  CHECK(is_ours(p));
  user_free(p);
  p = ((malloc_t*)(uintptr_t)lookup(unmovable, "malloc"))(10); // by GetProcAddress
  CHECK(is_ours(p));
  user_free(p);
  LONG freed = counter(unmovable, "fake_free_count");
  p = user_strdup("text"); // the runtime's own call
  CHECK(!is_ours(p) && strcmp(p, "text") == 0);
  user_free(p);
  CHECK(counter(unmovable, "fake_free_count") == freed &&
        !HeapValidate((HANDLE)((intptr_t(*)(void))(uintptr_t)lookup(unmovable, "_get_heap_handle"))(), 0, p));
  CHECK(counter(unmovable, "fake_bad_count") == 0);
}

// ---- import tables that are written while threads use them --------------------------------------------

static volatile LONG watcher_ready;

// The two slots lie far apart in the import table, with others between them.
static DWORD WINAPI watch_slots(void* arg) {
  void* volatile** slots = arg;
  void *first = *slots[0], *last = *slots[1];
  InterlockedExchange(&watcher_ready, 1);
  while (*slots[0] == first && *slots[1] == last) continue;
  return *slots[0] == first || *slots[1] == last; // one without the other
}

static void import_slots_change_all_at_once(void) {
  void* volatile* (*user_slot)(unsigned) =
      (void* volatile* (*)(unsigned))(uintptr_t)lookup(user, "user_slot");
  void* volatile* slots[2] = {user_slot(0), user_slot(5)};
  void* old_realloc = (void*)*slots[1];
  HANDLE watcher = CreateThread(NULL, 0, watch_slots, slots, 0, NULL);
  while (!watcher_ready) SwitchToThread();
  find_mimalloc(load("mimalloc.dll"));
  DWORD saw_half = 2;
  CHECK(*slots[1] != old_realloc);
  CHECK(WaitForSingleObject(watcher, 20000) == WAIT_OBJECT_0 && GetExitCodeThread(watcher, &saw_half));
  CHECK(saw_half == 0);
}

static unsigned imports(void) {
  user = load("fake-user.dll");
  RUN(import_slots_change_all_at_once);
  return failed;
}

// ---- a thread that will return into a function in which no thread may be -------------------------------

static void *fake_malloc_entry, *made_meanwhile;
static volatile LONG is_inside;
static aligned_realloc_t* fake_aligned_realloc;

// Stays until the entries are about to be overwritten, and a little longer.
static void __cdecl stay_for_a_while(void) {
  MEMORY_BASIC_INFORMATION info;
  LARGE_INTEGER frequency, start, now;
  InterlockedExchange(&is_inside, 1);
  do {
    VirtualQuery(fake_malloc_entry, &info, sizeof(info));
  } while (info.Protect == PAGE_EXECUTE_READ && *(volatile unsigned char*)fake_malloc_entry != 0xE9);
  QueryPerformanceFrequency(&frequency);
  QueryPerformanceCounter(&start);
  do {
    SwitchToThread();
    QueryPerformanceCounter(&now);
  } while (now.QuadPart - start.QuadPart < frequency.QuadPart / 50);
}

static malloc_t* fake_malloc;

static DWORD WINAPI allocate(void* arg) {
  (void)arg;
  made_meanwhile = fake_malloc(100);
  return 0;
}

// Our block would be behind the debug header that malloc writes.
static void nobody_is_inside_a_debug_malloc(void) {
  HANDLE thread = CreateThread(NULL, 0, allocate, NULL, 0, NULL);
  while (!is_inside) SwitchToThread();
  find_mimalloc(load("mimalloc.dll"));
  CHECK(WaitForSingleObject(thread, 20000) == WAIT_OBJECT_0);
  CHECK(*(unsigned char*)fake_malloc_entry == 0xE9);
  CHECK(!is_ours(made_meanwhile) && !is_ours((char*)made_meanwhile - (sizeof(void*) == 8 ? 48 : 32)));
  CHECK(is_ours(fake_malloc(100)));
}

static unsigned inside_debug(void) {
  HMODULE fake = load("msvcr90d.dll");
  fake_malloc_entry = lookup(fake, "malloc");
  fake_malloc = (malloc_t*)(uintptr_t)fake_malloc_entry;
  *(void(__cdecl**)(void))lookup(fake, "fake_pause") = stay_for_a_while;
  RUN(nobody_is_inside_a_debug_malloc);
  return failed;
}

static DWORD WINAPI allocate_aligned(void* arg) {
  made_meanwhile = fake_aligned_realloc(arg, 100, 64);
  return 0;
}

static void nobody_is_inside_when_it_is_hooked(void) {
  HANDLE thread = CreateThread(NULL, 0, allocate_aligned, NULL, 0, NULL);
  while (!is_inside) SwitchToThread();
  find_mimalloc(load("mimalloc.dll"));
  CHECK(WaitForSingleObject(thread, 20000) == WAIT_OBJECT_0);
  CHECK(*(unsigned char*)fake_malloc_entry == 0xE9);
  CHECK(!is_ours(made_meanwhile) && !is_ours(((void**)made_meanwhile)[-1]));
  CHECK(is_ours(fake_aligned_realloc(NULL, 100, 64)));
}

static unsigned inside(void) {
  HMODULE fake = load("msvcr120_clr0400.dll");
  fake_malloc_entry = lookup(fake, "malloc");
  fake_aligned_realloc = (aligned_realloc_t*)(uintptr_t)lookup(fake, "_aligned_realloc");
  *(void(__cdecl**)(void))lookup(fake, "fake_pause") = stay_for_a_while;
  RUN(nobody_is_inside_when_it_is_hooked);
  return failed;
}

// ---- what the runtime throws ----------------------------------------------------------------------------

// Not a C++ program: the exception is caught where Windows first tells of it.
static void* catch_here[5];
static volatile DWORD caught;
static LONG CALLBACK on_exception(EXCEPTION_POINTERS* exception) {
  if (exception->ExceptionRecord->ExceptionCode != 0xE06D7363)
    return EXCEPTION_CONTINUE_SEARCH; // of Microsoft's C++
  caught = exception->ExceptionRecord->ExceptionCode;
  __builtin_longjmp(catch_here, 1);
}

static __attribute__((noinline)) bool throws(malloc_t* function) {
  caught = 0;
  if (__builtin_setjmp(catch_here) == 0) function(IMPOSSIBLE);
  return caught != 0;
}

// msvcr120.dll's, called by a DLL that imports it: ours has no memory for it, and that runtime throws.
static void operator_new_throws(void) {
  malloc_t* operator_new = (malloc_t*)(uintptr_t)lookup(load("fake-new-user.dll"), "new_user_new");
  free_t* operator_delete =
      (free_t*)(uintptr_t)lookup(GetModuleHandleA("fake-new-user.dll"), "new_user_delete");
  void* p = operator_new(100);
  CHECK(is_ours(p));
  operator_delete(p);
  void* handler = AddVectoredExceptionHandler(1, on_exception);
  CHECK(throws(operator_new));
  RemoveVectoredExceptionHandler(handler);
}

static void the_handler_of_the_callers_runtime_is_called(void) {
  HMODULE plain_user = load("fake-plain-user.dll"), plain = GetModuleHandleA("msvcr120_clr0400.dll");
  malloc_t* user_malloc = (malloc_t*)(uintptr_t)lookup(plain_user, "user_malloc");
  int (*set_mode)(int) = (int (*)(int))(uintptr_t)lookup(plain, "_set_new_mode");
  void (*set_handler)(int(__cdecl*)(size_t)) =
      (void (*)(int(__cdecl*)(size_t)))(uintptr_t)lookup(plain, "fake_set_new_handler");
  void* p = user_malloc(10);
  CHECK(is_ours(p));
  free(p);
  set_handler(give_up_after_three);
  handler_calls = 0;
  CHECK(user_malloc(IMPOSSIBLE) == NULL && handler_calls == 0);
  set_mode(1);
  CHECK(user_malloc(IMPOSSIBLE) == NULL && handler_calls == 3 && handler_size == IMPOSSIBLE);
  CHECK(malloc(IMPOSSIBLE) == NULL && handler_calls == 3); // this program's runtime has another
  set_handler(make_room);
  handler_calls = 0;
  option_set(mi_option_disallow_os_alloc, 1);
  p = user_malloc(MORE_THAN_AN_ARENA);
  option_set(mi_option_disallow_os_alloc, 0);
  CHECK(p != NULL && handler_calls == 1);
  free(p);
}

static unsigned fakes(const char* dll) {
  debug_runtime = load("msvcr90d.dll");
  debug_block = ((malloc_t*)(uintptr_t)lookup(debug_runtime, "malloc"))(100);
  debug_resized = ((malloc_t*)(uintptr_t)lookup(debug_runtime, "malloc"))(200);
  fill(debug_resized, 200, 9);
  find_mimalloc(load(dll));
  RUN(blocks_of_a_debug_runtime_go_back_to_it);
  user = load("fake-user.dll"); // comes later, with its runtime
  unmovable = load("msvcr100_clr0400.dll");
  RUN(what_cannot_be_hooked_is_redirected_by_imports);
  RUN(the_handler_of_the_callers_runtime_is_called);
  RUN(operator_new_throws);
  RUN(the_library_says_so);
  return failed;
}

static unsigned load_all(int count, char** names) {
  find_mimalloc(load(names[0]));
  for (int i = 1; i < count; i++) load(names[i]);
  RUN(the_library_says_so);
  return failed;
}

int main(int count, char** arguments) {
  const char* mode = count > 1 ? arguments[1] : "";
  setvbuf(stdout, NULL, _IONBF, 0);
  runtime = GetModuleHandleA(RUNTIME);
  if (runtime == NULL) return 100;
#if defined(EARLY)
  if (strcmp(mode, "early") == 0 && mi_version() > 0) {
    find_mimalloc(GetModuleHandleA("mimalloc.dll"));
    all_that_is_new();
    return (int)failed;
  }
#else
  if (count == 3 && strcmp(mode, "late") == 0) return (int)late(arguments[2]);
  if (count == 3 && strcmp(mode, "disabled") == 0) return (int)disabled(arguments[2]);
  if (count == 3 && strcmp(mode, "wild") == 0) return (int)wild(arguments[2]);
  if (count == 3 && strcmp(mode, "locked") == 0) return (int)locked(arguments[2]);
  if (count == 3 && strcmp(mode, "exhausted") == 0) return (int)exhausted(arguments[2]);
  if (count == 3 && strcmp(mode, "twice") == 0) return (int)twice(arguments[2]);
  if (count == 2 && strcmp(mode, "imports") == 0) return (int)imports();
  if (count == 2 && strcmp(mode, "inside") == 0) return (int)inside();
  if (count == 2 && strcmp(mode, "inside-debug") == 0) return (int)inside_debug();
  if (count == 3 && strcmp(mode, "fakes") == 0) return (int)fakes(arguments[2]);
  if (count >= 3 && strcmp(mode, "load") == 0) return (int)load_all(count - 2, arguments + 2);
#endif
  printf("not ok: usage: program early | late DLL | disabled DLL | wild DLL | locked DLL | exhausted DLL | "
         "twice DLL | "
         "imports | fakes "
         "DLL | "
         "load DLL MODULE...\n");
  return 100;
}
