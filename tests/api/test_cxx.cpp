// What C++ uses: the mi_new family, the allocator for containers, operator new and delete through mimalloc-new-delete.h.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cstdlib>
#include <cstring>
#include <list>
#include <map>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include <mimalloc-new-delete.h>
#include <mimalloc-stats.h>
#include <mimalloc.h>

#include "heap_resource.hpp" // of examples

extern "C" {
#include "api_check.h"
#include "support/child.h"
}

static void test_new(void**) {
  for (size_t i = 0; i < api_size_count; i++) {
    size_t size = api_sizes[i];
    void* p = mi_new(size);
    api_check_block(p, size, api_natural_alignment(size));
    void* q = mi_new_nothrow(size);
    api_check_block(q, size, api_natural_alignment(size));
    void* a = mi_new_aligned(size, 64);
    api_check_block(a, size, 64);
    void* b = mi_new_aligned_nothrow(size, 4096);
    api_check_block(b, size, 4096);
    mi_free(p);
    mi_free(q);
    mi_free_size_aligned(a, size, 64);
    mi_free(b);
  }
  void* p = mi_new_n(30, 10);
  api_check_block(p, 300, 16);
  void* q = mi_new_realloc(p, 3000);
  api_check_contents(q, 300, p);
  api_check_block(q, 3000, 16);
  void* r = mi_new_reallocn(q, 300, 100);
  api_check_contents(r, 3000, q);
  mi_free(r);
}

static void test_nothrow_failure(void**) {
  assert_null(mi_new_nothrow(api_opaque(SIZE_MAX)));
  assert_null(mi_new_nothrow(api_opaque(PTRDIFF_MAX) + 1));
  assert_null(mi_new_aligned_nothrow(api_opaque(SIZE_MAX - 100), 64));
}

// Every form of operator new must give a block of ours, and every form of operator delete must take it.
static void test_operators(void**) {
  struct alignas(128) wide_t {
    char bytes[256];
  };
  for (int round = 0; round < 3; round++) {
    int* one = new int(5);
    assert_true(mi_is_in_heap_region(one));
    assert_int_equal(*one, 5);
    int* many = new int[1000];
    assert_true(mi_is_in_heap_region(many));
    int* quiet = new (std::nothrow) int(6);
    assert_true(mi_is_in_heap_region(quiet));
    char* quiet_many = new (std::nothrow) char[3];
    assert_true(mi_is_in_heap_region(quiet_many));
    wide_t* wide = new wide_t;
    assert_true(mi_is_in_heap_region(wide));
    assert_int_equal((uintptr_t)wide % 128, 0);
    wide_t* wides = new wide_t[7];
    assert_true(mi_is_in_heap_region(wides));
    assert_int_equal((uintptr_t)wides % 128, 0);
    wide_t* quiet_wide = new (std::nothrow) wide_t;
    assert_true(mi_is_in_heap_region(quiet_wide));
    assert_int_equal((uintptr_t)quiet_wide % 128, 0);
    std::string* text = new std::string(1000, 'x');
    assert_true(mi_is_in_heap_region(text->data()));
    delete text;
    delete one;
    delete[] many;
    delete quiet;
    delete[] quiet_many;
    delete wide;
    delete[] wides;
    delete quiet_wide;
    void* raw = ::operator new(100);
    ::operator delete(raw, (std::size_t)100);
    raw = ::operator new[](100, std::align_val_t(512));
    assert_int_equal((uintptr_t)raw % 512, 0);
    ::operator delete[](raw, (std::size_t)100, std::align_val_t(512));
    ::operator delete(nullptr);
  }
}

