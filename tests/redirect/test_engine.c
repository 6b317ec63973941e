// long because the cases share one process, in which each goes on where the last one stopped.
//
// The engine alone, with replacements of this program's own in place of the allocator: it is started in the
// middle of the program's life, while threads use the runtime, once with the loader's notifications and once
// as on systems that have none.
//
// usage: redirect-engine notifications|hook|stuck
//
// stuck: with a thread that doesn't leave a function in which no thread may be.
#include "support/check.h"

#include <malloc.h>
#include <stdlib.h>
#include <windows.h>

#include "modules.h"
#include "redirect.h"
#include "support/runtime.h"
#include "support/test_data.h"
#include "support/test_thread.h"

static bool with_notifications;

// ---- replacements: a heap of the program's own ----------------------------------------------------------

static HANDLE own_heap;
static volatile LONG allocation_count, foreign_free_count;

static bool is_ours(const void* block) { return block != NULL && HeapValidate(own_heap, 0, block); }

static void* own_malloc(size_t size) {
  InterlockedIncrement(&allocation_count);
  return HeapAlloc(own_heap, 0, size);
}
static void* own_calloc(size_t count, size_t size) {
  InterlockedIncrement(&allocation_count);
  return HeapAlloc(own_heap, HEAP_ZERO_MEMORY, count * size);
}

static void* runtime_function(const char* name) {
  return (void*)(uintptr_t)GetProcAddress(GetModuleHandleA(TEST_RUNTIME), name);
}

// Blocks that aren't ours belong to one of the runtimes: ask their heaps.
static const redirect_runtime_t* owner(const void* block) {
  for (size_t i = 0; i < redirect_count(); i++) {
    const redirect_runtime_t* runtime = redirect_runtime(i);
    if (runtime->module.base == NULL) continue;
    intptr_t(__cdecl * heap)(void) =
        (intptr_t(__cdecl*)(void))(uintptr_t)redirect_export(runtime, "_get_heap_handle");
    if (heap != NULL && heap() != 0 && HeapValidate((HANDLE)heap(), 0, block)) return runtime;
  }
  return NULL;
}

static void own_free(void* block) {
  if (block == NULL || (is_ours(block) && HeapFree(own_heap, 0, block))) return;
  const redirect_runtime_t* runtime = owner(block);
  if (runtime == NULL) ExitProcess(77); // nobody's: something went very wrong
  void(__cdecl * original)(void*) =
      (void(__cdecl*)(void*))(uintptr_t)redirect_original(redirect_export(runtime, "free"));
  original(block);
  InterlockedIncrement(&foreign_free_count);
}

static size_t own_msize(void* block) {
  if (is_ours(block)) return HeapSize(own_heap, 0, block);
  const redirect_runtime_t* runtime = owner(block);
  size_t(__cdecl * original)(void*) =
      (size_t(__cdecl*)(void*))(uintptr_t)redirect_original(redirect_export(runtime, "_msize"));
  return original(block);
}

static void* own_realloc(void* block, size_t size) {
  if (block == NULL) return own_malloc(size);
  size_t old = own_msize(block);
  void* fresh = own_malloc(size);
  memcpy(fresh, block, old < size ? old : size);
  own_free(block);
  return fresh;
}

// msvcr90d.dll's: not called by the tests once they are replaced.
static void* own_expand(void* block, size_t size) {
  (void)size;
  return block;
}
static void* own_aligned_malloc(size_t size, size_t alignment) {
  (void)size, (void)alignment;
  return NULL;
}

static const plan_replacement_t replacements[] = {
    {"malloc", (const void*)(uintptr_t)own_malloc, false},
    {"free", (const void*)(uintptr_t)own_free, false},
    {"calloc", (const void*)(uintptr_t)own_calloc, false},
    {"realloc", (const void*)(uintptr_t)own_realloc, false},
    {"_msize", (const void*)(uintptr_t)own_msize, false},
    {"_malloc_base", (const void*)(uintptr_t)own_malloc, false},
    {"_free_base", (const void*)(uintptr_t)own_free, false},
    {"no_such_function", NULL, false},
    {"_expand", (const void*)(uintptr_t)own_expand, false},
    {"_aligned_malloc", (const void*)(uintptr_t)own_aligned_malloc, true},
    {NULL, NULL, false},
};

