// What libmimalloc-crt.a puts in the place of the C runtime's functions, called under the runtime's names: results and
// errors as documented for the runtime, blocks of other runtimes, pointers that are nobody's.
#include "support/check.h"
#include <direct.h>
#include <errno.h>
#include <malloc.h>
#include <mbstring.h>
#include <stdlib.h>
#include <wchar.h>
#include <windows.h>

#include "config.h"
#include "mimalloc.h"

// MinGW's headers have these for the UCRT alone: the first always, the others since MinGW-w64 12.
#ifndef _UCRT
size_t _aligned_msize(void* p, size_t alignment, size_t offset);
#if __MINGW64_VERSION_MAJOR >= 12
void* _recalloc(void* p, size_t count, size_t size);
void* _aligned_recalloc(void* p, size_t count, size_t size, size_t alignment);
void* _aligned_offset_recalloc(void* p, size_t count, size_t size, size_t alignment, size_t offset);
#endif
#endif

static void* volatile keep; // the compiler must neither drop nor foresee the calls
static void* kept(void* p) {
  keep = p;
  return keep;
}
static size_t amount(size_t n) {
  volatile size_t x = n;
  return x;
}

#define IMPOSSIBLE amount((size_t)PTRDIFF_MAX - 100)

static bool is_aligned(const void* p, size_t alignment, size_t offset) {
  return (((uintptr_t)p + offset) & (alignment - 1)) == 0;
}

static bool is_zero(const void* p, size_t from, size_t to) {
  const unsigned char* bytes = p;
  for (size_t i = from; i < to; i++) {
    if (bytes[i] != 0) return false;
  }
  return true;
}

// ---- our own blocks -------------------------------------------------------------------------------------------------

static void every_name_gives_blocks_of_ours(void** state) {
  (void)state;
  void* blocks[] = {malloc(10),
                    calloc(3, 5),
                    realloc(NULL, 20),
                    _recalloc(NULL, 4, 5),
                    strdup("one"),
                    _strdup("two"),
                    wcsdup(L"three"),
                    _wcsdup(L"four"),
                    _mbsdup((const unsigned char*)"five")};
  for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
    if (!mi_is_in_heap_region(blocks[i])) fail_msg("block %u is not ours", (unsigned)i);
  }
  assert_string_equal(blocks[4], "one");
  assert_string_equal(blocks[5], "two");
  assert_int_equal(wcscmp(blocks[6], L"three"), 0);
  assert_int_equal(wcscmp(blocks[7], L"four"), 0);
  assert_string_equal(blocks[8], "five");
  for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) free(blocks[i]);
  free(NULL);
  _aligned_free(NULL);
}

static void aligned_names_take_the_arguments_of_the_runtime(void** state) {
  (void)state;
  for (size_t alignment = 1; alignment <= 65536; alignment *= 2) {
    void* p = _aligned_malloc(alignment + 300, alignment);
    assert_true(mi_is_in_heap_region(p) && is_aligned(p, alignment, 0));
    assert_true(_aligned_msize(p, alignment, 0) >= alignment + 300);
    memset(p, 7, alignment + 300);
    p = _aligned_realloc(p, 3 * alignment + 1000, alignment);
    assert_true(mi_is_in_heap_region(p) && is_aligned(p, alignment, 0));
    assert_int_equal(((unsigned char*)p)[alignment + 299], 7);
    _aligned_free(p);

    p = _aligned_offset_malloc(500, alignment, 24);
    assert_true(mi_is_in_heap_region(p) && is_aligned(p, alignment, 24));
    strcpy(p, "text");
    p = _aligned_offset_realloc(p, 5000, alignment, 24);
    assert_true(mi_is_in_heap_region(p) && is_aligned(p, alignment, 24));
    assert_string_equal(p, "text");
    _aligned_free(p);

    p = _aligned_recalloc(NULL, 10, 30, alignment);
    assert_true(mi_is_in_heap_region(p) && is_aligned(p, alignment, 0) && is_zero(p, 0, 300));
    memset(p, 7, 300);
    p = _aligned_recalloc(p, 100, 30, alignment);
    assert_true(is_aligned(p, alignment, 0) && ((unsigned char*)p)[299] == 7 && is_zero(p, 300, 3000));
    _aligned_free(p);

    p = _aligned_offset_recalloc(NULL, 10, 30, alignment, 8);
    assert_true(is_aligned(p, alignment, 8) && is_zero(p, 0, 300));
    p = _aligned_offset_recalloc(p, 100, 30, alignment, 8);
    assert_true(is_aligned(p, alignment, 8) && is_zero(p, 0, 3000));
    _aligned_free(p);
  }
  void* p = __mingw_aligned_malloc(100, 64);
  assert_true(mi_is_in_heap_region(p) && is_aligned(p, 64, 0));
  __mingw_aligned_free(p);
}

