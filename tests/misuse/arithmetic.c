// Sizes that overflow and alignments that are none: the call must return NULL (or an error) and leave all as
// it was.
#include "misuse.h"

enum {
  MALLOC,
  CALLOC,
  CALLOC_HALF,
  MALLOCN,
  REALLOC,
  REALLOCN,
  REALLOCARRAY,
  RECALLOC,
  ZALLOC,
  STRNDUP,
  ALIGNED_SIZE,
  ALIGNED_ZERO,
  ALIGNED_THREE,
  ALIGNED_HUGE,
  ALIGNED_AT_OFFSET,
  ALIGNED_AT_SIZE,
  MEMALIGN_THREE,
  POSIX_MEMALIGN,
  POSIX_MEMALIGN_SIZE,
  PVALLOC,
  REALLOC_ALIGNED,
  CALLOC_ALIGNED,
  NEW_NOTHROW,
  UMALLOC,
  HALF
};

static size_t much(size_t size) { // the compiler would warn
  __asm__ volatile("" : "+r"(size));
  return size;
}

static void call(const case_t* c) {
  keep_neighbours(SMALL);
  char* p = keep(SMALL);
  char* result = NULL;
  void* out = p;
  int error = 1;
  size_t size, most = much(SIZE_MAX), half = much((size_t)1 << (sizeof(size_t) * 4));
  switch (c->how) {
  case MALLOC:
    result = mi_malloc(most - (size_t)c->amount);
    break;
  case HALF:
    result = mi_malloc(most / 2 + 1);
    break;
  case CALLOC:
    result = mi_calloc(most, 2);
    break;
  case CALLOC_HALF:
    result = mi_calloc(half, half + 1);
    break; // the product's low word is small
  case MALLOCN:
    result = mi_mallocn(half, half + 1);
    break;
  case REALLOC:
    result = mi_realloc(p, most - (size_t)c->amount);
    break;
  case REALLOCN:
    result = mi_reallocn(p, half, half + 1);
    break;
  case REALLOCARRAY:
    result = mi_reallocarray(p, half, half + 1);
    break;
  case RECALLOC:
    result = mi_recalloc(p, half, half + 1);
    break;
  case ZALLOC:
    result = mi_zalloc(most - 8);
    break;
  case STRNDUP: {
    char* copy = mi_strndup("text", most); // fine: as long as the text
    if (copy == NULL || strcmp(copy, "text") != 0) harm("strndup of a short text fails");
    return;
  }
  case ALIGNED_SIZE:
    result = mi_malloc_aligned(most - 8, 64);
    break;
  case ALIGNED_ZERO:
    result = mi_malloc_aligned(100, much(0));
    break;
  case ALIGNED_THREE:
    result = mi_malloc_aligned(100, much(24));
    break;
  case ALIGNED_HUGE:
    result = mi_malloc_aligned(100, most / 2 + 1);
    break;
  case ALIGNED_AT_OFFSET: { // any offset is fine if only the alignment comes out
    char* q = mi_malloc_aligned_at(100, 64, most - 7);
    if (q == NULL) return;
    if (((uintptr_t)q + most - 7) % 64 != 0) harm("not aligned at its offset");
    keep_this(q, 100);
    return;
  }
  case ALIGNED_AT_SIZE:
    result = mi_malloc_aligned_at(most - 70, 64, 8);
    break;
  case MEMALIGN_THREE:
    result = mi_memalign(much(3), 100);
    break;
  case POSIX_MEMALIGN:
    error = mi_posix_memalign(&out, much(24), 100);
    break;
  case POSIX_MEMALIGN_SIZE:
    error = mi_posix_memalign(&out, 64, most - 8);
    break;
  case PVALLOC:
    result = mi_pvalloc(most - 8);
    break;
  case REALLOC_ALIGNED:
    result = mi_realloc_aligned(p, most - 8, 64);
    break;
  case CALLOC_ALIGNED:
    result = mi_calloc_aligned(half, half + 1, 64);
    break;
  case NEW_NOTHROW:
    result = mi_new_nothrow(most - 8);
    break;
  case UMALLOC:
    result = mi_umalloc(most - 8, &size);
    break;
  default:
    no_case("no such call");
  }
  if (result != NULL) harm("a block of %zu bytes for a request that can't be met", mi_usable_size(result));
  if (error == 0 || out != p) harm("success for a request that can't be met");
  refused();
}

static const case_t cases[] = {
    {"malloc_max", call, SMALL, 0, MALLOC},
    {"malloc_max_7", call, SMALL, 7, MALLOC},
    {"malloc_max_70000", call, SMALL, 70000, MALLOC},
    {"malloc_half", call, SMALL, 0, HALF},
    {"calloc_max", call, SMALL, 0, CALLOC},
    {"calloc_product", call, SMALL, 0, CALLOC_HALF},
    {"mallocn_product", call, SMALL, 0, MALLOCN},
    {"realloc_max", call, SMALL, 0, REALLOC},
    {"realloc_max_100", call, SMALL, 100, REALLOC},
    {"reallocn_product", call, SMALL, 0, REALLOCN},
    {"reallocarray_product", call, SMALL, 0, REALLOCARRAY},
    {"recalloc_product", call, SMALL, 0, RECALLOC},
    {"zalloc_max", call, SMALL, 0, ZALLOC},
    {"strndup_max", call, SMALL, 0, STRNDUP},
    {"aligned_max", call, SMALL, 0, ALIGNED_SIZE},
    {"aligned_zero", call, SMALL, 0, ALIGNED_ZERO},
    {"aligned_no_power", call, SMALL, 0, ALIGNED_THREE},
    {"aligned_too_much", call, SMALL, 0, ALIGNED_HUGE},
    {"aligned_at_offset_max", call, SMALL, 0, ALIGNED_AT_OFFSET},
    {"aligned_at_max", call, SMALL, 0, ALIGNED_AT_SIZE},
    {"memalign_no_power", call, SMALL, 0, MEMALIGN_THREE},
    {"posix_memalign_no_power", call, SMALL, 0, POSIX_MEMALIGN},
    {"posix_memalign_max", call, SMALL, 0, POSIX_MEMALIGN_SIZE},
    {"pvalloc_max", call, SMALL, 0, PVALLOC},
    {"realloc_aligned_max", call, SMALL, 0, REALLOC_ALIGNED},
    {"calloc_aligned_product", call, SMALL, 0, CALLOC_ALIGNED},
    {"new_nothrow_max", call, SMALL, 0, NEW_NOTHROW},
    {"umalloc_max", call, SMALL, 0, UMALLOC},
};
const group_t group_arithmetic = GROUP("arithmetic", cases);
