// The same for operator new and what the standard library allocates.
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#define APART __attribute__((noinline, noclone))

struct shape {
  virtual ~shape() = default;
  double size[4] = {};
};

APART static shape* make_shape() {
  return new shape; // LINE new
}

APART static void write_at(volatile char* text, size_t at) {
  text[at] = 1; // LINE written
}

APART static void drop(shape* unwanted) {
  delete unwanted; // LINE delete
  __asm__ volatile("");
}

static std::map<int, std::string>* kept;

APART static void fill_map() {
  kept = new std::map<int, std::string>; // LINE map
  for (int i = 0; i < 10; i++) (*kept)[i] = std::string(100, 'x');
}

int main(int argc, char** argv) {
  const char* fault = argc > 1 ? argv[1] : "";
  if (std::strcmp(fault, "leak") == 0) {
    make_shape(); // LINE leaked
    fill_map(); // LINE filled
  }
  if (std::strcmp(fault, "nothing") == 0) {
    std::vector<std::string> texts(50, "a text that is longer than what fits into a string itself");
    drop(make_shape());
  }
  if (std::strcmp(fault, "over") == 0) {
    std::vector<char> bytes(64);
    write_at(bytes.data(), 64); // LINE over
  }
  if (std::strcmp(fault, "twice") == 0) {
    static_assert(sizeof(shape) == 40, "the test says so");
    void* block = ::operator new(40); // LINE raw
    ::operator delete(block);
    ::operator delete(block); // LINE twice
  }
  std::puts("done");
}