static void aligned_errors(void** state) {
  (void)state;
  errno = 0;
  assert_null(_aligned_malloc(100, amount(48)));
  assert_int_equal(errno, EINVAL);
  errno = 0;
  assert_null(_aligned_offset_malloc(100, 16, amount(100))); // the offset must lie inside of the block
  assert_int_equal(errno, EINVAL);
  errno = 0;
  assert_null(_aligned_malloc(IMPOSSIBLE, 64));
  assert_int_equal(errno, ENOMEM);
  errno = 0;
  assert_null(_aligned_recalloc(NULL, amount(SIZE_MAX / 2), 3, 64));
  assert_int_equal(errno, ENOMEM);

  void* p = _aligned_malloc(100, 32);
  memset(p, 9, 100);
  errno = 0;
  assert_null(_aligned_realloc(p, 200, amount(48)));
  assert_int_equal(errno, EINVAL);
  errno = 0;
  assert_null(_aligned_realloc(p, IMPOSSIBLE, 32));
  assert_int_equal(errno, ENOMEM);
  assert_int_equal(((unsigned char*)p)[99], 9); // still there
  assert_null(_aligned_realloc(p, 0, 32));      // frees
  void* zero = kept(_aligned_malloc(0, 32));
  assert_non_null(zero);
  _aligned_free(zero);
}

static void realloc_of_size_zero_frees(void** state) {
  (void)state;
  enum { BLOCK = 256 * 1024, ROUNDS = 2000 };
  size_t before = 0, after = 0;
  for (int i = 0; i < ROUNDS; i++) {
    void* p = kept(malloc(BLOCK));
    assert_non_null(p);
    memset(p, 1, BLOCK);
    assert_null(i % 2 ? realloc(p, amount(0)) : _recalloc(p, amount(0), 5));
    if (i == 100) mi_process_info(NULL, NULL, NULL, NULL, NULL, &before, NULL, NULL);
  }
  mi_process_info(NULL, NULL, NULL, NULL, NULL, &after, NULL, NULL);
  // Kept, these blocks would be 475 MiB.
  if (after > before + (size_t)64 * 1024 * 1024)
    fail_msg("committed: %u KiB, then %u KiB", (unsigned)(before / 1024), (unsigned)(after / 1024));
}

static void recalloc_zeroes_what_it_adds(void** state) {
  (void)state;
  for (size_t first = 1; first < 3000; first += first / 3 + 1) {
    for (size_t second = 1; second < 3000; second += second / 3 + 1) {
      unsigned char* p = calloc(first, 1);
      memset(p, 0xCC, first);
      p = _recalloc(p, second, 1);
      size_t both = first < second ? first : second;
      assert_true(p[0] == 0xCC && p[both - 1] == 0xCC && is_zero(p, both, second));
      memset(p, 0xDD, second);
      p = _recalloc(p, first + second, 1); // may stay where it is, after it has shrunk
      assert_true(p[0] == 0xDD && p[second - 1] == 0xDD && is_zero(p, second, first + second));
      free(p);
    }
  }
  errno = 0;
  assert_null(_recalloc(NULL, amount(SIZE_MAX / 2), 3));
  assert_int_equal(errno, ENOMEM);
}

static void sizes_and_expansion(void** state) {
  (void)state;
  for (size_t size = 0; size < 100000; size += size / 2 + 1) {
    void* p = malloc(size);
    size_t usable = _msize(p);
    assert_true(usable >= size);
    memset(p, 1, usable);
    assert_ptr_equal(_expand(p, usable), p);
    if (size > 1) assert_ptr_equal(_expand(p, size - 1), p);
    errno = 0;
    assert_null(_expand(p, IMPOSSIBLE));
    assert_int_equal(errno, ENOMEM);
    free(p);
  }
  errno = 0;
  assert_true(_msize(kept(NULL)) == SIZE_MAX);
  assert_int_equal(errno, EINVAL);
  errno = 0;
  assert_null(_expand(kept(NULL), 10));
  assert_int_equal(errno, EINVAL);
}

