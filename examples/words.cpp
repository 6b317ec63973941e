// Counts the words of standard input, with all memory from one heap, which is freed at once at the end. Shows heap_resource.
#include "heap_resource.hpp"

#include <iostream>
#include <map>
#include <string>

int main() {
  heap_resource resource;
  // Not destroyed: the heap takes it all.
  using words_t = std::pmr::map<std::pmr::string, int>;
  words_t& words = *new (mi_heap_alloc_new(resource.heap(), sizeof(words_t))) words_t(&resource);
  std::string word;
  while (std::cin >> word) words[std::pmr::string(word, &resource)]++;
  for (const auto& [text, count] : words) std::cout << count << '\t' << text << '\n';
}
