// A program whose operators new are calls of mi_new, as with upstream's mimalloc-new-delete.h, and containers whose
// allocator calls mi_new_n, as with upstream's mimalloc.h: out of memory, the DLL calls the program's new-handler and
// throws what the program can catch.
//
// Prints "ok" or the number of the line that is wrong.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>
#include <type_traits>
#include <vector>

#include <mimalloc.h>

void* operator new(std::size_t size) { return mi_new(size); }
void* operator new[](std::size_t size) { return mi_new(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return mi_new_nothrow(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return mi_new_nothrow(size); }
void operator delete(void* p) noexcept { mi_free(p); }
void operator delete[](void* p) noexcept { mi_free(p); }
void operator delete(void* p, std::size_t) noexcept { mi_free(p); }
void operator delete[](void* p, std::size_t) noexcept { mi_free(p); }

#define CHECK(condition)                                                                                     \
  do {                                                                                                       \
    if (!(condition)) return __LINE__;                                                                       \
  } while (0)

static std::size_t huge() { // more than there is, of a size that isn't impossible in itself
  volatile std::size_t size = (std::size_t)(sizeof(void*) == 8 ? 1ull << 47 : 0x7FFF0000u);
  return size;
}
static std::size_t impossible() {
  volatile std::size_t size = SIZE_MAX - 4096;
  return size;
}

// As upstream's header has it.
template <class T> struct plain_allocator {
  typedef T value_type;
  plain_allocator() = default;
  template <class U> plain_allocator(const plain_allocator<U>&) {}
  T* allocate(std::size_t count) { return static_cast<T*>(mi_new_n(count, sizeof(T))); }
  void deallocate(T* p, std::size_t) { mi_free(p); }
};

struct guard_t { // whether frames between are unwound
  static int destroyed;
  ~guard_t() { destroyed++; }
};
int guard_t::destroyed;

template <class Action> static bool throws(Action action) {
  int before = guard_t::destroyed;
  try {
    guard_t guard;
    action();
  } catch (const std::bad_alloc&) {
    return guard_t::destroyed == before + 1;
  }
  return false;
}

static int calls;
static void counting_handler() {
  if (++calls == 5) std::set_new_handler(nullptr);
}
static void throwing_handler() { throw 42; }

static int check() {
  static_assert(std::is_trivially_copyable<mi_stl_allocator<int>>::value, "as upstream's");
  CHECK(throws([] { delete[] new char[huge()]; }));
  CHECK(throws([] { std::vector<char, mi_stl_allocator<char>>().reserve(huge()); }));
  CHECK(throws([] { std::vector<char, plain_allocator<char>>().reserve(huge()); }));
  CHECK(throws([] { std::vector<char>().reserve(huge()); }));
  CHECK(throws([] { mi_free(mi_new(impossible())); }));
  CHECK(throws([] { mi_free(mi_new_n(impossible(), 16)); }));
  CHECK(throws([] { mi_free(mi_new_aligned(impossible(), 64)); }));
  CHECK(new (std::nothrow) char[impossible()] == nullptr);
  CHECK(mi_new_aligned_nothrow(impossible(), 64) == nullptr);
  void* kept = mi_new(100);
  std::memset(kept, 7, 100);
  CHECK(throws([kept] { mi_free(mi_new_realloc(kept, impossible())); }));
  CHECK(throws([kept] { mi_free(mi_new_reallocn(kept, impossible(), 16)); }));
  CHECK(static_cast<char*>(kept)[99] == 7);
  mi_free(kept);

  std::set_new_handler(counting_handler);
  CHECK(throws([] { delete[] new char[impossible()]; }));
  CHECK(calls == 5);
  std::set_new_handler(throwing_handler);
  int caught = 0;
  try {
    delete[] new char[impossible()];
  } catch (int value) {
    caught = value;
  }
  CHECK(caught == 42);
  std::set_new_handler(nullptr);

  for (int i = 0; i < 50; i++) {
    CHECK(throws([] { mi_free(mi_new(impossible())); }));
    delete[] new char[1000];
  }
  return 0;
}

int main() {
  int line = check();
  if (line != 0) {
    std::printf("line %d\n", line);
  } else {
    std::printf("ok\n");
  }
  return line != 0;
}