// ---- what the engine reports ----------------------------------------------------------------------------

static unsigned report_count, static_count, watch_count;
static char watch_text[100], last_static[MODULE_NAME_MAX];

static void report_runtime(const redirect_runtime_t* runtime) {
  (void)runtime;
  report_count++;
}
static void report_static(const module_t* module, bool uses_heaps) {
  if (!uses_heaps) return;
  static_count++;
  memcpy(last_static, module->name, sizeof(last_static));
}
static void report_too_many(const module_t* module) {
  (void)module;
  report_count += 1000; // none of the tests has so many
}

static void report_watch(const char* how, const char* problem) {
  watch_count++;
  snprintf(watch_text, sizeof(watch_text), "%s%s", how == NULL ? "" : how, problem == NULL ? "" : problem);
}

static bool is_runtime(const char* name) {
  static const char* const names[] = {"msvcrt.dll",           "ucrtbase.dll", "msvcr100_clr0400.dll",
                                      "msvcr120_clr0400.dll", "msvcr90d.dll", "ucrtbase_clr0400.dll"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    if (_stricmp(name, names[i]) == 0) return true;
  }
  return false;
}

static redirect_config_t config = {
    .replacements = replacements,
    .required_count = 2,
    .malloc_name = "malloc",
    .free_name = "free",
    .duplicate_name = "_strdup",
    .is_runtime = is_runtime,
    .is_ours = is_ours,
    .report_runtime = report_runtime,
    .report_static = report_static,
    .debug_name = "none", // threads are put into msvcr90d.dll's functions to be moved on
    .report_too_many = report_too_many,
    .report_watch = report_watch,
};

static const redirect_runtime_t* runtime_named(const char* name) {
  for (size_t i = 0; i < redirect_count(); i++) {
    const redirect_runtime_t* runtime = redirect_runtime(i);
    if (runtime->module.base != NULL && _stricmp(runtime->module.name, name) == 0) return runtime;
  }
  return NULL;
}

// ---- threads that use the runtime all the time ----------------------------------------------------------

enum { HAMMERS = 8, SLOTS = 64 };

static volatile LONG hammers_stop, hammer_errors, hammer_rounds, hammers_ready;

static void hammer(void* arg) {
  test_random_t random = {(uint64_t)(uintptr_t)arg + 1};
  struct {
    unsigned char* block;
    size_t size;
  } slots[SLOTS] = {{NULL, 0}};
  for (unsigned round = 0; !hammers_stop || round < 2000; round++) {
    size_t i = test_random_below(&random, SLOTS), size = 1 + test_random_below(&random, 600);
    if (slots[i].block != NULL && pattern_mismatch(slots[i].block, slots[i].size, i) != SIZE_MAX)
      InterlockedIncrement(&hammer_errors);
    if (round % 3 == 0 && slots[i].block != NULL) {
      unsigned char* fresh = realloc(slots[i].block, size);
      if (pattern_mismatch(fresh, size < slots[i].size ? size : slots[i].size, i) != SIZE_MAX)
        InterlockedIncrement(&hammer_errors);
      slots[i].block = fresh;
    } else {
      free(slots[i].block);
      slots[i].block = round % 5 == 0 ? calloc(size, 1) : malloc(size);
    }
    slots[i].size = size;
    pattern_fill(slots[i].block, size, i);
    if (round == 100) InterlockedIncrement(&hammers_ready);
    InterlockedIncrement(&hammer_rounds);
  }
  for (size_t i = 0; i < SLOTS; i++) free(slots[i].block);
}

// ---- a thread at a given instruction --------------------------------------------------------------------

// It is made to stand there, with the registers and the stack that the instructions before would have left
// behind, and goes on when it is resumed: to the function's end, then to parked_end.
typedef struct parked_s {
  HANDLE thread;
  volatile uintptr_t result; // what the function returned
} parked_t;

static parked_t parked[3];

static DWORD WINAPI parked_start(void* arg) {
  (void)arg;
  return 99; // never gets here
}

static void __attribute__((used)) parked_end_with(uintptr_t result) {
  for (size_t i = 0; i < sizeof(parked) / sizeof(parked[0]); i++) {
    if (result == 1000 + i + 1) parked[i].result = result;
  }
  ExitThread(0);
}