static void out_of_memory_sets_errno(void** state) {
  (void)state;
  errno = 0;
  assert_null(kept(malloc(IMPOSSIBLE)));
  assert_int_equal(errno, ENOMEM);
  errno = 0;
  assert_null(kept(calloc(amount(SIZE_MAX / 2), 3)));
  assert_int_equal(errno, ENOMEM);
  void* p = malloc(100);
  errno = 0;
  assert_null(realloc(p, IMPOSSIBLE));
  assert_int_equal(errno, ENOMEM);
  free(p);

  // Another runtime's errno is set, too: a program may have been built with that one.
  HMODULE ucrt = LoadLibraryA("ucrtbase.dll");
  assert_non_null(ucrt);
  int* (*ucrt_errno)(void) = (int* (*)(void))(void*)GetProcAddress(ucrt, "_errno");
  *ucrt_errno() = 0;
  assert_null(kept(malloc(IMPOSSIBLE)));
  assert_int_equal(*ucrt_errno(), ENOMEM);
  errno = 0;
  assert_non_null(p = kept(malloc(10)));
  free(p);
  assert_int_equal(errno, 0); // success leaves it alone
}

// ---- blocks of the runtimes -----------------------------------------------------------------------------------------

typedef struct runtime_s {
  const char* name;
  HMODULE module;
  HANDLE heap;
  void* (*malloc)(size_t);
  size_t (*msize)(void*);
  void* (*aligned_malloc)(size_t, size_t);
  void* (*aligned_offset_malloc)(size_t, size_t, size_t);
} runtime_t;

static void load_runtime(runtime_t* runtime, const char* name) {
  runtime->name = name;
  runtime->module = LoadLibraryA(name);
  assert_non_null(runtime->module);
  intptr_t (*get_heap_handle)(void) =
      (intptr_t(*)(void))(void*)GetProcAddress(runtime->module, "_get_heap_handle");
  runtime->heap = (HANDLE)get_heap_handle();
  runtime->malloc = (void* (*)(size_t))(void*)GetProcAddress(runtime->module, "malloc");
  runtime->msize = (size_t(*)(void*))(void*)GetProcAddress(runtime->module, "_msize");
  runtime->aligned_malloc =
      (void* (*)(size_t, size_t))(void*)GetProcAddress(runtime->module, "_aligned_malloc");
  runtime->aligned_offset_malloc =
      (void* (*)(size_t, size_t, size_t))(void*)GetProcAddress(runtime->module, "_aligned_offset_malloc");
  assert_true(runtime->heap && runtime->malloc && runtime->msize && runtime->aligned_malloc &&
              runtime->aligned_offset_malloc);
}

static const char* const runtime_names[] = {"msvcrt.dll", "ucrtbase.dll", "msvcr120.dll", "msvcr80.dll"};
enum { RUNTIME_COUNT = sizeof(runtime_names) / sizeof(runtime_names[0]) };

static const size_t foreign_sizes[] = {1, 15, 16, 100, 1000, 4096, 50000, 600000, 3000000};
enum { FOREIGN_SIZE_COUNT = sizeof(foreign_sizes) / sizeof(foreign_sizes[0]) };

static void* foreign_block(const runtime_t* runtime, size_t size) {
  unsigned char* p = runtime->malloc(size);
  assert_non_null(p);
  assert_false(mi_is_in_heap_region(p));
  assert_true(HeapValidate(runtime->heap, 0, p));
  for (size_t i = 0; i < size; i++) p[i] = (unsigned char)(i * 7 + 1);
  return p;
}

static bool has_foreign_contents(const void* p, size_t size) {
  for (size_t i = 0; i < size; i++) {
    if (((const unsigned char*)p)[i] != (unsigned char)(i * 7 + 1)) return false;
  }
  return true;
}

