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
