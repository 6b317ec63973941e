// A C++ program with libstdc++-6.dll shared: what that DLL allocates comes from mimalloc too once its runtime
// is redirected.
//
//   program_cxx DLL       loads DLL in the middle of its life
//
// Prints "ok NAME" or "not ok NAME: line" for each check, as program.c does.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
#include <windows.h>

static unsigned failed;
static bool check_failed;
static bool (*is_ours)(const void*);

static void check(bool good, const char* name, int line) {
  if (good || check_failed) return;
  std::printf("not ok %s: line %d\n", name, line);
  check_failed = true;
}
#define CHECK(condition) check((condition), __func__, __LINE__)

static void run(void (*test)(), const char* name) {
  check_failed = false;
  test();
  if (check_failed) {
    failed++;
  } else {
    std::printf("ok %s\n", name);
  }
  std::fflush(stdout);
}
#define RUN(test) run(test, #test)

static std::size_t amount(std::size_t n) {
  volatile std::size_t x = n;
  return x;
}

struct before_t { // made before the DLL comes, destroyed after
  std::string text = std::string(1000, 'b');
  std::vector<std::string> texts;
  std::map<int, std::string> map;
  std::ostringstream stream;
  std::unique_ptr<int[]> numbers{new int[100]};
  before_t() {
    for (int i = 0; i < 100; i++) {
      texts.push_back(std::string(static_cast<std::size_t>(i), 'v'));
      map[i] = std::string(50, 'm');
      stream << "line " << i << "\n";
    }
  }
};

static std::unique_ptr<before_t> before;

static void objects_from_before_live_on() {
  CHECK(!is_ours(before.get()));
  for (int i = 0; i < 100; i++) {
    before->texts[static_cast<std::size_t>(i)] += std::string(500, 'x');
    before->map[i + 100] = before->map[i];
    before->map.erase(i);
    before->stream << "more " << i << "\n";
  }
  CHECK(before->texts[50].size() == 550 && before->map.size() == 100);
  CHECK(is_ours(before->texts[50].data()));
  CHECK(before->stream.str().size() > 1500);
  before.reset();
}

static void what_is_new_comes_from_us() {
  std::unique_ptr<char[]> plain(new char[100]);
  std::string text(100, 's');
  text += "more"; // grows inside of libstdc++-6.dll
  std::vector<int> numbers(1000, 7);
  std::ostringstream stream;
  for (int i = 0; i < 1000; i++) stream << i;
  std::string copied = stream.str();
  CHECK(is_ours(plain.get()) && is_ours(text.data()) && is_ours(numbers.data()) && is_ours(copied.data()));
  struct alignas(128) wide_t {
    char bytes[256];
  };
  std::unique_ptr<wide_t> wide(new wide_t);
  CHECK((reinterpret_cast<std::uintptr_t>(wide.get()) & 127) == 0);
  CHECK(is_ours(wide.get()));
  std::unique_ptr<char[]> quiet(new (std::nothrow) char[10]);
  CHECK(is_ours(quiet.get()));
}

static void exceptions_and_new_handlers_work() {
  static std::atomic<int> calls{0};
  bool caught = false;
  try {
    delete[] new char[amount(SIZE_MAX / 2 - 4096)];
  } catch (const std::bad_alloc&) {
    caught = true;
  }
  CHECK(caught);
  std::set_new_handler([] {
    if (++calls == 3) throw std::runtime_error("enough");
  });
  caught = false;
  try {
    delete[] new char[amount(SIZE_MAX / 2 - 4096)];
  } catch (const std::runtime_error& error) {
    caught = std::strcmp(error.what(), "enough") == 0;
  }
  std::set_new_handler(nullptr);
  CHECK(caught && calls == 3);
  char* none = new (std::nothrow) char[amount(SIZE_MAX / 2 - 4096)];
  CHECK(none == nullptr);
}

static void threads_exchange_objects() {
  auto shared = std::make_shared<std::vector<std::string>>();
  for (int i = 0; i < 1000; i++) shared->push_back(std::string(100, 't'));
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 4; i++) {
    threads.emplace_back([shared, &good] {
      std::vector<std::string> copy(*shared);
      for (auto& text : copy) text += "more";
      good += copy[999].size() == 104;
    });
  }
  shared.reset();
  for (auto& thread : threads) thread.join();
  CHECK(good == 4);
}

int main(int count, char** arguments) {
  if (count != 2) return 100;
  before.reset(new before_t);
  HMODULE library = LoadLibraryA(arguments[1]);
  if (library == nullptr) return 100;
  is_ours = reinterpret_cast<bool (*)(const void*)>(
      reinterpret_cast<std::uintptr_t>(GetProcAddress(library, "mi_is_in_heap_region")));
  RUN(objects_from_before_live_on);
  RUN(what_is_new_comes_from_us);
  RUN(exceptions_and_new_handlers_work);
  RUN(threads_exchange_objects);
  return static_cast<int>(failed);
}
