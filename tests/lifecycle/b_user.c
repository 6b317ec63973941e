// Pulls mimalloc.dll into the program, behind a_early in the order of initialisation.
#include <mimalloc-stats.h>
#include <mimalloc.h>

#include <stdint.h>

__declspec(dllexport) int64_t user_committed(void);
__declspec(dllexport) int64_t user_threads(void);
__declspec(dllexport) void user_work(void);

int64_t user_committed(void) {
  mi_stats_t_decl(stats);
  return mi_stats_get(&stats) ? stats.committed.current : -1;
}

int64_t user_threads(void) {
  mi_stats_t_decl(stats);
  return mi_stats_get(&stats) ? stats.threads.current : -1;
}

void user_work(void) {
  for (size_t i = 0; i < 200; i++) mi_free(mi_malloc(i * 37));
}