void parked_end(void); // a function's return address, with its result in rax
#if defined(__x86_64__)
__asm__(
    ".text\nparked_end:\n  movq %rax, %rcx\n  andq $-16, %rsp\n  subq $32, %rsp\n  call parked_end_with\n");
#define PC Rip
#define SP Rsp
#else
__asm__(".text\n_parked_end:\n  andl $-16, %esp\n  subl $16, %esp\n  movl %eax, (%esp)\n  call "
        "_parked_end_with\n");
#define PC Eip
#define SP Esp
#endif

// `index` picks the argument: 1000 + index. `offset` must be that of an instruction of a KNOWN function
// (fake_crt.c).
static void park(size_t index, void* function, size_t offset) {
  CONTEXT context __attribute__((aligned(16)));
  parked[index].thread = CreateThread(NULL, 0, parked_start, NULL, CREATE_SUSPENDED, NULL);
  assert_non_null(parked[index].thread);
  context.ContextFlags = CONTEXT_CONTROL | CONTEXT_INTEGER;
  assert_true(GetThreadContext(parked[index].thread, &context));
  uintptr_t argument = 1000 + index;
  uintptr_t* stack = (uintptr_t*)((context.SP & ~(uintptr_t)15) - 256);
  stack[0] = 0; // the saved rbx
  stack[1] = (uintptr_t)parked_end;
  stack[2] = argument;
  context.SP = (uintptr_t)stack;
  context.PC = (uintptr_t)function + offset;
#if defined(__x86_64__)
  context.Rcx = argument;
  context.Rbx = offset < 4 ? 0 : argument;
#else
  context.Ebx = offset < 5 ? 0 : argument;
#endif
  assert_true(SetThreadContext(parked[index].thread, &context));
}

static void unpark(size_t index) {
  assert_int_equal(ResumeThread(parked[index].thread), 1); // only we had suspended it
  assert_int_equal(WaitForSingleObject(parked[index].thread, 30000), WAIT_OBJECT_0);
  assert_int_equal(parked[index].result, 1000 + index + 1);
  CloseHandle(parked[index].thread);
}

static void* debug_function(const char* name) {
  return (void*)(uintptr_t)GetProcAddress(LoadLibraryA("msvcr90d.dll"), name);
}

// ---- cases ----------------------------------------------------------------------------------------------

enum { OLD_BLOCKS = 1000 };
static unsigned char* old_blocks[OLD_BLOCKS]; // from before the start
static DWORD old_protection;
static test_thread_t threads[HAMMERS];

static DWORD protection_of(const void* p) {
  MEMORY_BASIC_INFORMATION info;
  assert_true(VirtualQuery(p, &info, sizeof(info)) != 0);
  return info.Protect;
}

static void start_while_threads_run(void** state) {
  (void)state;
  uintptr_t cookie;
  old_protection = protection_of(runtime_function("malloc"));
  for (size_t i = 0; i < OLD_BLOCKS; i++) {
    old_blocks[i] = malloc(1 + i);
    pattern_fill(old_blocks[i], 1 + i, i);
  }
  for (size_t i = 0; i < HAMMERS; i++) test_thread_start(&threads[i], hammer, (void*)(uintptr_t)i);
  while (hammers_ready < HAMMERS) SwitchToThread();
  // Three threads stand at each instruction that the jump will overwrite, or just behind them.
  uint8_t* known = debug_function("_expand");
  assert_int_equal(known[0], 0x53);
  park(0, known, 1);
  park(1, known, sizeof(void*) == 8 ? 4 : 5);
  park(2, known, sizeof(void*) == 8 ? 5 : 6);
  assert_true(modules_lock(&cookie));
  redirect_start(&config);
  modules_unlock(cookie);
  LONG rounds = hammer_rounds;
  while (hammer_rounds < rounds + 10000) SwitchToThread(); // they go on
}

static void threads_between_overwritten_instructions_go_on(void** state) {
  (void)state;
  const uint8_t* known = debug_function("_expand");
  assert_int_equal(runtime_named("msvcr90d.dll")->method, REDIRECT_INLINE);
  assert_int_equal(known[0], 0xE9);
  for (size_t i = 0; i < 3; i++) unpark(i);
  // What it returns when it is called as it was.
  uintptr_t (*original)(uintptr_t) =
      (uintptr_t(*)(uintptr_t))(uintptr_t)redirect_original((void*)(uintptr_t)known);
  assert_int_equal(original(41), 42);
}

