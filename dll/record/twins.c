#include "twins.h"

#include "base/bits.h"
#include "images.h"
#include "os/os.h"
#include "redirect/apply.h"

#if MI_64BIT
#define OPERATOR_NEW "??2@YAPEAX_K@Z"
#else
#define OPERATOR_NEW "??2@YAPAXI@Z"
#endif

enum {
#define TWIN(function, ...) NUMBER_##function,
#include "twins_table.h"
  TWIN_COUNT
};

static twin_event_t* event;
static twin_t twins[TWIN_COUNT];

// An export that calls another, or ends in it: the outer one's twin sees to it.
static MI_NOINLINE uintptr_t call(size_t number, const uintptr_t* all, const void* caller) {
  const twin_t* twin = &twins[number];
  const uintptr_t* arguments = all + twin->is_in_heap;
  return images_is_self((uintptr_t)caller) ? twin_pass(twin, arguments) : event(twin, arguments);
}

// There are many of these: they do no more than they must.
#define TWIN(function, ...)                                                                                  \
  static uintptr_t __cdecl twin_##function(uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d, uintptr_t e,  \
                                           uintptr_t f) {                                                    \
    const uintptr_t all[TWIN_ARGUMENTS] = {a, b, c, d, e, f};                                                \
    return call(NUMBER_##function, all, __builtin_return_address(0));                                        \
  }
#include "twins_table.h"

#define ROW(in_heap, text, function, kind, first, product, align, offset, zero, more)                        \
  {text, twin_##function, NULL, TWIN_##kind, first, product, align, offset, zero, more, in_heap},
static twin_t twins[TWIN_COUNT] = {
#define TWIN(function, ...)                  ROW(0, #function, function, __VA_ARGS__)
#define TWIN_IN_HEAP(function, ...)          ROW(1, #function, function, __VA_ARGS__)
#define TWIN_REDIRECTED(name, function, ...) ROW(0, name, function, __VA_ARGS__)
#include "twins_table.h"
};

size_t twin_size(const twin_t* twin, const uintptr_t* arguments) {
  size_t size = arguments[twin->first];
  if (twin->is_product && bits_multiply_overflows(size, arguments[twin->first + 1], &size)) return SIZE_MAX;
  return size;
}

// ---- our exports ----------------------------------------------------------------------------------------

static const char* install_exports(const void* self) {
  static plan_replacement_t table[TWIN_COUNT + 1];
  size_t count = 0;
  for (; count < NUMBER_redirected_malloc; count++)
    table[count] = (plan_replacement_t){twins[count].name, (const void*)(uintptr_t)twins[count].twin, false};
  plan_runtime_t* plan = os_reserve_and_commit(sizeof(*plan));
  if (plan == NULL) return "there is no memory for the plan";
  const char* problem = parse_image(self, SIZE_MAX, NULL, &plan->image);
  if (problem == NULL && !plan_resolve(plan, table, count)) problem = plan->problem;
  void* memory = problem != NULL ? NULL : apply_memory(plan->image.base, plan->image.size);
  if (problem == NULL && memory == NULL) problem = "there is no memory near it";
  if (problem == NULL && !plan_inline(plan, (uintptr_t)memory)) problem = plan->problem;
  if (problem == NULL) problem = apply_trampolines(plan);
  if (problem == NULL) {
    for (size_t i = 0; i < count; i++) {
      uint32_t rva = parse_export(&plan->image, twins[i].name);
      const plan_hook_t* hook = plan_find(plan, (uintptr_t)plan->image.base + rva);
      // Functions with the same code may have been made one by the linker: the first one's twin serves them all.
      twins[i].original = (twin_call_t*)plan_trampoline(plan, (size_t)(hook - plan->hooks));
    }
    problem = apply_jumps(plan, NULL); // nobody has called us yet
  }
  if (problem != NULL && memory != NULL) apply_memory_release(memory);
  return problem; // the plan stays, as do the jumps
}

// ---- what runtimes are redirected to --------------------------------------------------------------------

static bool equals(const char* a, const char* b) {
  while (*a != 0 && *a == *b) a++, b++;
  return *a == *b;
}

// The first function that a runtime's function is redirected to gets the first row of that name, and so on: there are
// two for malloc and realloc (redirect_table_for_recalloc).
static const void* twin_of(const char* name, const void* function) {
  for (size_t i = NUMBER_redirected_malloc; i < TWIN_COUNT; i++) {
    if (twins[i].original == NULL && equals(name, twins[i].name))
      twins[i].original = (twin_call_t*)(uintptr_t)function;
    if ((const void*)(uintptr_t)twins[i].original == function) return (const void*)(uintptr_t)twins[i].twin;
  }
  return function; // an export of ours: its jump leads to the twin
}

const char* twins_install(const void* self, twin_event_t* new_event) {
  event = new_event;
  return install_exports(self);
}

const plan_replacement_t* twins_of(const plan_replacement_t* replacements) {
  static plan_replacement_t tables[2][PLAN_HOOKS_MAX + 1];
  static size_t table_count;
  plan_replacement_t* table = tables[table_count++];
  for (size_t i = 0; replacements[i].name != NULL && i < PLAN_HOOKS_MAX; i++) {
    table[i] = replacements[i];
    table[i].function = twin_of(table[i].name, table[i].function);
  }
  return table;
}
