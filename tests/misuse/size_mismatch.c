// A block freed with a size or an alignment that isn't its own. `amount` is what is told of it.
#include "misuse.h"

// misuse_delete.cpp: the sized delete that a C++ program gets from mimalloc-new-delete.h.
void sized_delete(void* p, size_t size);
void* plain_new(size_t size);

static void told_size(const case_t* c) {
  keep_neighbours(c->size);
  void* p = mi_malloc(c->size);
  mi_free_size(hide(p), (size_t)c->amount);
}

static void told_size_aligned(const case_t* c) {
  keep_neighbours(c->size);
  void* p = mi_malloc_aligned(c->size, 64);
  mi_free_size_aligned(hide(p), (size_t)c->amount, 64);
}

static void told_alignment(const case_t* c) {
  keep_neighbours(c->size);
  char* p = mi_malloc(c->size);
  for (int i = 0; i < 100 && (uintptr_t)p % (uintptr_t)c->amount == 0;
       i++) { // one that wasn't aligned by chance
    keep_this(p, c->size);
    p = mi_malloc(c->size);
  }
  mi_free_aligned(hide(p), (size_t)c->amount);
}

static void not_small(const case_t* c) {
  keep_neighbours(c->size);
  mi_free_small(hide(mi_malloc(c->size)));
}

static void deleted(const case_t* c) {
  keep_neighbours(c->size);
  sized_delete(hide(plain_new(c->size)), (size_t)c->amount);
}

static const case_t cases[] = {
    {"size_smaller", told_size, SMALL, 32, 0},
    {"size_larger", told_size, SMALL, 65, 0},
    {"size_much_larger", told_size, SMALL, 1 << 20, 0},
    {"size_zero", told_size, SMALL, 0, 0},
    {"size_negative", told_size, SMALL, -1, 0},
    {"size_kilo_as_small", told_size, KILO, 16, 0},
    {"size_large_as_small", told_size, LARGE, 16, 0},
    {"size_large_as_huge", told_size, LARGE, HUGE, 0},
    {"size_huge_as_small", told_size, HUGE, 16, 0},
    {"size_huge_smaller", told_size, HUGE, HUGE - 65536, 0},
    {"size_aligned", told_size_aligned, SMALL, 1000, 0},
    {"size_alignment", told_alignment, SMALL, 4096, 0},
    {"size_not_small", not_small, LARGE, 0, 0},
    {"size_delete_smaller", deleted, SMALL, 16, 0},
    {"size_delete_larger", deleted, SMALL, 4096, 0},
    {"size_delete_huge", deleted, HUGE, 16, 0},
};
const group_t group_size_mismatch = GROUP("size mismatch", cases);