// ---- stuck ----------------------------------------------------------------------------------------------

// No thread may be inside of _aligned_malloc; this one doesn't go. The runtime is then redirected by imports,
// and nothing of it is changed.
static void a_thread_that_stays_prevents_the_jumps(void** state) {
  (void)state;
  uintptr_t cookie;
  uint8_t* known = debug_function("_aligned_malloc");
  uint8_t* other = debug_function("malloc");
  uint8_t before[PATCH_SIZE], other_before[PATCH_SIZE];
  memcpy(before, known, PATCH_SIZE);
  memcpy(other_before, other, PATCH_SIZE);
  park(0, known, 5); // behind the jump, but inside of the function
  assert_true(modules_lock(&cookie));
  redirect_start(&config);
  modules_unlock(cookie);
  const redirect_runtime_t* runtime = runtime_named("msvcr90d.dll");
  assert_int_equal(runtime->method, REDIRECT_IMPORTS);
  assert_string_equal(runtime->problem, "a thread stays in the code that would be overwritten");
  assert_memory_equal(known, before, PATCH_SIZE);
  assert_memory_equal(other, other_before, PATCH_SIZE);
  assert_int_equal(protection_of(known), PAGE_EXECUTE_READ);
  unpark(0);
  assert_int_equal(runtime_named(TEST_RUNTIME)->method, REDIRECT_INLINE); // nobody was in there
  assert_true(redirect_works());
}

static void the_runtime_is_hooked_inline(void** state) {
  (void)state;
  const redirect_runtime_t* runtime = runtime_named(TEST_RUNTIME);
  assert_non_null(runtime);
  if (runtime->problem != NULL) fail_msg("%s: %s", runtime->problem_name, runtime->problem);
  assert_int_equal(runtime->method, REDIRECT_INLINE);
  assert_int_equal(runtime->function_count, TEST_IS_UCRT ? 9 : 7); // the others don't exist there
  static const char* const names[] = {"malloc", "free", "calloc", "realloc", "_msize"};
  for (size_t i = 0; i < 5; i++) {
    const uint8_t* entry = runtime_function(names[i]);
    assert_int_equal(entry[0], 0xE9);
    assert_int_equal(protection_of(entry), old_protection); // as it was
    assert_int_equal(protection_of(redirect_original((void*)(uintptr_t)entry)), PAGE_EXECUTE_READ);
  }
  assert_int_equal(watch_count, 1);
  assert_string_equal(watch_text,
                      with_notifications ? "notifications of the loader" : "a hook in LdrLoadDll");
  assert_true(redirect_works());
}

static void calls_arrive_also_from_inside_the_runtime(void** state) {
  (void)state;
  void* (*malloc_pointer)(size_t) = (void* (*)(size_t))(uintptr_t)runtime_function("malloc");
  void* blocks[] = {malloc(10), calloc(2, 5), malloc_pointer(20), _strdup("text"), _fullpath(NULL, ".", 0)};
  for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
    if (!is_ours(blocks[i])) fail_msg("block %u did not come from the replacement", (unsigned)i);
    free(blocks[i]);
  }
}

