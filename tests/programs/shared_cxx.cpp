// C++ work on the shared libstdc++-6.dll: new and delete, strings, containers, exceptions, streams, all of whose blocks the
// DLL gets from msvcrt.dll. Does half, reads a line (so that something may happen in between), does the other half with what
// the first has left.
#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <thread>

namespace {

unsigned hash(const std::string& text, unsigned start = 5381) {
  for (char c : text) start = start * 33 + (unsigned char)c;
  return start;
}

struct alignas(64) Aligned {
  unsigned value[16];
};

struct State {
  std::map<std::string, std::vector<std::string>> words;
  std::vector<std::unique_ptr<std::string>> strings;
  std::vector<std::unique_ptr<Aligned>> aligned;
};

void work(State& state, unsigned round) {
  for (unsigned i = 0; i < 500; i++) {
    std::ostringstream text;
    text << "round " << round << " item " << i * 7919 % 501 << " with some more characters than fit inside";
    state.words[text.str().substr(8, 9)].push_back(text.str());
    state.strings.push_back(std::make_unique<std::string>(text.str()));
  }
  for (unsigned i = 0; i < 100; i++) {
    state.aligned.push_back(std::make_unique<Aligned>());
    state.aligned.back()->value[i % 16] = i;
    if (reinterpret_cast<std::uintptr_t>(state.aligned.back().get()) % 64 != 0)
      throw std::logic_error("not aligned");
  }
  for (unsigned i = 0; i < state.strings.size(); i += 3) *state.strings[i] += *state.strings[i];
  unsigned caught = 0;
  for (int i = 0; i < 50; i++) {
    try {
      throw std::runtime_error("an exception is a block, too, number " + std::to_string(i));
    } catch (const std::exception& e) {
      caught += hash(e.what()) % 7;
    }
  }
  bool refused = false;
  try {
    void* volatile block = ::operator new (~std::size_t{0} / 2 - 4096);
    ::operator delete(block);
  } catch (const std::bad_alloc&) {
    refused = true;
  }
  unsigned sum = 0;
  std::thread([&] {
    for (const auto& [word, lines] : state.words) {
      for (const auto& line : lines) sum = hash(line, sum + hash(word));
    }
    state.words.erase(state.words.begin()); // blocks of the other thread
  }).join();
  std::cout << "round " << round << ": " << state.words.size() << " words, hash " << sum << ", caught "
            << caught << (refused ? ", refused too much" : ", NOT REFUSED") << std::endl;
}

} // namespace

int main() {
  State state;
  std::string line;
  work(state, 1);
  std::getline(std::cin, line);
  std::cout << "read: " << line << std::endl;
  work(state, 2);
  unsigned sum = 0;
  for (const auto& text : state.strings) sum = hash(*text, sum);
  std::cout << "strings: " << sum << std::endl;
}
