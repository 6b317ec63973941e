// Visiting areas and blocks. The core's areas are the public ones, field by field.
#include "api/api_types.h"
#include "core/report/message.h"
#include "core/report/options.h"

#define SAME(ours, theirs)                                                                                   \
  _Static_assert(offsetof(heap_area_t, ours) == offsetof(mi_heap_area_t, theirs), "areas differ in " #ours)
SAME(blocks, blocks);
SAME(reserved, reserved);
SAME(committed, committed);
SAME(used, used);
SAME(block_size, block_size);
SAME(full_block_size, full_block_size);
SAME(page, reserved1);
_Static_assert(sizeof(heap_area_t) == sizeof(mi_heap_area_t), "areas differ in size");

typedef struct visitor_s {
  mi_block_visit_fun* function;
  void* arg;
} visitor_t;

static bool visit_one(heap_t* heap, const heap_area_t* area, void* block, size_t block_size, void* arg) {
  const visitor_t* visitor = (const visitor_t*)arg;
  return visitor->function(heap_to(heap), (const mi_heap_area_t*)area, block, block_size, visitor->arg);
}

static bool visit(heap_t* heap, heap_scope_t scope, theap_t* theap, bool blocks, mi_block_visit_fun* function,
                  void* arg) {
  if (function == NULL) return false;
  visitor_t visitor = {function, arg};
  return heap_visit(heap, scope, theap, blocks, &visit_one, &visitor);
}

static bool may_visit_abandoned(void) {
  if (option_is_enabled(option_visit_abandoned)) return true;
  message_warning(
      "visiting abandoned blocks needs the option visit_abandoned (MIMALLOC_VISIT_ABANDONED=1)\n");
  return false;
}

bool mi_heap_visit_blocks(mi_heap_t* heap, bool visit_blocks, mi_block_visit_fun* visitor, void* arg) {
  return visit(heap_or_main(heap), HEAP_ALL, NULL, visit_blocks, visitor, arg);
}

bool mi_heap_visit_abandoned_blocks(mi_heap_t* heap, bool visit_blocks, mi_block_visit_fun* visitor,
                                    void* arg) {
  if (!may_visit_abandoned()) return false;
  return visit(heap_or_main(heap), HEAP_ABANDONED, NULL, visit_blocks, visitor, arg);
}

bool mi_theap_visit_blocks(const mi_theap_t* theap, bool visit_blocks, mi_block_visit_fun* visitor,
                           void* arg) {
  theap_t* inner = theap_from(theap);
  return inner != NULL && visit(inner->heap, HEAP_THEAP, inner, visit_blocks, visitor, arg);
}

typedef struct abandoned_visit_s {
  bool blocks;
  mi_block_visit_fun* function;
  void* arg;
} abandoned_visit_t;

static bool visit_abandoned_of(heap_t* heap, void* arg) {
  const abandoned_visit_t* all = (const abandoned_visit_t*)arg;
  return visit(heap, HEAP_ABANDONED, NULL, all->blocks, all->function, all->arg);
}

bool mi_abandoned_visit_blocks(mi_subproc_id_t subproc_id, int heap_tag, bool visit_blocks,
                               mi_block_visit_fun* visitor, void* arg) {
  subproc_t* subproc = subproc_from(subproc_id);
  if (subproc == NULL || visitor == NULL || !may_visit_abandoned()) return false;
  if (heap_tag != -1 && heap_tag != 0) return true; // no block has such a tag
  abandoned_visit_t all = {visit_blocks, visitor, arg};
  return subproc_visit_heaps(subproc, &visit_abandoned_of, &all);
}

bool mi_unsafe_heap_page_is_under_utilized(mi_heap_t* heap, void* p, size_t perc_threshold) {
  return p != NULL && heap_page_is_under_utilized(heap_from(heap), p, perc_threshold);
}
