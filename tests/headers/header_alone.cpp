// One public header, MI_TEST_HEADER, and nothing before it: it must bring all it needs.
#include MI_TEST_HEADER
#include MI_TEST_HEADER // and only once

#ifndef MIMALLOC_OVERRIDE_H
#include <list>
#include <map>
#include <vector>

#ifdef MIMALLOC_H
// Containers instantiate every member of the allocator that they need.
int header_alone() {
  // C++98 wants the space in "> >".
  // clang-format off
  std::vector<int, mi_stl_allocator<int> > numbers(3);
  std::list<char, mi_stl_allocator<char> > letters(numbers.size(), 'x');
  std::map<int, long, std::less<int>, mi_stl_allocator<std::pair<const int, long> > > pairs;
  // clang-format on
  pairs[1] = 2;
  numbers.push_back(static_cast<int>(pairs.size() + letters.size()));
  mi_stl_allocator<long> a(numbers.get_allocator());
  long value = 1, *p = a.allocate(1);
  a.construct(p, value);
  bool same = *a.address(value) == *p && a == mi_stl_allocator<char>() && !(a != a) && a.max_size() > 1;
  a.destroy(p);
  a.deallocate(p, 1);
#ifdef MI_HAS_HEAP_STL_ALLOCATOR
  std::vector<int, mi_heap_stl_allocator<int> > in_heap(3, 1), copy(in_heap);
  copy = in_heap;
  copy.swap(in_heap);
  std::map<int, int, std::less<int>, mi_heap_destroy_stl_allocator<std::pair<const int, int> > > destroyed;
  destroyed[1] = copy[2];
  mi_heap_stl_allocator<char> of_main(mi_heap_main());
  std::list<char, mi_heap_stl_allocator<char> > main_heap(of_main);
  main_heap.push_back('x');
  same = same && in_heap.get_allocator() == copy.get_allocator() &&
         in_heap.get_allocator() != mi_heap_stl_allocator<char>(main_heap.get_allocator());
  in_heap.get_allocator().collect(false);
#endif
  return same ? numbers.back() : 0;
}
#endif
#endif

#ifdef MI_STAT_VERSION
bool stats_alone() {
  mi_stats_t_decl(stats);
  return mi_stats_get(&stats);
}
#endif
