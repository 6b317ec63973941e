// Free of what isn't the start of a block in use.
#include "misuse.h"

#include <stdlib.h>

// `amount` bytes into a block, which stays in use: only its contents are at stake, and whoever gets the rest
// of it.
static void interior(const case_t* c) {
  keep_neighbours(c->size);
  char* p = keep(c->size);
  keep(c->size);
  if (c->how == 0) mi_free(hide(p + c->amount));
  if (c->how == 1) free_in_thread(hide(p + c->amount));
}

// In front of a block: what a program does that keeps a header before what it gives out, and forgets which is
// which.
static void before(const case_t* c) {
  keep_neighbours(c->size);
  char* p = keep(c->size);
  mi_free(hide(p - c->amount));
}

// A page's last bytes, where no whole block fits; a block that was never handed out.
static void page_end(const case_t* c) {
  char* p = keep(c->size);
  keep_neighbours(c->size);
  char* page = (char*)((uintptr_t)p & ~(uintptr_t)0xFFFF);
  char* at = c->how == 0 ? page + 65536 - 16 : page + (65536 / c->size - 1) * c->size;
  mi_free(hide(at));
}

// The start that the allocator knows of a block that it handed out at an offset.
static void aligned_at(const case_t* c) {
  char* p = keep_this(mi_malloc_aligned_at(400, 256, 24), 400);
  keep_this(mi_malloc_aligned_at(400, 256, 24), 400);
  mi_free(hide(p + c->amount));
}

static long static_data[8192];

enum {
  ON_STACK,
  STATIC,
  STATIC_FIRST,
  CODE,
  READ_ONLY,
  FOREIGN,
  FOREIGN_INSIDE,
  FOREIGN_LARGE,
  IN_ARENA,
  RELEASED
};

static void elsewhere(const case_t* c) {
  if (c->how == STATIC_FIRST) {
    forbid(static_data, sizeof(static_data), "static data");
    mi_free(hide(static_data));
    return;
  }
  char* block = keep(c->size);
  keep_neighbours(c->size);
  long on_stack[64] = {0};
  char* foreign = malloc(c->how == FOREIGN_LARGE ? 1 << 20 : 128);
  forbid(on_stack, sizeof(on_stack), "on the stack");
  forbid(static_data, sizeof(static_data), "static data");
  forbid(foreign, 128, "the C runtime's");
  switch (c->how) {
  case ON_STACK:
    mi_free(hide(on_stack));
    break;
  case STATIC:
    mi_free(hide(static_data));
    break;
  case CODE:
    mi_free(hide((void*)(uintptr_t)elsewhere));
    break;
  case READ_ONLY:
    mi_free(hide("a string literal"));
    break;
  case FOREIGN:
  case FOREIGN_LARGE:
    mi_free(hide(foreign));
    break;
  case FOREIGN_INSIDE:
    mi_free(hide(foreign + 16));
    break;
  case IN_ARENA: // memory that is the allocator's, but no block: far behind the blocks there are
    mi_free(hide(block + 200 * 1024 * 1024));
    break;
  case RELEASED: {
    char* huge = mi_malloc(HUGE);
    mi_free(huge);
    mi_collect(true);
    mi_free(hide(huge + 65536));
    break;
  }
  }
  for (int i = 0; i < 64; i++) {
    if (*(volatile long*)&on_stack[i] != 0) harm_unless_noticed("free wrote to the stack");
  }
  for (size_t i = 0; i < sizeof(static_data) / sizeof(static_data[0]); i++) {
    if (*(volatile long*)&static_data[i] != 0) harm_unless_noticed("free wrote to static data");
  }
}

// Addresses where nothing is.
static void wild(const case_t* c) {
  static const uint64_t addresses[] = {
      8, 0x12340, 0x4141414141414140, 0xFFFFFFFFFFFFFFF0, 0xFFFF800000000000, 0x7FFFFFFFFFF0};
  keep_neighbours(c->size);
  mi_free(hide((void*)(uintptr_t)addresses[c->how]));
}

// The records of the allocator itself, as far as an address tells where they are: the slices before the first
// page.
static void metadata(const case_t* c) {
  char* p = keep(c->size);
  keep_neighbours(c->size);
  mi_free(hide((char*)((uintptr_t)p & ~(uintptr_t)0xFFFF) - 65536 + c->amount));
}

static const case_t cases[] = {
    {"interior_small_1", interior, SMALL, 1, 0},
    {"interior_small_8", interior, SMALL, 8, 0},
    {"interior_small_16", interior, SMALL, 16, 0},
    {"interior_kilo_512", interior, KILO, 512, 0},
    {"interior_medium_16", interior, MEDIUM, 16, 0},
    {"interior_medium_far", interior, MEDIUM, 20464, 0},
    {"interior_large_16", interior, LARGE, 16, 0},
    {"interior_large_far", interior, LARGE, 131072, 0},
    {"interior_huge_16", interior, HUGE, 16, 0},
    {"interior_huge_4096", interior, HUGE, 4096, 0},
    {"interior_huge_far", interior, HUGE, 2 << 20, 0},
    {"interior_remote_1", interior, SMALL, 1, 1},
    {"interior_remote_8", interior, SMALL, 8, 1},
    {"interior_remote_16", interior, SMALL, 16, 1},
    {"interior_remote_large", interior, LARGE, 4096, 1},
    {"interior_remote_huge", interior, HUGE, 4096, 1},
    {"before_8", before, SMALL, 8, 0},
    {"before_16", before, SMALL, 16, 0},
    {"before_16_huge", before, HUGE, 16, 0},
    {"tail_of_page", page_end, 1280, 0, 0},
    {"never_allocated", page_end, 1280, 0, 1},
    {"never_allocated_small", page_end, SMALL, 0, 1},
    {"aligned_at_inside", aligned_at, SMALL, 16, 0},
    {"aligned_at_before", aligned_at, SMALL, -16, 0},
    {"stack", elsewhere, SMALL, 0, ON_STACK},
    {"static", elsewhere, SMALL, 0, STATIC},
    {"static_first_call", elsewhere, SMALL, 0, STATIC_FIRST},
    {"code", elsewhere, SMALL, 0, CODE},
    {"read_only", elsewhere, SMALL, 0, READ_ONLY},
    {"foreign", elsewhere, SMALL, 0, FOREIGN},
    {"foreign_inside", elsewhere, SMALL, 0, FOREIGN_INSIDE},
    {"foreign_large", elsewhere, SMALL, 0, FOREIGN_LARGE},
    {"arena_without_page", elsewhere, SMALL, 0, IN_ARENA},
    {"released_inside", elsewhere, SMALL, 0, RELEASED},
    {"metadata", metadata, SMALL, 4096, 0},
    {"wild_8", wild, SMALL, 0, 0},
    {"wild_low", wild, SMALL, 0, 1},
    {"wild_letters", wild, SMALL, 0, 2},
    {"wild_last", wild, SMALL, 0, 3},
    {"wild_kernel", wild, SMALL, 0, 4},
    {"wild_high", wild, SMALL, 0, 5},
};
const group_t group_bad_free = GROUP("bad free", cases);
