// std::thread, and containers that threads hand to each other. (No thread_local objects with destructors:
// MinGW's C++ runtime frees their memory before it runs the destructors, with any allocator.)
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <mimalloc-new-delete.h>
#include <mimalloc-stats.h>

extern "C" {
#include "support/check.h"
}

static std::atomic<int> destroyed{0};

struct cache_t {
  std::vector<std::string> texts;
  ~cache_t() {
    for (std::size_t i = 0; i < texts.size(); i++) {
      if (texts[i].size() != 10 + i * 20) std::abort();
    }
    texts.clear();
    destroyed++;
  }
};

static void work(std::shared_ptr<std::vector<int>> shared) {
  cache_t cache;
  for (std::size_t i = 0; i < 100; i++) cache.texts.push_back(std::string(10 + i * 20, 'x'));
  if ((*shared)[999] != 999) std::abort();
}

static int64_t run(int rounds) {
  for (int round = 0; round < rounds; round++) {
    auto shared = std::make_shared<std::vector<int>>(1000);
    for (int i = 0; i < 1000; i++) (*shared)[(std::size_t)i] = i;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++) threads.emplace_back(work, shared);
    shared.reset(); // the last thread frees it
    for (auto& thread : threads) thread.join();
  }
  mi_collect(true); // how much four threads need at once is chance
  mi_stats_t stats = {};
  stats.size = sizeof(stats);
  stats.version = MI_STAT_VERSION;
  assert_true(mi_stats_get(&stats));
  return stats.committed.current;
}

static void test_std_thread(void**) {
  int64_t before = run(25);
  int64_t after = run(100);
  assert_int_equal(destroyed, 500);
  if (after > before + (1 << 20)) fail_msg("committed %lld -> %lld", (long long)before, (long long)after);
}

int main() {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_std_thread)};
  return check_run(tests);
}