// Out of memory, operator new of mimalloc-new-delete.h (C++ code of the program) throws, the nothrow form does not.
static void test_operator_failure(void**) {
  bool thrown = false;
  try {
    void* p = ::operator new(api_opaque(SIZE_MAX - 4096));
    ::operator delete(p);
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  assert_true(thrown);
  thrown = false;
  try {
    void* p = ::operator new[](api_opaque(SIZE_MAX - 4096), std::align_val_t(64));
    ::operator delete[](p, std::align_val_t(64));
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  assert_true(thrown);
  assert_null(::operator new(api_opaque(SIZE_MAX - 4096), std::nothrow));
}

// The new-handler is called until it gives up; blocks that it frees make no size above PTRDIFF_MAX possible.
static int handler_calls;

static void counting_handler() {
  if (++handler_calls >= 5) std::set_new_handler(nullptr);
}

static void test_new_handler(void**) {
  handler_calls = 0;
  std::set_new_handler(counting_handler);
  assert_null(::operator new(api_opaque(SIZE_MAX - 4096), std::nothrow));
  assert_int_equal(handler_calls, 5);
  assert_true(std::get_new_handler() == nullptr);

  // One that throws ends the loop with its exception.
  std::set_new_handler([] { throw 42; });
  int caught = 0;
  try {
    void* p = ::operator new(api_opaque(SIZE_MAX - 4096));
    ::operator delete(p);
  } catch (int value) {
    caught = value;
  }
  std::set_new_handler(nullptr);
  assert_int_equal(caught, 42);
}

static void test_containers(void**) {
  std::vector<int, mi_stl_allocator<int>> numbers;
  for (int i = 0; i < 100000; i++) numbers.push_back(i);
  assert_true(mi_is_in_heap_region(numbers.data()));
  for (int i = 0; i < 100000; i += 111) assert_int_equal(numbers[(size_t)i], i);
  std::list<std::string, mi_stl_allocator<std::string>> texts;
  for (int i = 0; i < 1000; i++) texts.push_back(std::to_string(i));
  assert_true(mi_is_in_heap_region(&texts.front()));
  std::map<int, int, std::less<int>, mi_stl_allocator<std::pair<const int, int>>> squares;
  for (int i = 0; i < 1000; i++) squares[i] = i * i;
  assert_int_equal(squares[999], 998001);
  assert_true(mi_is_in_heap_region(&squares[5]));
  auto moved = std::move(numbers);
  assert_int_equal(moved[99999], 99999);
  assert_true(mi_stl_allocator<int>() == mi_stl_allocator<char>());
  struct alignas(256) wide_t {
    char bytes[256];
  };
  std::vector<wide_t, mi_stl_allocator<wide_t>> wides(7);
  assert_int_equal((uintptr_t)wides.data() % 256, 0);
}

// ---- heaps ----------------------------------------------------------------------------------------------------------

static size_t heaps_now() {
  mi_stats_t_decl(stats);
  assert_true(mi_stats_get(&stats));
  return static_cast<size_t>(stats.heaps.current);
}

// Large blocks are at multiples of 64 KiB; secure builds put 8 bytes behind each block, and so not all sizes at multiples
// of themselves.
template <class T, template <class> class allocator> static void check_alignment() {
  std::vector<T, allocator<T>> values;
  std::list<T, allocator<T>> list;
  std::vector<void*> between;
  for (size_t i = 0; i < 20; i++) {
    between.push_back(mi_malloc(65536 * (i % 3 * 2 + 3))); // an odd number of 64 KiB
    values.resize(i + 1);
    list.emplace_back();
    assert_int_equal(reinterpret_cast<uintptr_t>(values.data()) % alignof(T), 0);
    assert_int_equal(reinterpret_cast<uintptr_t>(&list.back()) % alignof(T), 0);
  }
  for (void* p : between) mi_free(p);
}

struct alignas(64) aligned_64 {
  char bytes[64];
};
// Clang gives objects of COFF no more than 8 KiB.
#if defined(__clang__) && defined(_WIN32)
constexpr size_t largest_alignment = 8192;
#else
constexpr size_t largest_alignment = 131072;
#endif
struct alignas(largest_alignment) aligned_most {
  char bytes[131072];
};

static void test_aligned_types(void**) {
  check_alignment<aligned_64, mi_stl_allocator>();
  check_alignment<aligned_64, mi_heap_stl_allocator>();
  check_alignment<aligned_64, mi_heap_destroy_stl_allocator>();
  check_alignment<aligned_most, mi_stl_allocator>();
  check_alignment<aligned_most, mi_heap_stl_allocator>();
  check_alignment<aligned_most, mi_heap_destroy_stl_allocator>();
}

static void test_heap_allocators(void**) {
  size_t heaps = heaps_now();
  {
    std::vector<int, mi_heap_stl_allocator<int>> numbers; // in a heap of its own
    for (int i = 0; i < 10000; i++) numbers.push_back(i);
    assert_int_equal(heaps_now(), heaps + 1);
    assert_false(mi_heap_contains(mi_heap_main(), numbers.data()));
    auto copy = numbers;
    assert_int_equal(heaps_now(), heaps + 1); // shared by copies
    assert_ptr_equal(mi_heap_of(copy.data()), mi_heap_of(numbers.data()));
    assert_true(copy.get_allocator() == numbers.get_allocator());
    numbers.clear();
    numbers.shrink_to_fit();
    numbers.get_allocator().collect(true);
    assert_int_equal(copy[9999], 9999);
    std::map<int, std::string, std::less<int>, mi_heap_stl_allocator<std::pair<const int, std::string>>> map;
    for (int i = 0; i < 1000; i++) map[i] = std::to_string(i);
    auto moved = std::move(map);
    assert_int_equal(moved.size(), 1000);
    assert_int_equal(heaps_now(), heaps + 2);
    swap(copy, numbers);
  }
  assert_int_equal(heaps_now(), heaps);
  {
    std::list<int, mi_heap_destroy_stl_allocator<int>> numbers; // all freed at once at the end
    for (int i = 0; i < 1000; i++) numbers.push_back(i);
    assert_int_equal(heaps_now(), heaps + 1);
  }
  assert_int_equal(heaps_now(), heaps);
  mi_heap_t* heap = mi_heap_new();
  {
    mi_heap_stl_allocator<int> of_heap(heap); // of the program's: left alone
    std::vector<int, mi_heap_stl_allocator<int>> numbers(100, 7, of_heap);
    assert_ptr_equal(mi_heap_of(numbers.data()), heap);
    assert_true(of_heap != mi_heap_stl_allocator<int>(mi_heap_main()));
  }
  assert_int_equal(heaps_now(), heaps + 1);
  // Out of memory is an exception, here as elsewhere, also when the library is in a DLL.
  mi_heap_stl_allocator<int> of_heap(heap);
  int caught = 0;
  try {
    (void)of_heap.allocate(api_opaque(SIZE_MAX / sizeof(int)));
  } catch (const std::bad_alloc&) {
    caught++;
  }
  try {
    (void)of_heap.allocate(api_opaque(SIZE_MAX / 4 / sizeof(int)));
  } catch (const std::bad_alloc&) {
    caught++;
  }
  assert_int_equal(caught, 2);
  mi_heap_destroy(heap);
}

static void test_heap_resource(void**) {
  heap_resource resource;
  std::pmr::vector<std::pmr::string> texts(&resource);
  for (int i = 0; i < 1000; i++)
    texts.emplace_back("a text that is longer than what fits into a string itself");
  assert_ptr_equal(mi_heap_of(texts.data()), resource.heap());
  assert_ptr_equal(mi_heap_of(texts[999].data()), resource.heap());
  void* p = resource.allocate(100, 4096);
  api_check_block(p, 100, 4096);
  resource.deallocate(p, 100, 4096);
  bool thrown = false;
  try {
    (void)resource.allocate(api_opaque(SIZE_MAX / 2 + 1));
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  assert_true(thrown);
}

// The allocator for containers loops and throws in the program, wherever the library is.
static void test_container_failure(void**) {
  std::vector<char, mi_stl_allocator<char>> bytes;
  size_t sizes[] = {api_opaque(SIZE_MAX / 2 - 1), api_opaque(SIZE_MAX / 4)};
  for (size_t size : sizes) {
    handler_calls = 0;
    std::set_new_handler(counting_handler);
    bool thrown = false;
    try {
      bytes.reserve(size);
    } catch (const std::bad_alloc&) {
      thrown = true;
    }
    assert_true(thrown);
    assert_int_equal(handler_calls, 5);
    bool is_too_long = false; // as the container says itself
    try {
      bytes.reserve(bytes.max_size() + 1);
    } catch (const std::length_error&) {
      is_too_long = true;
    }
    assert_true(is_too_long);
  }
}

#if !defined(_WIN32) // there it depends on where the C++ runtime is: tests/dll/test_cxx.c
static void test_new_throws(void**) {
  void (*const failing[])() = {[] { mi_free(mi_new(api_opaque(SIZE_MAX - 4096))); },
                               [] { mi_free(mi_new_n(api_opaque(SIZE_MAX / 2), 16)); },
                               [] { mi_free(mi_new_aligned(api_opaque(SIZE_MAX - 4096), 64)); },
                               [] { mi_free(mi_new_realloc(nullptr, api_opaque(SIZE_MAX - 4096))); },
                               [] { mi_free(mi_new_reallocn(nullptr, api_opaque(SIZE_MAX / 2), 16)); }};
  for (auto allocate : failing) {
    bool thrown = false;
    handler_calls = 0;
    std::set_new_handler(counting_handler);
    try {
      allocate();
    } catch (const std::bad_alloc&) {
      thrown = true;
    }
    assert_true(thrown);
    assert_int_equal(handler_calls, 5);
  }
}
#endif

int main() {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_new),
    cmocka_unit_test(test_nothrow_failure),
    cmocka_unit_test(test_operators),
    cmocka_unit_test(test_operator_failure),
    cmocka_unit_test(test_new_handler),
    cmocka_unit_test(test_containers),
    cmocka_unit_test(test_container_failure),
    cmocka_unit_test(test_aligned_types),
    cmocka_unit_test(test_heap_allocators),
    cmocka_unit_test(test_heap_resource),
#if !defined(_WIN32)
    cmocka_unit_test(test_new_throws),
#endif
  };
  return check_run(tests);
}
