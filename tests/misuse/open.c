// What was found open in the allocator before it was hardened, by number, each as it was found. Other groups
// have variants of most.
#include "misuse.h"
#include "support/child.h"
#include "support/test_thread.h"

#include <stdlib.h>

// 1: eight bytes written to a freed block: the second malloc returns that address.
static void second_malloc(const case_t* c) {
  keep_neighbours(c->size);
  char* p = hide(mi_malloc(c->size));
  keep(c->size);
  mi_free(p);
  fill_with_attacker(p, 8);
  keep(c->size);
  keep(c->size);
}

// 2: the first block lies at the same address in every run.
static void first_address(const case_t* c) {
  (void)c;
  char self[CHILD_PATH_MAX];
  child_self(self);
  static child_result_t results[4];
  for (int i = 0; i < 4; i++) {
    if (!child_run((const char*[]){self, "--first-address", NULL}, 60000, &results[i]) ||
        results[i].exit_code != 0)
      no_case("can't start a second process");
  }
  for (int i = 1; i < 4; i++) {
    if (strcmp(results[0].output, results[i].output) != 0) return;
  }
  harm("the first block lies at the same address in every process: %.30s", results[0].output);
}

// 3: a double free hands a block out twice unless it empties the page.
static void twice(const case_t* c) {
  keep(c->size);
  char* p = hide(mi_malloc(c->size));
  mi_free(p);
  mi_free(hide(p));
  keep(c->size);
  keep(c->size);
}

// 4: a double free of another thread's block makes who takes that thread's pages over circle for ever.
typedef struct pair_s {
  char *kept, *freed;
} pair_t;
static void make_pair(void* arg) {
  pair_t* pair = arg;
  pair->kept = mi_malloc(80);
  pair->freed = mi_malloc(80);
}
static void circle(const case_t* c) {
  pair_t pair;
  keep(SMALL); // else this thread takes over the other's heap as it is
  in_thread(make_pair, &pair);
  keep_this(pair.kept, 80);
  mi_free(hide(pair.freed));
  mi_free(hide(pair.freed));
  probe(c->size, 4000);
}

// 5: free(p + 1) of another thread's block writes its link at p + 1 and reads it at p.
static void remote_inside(const case_t* c) {
  keep_neighbours(c->size);
  char* p = keep(c->size);
  keep(c->size);
  free_in_thread(hide(p + c->amount));
  probe(c->size, 2 * plenty(c->size));
}

// 6: free(huge + off) within the first 64 KiB frees the live block.
static void huge_inside(const case_t* c) {
  char* p = keep(c->size);
  mi_free(hide(p + c->amount));
}
static void huge_realloc(const case_t* c) {
  char* p = keep(c->size);
  char* moved = mi_realloc(hide(p + 4096), c->size * 2);
  if (moved == NULL)
    refused();
  else
    keep_this(moved, c->size * 2);
}

// 7: realloc of a pointer into a block overruns it; realloc in place of a freed block revives it.
static void realloc_overrun(const case_t* c) {
  keep_neighbours(c->size);
  char* p = keep(c->size);
  keep(c->size);
  char* q = mi_realloc(hide(p + 16), c->size);
  if (q == NULL)
    refused();
  else if (q == p + 16)
    memset(hide(q), 0x55, c->size); // what the program may do now
  else
    keep_this(q, c->size);
  if (q == p + 16) forget(p);
}
static void realloc_revive(const case_t* c) {
  keep_neighbours(c->size);
  char* p = hide(mi_malloc(c->size));
  keep(c->size);
  mi_free(p);
  char* q = mi_realloc(hide(p), c->size);
  if (q == NULL)
    refused();
  else
    keep_this(q, c->size);
}

// 8: a malloc'ed block holds a raw heap pointer in its first word.
static void leaks_pointer(const case_t* c) {
  char* blocks[8];
  for (int i = 0; i < 8; i++) blocks[i] = mi_malloc(c->size);
  for (int i = 0; i < 8; i++) mi_free(blocks[i]);
  for (int i = 0; i < 8; i++) {
    volatile uintptr_t* p = hide(mi_malloc(c->size));
    if (*p != 0 && mi_is_in_heap_region((void*)*p)) harm("a fresh block holds a pointer into the heap");
  }
}

