// Nothing is misused: whatever else than silence comes of these is a fault of the suite, or of the allocator.
#include "misuse.h"
#include "support/test_thread.h"

enum { PLAIN, ALIGNED, REMOTE, RESIZED };

static void correct(const case_t* c) {
  keep_neighbours(c->size);
  for (size_t i = 0; i < plenty(c->size); i++) {
    char* p = c->how == ALIGNED ? mi_malloc_aligned_at(c->size, 128, 8) : mi_malloc(c->size);
    memset(hide(p), 0, c->size);
    if (c->how == RESIZED) p = mi_realloc(p, c->size * 2);
    if (c->how == REMOTE)
      free_in_thread(p);
    else if (i % 2 == 0)
      mi_free(p);
    else
      keep_this(p, c->size);
  }
  mi_free(NULL);
  mi_collect(true);
}

static const case_t cases[] = {
    {"control_tiny", correct, TINY, 0, PLAIN},       {"control_small", correct, SMALL, 0, PLAIN},
    {"control_medium", correct, MEDIUM, 0, PLAIN},   {"control_large", correct, LARGE, 0, PLAIN},
    {"control_huge", correct, HUGE, 0, PLAIN},       {"control_aligned_at", correct, 400, 0, ALIGNED},
    {"control_remote", correct, SMALL, 0, REMOTE},   {"control_remote_huge", correct, HUGE, 0, REMOTE},
    {"control_resized", correct, SMALL, 0, RESIZED}, {"control_resized_huge", correct, HUGE, 0, RESIZED},
};
const group_t group_control = GROUP("control", cases);