static void originals_can_be_called(void** state) {
  (void)state;
  void* (*original_malloc)(size_t) =
      (void* (*)(size_t))(uintptr_t)redirect_original(runtime_function("malloc"));
  void* (*original_calloc)(size_t, size_t) =
      (void* (*)(size_t, size_t))(uintptr_t)redirect_original(runtime_function("calloc"));
  void* (*original_realloc)(void*, size_t) =
      (void* (*)(void*, size_t))(uintptr_t)redirect_original(runtime_function("realloc"));
  size_t (*original_msize)(void*) =
      (size_t(*)(void*))(uintptr_t)redirect_original(runtime_function("_msize"));
  void (*original_free)(void*) = (void (*)(void*))(uintptr_t)redirect_original(runtime_function("free"));
  HANDLE heap = (HANDLE)((intptr_t(*)(void))(uintptr_t)runtime_function("_get_heap_handle"))();
  assert_ptr_not_equal(original_malloc, runtime_function("malloc"));
  assert_ptr_equal(redirect_original((void*)(uintptr_t)strlen),
                   (void*)(uintptr_t)strlen); // not hooked: itself
  unsigned char* p = original_malloc(100);
  assert_true(HeapValidate(heap, 0, p) && !is_ours(p));
  pattern_fill(p, 100, 3);
  assert_int_equal(original_msize(p), 100);
  assert_int_equal(_msize(p), 100); // ours finds its owner
  p = original_realloc(p, 1000);
  assert_true(HeapValidate(heap, 0, p));
  assert_true(pattern_mismatch(p, 100, 3) == SIZE_MAX);
  original_free(p);
  p = original_calloc(10, 10);
  assert_true(HeapValidate(heap, 0, p) && pattern_nonzero(p, 100) == SIZE_MAX);
  LONG before = foreign_free_count;
  free(p); // ours sends it there
  assert_true(foreign_free_count > before);
}

static void blocks_from_before_the_start_are_freed(void** state) {
  (void)state;
  LONG before = foreign_free_count;
  for (size_t i = 0; i < OLD_BLOCKS; i++) {
    assert_true(pattern_mismatch(old_blocks[i], 1 + i, i) == SIZE_MAX);
    free(old_blocks[i]);
  }
  assert_true(foreign_free_count >= before + OLD_BLOCKS);
}

static void no_thread_was_harmed(void** state) {
  (void)state;
  InterlockedExchange(&hammers_stop, 1);
  for (size_t i = 0; i < HAMMERS; i++) test_thread_join(&threads[i]);
  assert_int_equal(hammer_errors, 0);
  assert_true(foreign_free_count > 0); // they had blocks of the runtime
}

static void runtimes_that_come_later_are_hooked(void** state) {
  (void)state;
  unsigned reports = report_count;
  assert_null(runtime_named("msvcr120_clr0400.dll"));
  HMODULE fake = LoadLibraryA("msvcr120_clr0400.dll");
  assert_non_null(fake);
  const redirect_runtime_t* runtime = runtime_named("msvcr120_clr0400.dll");
  assert_non_null(runtime);
  assert_int_equal(report_count, reports + 1);
  assert_int_equal(runtime->method, REDIRECT_INLINE);
  assert_int_equal(runtime->function_count, 7);
  void* (*fake_malloc)(size_t) = (void* (*)(size_t))(uintptr_t)GetProcAddress(fake, "malloc");
  void (*fake_free)(void*) = (void (*)(void*))(uintptr_t)GetProcAddress(fake, "free");
  volatile LONG* freed = (volatile LONG*)(uintptr_t)GetProcAddress(fake, "fake_free_count");
  volatile LONG* bad = (volatile LONG*)(uintptr_t)GetProcAddress(fake, "fake_bad_count");
  void* attach_block = *(void**)(uintptr_t)GetProcAddress(fake, "fake_attach_block");
  void* block = fake_malloc(10);
  assert_true(is_ours(block));
  fake_free(block);
  // With notifications it was hooked before its DllMain ran; else that block is a foreign one.
  assert_int_equal(is_ours(attach_block), with_notifications);
  fake_free(attach_block);
  assert_int_equal(*freed, with_notifications ? 0 : 1);
  assert_int_equal(*bad, 0);
  assert_true(redirect_works());

  // Unloaded and loaded again, wherever it then lies.
  assert_true(FreeLibrary(fake));
  if (with_notifications) assert_null(runtime_named("msvcr120_clr0400.dll"));
  for (unsigned i = 0; i < 5; i++) {
    fake = LoadLibraryA("msvcr120_clr0400.dll");
    assert_non_null(fake);
    fake_malloc = (void* (*)(size_t))(uintptr_t)GetProcAddress(fake, "malloc");
    assert_true(is_ours(block = fake_malloc(10)));
    free(block);
    if (i < 4) assert_true(FreeLibrary(fake));
  }
  assert_int_equal(report_count, reports + 6);

  assert_null(runtime_named(TEST_OTHER_RUNTIME));
  HMODULE other = LoadLibraryA(TEST_OTHER_RUNTIME);
  assert_non_null(other);
  runtime = runtime_named(TEST_OTHER_RUNTIME);
  assert_non_null(runtime);
  assert_int_equal(runtime->method, REDIRECT_INLINE);
  char* (*other_strdup)(const char*) = (char* (*)(const char*))(uintptr_t)GetProcAddress(other, "_strdup");
  char* text = other_strdup("text");
  assert_true(is_ours(text));
  free(text);
}

