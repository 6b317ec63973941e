// Arenas that the program reserves or gives memory for, and heaps that live in one.
#include "api_check.h"
#include "support/test_thread.h"

#include <errno.h>
#include <stdlib.h>

#if defined(_WIN32)
#include <windows.h>
#else
#include <sys/mman.h>
#endif

#define KIB(n) ((size_t)(n) << 10)
#define MIB(n) ((size_t)(n) << 20)

// ---- the program's memory -----------------------------------------------------------------------------------------

// Address space at a multiple of the arenas' alignment, with memory behind it or without, straight from the system.
static char* system_memory(size_t size, bool commit) {
  size_t alignment = mi_arena_min_alignment();
#if defined(_WIN32)
  for (int tries = 0; tries < 100; tries++) {
    char* wide = VirtualAlloc(NULL, size + alignment, MEM_RESERVE, PAGE_NOACCESS);
    if (wide == NULL) break;
    char* start = wide + (alignment - (uintptr_t)wide % alignment) % alignment;
    VirtualFree(wide, 0, MEM_RELEASE);
    char* p = VirtualAlloc(start, size, commit ? MEM_RESERVE | MEM_COMMIT : MEM_RESERVE,
                           commit ? PAGE_READWRITE : PAGE_NOACCESS);
    if (p == start) return p;
    if (p != NULL) VirtualFree(p, 0, MEM_RELEASE);
  }
  fail_msg("no address space for %lu KiB", (unsigned long)(size >> 10));
  return NULL;
#else
  char* wide = mmap(NULL, size + alignment, commit ? PROT_READ | PROT_WRITE : PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  assert_true(wide != MAP_FAILED);
  return wide + (alignment - (uintptr_t)wide % alignment) % alignment;
#endif
}

static bool protect(void* start, size_t size, bool accessible) {
#if defined(_WIN32)
  return accessible ? VirtualAlloc(start, size, MEM_COMMIT, PAGE_READWRITE) != NULL
                    : VirtualFree(start, size, MEM_DECOMMIT) != 0;
#else
  if (!accessible) madvise(start, size, MADV_DONTNEED);
  return mprotect(start, size, accessible ? PROT_READ | PROT_WRITE : PROT_NONE) == 0;
#endif
}

static bool is_inside(const void* p, const char* start, size_t size) {
  return (const char*)p >= start && (const char*)p < start + size;
}

// Fills a heap until it is full; all blocks lie in the arena. Returns the bytes that it took.
static size_t fill_up(mi_heap_t* heap, const char* start, size_t size, size_t block_size) {
  size_t taken = 0;
  for (;;) {
    char* p = mi_heap_malloc(heap, block_size);
    if (p == NULL) return taken;
    assert_true(is_inside(p, start, size) && is_inside(p + block_size - 1, start, size));
    memset(p, 1, block_size);
    taken += block_size;
    assert_true(taken <= size);
  }
}

static void test_managed_pinned(void** state) {
  (void)state;
  const size_t size = MIB(32);
  char* start = system_memory(size, true);
  memset(start, 0, size);
  start[size - 1] = 77; // nobody may say that it reads as zero
  mi_arena_id_t id = NULL;
  assert_true(mi_manage_os_memory_ex(start, size, true, true, false, -1, true, &id));
  assert_non_null(id);
  size_t area = 0;
  assert_ptr_equal(mi_arena_area(id, &area), start);
  assert_int_equal(area, size);
  assert_true(mi_arena_contains(id, start) && mi_arena_contains(id, start + size - 1));
  assert_false(mi_arena_contains(id, start + size));
  assert_true(mi_is_in_heap_region(start + KIB(100)));

  // Exclusive: nobody else gets memory of it.
  static void* others[2000];
  for (size_t i = 0; i < 2000; i++) {
    others[i] = mi_malloc(KIB(20));
    assert_false(is_inside(others[i], start, size));
  }
  for (size_t i = 0; i < 2000; i++) mi_free(others[i]);

  mi_heap_t* heap = mi_heap_new_in_arena(id);
  assert_non_null(heap);
  size_t taken = fill_up(heap, start, size, KIB(60));
  if (taken < size / 2) fail_msg("only %lu KiB of the arena were used", (unsigned long)(taken >> 10));
  // Pinned memory stays as it is, whoever asks for purges: the program can write to it after the heap is gone.
  mi_heap_destroy(heap);
  mi_collect(true);
  start[0] = start[size / 2] = start[size - 1] = 1;
  heap = mi_heap_new_in_arena(id);
  char* p = mi_heap_zalloc(heap, MIB(8));
  api_check_zero(p, MIB(8));
  mi_heap_delete(heap);
  assert_true(is_inside(p, start, size)); // the block stays where it is
  mi_free(p);
}

typedef struct commits_s {
  char* start;
  size_t size, commits, decommits, outside;
  bool fails;
} commits_t;

static bool commit_by_hand(bool commit, void* p, size_t size, bool* is_zero, void* arg) {
  commits_t* commits = arg;
  if (!is_inside(p, commits->start, commits->size) ||
      !is_inside((char*)p + size - 1, commits->start, commits->size))
    commits->outside++;
  if (commit && commits->fails) return false;
  if (commit) {
    commits->commits++;
    if (is_zero != NULL) *is_zero = true;
  } else {
    commits->decommits++;
  }
  return protect(p, size, commit);
}

static void test_managed_with_callback(void** state) {
  (void)state;
  static commits_t commits;
  commits = (commits_t){.size = MIB(32)};
  commits.start = system_memory(commits.size, false);
  mi_arena_id_t id = NULL;
  assert_true(mi_manage_memory(commits.start, commits.size, false, false, true, -1, true, commit_by_hand,
                               &commits, &id));
  mi_heap_t* heap = mi_heap_new_in_arena(id);
  for (size_t i = 0; i < 100; i++) {
    char* p = mi_heap_zalloc(heap, KIB(100));
    api_check_zero(p, KIB(100));
    memset(p, 1, KIB(100));
  }
  assert_true(commits.commits > 0);
  mi_heap_destroy(heap);
  mi_collect(true);
  assert_true(commits.decommits > 0);
  // What was given back and is committed again reads as zero, or is made so.
  heap = mi_heap_new_in_arena(id);
  char* p = mi_heap_zalloc(heap, MIB(10));
  api_check_zero(p, MIB(10));
  mi_free(p);
  mi_heap_collect(heap, true);
  mi_collect(true);
  commits.fails = true; // then there is no memory, and that is all
  assert_null(mi_heap_malloc(heap, MIB(20)));
  commits.fails = false;
  p = mi_heap_malloc(heap, MIB(20));
  assert_non_null(p);
  memset(p, 1, MIB(20));
  assert_int_equal(commits.outside, 0);
  mi_heap_destroy(heap);
}

static void test_managed_shared(void** state) {
  (void)state;
  const size_t size = MIB(64);
  char* start = system_memory(size, true);
  assert_true(mi_manage_os_memory(start, size, true, false, true, -1));
  assert_true(mi_is_in_heap_region(start));
  assert_false(mi_manage_os_memory(NULL, size, true, false, true, -1));
  assert_false(
      mi_manage_os_memory(api_opaque_pointer(start + size), KIB(4), true, false, true, -1)); // too small
  // Twice the same, a part of it, a part of what malloc has.
  assert_false(mi_manage_os_memory(start, size, true, false, true, -1));
  mi_arena_id_t none = start;
  assert_false(mi_manage_os_memory_ex(start + size / 2, size / 2, true, false, true, -1, true, &none));
  assert_null(none);
  char* block = mi_malloc(size);
  assert_non_null(block);
  assert_false(mi_manage_os_memory(block, size, true, false, true, -1));
  mi_free(block);
  // Unaligned: what lies before the next multiple is lost.
  char* odd = system_memory(size, true) + KIB(4);
  mi_arena_id_t id = NULL;
  assert_true(mi_manage_os_memory_ex(odd, size - KIB(4), true, false, true, -1, true, &id));
  size_t area = 0;
  char* used = mi_arena_area(id, &area);
  assert_true(used >= odd && used + area <= odd + size - KIB(4));
  mi_heap_t* heap = mi_heap_new_in_arena(id);
  fill_up(heap, used, area, KIB(500));
  mi_heap_destroy(heap);
}

// ---- the system's memory ------------------------------------------------------------------------------------------

static void test_reserved(void** state) {
  (void)state;
  assert_int_equal(mi_reserve_os_memory(MIB(64), false, false), 0);
  assert_int_equal(mi_reserve_os_memory(MIB(16), true, true), 0); // large pages are a wish
  mi_arena_id_t id = NULL;
  assert_int_equal(mi_reserve_os_memory_ex(MIB(64), false, false, true, &id), 0);
  size_t size = 0;
  char* start = mi_arena_area(id, &size);
  assert_non_null(start);
  assert_true(size >= MIB(64) && size < MIB(80));
  mi_heap_t* heap = mi_heap_new_in_arena(id);
  size_t taken = fill_up(heap, start, size, MIB(1));
  assert_true(taken >= MIB(48));
  mi_heap_destroy(heap);
  id = &id;
  assert_int_equal(mi_reserve_os_memory_ex(api_opaque(SIZE_MAX), false, false, false, &id), ENOMEM);
  assert_null(id);
  assert_int_equal(mi_reserve_os_memory(api_opaque((size_t)PTRDIFF_MAX), false, false), ENOMEM);
}

static void test_wrong_ids(void** state) {
  (void)state;
  size_t size = 77;
  assert_null(mi_arena_area(NULL, &size));
  assert_int_equal(size, 0);
  assert_null(mi_arena_area(&size, NULL));
  assert_false(mi_arena_contains(NULL, &size));
  assert_false(mi_arena_contains(&size, &size));
  assert_null(mi_heap_new_in_arena(&size));
  mi_heap_t* heap = mi_heap_new_in_arena(NULL); // any arena
  assert_non_null(heap);
  mi_heap_delete(heap);
  size_t alignment = mi_arena_min_alignment();
  assert_true(alignment >= KIB(64) && (alignment & (alignment - 1)) == 0);
  assert_true(mi_arena_min_size() >= KIB(64));
}

// A heap of an arena serves any thread, and an id of the 2.4 line, half as wide, finds the arena, too.
static void allocate_there(void* arg) {
  void** heap_and_block = arg;
  heap_and_block[1] = mi_heap_malloc(heap_and_block[0], 1000);
}

static void test_arena_heap_any_thread(void** state) {
  (void)state;
  mi_arena_id_t id = NULL;
  assert_int_equal(mi_reserve_os_memory_ex(MIB(32), false, false, true, &id), 0);
  mi_heap_t* heaps[] = {mi_heap_new_in_arena(id), mi_heap_new_ex(0, true, (int)(unsigned)(uintptr_t)id)};
  for (size_t i = 0; i < 2; i++) {
    void* heap_and_block[2] = {heaps[i], NULL};
    test_thread_t thread;
    test_thread_start(&thread, allocate_there, heap_and_block);
    test_thread_join(&thread);
    assert_true(mi_arena_contains(id, heap_and_block[1]));
    assert_true(mi_heap_contains(heaps[i], heap_and_block[1]));
    mi_heap_destroy(heaps[i]);
  }
}

static void test_huge_pages(void** state) {
  (void)state;
  // Few machines grant any: then an error, and everything goes on.
  mi_arena_id_t id = &id;
  int error = mi_reserve_huge_os_pages_at_ex(1, -1, 100, true, &id);
  assert_true(error == 0 || error == ENOMEM);
  assert_true((error == 0) == (id != NULL));
  size_t reserved = 77;
  error = mi_reserve_huge_os_pages(1, 0.1, &reserved);
  assert_int_equal(reserved, error == 0 ? 1 : 0);
  assert_int_equal(mi_reserve_huge_os_pages_at(0, 0, 100), 0);
  assert_int_equal(mi_reserve_huge_os_pages_interleave(0, 2, 100), 0);
  error = mi_reserve_huge_os_pages_at(api_opaque(SIZE_MAX / 2), 0, 1);
  assert_int_equal(error, ENOMEM);
  void* p = mi_malloc(1000);
  api_check_block(p, 1000, 16);
  mi_free(p);
}

static char printed[64 * 1024];
static void take_text(const char* message, void* arg) {
  (void)arg;
  strncat(printed, message, sizeof(printed) - strlen(printed) - 1);
}

typedef struct filled_s {
  mi_subproc_id_t subproc;
  size_t arenas;
  bool has_small, has_large;
} filled_t;

static void fill_table(void* arg) {
  filled_t* filled = arg;
  mi_subproc_add_current_thread(filled->subproc);
  while (filled->arenas < 2000 && mi_reserve_os_memory_ex(MIB(4), false, false, true, NULL) == 0)
    filled->arenas++;
  void *small = mi_malloc(100), *large = mi_malloc(MIB(20));
  filled->has_small = small != NULL;
  filled->has_large = large != NULL;
  mi_free(small);
  mi_free(large);
}

// A program may fill the table with arenas that serve nobody but its own heaps: malloc goes on.
static void test_too_many(void** state) {
  (void)state;
  if (sizeof(void*) < 8) skip(); // addresses run out first
  filled_t filled = {.subproc = mi_subproc_new()};
  test_thread_t thread;
  test_thread_start(&thread, fill_table, &filled);
  test_thread_join(&thread);
  mi_subproc_destroy(filled.subproc);
  assert_in_range(filled.arenas, 500, 1100);
  assert_true(filled.has_small);
  assert_true(filled.has_large);
}

static void test_print(void** state) {
  (void)state;
  mi_free(mi_malloc(100));
  mi_register_output(take_text, NULL);
  printed[0] = 0;
  mi_arenas_print();
  assert_non_null(strstr(printed, "mimalloc: arenas\n"));
  assert_non_null(strstr(printed, "exclusive"));
  assert_non_null(strstr(printed, "in use"));
  printed[0] = 0;
  mi_debug_show_arenas();
  mi_register_output(NULL, NULL);
  assert_non_null(strstr(printed, "mimalloc: arenas\n"));
}

// Memory of the wished node is preferred; use_numa_nodes folds numbers of nodes.
static void test_numa_affinity(void** state) {
  (void)state;
  const size_t size = MIB(16);
  char* starts[2];
  for (int node = 0; node < 2; node++) {
    starts[node] = system_memory(size, true);
    assert_true(mi_manage_os_memory_ex(starts[node], size, true, true, true, 40 + node, false, NULL));
  }
  for (int node = 0; node < 2; node++) {
    mi_heap_t* heap = mi_heap_new();
    mi_heap_set_numa_affinity(heap, 40 + node);
    char* p = mi_heap_malloc(heap, MIB(1));
    assert_true(is_inside(p, starts[node], size));
    mi_heap_destroy(heap);
  }
  mi_heap_set_numa_affinity(NULL, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_managed_pinned), cmocka_unit_test(test_managed_with_callback),
      cmocka_unit_test(test_managed_shared), cmocka_unit_test(test_reserved),
      cmocka_unit_test(test_wrong_ids),      cmocka_unit_test(test_arena_heap_any_thread),
      cmocka_unit_test(test_huge_pages),     cmocka_unit_test(test_print),
      cmocka_unit_test(test_too_many),       cmocka_unit_test(test_numa_affinity),
  };
  return check_run(tests);
}
