// The C++ side of the headers at work: containers with mi_stl_allocator, and the operators of mimalloc-new-delete.h.
#include "mimalloc-new-delete.h"

#include <cstdint>
#include <cstdio>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

static int failures;

#define CHECK(condition)                                                                                     \
  do {                                                                                                       \
    if (!(condition)) {                                                                                      \
      std::printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                    \
      failures++;                                                                                            \
    }                                                                                                        \
  } while (0)

// The compiler must not drop a pair of new and delete whose result nobody sees.
template <class T> static T* seen(T* p) {
  T* volatile q = p;
  return q;
}

// Also of addresses inside of a block, as those of the values in a container's nodes are.
static bool is_ours(const void* p) { return mi_is_in_heap_region(p) && mi_check_owned(p); }

struct counted {
  static int alive;
  int value;
  explicit counted(int v) : value(v) { alive++; }
  counted(const counted& other) : value(other.value) { alive++; }
  ~counted() { alive--; }
};
int counted::alive = 0;

static void test_containers() {
  std::vector<int, mi_stl_allocator<int>> numbers;
  for (int i = 0; i < 10000; i++) numbers.push_back(i);
  CHECK(is_ours(numbers.data()));
  std::vector<int, mi_stl_allocator<int>> copy(numbers), moved(std::move(numbers));
  CHECK(copy == moved && moved[9999] == 9999);
  copy.swap(moved);

  std::map<int, std::string, std::less<int>, mi_stl_allocator<std::pair<const int, std::string>>> names;
  for (int i = 0; i < 1000; i++) names[i * 7919 % 1000] = std::to_string(i);
  CHECK(names.size() == 1000 && is_ours(&names[5]));

  {
    std::list<counted, mi_stl_allocator<counted>> items;
    for (int i = 0; i < 100; i++) items.emplace_back(i);
    CHECK(counted::alive == 100 && items.back().value == 99);
    items.remove_if([](const counted& item) { return item.value % 2 == 0; });
    CHECK(counted::alive == 50);
  }
  CHECK(counted::alive == 0);

  std::shared_ptr<int> shared = std::allocate_shared<int>(mi_stl_allocator<int>(), 42);
  CHECK(*shared == 42 && is_ours(shared.get()));

  mi_stl_allocator<int> a;
  mi_stl_allocator<char> b(a);
  CHECK(a == b && !(a != b));
  CHECK(a.max_size() <= SIZE_MAX / 2 / sizeof(int));
}

struct alignas(256) wide {
  char bytes[256];
};

static void test_operators() {
  int* one = seen(new int(5));
  CHECK(is_ours(one) && *one == 5);
  delete one;
  int* many = seen(new int[100]);
  CHECK(is_ours(many) && mi_usable_size(many) >= 400);
  delete[] many;
  wide* aligned = seen(new wide);
  CHECK(is_ours(aligned) && reinterpret_cast<std::uintptr_t>(aligned) % 256 == 0);
  delete aligned;
  wide* aligned_many = seen(new wide[3]);
  CHECK(is_ours(aligned_many) && reinterpret_cast<std::uintptr_t>(aligned_many) % 256 == 0);
  delete[] aligned_many;
  char* quiet = seen(new (std::nothrow) char[10]);
  CHECK(is_ours(quiet));
  delete[] quiet;
  volatile std::size_t too_much = SIZE_MAX / 2 + 1;
  CHECK(::operator new(too_much, std::nothrow) == nullptr);
  CHECK(::operator new(too_much, std::align_val_t(64), std::nothrow) == nullptr);
  std::string text(1000, 'x'); // what the library allocates by new is ours too
  CHECK(is_ours(text.data()));
}

int main() {
  test_containers();
  test_operators();
  if (failures == 0) std::printf("all as expected\n");
  return failures == 0 ? 0 : 1;
}
