#include "twins.h"

#include "os/os.h"
#include "redirect/apply.h"

#if MI_64BIT
#define OPERATOR_NEW "??2@YAPEAX_K@Z"
#else
#define OPERATOR_NEW "??2@YAPAXI@Z"
#endif

static twin_event_t* event;
_Static_assert(offsetof(twin_t, original) == 2 * sizeof(void*), "what is written by hand goes by this");

uintptr_t twins_handle(const twin_t* twin, const uintptr_t* all, uintptr_t decided) {
  return event(twin, all + twin->is_in_heap, decided == TWIN_TAKEN);
}

// There are many twins: each only says which one it is. What they have in common is written by hand, as no compiler makes a function
// that takes its arguments where the caller has them: x86 has all on the stack, one after the other, and so has x64 once the
// first four have been put into the room that the caller leaves for them. A function that is passed on to is called, not
// jumped to: what it calls must find us as its caller.
#if defined(__x86_64__)
__asm__(
    "  .text\n"
    "  .seh_proc twins_common\n"
    "twins_common:\n"       // rax: the twin
    "  movq (%rsp), %r10\n" // an export that calls another, or ends in it: the outer one's twin sees to it
    "  subq images_self(%rip), %r10\n"
    "  cmpq images_self_size(%rip), %r10\n"
    "  jb 2f\n"
    "  movq %rcx, 8(%rsp)\n"
    "  movq %rdx, 16(%rsp)\n"
    "  movq %r8, 24(%rsp)\n"
    "  movq %r9, 32(%rsp)\n"
    "  subq $0x38, %rsp\n"
    "  .seh_stackalloc 0x38\n"
    "  .seh_endprologue\n"
    "  movq %rax, 0x30(%rsp)\n"
    "  movq %rax, %rcx\n"
    "  leaq 0x40(%rsp), %rdx\n"
    "  call twins_decide\n"
    "  cmpq $1, %rax\n"
    "  jbe 1f\n"
    "  movq 0x60(%rsp), %rcx\n"
    "  movq 0x68(%rsp), %rdx\n"
    "  movq %rcx, 0x20(%rsp)\n"
    "  movq %rdx, 0x28(%rsp)\n"
    "  movq 0x40(%rsp), %rcx\n"
    "  movq 0x48(%rsp), %rdx\n"
    "  movq 0x50(%rsp), %r8\n"
    "  movq 0x58(%rsp), %r9\n"
    "  call *%rax\n"
    "  addq $0x38, %rsp\n"
    "  ret\n"
    "1:\n"
    "  movq 0x30(%rsp), %rcx\n"
    "  leaq 0x40(%rsp), %rdx\n"
    "  movq %rax, %r8\n"
    "  call twins_handle\n"
    "  addq $0x38, %rsp\n"
    "  ret\n"
    "2:\n"
    "  jmp *16(%rax)\n"
    "  .seh_endproc\n");
#define TWIN(function, ...)                                                                                  \
  __attribute__((naked)) static void twin_##function(void) {                                                 \
    __asm__("leaq %c0(%%rip), %%rax\n\tjmp twins_common" : : "i"(&twins[TWIN_NUMBER_##function]));           \
  }
#elif defined(__i386__)
__asm__("  .text\n"
        "_twins_common:\n" // eax: the twin
        "  movl (%esp), %edx\n"
        "  subl _images_self, %edx\n"
        "  cmpl _images_self_size, %edx\n"
        "  jb 2f\n"
        "  pushl %ebp\n"
        "  movl %esp, %ebp\n"
        "  pushl %eax\n"
        "  leal 8(%ebp), %edx\n"
        "  pushl %edx\n"
        "  pushl %eax\n"
        "  call _twins_decide\n"
        "  cmpl $1, %eax\n"
        "  jbe 1f\n"
        "  pushl 28(%ebp)\n"
        "  pushl 24(%ebp)\n"
        "  pushl 20(%ebp)\n"
        "  pushl 16(%ebp)\n"
        "  pushl 12(%ebp)\n"
        "  pushl 8(%ebp)\n"
        "  call *%eax\n"
        "  leave\n"
        "  ret\n"
        "1:\n"
        "  leal 8(%ebp), %edx\n"
        "  pushl %eax\n"
        "  pushl %edx\n"
        "  pushl -4(%ebp)\n"
        "  call _twins_handle\n"
        "  leave\n"
        "  ret\n"
        "2:\n"
        "  jmp *8(%eax)\n");
#define TWIN(function, ...)                                                                                  \
  __attribute__((naked)) static void twin_##function(void) {                                                 \
    __asm__("movl %0, %%eax\n\tjmp _twins_common" : : "i"(&twins[TWIN_NUMBER_##function]));                  \
  }
#else
#define TWIN(function, ...)                                                                                  \
  static uintptr_t twin_##function(uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d, uintptr_t e,          \
                                   uintptr_t f) {                                                            \
    const uintptr_t all[TWIN_ARGUMENTS] = {a, b, c, d, e, f};                                                \
    const twin_t* twin = &twins[TWIN_NUMBER_##function];                                                     \
    bool is_inner = images_is_self((uintptr_t)__builtin_return_address(0));                                  \
    uintptr_t decided = is_inner ? (uintptr_t)twin->original : twins_decide(twin, all);                      \
    if (decided <= TWIN_TAKEN) return twins_handle(twin, all, decided);                                      \
    return ((twin_call_t*)decided)(a, b, c, d, e, f);                                                        \
  }
#endif
#include "twins_table.h"

#define ROW(in_heap, text, function, kind, first, product, align, offset, zero, more)                        \
  {text,   (void (*)(void))twin_##function, NULL, TWIN_##kind, first, product, align, offset, zero, more,    \
   in_heap},
twin_t twins[TWIN_COUNT] = {
#define TWIN(function, ...)                  ROW(0, #function, function, __VA_ARGS__)
#define TWIN_IN_HEAP(function, ...)          ROW(1, #function, function, __VA_ARGS__)
#define TWIN_REDIRECTED(name, function, ...) ROW(0, name, function, __VA_ARGS__)
#include "twins_table.h"
};

// ---- our exports ----------------------------------------------------------------------------------------

static const char* install_exports(const void* self) {
  static plan_replacement_t table[TWIN_COUNT + 1];
  size_t count = 0;
  for (; count < TWIN_NUMBER_redirected_malloc; count++)
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
  for (size_t i = TWIN_NUMBER_redirected_malloc; i < TWIN_COUNT; i++) {
    if (twins[i].original == NULL && equals(name, twins[i].name))
      twins[i].original = (twin_call_t*)(uintptr_t)function;
    if ((const void*)(uintptr_t)twins[i].original == function) return (const void*)(uintptr_t)twins[i].twin;
  }
  return function; // an export of ours: its jump leads to the twin
}

const char* twins_install(const void* self, bool are_sampled, twin_event_t* new_event) {
  twins_are_sampled = are_sampled;
  event = new_event;
#define TAKE_QUICK(function, kind, size)                                                                     \
  twins[TWIN_NUMBER_##function].twin = (void (*)(void))twin_quick_##function;
  TWINS_QUICK(TAKE_QUICK)
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