static void what_cannot_be_moved_is_redirected_by_imports(void** state) {
  (void)state;
  HMODULE user = LoadLibraryA("fake-user.dll"); // brings the runtime with it
  assert_non_null(user);
  HMODULE fake = GetModuleHandleA("msvcr100_clr0400.dll");
  const redirect_runtime_t* runtime = runtime_named("msvcr100_clr0400.dll");
  assert_non_null(runtime);
  assert_int_equal(runtime->method, REDIRECT_IMPORTS);
  assert_string_equal(runtime->problem_name, "malloc");
  assert_non_null(strstr(runtime->problem, "loop instruction"));
  assert_null(runtime->import_problem);
  assert_true(runtime->slot_count >= 3); // malloc and free of the user, GetProcAddress of some module
  void* (*user_malloc)(size_t) = (void* (*)(size_t))(uintptr_t)GetProcAddress(user, "user_malloc");
  void (*user_free)(void*) = (void (*)(void*))(uintptr_t)GetProcAddress(user, "user_free");
  char* (*user_strdup)(const char*) = (char* (*)(const char*))(uintptr_t)GetProcAddress(user, "user_strdup");
  void* (*user_lookup)(HMODULE, const char*) =
      (void* (*)(HMODULE, const char*))(uintptr_t)GetProcAddress(user, "user_lookup");
  void* block = user_malloc(10);
  assert_true(is_ours(block));
  user_free(block);
  assert_ptr_equal(user_lookup(fake, "malloc"), (void*)(uintptr_t)own_malloc);
  assert_ptr_equal(user_lookup(fake, "free"), (void*)(uintptr_t)own_free);
  assert_ptr_equal((void*)(uintptr_t)GetProcAddress(fake, "realloc"),
                   (void*)(uintptr_t)own_realloc); // this program's
  assert_ptr_not_equal(user_lookup(fake, "_errno"), NULL);
  assert_ptr_equal(user_lookup(fake, "no_such_function"), NULL);
  // The runtime's own calls don't arrive, but what they allocate can be freed.
  LONG before = foreign_free_count;
  char* text = user_strdup("text");
  assert_false(is_ours(text));
  user_free(text);
  assert_int_equal(foreign_free_count, before + 1);
  volatile LONG* bad = (volatile LONG*)(uintptr_t)GetProcAddress(fake, "fake_bad_count");
  assert_int_equal(*bad, 0);
  // Nothing of the runtime itself was written to.
  const uint8_t* entry = redirect_export(runtime, "free");
  assert_int_not_equal(entry[0], 0xE9);
  assert_true(redirect_works());
}

static void the_runtime_of_code_is_found(void** state) {
  (void)state;
  HMODULE user = GetModuleHandleA("fake-user.dll");
  const redirect_runtime_t* own = runtime_named(TEST_RUNTIME);
  assert_ptr_equal(redirect_runtime_of((void*)(uintptr_t)the_runtime_of_code_is_found), own);
  assert_ptr_equal(redirect_runtime_of(runtime_function("_strdup")), own); // its own code
  assert_ptr_equal(redirect_runtime_of((void*)(uintptr_t)GetProcAddress(user, "user_malloc")),
                   runtime_named("msvcr100_clr0400.dll"));
  assert_null(
      redirect_runtime_of((void*)(uintptr_t)GetProcAddress(GetModuleHandleA("ntdll.dll"), "NtClose")));
  assert_null(redirect_runtime_of(&config == NULL ? NULL : (void*)16));
}

static void a_static_runtime_is_recognised(void** state) {
  (void)state;
  if (!with_notifications) return; // nobody tells of such a module then
  unsigned before = static_count;
  assert_non_null(LoadLibraryA("fake-static.dll"));
  assert_int_equal(static_count, before + 1);
  assert_string_equal(last_static, "fake-static.dll");
}