static void blocks_of_each_runtime(void** state) {
  (void)state;
  runtime_t runtimes[RUNTIME_COUNT];
  for (size_t i = 0; i < RUNTIME_COUNT; i++) load_runtime(&runtimes[i], runtime_names[i]);
  for (size_t i = 0; i < RUNTIME_COUNT; i++) {
    const runtime_t* runtime = &runtimes[i];
    for (size_t k = 0; k < FOREIGN_SIZE_COUNT; k++) {
      size_t size = foreign_sizes[k];
      void* p = foreign_block(runtime, size);
      assert_true(_msize(p) == runtime->msize(p));
      SetLastError(4711);
      free(p);
      assert_int_equal(GetLastError(), 4711);
      if (HeapValidate(runtime->heap, 0, p))
        fail_msg("%s: %u bytes not freed", runtime->name, (unsigned)size);

      p = foreign_block(runtime, size);
      unsigned char* moved = realloc(p, size + 100);
      assert_true(mi_is_in_heap_region(moved) && has_foreign_contents(moved, size));
      assert_false(HeapValidate(runtime->heap, 0, p));
      free(moved);

      p = foreign_block(runtime, size);
      moved = realloc(p, (size + 1) / 2);
      assert_true(mi_is_in_heap_region(moved) && has_foreign_contents(moved, (size + 1) / 2));
      free(moved);

      p = foreign_block(runtime, size);
      errno = 0;
      assert_null(realloc(p, IMPOSSIBLE));
      assert_int_equal(errno, ENOMEM);
      assert_true(has_foreign_contents(p, size));
      assert_null(realloc(p, amount(0)));
      assert_false(HeapValidate(runtime->heap, 0, p));

      p = foreign_block(runtime, size);
      moved = _recalloc(p, size + 1000, 1);
      assert_true(mi_is_in_heap_region(moved) && has_foreign_contents(moved, size) &&
                  is_zero(moved, size, size + 1000));
      free(moved);

      p = foreign_block(runtime, size);
      assert_ptr_equal(_expand(p, size), p);
      assert_null(_expand(p, IMPOSSIBLE));
      free(p);
    }
  }
}

static void aligned_blocks_of_each_runtime(void** state) {
  (void)state;
  for (size_t i = 0; i < RUNTIME_COUNT; i++) {
    runtime_t runtime;
    load_runtime(&runtime, runtime_names[i]);
    for (size_t alignment = 8; alignment <= 4096; alignment *= 2) {
      for (size_t offset = 0; offset <= 40; offset += 20) {
        for (int round = 0; round < 4; round++) {
          enum { SIZE = 700 };
          unsigned char* p = offset == 0 ? runtime.aligned_malloc(SIZE, alignment)
                                         : runtime.aligned_offset_malloc(SIZE, alignment, offset);
          assert_non_null(p);
          assert_false(mi_is_in_heap_region(p));
          void* origin = ((void**)((uintptr_t)p & ~(sizeof(void*) - 1)))[-1];
          assert_true(HeapValidate(runtime.heap, 0, origin));
          for (size_t k = 0; k < SIZE; k++) p[k] = (unsigned char)(k * 7 + 1);
          unsigned char* moved = NULL;
          if (round == 0) _aligned_free(p);
          if (round == 1) {
            moved = _aligned_offset_realloc(p, 2000, alignment, offset);
            assert_true(has_foreign_contents(moved, SIZE));
          }
          if (round == 2) {
            moved = _aligned_offset_recalloc(p, 200, 10, alignment, offset);
            assert_true(has_foreign_contents(moved, SIZE));
          }
          if (round == 3) assert_null(_aligned_realloc(p, 0, alignment));
          if (moved != NULL) {
            assert_true(mi_is_in_heap_region(moved) && is_aligned(moved, alignment, offset));
            _aligned_free(moved);
          }
          if (HeapValidate(runtime.heap, 0, origin))
            fail_msg("%s: block aligned at %u not freed", runtime.name, (unsigned)alignment);
        }
      }
    }
  }
}

