// Knows nothing of mimalloc: new, delete and the C library's functions are taken over when it is linked.
//   x86_64-w64-mingw32-g++-posix -static app.cpp -o app.exe $(pkg-config --libs mimalloc-crt)
// -static keeps the compiler's own DLLs (libstdc++-6, libwinpthread-1, libgcc) out; mimalloc.dll stays one.
#include <iostream>
#include <map>
#include <new>
#include <string>
#include <thread>
#include <vector>

int main() {
  std::vector<std::map<std::string, int>> counts(4);
  std::vector<std::thread> threads;
  for (auto& mine : counts) {
    threads.emplace_back([&mine] {
      for (int i = 0; i < 10000; i++)
        mine["a key that is longer than a short string " + std::to_string(i % 100)]++;
    });
  }
  for (auto& thread : threads) thread.join();
  int sum = 0;
  for (auto& mine : counts) {
    for (auto& pair : mine) sum += pair.second;
  }
  bool thrown = false;
  try {
    volatile std::size_t size =
        static_cast<std::size_t>(-1) / 4; // volatile: compilers refuse what they see through
    char* volatile too_much = new char[size];
    delete[] too_much;
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  std::cout << sum << " counted; bad_alloc " << (thrown ? "thrown" : "not thrown") << std::endl;
  return sum == 40000 && thrown ? 0 : 1;
}
