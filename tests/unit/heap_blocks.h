// What tests of heaps share: blocks of many sizes in a heap, and looks at a heap's lists.
#ifndef TESTS_UNIT_HEAP_BLOCKS_H
#define TESTS_UNIT_HEAP_BLOCKS_H

#include "support/check.h"
#include "support/test_data.h"
#include "support/test_thread.h"

#include "core/heaps/abandoned.h"
#include "core/heaps/theap_life.h"
#include "core/heaps/thread.h"
#include "core/report/counters.h"
#include "lifecycle/runtime.h"

#include <mimalloc.h>

enum { BLOCKS = 60, NO_THREAD = 0x7FFFFFF0 };
static const size_t sizes[] = {8, 16, 100, 1000, 5000, 9000, 20000, 70000, 300000, 700000};
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

static inline void* allocate(heap_t* heap, size_t size) {
  bool is_zero;
  theap_t* theap = runtime_heap_enter(heap);
  assert_non_null(theap);
  void* p = theap_allocate(theap, size, &is_zero);
  runtime_leave(theap);
  assert_non_null(p);
  assert_ptr_equal(heap_of(p), heap);
  return p;
}

typedef struct blocks_s {
  char* p[BLOCKS];
} blocks_t;

static inline size_t size_of(size_t i) { return sizes[i % SIZES]; }

static inline void fill(heap_t* heap, blocks_t* blocks) {
  for (size_t i = 0; i < BLOCKS; i++) {
    blocks->p[i] = allocate(heap, size_of(i));
    pattern_fill_sampled(blocks->p[i], size_of(i), i);
  }
}

static inline void check(const blocks_t* blocks) {
  for (size_t i = 0; i < BLOCKS; i++)
    if (blocks->p[i] != NULL)
      assert_int_equal(pattern_mismatch_sampled(blocks->p[i], size_of(i), i), SIZE_MAX);
}

static inline void free_from(blocks_t* blocks, size_t first, size_t step) {
  check(blocks);
  for (size_t i = first; i < BLOCKS; i += step) {
    mi_free(blocks->p[i]);
    blocks->p[i] = NULL;
  }
}

typedef struct counting_s {
  const heap_t* heap;
  size_t count;
} counting_t;

static inline bool count_page(page_t* page, void* arg) {
  counting_t* counting = arg;
  counting->count += counting->heap == NULL || page->heap == counting->heap;
  return true;
}

static inline size_t pages_in(subproc_t* subproc, const heap_t* heap) {
  counting_t counting = {heap, 0};
  arena_visit_pages(&subproc->arenas, &count_page, &counting);
  return counting.count;
}

// The list of a heap's pages holds what there is in the arenas.
static inline void check_pages(const heap_t* heap) {
  size_t count = 0;
  const page_t* previous = NULL;
  for (const page_t* page = heap->pages; page != NULL; previous = page, page = page->heap_next, count++) {
    assert_ptr_equal(page->heap, heap);
    assert_ptr_equal(page->heap_previous, previous);
    assert_true(page->owner != 0 && count < 10000);
  }
  assert_int_equal(count, pages_in(heap->subproc, heap));
}

static inline size_t theaps_in(const heap_t* heap) {
  size_t count = 0;
  const theap_t* previous = NULL;
  for (const theap_t* theap = heap->theaps; theap != NULL;
       previous = theap, theap = theap->heap_next, count++) {
    assert_ptr_equal(theap->heap, heap);
    assert_ptr_equal(theap->heap_previous, previous);
    assert_true(count < 1000);
  }
  return count;
}

static inline size_t heaps_in(const subproc_t* subproc) {
  size_t count = 0;
  const heap_t* previous = NULL;
  for (const heap_t* heap = subproc->heaps; heap != NULL; previous = heap, heap = heap->next, count++) {
    assert_ptr_equal(heap->subproc, subproc);
    assert_ptr_equal(heap->previous, previous);
    assert_true(heap_is_valid(heap) && count < 1000);
  }
  return count;
}

static inline size_t theap_records(void) {
  size_t count = 0;
  for (const theap_t* theap = theap_first(); theap != NULL; theap = theap->all_next) count++;
  return count;
}

static inline int set_up(void** state) {
  MI_UNUSED(state);
  mi_free(mi_malloc(8));
  mi_collect(true);
  bool is_clean = pages_in(subproc_main(), NULL) == 0 && heaps_in(subproc_main()) == 1;
  if (!is_clean)
    print_error("%zu pages, %zu heaps\n", pages_in(subproc_main(), NULL), heaps_in(subproc_main()));
  return is_clean ? 0 : -1;
}

static inline heap_t* make(void) {
  heap_t* heap = heap_new(subproc_main(), NULL);
  assert_non_null(heap);
  assert_true(heap_is_valid(heap));
  return heap;
}

#endif