// 9: records of the arena directly before the first page, without a guard.
static void under_arena(const case_t* c) {
  char* p = (char*)((uintptr_t)keep(c->size) & ~(uintptr_t)0xFFFF);
  for (size_t n = 1; n <= 65536; n++) *(volatile char*)hide(p - n) = *(volatile char*)hide(p - n);
  harm("64 KiB of the allocator's records could be written from the first page");
}

// 9: records of huge blocks are neighbours of their contents, or these of each other, without a guard.
static void huge_neighbours(const case_t* c) {
  char* blocks[12];
  for (int i = 0; i < 12; i++) blocks[i] = mi_malloc(c->size);
  for (int i = 0; i < 12; i++) {
    for (int k = 0; k < 12; k++) {
      if (blocks[k] == blocks[i] + c->size) harm("huge blocks lie side by side, without a guard");
    }
  }
}

// 10: reuse is last in, first out, and addresses are sequential.
static void order_of_reuse(const case_t* c) {
  keep_neighbours(c->size);
  for (int round = 0; round < 8; round++) {
    char* freed[4];
    for (int i = 0; i < 4; i++) freed[i] = mi_malloc(c->size);
    for (int i = 0; i < 4; i++) mi_free(freed[i]);
    for (int i = 3; i >= 0; i--) {
      if (mi_malloc(c->size) != hide(freed[i])) return;
    }
  }
  harm("what is freed last is handed out first, always");
}
static void order_of_fresh(const case_t* c) {
  char* last = mi_malloc(c->size);
  for (int i = 0; i < 40; i++) {
    char* p = mi_malloc(c->size);
    if (p != last + c->size) return;
    last = p;
  }
  harm("fresh blocks lie one behind the other, always");
}
static void far_overrun(const case_t* c) {
  char* p = hide(mi_malloc(c->size));
  for (size_t i = 0; i < 256 * 1024; i += 64) *(volatile char*)(p + i) = 1;
  harm("an overrun of 256 KiB met no guard");
}

// 11: with purge_decommits=0 memory that was used is taken for zero.
static void not_zero(const case_t* c) {
  mi_option_set(mi_option_purge_decommits, 0);
  keep(100);
  mi_collect(true);
  volatile char* p = hide(mi_calloc(1, c->size));
  for (size_t i = 0; i < c->size; i++) {
    if (p[i] != 0) harm("calloc returns memory that isn't zero");
  }
}
static void not_zero_used(const case_t* c) {
  mi_option_set(mi_option_purge_decommits, 0);
  for (int round = 0; round < 4; round++) {
    memset(hide(mi_malloc(100)), 0xAB, 100);
    char* used = mi_malloc(c->size);
    memset(hide(used), 0xAB, c->size);
    mi_free(used);
    mi_collect(true);
    char* p = mi_calloc(1, c->size);
    for (size_t i = 0; i < c->size; i++) {
      if (((volatile char*)p)[i] != 0) harm("calloc returns memory that isn't zero");
    }
  }
}

static const case_t cases[] = {
    {"open_01_second_malloc", second_malloc, SMALL, 0, 0},
    {"open_01_second_malloc_large", second_malloc, LARGE, 0, 0},
    {"open_02_first_address", first_address, SMALL, 0, 0},
    {"open_03_twice", twice, SMALL, 0, 0},
    {"open_04_circle", circle, 80, 0, 0},
    {"open_05_remote_inside_1", remote_inside, SMALL, 1, 0},
    {"open_05_remote_inside_8", remote_inside, SMALL, 8, 0},
    {"open_06_huge_inside", huge_inside, HUGE, 4096, 0},
    {"open_06_huge_realloc", huge_realloc, HUGE, 0, 0},
    {"open_07_realloc_overrun", realloc_overrun, SMALL, 0, 0},
    {"open_07_realloc_revive", realloc_revive, SMALL, 0, 0},
    {"open_08_leaks_pointer", leaks_pointer, SMALL, 0, 0},
    {"open_09_under_arena", under_arena, SMALL, 0, 0},
    {"open_09_huge_neighbours", huge_neighbours, HUGE, 0, 0},
    {"open_10_order_of_reuse", order_of_reuse, SMALL, 0, 0},
    {"open_10_order_of_fresh", order_of_fresh, SMALL, 0, 0},
    {"open_10_far_overrun", far_overrun, SMALL, 0, 0},
    {"open_11_not_zero", not_zero, 5000, 0, 0},
    {"open_11_not_zero_used", not_zero_used, 5000, 0, 0},
};
const group_t group_open = GROUP("found open", cases);
