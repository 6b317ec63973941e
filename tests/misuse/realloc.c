// realloc and usable_size of what is no block in use. `amount`: offset into the block, or the new size in
// `how`'s terms.
#include "misuse.h"
#include "support/test_thread.h"

#include <stdlib.h>

enum { FREED, FREED_SAME_SIZE, FREED_REMOTELY, INSIDE, HUGE_INSIDE, FOREIGN, ON_STACK, STATIC, NEVER };
enum { REALLOC, RECALLOC, REALLOCF, EXPAND, ALIGNED, USABLE };

#define CALL(on, function) ((on)*16 + (function))

static long static_data[64];

static void misused(const case_t* c) {
  int on = c->how / 16, function = c->how % 16;
  keep_neighbours(c->size);
  char* p = hide(mi_malloc(c->size));
  char* next = keep(c->size);
  long on_stack[64] = {0};
  char* foreign = malloc(256);
  memset(foreign, 0, 256);
  forbid(on_stack, sizeof(on_stack), "on the stack");
  forbid(static_data, sizeof(static_data), "static data");
  forbid(foreign, 256, "the C runtime's");
  bool is_freed = on <= FREED_REMOTELY;
  if (on == FREED_REMOTELY)
    free_in_thread(p);
  else if (is_freed)
    mi_free(p);
  else
    keep_this(p, c->size);
  char* at = on == INSIDE || on == HUGE_INSIDE ? p + c->amount
             : on == FOREIGN                   ? foreign
             : on == ON_STACK                  ? (char*)on_stack
             : on == STATIC                    ? (char*)static_data
             : on == NEVER ? (char*)((uintptr_t)next & ~(uintptr_t)0xFFFF) + 65536 - c->size
                           : p;
  at = hide(at);
  size_t left = is_freed ? 0 : on == INSIDE || on == HUGE_INSIDE ? c->size - (size_t)c->amount : 0;
  size_t wanted = on == FREED_SAME_SIZE || on == INSIDE || on == HUGE_INSIDE ? c->size : c->size * 2;
  char* result = NULL;
  switch (function) {
  case REALLOC:
    result = mi_realloc(at, wanted);
    break;
  case RECALLOC:
    result = mi_recalloc(at, 1, wanted);
    break;
  case REALLOCF:
    result = mi_reallocf(at, wanted);
    break;
  case ALIGNED:
    result = mi_realloc_aligned(at, wanted, 64);
    break;
  case EXPAND:
    result = mi_expand(at, c->size);
    break;
  case USABLE: {
    size_t usable = mi_usable_size(at);
    if (usable == 0)
      refused();
    else if (usable > left && !is_freed &&
             on != NEVER) // nobody gets hurt who looks at memory that is nobody's
      harm("usable_size tells of %zu bytes where %zu are left of the block", usable, left);
    return;
  }
  }
  if (result == NULL) {
    refused();
  } else if (result == at) { // the program believes that it has `wanted` bytes here
    if (is_freed || on == NEVER)
      keep_this(result, c->size); // malloc gives it to somebody else as well, or not
    else if (on != FOREIGN && on != STATIC && on != ON_STACK)
      harm("%zu bytes are granted where %zu are left of the block", wanted, left);
    else
      harm("realloc grants memory that isn't the allocator's");
  } else if (is_freed) { // moved: then the old one was freed a second time
    keep_this(result, c->size);
  } else { // moved out of a block in use
    keep_this(result, c->size);
  }
}

static const case_t cases[] = {
    {"realloc_freed", misused, SMALL, 0, CALL(FREED, REALLOC)},
    {"realloc_freed_same_size", misused, SMALL, 0, CALL(FREED_SAME_SIZE, REALLOC)},
    {"realloc_freed_large", misused, LARGE, 0, CALL(FREED_SAME_SIZE, REALLOC)},
    {"realloc_freed_huge", misused, HUGE, 0, CALL(FREED, REALLOC)},
    {"realloc_freed_remotely", misused, SMALL, 0, CALL(FREED_REMOTELY, REALLOC)},
    {"realloc_inside", misused, SMALL, 16, CALL(INSIDE, REALLOC)},
    {"realloc_inside_large", misused, LARGE, 4096, CALL(INSIDE, REALLOC)},
    {"realloc_inside_huge", misused, HUGE, 4096, CALL(HUGE_INSIDE, REALLOC)},
    {"realloc_inside_huge_far", misused, HUGE, 1 << 20, CALL(HUGE_INSIDE, REALLOC)},
    {"realloc_foreign", misused, SMALL, 0, CALL(FOREIGN, REALLOC)},
    {"realloc_stack", misused, SMALL, 0, CALL(ON_STACK, REALLOC)},
    {"realloc_static", misused, SMALL, 0, CALL(STATIC, REALLOC)},
    {"realloc_never_allocated", misused, 4096, 0, CALL(NEVER, REALLOC)},
    {"realloc_aligned_freed", misused, SMALL, 0, CALL(FREED, ALIGNED)},
    {"realloc_aligned_inside", misused, KILO, 512, CALL(INSIDE, ALIGNED)},
    {"recalloc_freed", misused, SMALL, 0, CALL(FREED, RECALLOC)},
    {"recalloc_inside", misused, SMALL, 16, CALL(INSIDE, RECALLOC)},
    {"reallocf_freed", misused, SMALL, 0, CALL(FREED, REALLOCF)},
    {"reallocf_foreign", misused, SMALL, 0, CALL(FOREIGN, REALLOCF)},
    {"expand_freed", misused, SMALL, 0, CALL(FREED, EXPAND)},
    {"expand_inside", misused, SMALL, 16, CALL(INSIDE, EXPAND)},
    {"usable_freed", misused, SMALL, 0, CALL(FREED, USABLE)},
    {"usable_freed_huge", misused, HUGE, 0, CALL(FREED, USABLE)},
    {"usable_inside", misused, SMALL, 16, CALL(INSIDE, USABLE)},
    {"usable_inside_huge", misused, HUGE, 4096, CALL(HUGE_INSIDE, USABLE)},
    {"usable_foreign", misused, SMALL, 0, CALL(FOREIGN, USABLE)},
    {"usable_stack", misused, SMALL, 0, CALL(ON_STACK, USABLE)},
    {"usable_never_allocated", misused, 4096, 0, CALL(NEVER, USABLE)},
};
const group_t group_realloc = GROUP("realloc, usable_size", cases);
