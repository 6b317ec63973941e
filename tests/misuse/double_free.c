// The same block freed twice. `how` says who frees, or what happens in between.
#include "misuse.h"
#include "support/test_thread.h"

enum { AT_ONCE, ONLY_BLOCK, OTHER_BETWEEN, DELAYED, COLLECTED, THREE_TIMES, FULL_PAGE };

static void same_thread(const case_t* c) {
  if (c->how != ONLY_BLOCK) keep_neighbours(c->size);
  if (c->how == FULL_PAGE) keep_many(c->size, 2 * plenty(c->size));
  char* p = hide(mi_malloc(c->size));
  char* q = mi_malloc(c->size);
  if (c->how == ONLY_BLOCK) mi_free(q);
  mi_free(p);
  if (c->how == OTHER_BETWEEN) mi_free(q);
  if (c->how == DELAYED) {
    for (size_t i = 0; i < 10 * plenty(c->size); i++) { // many come and go, of other sizes
      void* other = mi_malloc(c->size + 1 + c->size * (i % 7) / 4);
      mi_free(other);
    }
  }
  if (c->how == COLLECTED) mi_collect(true);
  mi_free(hide(p));
  if (c->how == THREE_TIMES) mi_free(hide(p));
}

// Freed, handed out again to somebody else, and freed by the first once more.
static void after_reuse(const case_t* c) {
  keep_neighbours(c->size);
  char* p = hide(mi_malloc(c->size));
  mi_free(p);
  for (size_t i = 0; i < 2 * plenty(c->size); i++) {
    if (keep(c->size) == p) break;
  }
  mi_free(hide(p));
}

static void after_realloc(const case_t* c) {
  keep_neighbours(c->size);
  char* p = hide(mi_malloc(c->size));
  char* moved = mi_realloc(p, c->size * 4);
  if (moved == p) no_case("realloc stayed in place");
  keep_this(moved, c->size * 4);
  mi_free(hide(p));
}

static void aligned(const case_t* c) {
  char* p = NULL;
  for (int i = 0; i < 10; i++) {
    if (p != NULL) keep_this(p, c->size);
    p = c->how == 0 ? mi_malloc_aligned(c->size, (size_t)c->amount)
                    : mi_malloc_aligned_at(c->size, (size_t)c->amount, 24);
  }
  mi_free(hide(p));
  mi_free(hide(p));
}

// ---- with threads -----------------------------------------------------------------------------------------

enum { OWN_THEN_OTHER, OTHER_THEN_OWN, OTHER_TWICE, TWO_OTHERS, OTHER_THEN_OWN_LATER, OTHER_TWICE_FULL };

static void free_twice(void* p) {
  mi_free(hide(p));
  mi_free(hide(p));
}

static void other_thread(const case_t* c) {
  keep_neighbours(c->size);
  if (c->how == OTHER_TWICE_FULL) keep_many(c->size, 2 * plenty(c->size));
  char* p = hide(mi_malloc(c->size));
  keep(c->size);
  switch (c->how) {
  case OWN_THEN_OTHER:
    mi_free(p);
    free_in_thread(hide(p));
    break;
  case OTHER_THEN_OWN:
    free_in_thread(p);
    mi_free(hide(p));
    break;
  case OTHER_THEN_OWN_LATER:
    free_in_thread(p);
    mi_collect(false); // the owner has taken the other's free over now
    mi_free(hide(p));
    break;
  case TWO_OTHERS:
    free_in_thread(p);
    free_in_thread(hide(p));
    break;
  default:
    in_thread(free_twice, p);
  }
}

// Two blocks of a thread that ended; one freed twice.
typedef struct pair_s {
  size_t size;
  char *kept, *freed;
} pair_t;

static void make_pair(void* arg) {
  pair_t* pair = arg;
  pair->kept = mi_malloc(pair->size);
  pair->freed = mi_malloc(pair->size);
}

static void orphan(const case_t* c) {
  pair_t pair = {.size = c->size};
  in_thread(make_pair, &pair);
  keep_this(pair.kept, c->size);
  mi_free(hide(pair.freed));
  mi_free(hide(pair.freed));
}

static const case_t cases[] = {
    {"double_tiny", same_thread, TINY, 0, AT_ONCE},
    {"double_small", same_thread, SMALL, 0, AT_ONCE},
    {"double_kilo", same_thread, KILO, 0, AT_ONCE},
    {"double_medium", same_thread, MEDIUM, 0, AT_ONCE},
    {"double_large", same_thread, LARGE, 0, AT_ONCE},
    {"double_huge", same_thread, HUGE, 0, AT_ONCE},
    {"double_only_block", same_thread, SMALL, 0, ONLY_BLOCK},
    {"double_other_between", same_thread, SMALL, 0, OTHER_BETWEEN},
    {"double_other_between_large", same_thread, LARGE, 0, OTHER_BETWEEN},
    {"double_three_times", same_thread, SMALL, 0, THREE_TIMES},
    {"double_full_page", same_thread, SMALL, 0, FULL_PAGE},
    {"double_delayed_small", same_thread, SMALL, 0, DELAYED},
    {"double_delayed_medium", same_thread, MEDIUM, 0, DELAYED},
    {"double_collected", same_thread, SMALL, 0, COLLECTED},
    {"double_collected_huge", same_thread, HUGE, 0, COLLECTED},
    {"double_reused_small", after_reuse, SMALL, 0, 0},
    {"double_reused_large", after_reuse, LARGE, 0, 0},
    {"double_reused_huge", after_reuse, HUGE, 0, 0},
    {"double_after_realloc", after_realloc, SMALL, 0, 0},
    {"double_aligned", aligned, 4096, 4096, 0},
    {"double_aligned_huge", aligned, HUGE, 1 << 20, 0},
    {"double_aligned_at", aligned, 400, 64, 1},
    {"double_own_then_other", other_thread, SMALL, 0, OWN_THEN_OTHER},
    {"double_other_then_own", other_thread, SMALL, 0, OTHER_THEN_OWN},
    {"double_other_then_own_later", other_thread, SMALL, 0, OTHER_THEN_OWN_LATER},
    {"double_other_twice", other_thread, SMALL, 0, OTHER_TWICE},
    {"double_other_twice_tiny", other_thread, TINY, 0, OTHER_TWICE},
    {"double_other_twice_large", other_thread, LARGE, 0, OTHER_TWICE},
    {"double_other_twice_huge", other_thread, HUGE, 0, OTHER_TWICE},
    {"double_other_twice_full", other_thread, SMALL, 0, OTHER_TWICE_FULL},
    {"double_two_others", other_thread, SMALL, 0, TWO_OTHERS},
    {"double_two_others_huge", other_thread, HUGE, 0, TWO_OTHERS},
    {"double_orphan_small", orphan, SMALL, 0, 0},
    {"double_orphan_large", orphan, LARGE, 0, 0},
};
const group_t group_double_free = GROUP("double free", cases);