static void a_runtime_that_bypasses_its_exports_is_found_out(void** state) {
  (void)state;
  assert_true(redirect_works());
  HMODULE fake = LoadLibraryA("ucrtbase_clr0400.dll");
  assert_non_null(fake);
  assert_int_equal(runtime_named("ucrtbase_clr0400.dll")->method, REDIRECT_INLINE);
  void* (*fake_malloc)(size_t) = (void* (*)(size_t))(uintptr_t)GetProcAddress(fake, "malloc");
  void* block = fake_malloc(10);
  assert_true(is_ours(block)); // by its export all seems well
  free(block);
  assert_false(redirect_works());
  assert_true(FreeLibrary(fake));
  if (with_notifications) assert_true(redirect_works());
}

// ---- the list of modules --------------------------------------------------------------------------------

typedef struct seen_s {
  const void* base; // looked for
  unsigned count, others, damaged;
} seen_t;

static bool see(void* context, const module_t* module) {
  seen_t* seen = context;
  size_t length = strnlen(module->name, MODULE_NAME_MAX);
  if (module->base == seen->base) seen->count++;
  seen->others++;
  if (length == 0 || length == MODULE_NAME_MAX) seen->damaged++;
  return true;
}

static seen_t see_modules(const void* base) {
  seen_t seen = {.base = base};
  uintptr_t cookie;
  assert_true(modules_lock(&cookie));
  assert_true(modules_visit(see, &seen));
  modules_unlock(cookie);
  return seen;
}

static volatile LONG loader_stop;

static void load_and_unload(void* arg) {
  (void)arg;
  while (!loader_stop) FreeLibrary(LoadLibraryA("fake-static.dll"));
}

static void the_list_of_modules_is_whole(void** state) {
  (void)state;
  seen_t before = see_modules(GetModuleHandleA(NULL));
  assert_int_equal(before.count, 1);
  assert_int_equal(see_modules(GetModuleHandleA("ntdll.dll")).count, 1);
  assert_null(GetModuleHandleA("fake-plain-user.dll"));
  HMODULE module = LoadLibraryA("fake-plain-user.dll");
  assert_non_null(module);
  assert_int_equal(see_modules(module).count, 1);
  assert_true(FreeLibrary(module));
  assert_int_equal(see_modules(module).count, 0);
  test_thread_t loader;
  test_thread_start(&loader, load_and_unload, NULL);
  for (unsigned i = 0; i < 2000; i++) {
    seen_t seen = see_modules(GetModuleHandleA(NULL));
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.damaged, 0);
    assert_true(seen.others >= 3);
  }
  loader_stop = 1;
  test_thread_join(&loader);
}

int main(int count, char** arguments) {
  const char* mode = count == 2 ? arguments[1] : "";
  with_notifications = strcmp(mode, "hook") != 0;
  if (with_notifications && strcmp(mode, "notifications") != 0 && strcmp(mode, "stuck") != 0) {
    fprintf(stderr, "usage: redirect-engine notifications|hook|stuck\n");
    return 2;
  }
  config.without_notifications = !with_notifications;
  own_heap = HeapCreate(0, 0, 0);
  const struct CMUnitTest stuck[] = {cmocka_unit_test(a_thread_that_stays_prevents_the_jumps)};
  if (strcmp(mode, "stuck") == 0) return check_run(stuck);
  const struct CMUnitTest cases[] = {
      // in this order
      cmocka_unit_test(start_while_threads_run),
      cmocka_unit_test(threads_between_overwritten_instructions_go_on),
      cmocka_unit_test(the_runtime_is_hooked_inline),
      cmocka_unit_test(calls_arrive_also_from_inside_the_runtime),
      cmocka_unit_test(originals_can_be_called),
      cmocka_unit_test(blocks_from_before_the_start_are_freed),
      cmocka_unit_test(no_thread_was_harmed),
      cmocka_unit_test(runtimes_that_come_later_are_hooked),
      cmocka_unit_test(what_cannot_be_moved_is_redirected_by_imports),
      cmocka_unit_test(the_runtime_of_code_is_found),
      cmocka_unit_test(a_static_runtime_is_recognised),
      cmocka_unit_test(the_list_of_modules_is_whole),
      cmocka_unit_test(a_runtime_that_bypasses_its_exports_is_found_out),
  };
  return check_run(cases);
}
