// Functions that stand in for those which give and take blocks, while something is recorded. Otherwise nothing leads
// here, and the functions are as they were compiled.
//
//   a program's mi_malloc ---- jump at mi_malloc's entry ----.
//   a C runtime's malloc ----- replacements for redirect ----+-- twin_mi_malloc -- record's event
//                                                            '----- original: trampoline into mi_malloc
//
// Our own exports are redirected by the engine that redirects the runtimes' functions. After images_start, which knows
// where our own code is.
#ifndef DLL_RECORD_TWINS_H
#define DLL_RECORD_TWINS_H

#include "base/bits.h"
#include "images.h"
#include "redirect/plan.h"

#define TWIN_ARGUMENTS 6 // more than a function has do no harm: the caller removes them

typedef enum twin_kind_e {
  TWIN_NEW,
  TWIN_TEXT,
  TWIN_RESIZE,
  TWIN_EXPAND,
  TWIN_FREE,
  TWIN_SIZE,
  TWIN_OUT,
  TWIN_OUT_TEXT,
  TWIN_OUT_RESIZE,
  TWIN_OWNS,
  TWIN_HEAP_DELETE,
  TWIN_HEAP_DESTROY,
  TWIN_SUBPROC_DESTROY
} twin_kind_t;

typedef uintptr_t __cdecl twin_call_t(uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d, uintptr_t e,
                                      uintptr_t f);

typedef uintptr_t __cdecl twin_short_call_t(uintptr_t a, uintptr_t b);

typedef struct twin_s { // see twins_table.h
  const char* name;
  void (*twin)(void);
  twin_call_t* original; // NULL: not installed
  uint8_t kind;          // twin_kind_t
  uint8_t first, is_product, align, offset, is_zero, more;
  uint8_t is_in_heap; // what comes before argument 0 is a heap's or theap's address
} twin_t;

#define TWIN_NONE 9 // no such argument

enum {
#define TWIN(function, ...) TWIN_NUMBER_##function,
#include "twins_table.h"
  TWIN_COUNT
};
extern twin_t twins[TWIN_COUNT];

// Those that are called most have a twin of their own (decide.c): functions of two arguments at most, and which of them is
// the size.
#if defined(__x86_64__)
#define TWINS_HAVE_QUICK 1
#define TWINS_QUICK(Q)                                                                                       \
  Q(mi_malloc, NEW, 0)                                                                                       \
  Q(mi_calloc, NEW, PRODUCT)                                                                                 \
  Q(mi_realloc, RESIZE, 1)                                                                                   \
  Q(mi_free, FREE, NONE)                                                                                     \
  Q(mi_new, NEW, 0)                                                                                          \
  Q(mi_crt_realloc, RESIZE, 1)                                                                               \
  Q(mi_crt_free, FREE, NONE)                                                                                 \
  Q(redirected_malloc, NEW, 0)                                                                               \
  Q(redirected_calloc, NEW, PRODUCT)                                                                         \
  Q(redirected_realloc, RESIZE, 1)                                                                           \
  Q(redirected_clean_malloc, NEW, 0)                                                                         \
  Q(redirected_clean_realloc, RESIZE, 1)                                                                     \
  Q(redirected_new, NEW, 0)
#define TWIN_QUICK_DECLARE(function, kind, size) uintptr_t twin_quick_##function(uintptr_t a, uintptr_t b);
TWINS_QUICK(TWIN_QUICK_DECLARE)
#else
#define TWINS_HAVE_QUICK 0
#define TWINS_QUICK(Q)
#endif

// What is decided about a call, before it is done.
#define TWIN_HANDLED ((uintptr_t)0)
#define TWIN_TAKEN   ((uintptr_t)1) // handled, too: a block that it allocates is to be recorded
#define TWIN_PASSED  ((uintptr_t)2) // it goes to `original` as it is

extern bool twins_are_sampled; // else all calls are TWIN_TAKEN

// What is called instead of `twin->original`, unless it was TWIN_PASSED.
// `arguments` are numbered as in twins_table.h.
typedef uintptr_t twin_event_t(const twin_t* twin, const uintptr_t* arguments, bool is_taken);

// From the twins alone: the function to be called instead, or TWIN_HANDLED, or TWIN_TAKEN. `all`: with the heap, if there is one.
uintptr_t twins_decide(const twin_t* twin, const uintptr_t* all);
uintptr_t twins_handle(const twin_t* twin, const uintptr_t* all, uintptr_t decided);

// Under the loader lock, before anybody can have called us. Returns NULL, or why our exports can't be replaced.
const char* twins_install(const void* self, bool are_sampled, twin_event_t* event);

// After twins_install, twice at most: `replacements` with twins instead of functions that aren't exported (those that
// are have jumps, which lead to theirs).
const plan_replacement_t* twins_of(const plan_replacement_t* replacements);

static inline uintptr_t twin_pass(const twin_t* twin, const uintptr_t* arguments) {
  const uintptr_t* all = arguments - twin->is_in_heap;
  return twin->original(all[0], all[1], all[2], all[3], all[4], all[5]);
}

// Bytes asked for; SIZE_MAX when the product overflows.
MI_INLINE size_t twin_product(size_t count, size_t size) {
  return bits_multiply_overflows(count, size, &size) ? SIZE_MAX : size;
}
MI_INLINE size_t twin_size(const twin_t* twin, const uintptr_t* arguments) {
  const uintptr_t* first = arguments + twin->first;
  return twin->is_product ? twin_product(first[0], first[1]) : first[0];
}

#endif
