// The same as linked.c for C++. With argument "shared" it expects that libstdc++-6.dll serves operator new, and only
// that all works; with "own" that the program's own operators (OWN_OPERATORS) do, on mimalloc's malloc.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <iostream>
#include <locale>
#include <map>
#include <memory>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
#include "is_ours.h"

static is_ours_t* is_ours;
static int failures;

static void expect(bool condition, const char* what, int line) {
  if (condition) return;
  std::printf("linked.cpp:%d: %s\n", line, what);
  failures++;
}
#define EXPECT(condition) expect(condition, #condition, __LINE__)

#ifdef OWN_OPERATORS
static long own_calls;
void* operator new(std::size_t size) {
  own_calls++;
  void* p = std::malloc(size ? size : 1);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
#endif

struct alignas(128) Wide {
  char bytes[300];
};

static void* volatile keep;
static void* kept(void* p) {
  keep = p;
  return keep;
}

static int handler_calls;
static void handler() {
  if (++handler_calls == 3) std::set_new_handler(nullptr);
}

static std::string work(int n) {
  std::map<std::string, std::vector<std::string>> words;
  for (int i = 0; i < 300; i++) words[std::to_string(i % 37)].push_back(std::string(std::size_t(i + n), 'x'));
  std::ostringstream out;
  for (auto& entry : words)
    out << entry.first << ":" << entry.second.size() << " " << entry.second.back().size() << "\n";
  try {
    throw std::runtime_error("a message that is too long for any buffer inside of the object " + out.str());
  } catch (const std::exception& error) {
    return error.what();
  }
}

int main(int argc, char** argv) {
  bool shared = argc > 1 && std::strcmp(argv[1], "shared") == 0;
  is_ours = find_is_ours();
  if (is_ours == nullptr) return 1;
  std::string text = work(1);
  EXPECT(is_ours(&text[0]) == !shared);
  text.append(10000, 'y'); // grows inside of libstdc++, wherever that is
  text.shrink_to_fit();
  EXPECT(is_ours(&text[0]) == !shared);

  std::vector<std::thread> threads;
  std::vector<std::string> results(4);
  for (int i = 0; i < 4; i++) threads.emplace_back([i, &results] { results[std::size_t(i)] = work(i); });
  for (auto& thread : threads) thread.join();
  for (int i = 0; i < 4; i++) EXPECT(results[std::size_t(i)] == work(i));
  auto future = std::async(std::launch::async, [] { return work(9); });
  EXPECT(future.get() == work(9));

  std::unique_ptr<Wide> wide(new Wide);
  EXPECT((reinterpret_cast<std::uintptr_t>(wide.get()) & 127) == 0 && is_ours(wide.get()) == !shared);
  std::unique_ptr<char[]> quiet(new (std::nothrow) char[100]);
  EXPECT(is_ours(quiet.get()) == !shared);
  void* plain = kept(std::malloc(100));
  EXPECT(is_ours(plain)); // the C names are ours in any case
  std::free(plain);

  volatile std::size_t huge = static_cast<std::size_t>(PTRDIFF_MAX) / 2;
  bool thrown = false;
  try {
    keep = ::operator new(huge);
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  EXPECT(thrown);
  EXPECT(kept(::operator new(huge, std::nothrow)) == nullptr);
#ifdef OWN_OPERATORS
  EXPECT(own_calls > 1000);
#else
  std::set_new_handler(handler);
  thrown = false;
  try {
    keep = ::operator new(huge);
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  EXPECT(thrown && handler_calls == 3);
#endif
  if (failures == 0) std::cout << "ok" << std::endl;
  return failures != 0;
}