static void blocks_that_functions_of_the_runtime_return(void** state) {
  (void)state;
  char* directory = _getcwd(NULL, 0);
  char* full = _fullpath(NULL, "x", 0);
  char* name = _tempnam(NULL, "mi");
  wchar_t* wide = _wgetcwd(NULL, 0);
  void* blocks[] = {directory, full, name, wide};
  for (size_t i = 0; i < 4; i++) {
    assert_non_null(blocks[i]);
    assert_false(mi_is_in_heap_region(blocks[i]));
  }
  char expected[MAX_PATH + 2];
  strcpy(expected, directory);
  strcat(expected, expected[strlen(expected) - 1] == '\\' ? "x" : "\\x");
  assert_string_equal(full, expected);
  full = realloc(full, 10000);
  assert_true(mi_is_in_heap_region(full));
  assert_string_equal(full, expected);
  free(directory);
  free(full);
  free(name);
  free(wide);

  HMODULE ucrt = LoadLibraryA("ucrtbase.dll");
  int (*dupenv_s)(char**, size_t*, const char*) =
      (int (*)(char**, size_t*, const char*))(void*)GetProcAddress(ucrt, "_dupenv_s");
  char* value = NULL;
  size_t length = 0;
  assert_int_equal(dupenv_s(&value, &length, "PATH"), 0);
  assert_true(value != NULL && strlen(value) + 1 == length);
  free(value);
}

// ---- nobody's pointers ----------------------------------------------------------------------------------------------

static char messages[4096];
static void collect(const char* text, void* arg) {
  (void)arg;
  if (strlen(messages) + strlen(text) < sizeof(messages)) strcat(messages, text);
}
static int error_calls;
static void count_error(int code, void* arg) {
  (void)arg;
  assert_int_equal(code, EINVAL);
  error_calls++;
}

static void pointers_of_nobody_are_left_alone(void** state) {
  (void)state;
  static char variable[200];
  char local[200] = "on the stack";
  char* pages = VirtualAlloc(NULL, 65536, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  runtime_t runtime;
  load_runtime(&runtime, "msvcrt.dll");
  char* block = runtime.malloc(200);
  void* const pointers[] = {(void*)16,     (void*)4096, (void*)(UINTPTR_MAX - 15),
                            variable + 64, local + 64,  pages,
                            pages + 4096,  block + 32,  (void*)&pointers_of_nobody_are_left_alone};
  enum { COUNT = sizeof(pointers) / sizeof(pointers[0]) };
  memset(messages, 0, sizeof(messages));
  error_calls = 0;
  mi_register_output(collect, NULL);
  mi_register_error(count_error, NULL);
  for (size_t i = 0; i < COUNT; i++) {
    free(pointers[i]);
    _aligned_free(pointers[i]);
    assert_null(kept(realloc(pointers[i], 100)));
    assert_null(kept(_recalloc(pointers[i], 100, 1)));
    assert_null(kept(_aligned_realloc(pointers[i], 100, 16)));
    assert_null(kept(_expand(pointers[i], 100)));
    assert_true(_msize(pointers[i]) == SIZE_MAX);
  }
  mi_register_output(NULL, NULL);
  mi_register_error(NULL, NULL);
  assert_int_equal(error_calls, MI_DEBUG ? 7 * COUNT : 1);
  if (strstr(messages, "free of invalid pointer") == NULL ||
      strstr(messages, "neither mimalloc nor a C runtime") == NULL) {
    fail_msg("no message about the pointers, but: %s", messages);
  }
  assert_string_equal(local, "on the stack");
  assert_true(HeapValidate(runtime.heap, 0, block));
  assert_true(HeapValidate(runtime.heap, 0, NULL)); // all of it
  free(block);
  VirtualFree(pages, 0, MEM_RELEASE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_name_gives_blocks_of_ours),
      cmocka_unit_test(aligned_names_take_the_arguments_of_the_runtime),
      cmocka_unit_test(aligned_errors),
      cmocka_unit_test(realloc_of_size_zero_frees),
      cmocka_unit_test(recalloc_zeroes_what_it_adds),
      cmocka_unit_test(sizes_and_expansion),
      cmocka_unit_test(out_of_memory_sets_errno),
      cmocka_unit_test(blocks_of_each_runtime),
      cmocka_unit_test(aligned_blocks_of_each_runtime),
      cmocka_unit_test(blocks_that_functions_of_the_runtime_return),
      cmocka_unit_test(pointers_of_nobody_are_left_alone),
  };
  return check_run(tests);
}
