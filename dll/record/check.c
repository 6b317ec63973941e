#include "check.h"

#include "api/alloc_fast.h"
#include "base/atomics.h"
#include "base/bits.h"
#include "crt_foreign.h"
#include "faults.h"
#include "settings.h"
#include "stack.h"
#include "stacks.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#define BLOCKS_IN_WINE 24000
#define MEMORY_MIB     (MI_64BIT ? 16 * 1024 : 512) // of address space

static struct {
  uint32_t depth;
  size_t smallest, largest; // sizes that are guarded
  uint32_t every;           // one in so many
  uint32_t count;
  uint64_t unguarded;
} check;

bool check_start(uint32_t depth, void* text_file) {
  check.depth = depth;
  check.smallest = (size_t)setting_number("MIMALLOC_CHECK_MIN", 0, SIZE_MAX / 2, 0);
  check.largest = (size_t)setting_number("MIMALLOC_CHECK_MAX", 0, SIZE_MAX / 2, SIZE_MAX / 2);
  check.every = (uint32_t)setting_number("MIMALLOC_CHECK_EVERY", 1, UINT32_MAX, 1);
  size_t memory =
      (size_t)setting_number("MIMALLOC_CHECK_MEMORY", 64, MI_64BIT ? 1024 * 1024 : 1024, MEMORY_MIB) * MI_MIB;
  faults_start(text_file);
  HMODULE ntdll = GetModuleHandleA("ntdll.dll");
  bool is_wine = ntdll != NULL && GetProcAddress(ntdll, "wine_get_version") != NULL;
  uint32_t most =
      (uint32_t)setting_number("MIMALLOC_CHECK_BLOCKS", 1, UINT32_MAX, is_wine ? BLOCKS_IN_WINE : UINT32_MAX);
  return guard_start(memory, setting_is_on("MIMALLOC_CHECK_EXACT"), most);
}

static MI_NOINLINE uint32_t stack_here(void) {
  frame_t frames[STACK_FRAMES_MAX];
  return stacks_add(frames, stack_capture(frames, check.depth));
}

static bool is_chosen(size_t size) {
  if (size < check.smallest || size > check.largest) return false;
  return check.every == 1 || atomic_add_relaxed(&check.count, 1) % check.every == 0;
}

bool check_owns(const void* p) {
  const guard_run_t* run = guard_is_inside(p) ? guard_find((uintptr_t)p) : NULL;
  return run != NULL && run->address == (uintptr_t)p && run->state == GUARD_LIVE;
}

// ---- twins ----------------------------------------------------------------------------------------------

// NULL: let the original do it, or refuse it.
static void* allocate(const twin_t* twin, const uintptr_t* arguments) {
  if (twin->is_in_heap) return NULL; // it must end with its heap
  size_t size = twin_size(twin, arguments);
  size_t alignment = twin->align == TWIN_NONE ? 0 : arguments[twin->align];
  bool has_offset = twin->offset != TWIN_NONE && arguments[twin->offset] != 0;
  if (has_offset || !is_chosen(size) || (alignment != 0 && !bits_is_power_of_two(alignment))) return NULL;
  void* p = guard_allocate(size, alignment, twin->is_zero, stack_here());
  if (p == NULL) atomic_add_relaxed(&check.unguarded, 1);
  return p;
}

uint64_t check_unguarded(void) { return atomic_get_relaxed(&check.unguarded); }

// The run of a block that the program gives to us; NULL, after a message, when it isn't a live block's start.
static guard_run_t* run_of(uintptr_t address) {
  guard_run_t* run = guard_find(address);
  if (run == NULL || run->address == 0) {
    faults_add(FAULT_WILD_FREE, address, stack_here(), NULL, 0);
    return NULL;
  }
  intptr_t offset = (intptr_t)(address - run->address);
  if (run->state == GUARD_FREED)
    faults_add(FAULT_DOUBLE_FREE, address, stack_here(), run, offset);
  else if (offset != 0)
    faults_add(FAULT_INSIDE_FREE, address, stack_here(), run, offset);
  else
    return run;
  return NULL;
}

static void release(guard_run_t* run) {
  intptr_t where;
  uint32_t stack = stack_here();
  if (guard_is_overwritten(run, &where)) faults_add(FAULT_OVERWRITTEN, run->address, stack, run, where);
  if (!guard_free(run, stack)) faults_add(FAULT_DOUBLE_FREE, run->address, stack, run, 0);
}

static uintptr_t free_block(const twin_t* twin, const uintptr_t* arguments) {
  void* p = (void*)arguments[0];
  foreign_block_t found;
  if (guard_is_inside(p)) {
    guard_run_t* run = run_of(arguments[0]);
    if (run != NULL) release(run);
    return 0;
  }
  bool is_somebodys = p == NULL || block_is_ours(p) || os_is_exiting() ||
                      foreign_find(p, FOREIGN_PLAIN, &found) || foreign_find(p, FOREIGN_ALIGNED, &found);
  if (is_somebodys) return twin_pass(twin, arguments);
  faults_add(FAULT_WILD_FREE, arguments[0], stack_here(), NULL, 0);
  return 0;
}

// The new block of a resize: guarded, or as the original gives it for no old block, which also asks new handlers.
static void* allocate_or_plain(const twin_t* twin, const uintptr_t* arguments) {
  void* p = allocate(twin, arguments);
  if (p != NULL) return p;
  if (twin->kind == TWIN_OUT_RESIZE) { // its first argument is something else
    size_t size = twin_size(twin, arguments);
    return size > PTRDIFF_MAX ? NULL : block_allocate(size, false);
  }
  uintptr_t fresh[TWIN_ARGUMENTS];
  mem_copy(fresh, arguments - twin->is_in_heap, sizeof(fresh));
  fresh[twin->is_in_heap] = 0;
  return (void*)twin_pass(twin, fresh + twin->is_in_heap);
}

static uintptr_t resize(const twin_t* twin, const uintptr_t* arguments) {
  void* old = (void*)arguments[0];
  if (old == NULL) {
    void* p = allocate(twin, arguments);
    return p != NULL ? (uintptr_t)p : twin_pass(twin, arguments);
  }
  if (!guard_is_inside(old)) return twin_pass(twin, arguments);
  guard_run_t* run = run_of(arguments[0]);
  if (run == NULL) return 0;
  size_t size = twin_size(twin, arguments);
  if (size == 0 && twin->more == 1) {
    release(run);
    return 0;
  }
  void* p = allocate_or_plain(twin, arguments);
  if (p != NULL) mem_copy(p, old, size < run->size ? size : run->size);
  if (p != NULL || twin->more == 2) release(run);
  return (uintptr_t)p;
}

static uintptr_t out_resize(const twin_t* twin, const uintptr_t* arguments) {
  uintptr_t* block = (uintptr_t*)arguments[0];
  if (block == NULL || (*block != 0 && !guard_is_inside((void*)*block))) return twin_pass(twin, arguments);
  uintptr_t inner[TWIN_ARGUMENTS] = {*block, arguments[1], arguments[2]};
  uintptr_t p = *block == 0 ? (uintptr_t)allocate(twin, inner) : resize(twin, inner);
  if (p == 0) return *block == 0 ? twin_pass(twin, arguments) : 12; // ENOMEM
  *block = p;
  return 0;
}

static uintptr_t new_block(const twin_t* twin, const uintptr_t* arguments) {
  void* p = allocate(twin, arguments);
  if (p == NULL) return twin_pass(twin, arguments);
  if (twin->more != TWIN_NONE && arguments[twin->more] != 0)
    *(size_t*)arguments[twin->more] = twin_size(twin, arguments);
  return (uintptr_t)p;
}

uintptr_t check_call(const twin_t* twin, const uintptr_t* arguments, bool is_taken) {
  MI_UNUSED(is_taken);
  void* p;
  switch (twin->kind) {
  case TWIN_NEW:
    return new_block(twin, arguments);
  case TWIN_FREE:
    return free_block(twin, arguments);
  case TWIN_RESIZE:
    return resize(twin, arguments);
  case TWIN_OUT_RESIZE:
    return out_resize(twin, arguments);
  case TWIN_OUT:
    p = arguments[0] == 0 ? NULL : allocate(twin, arguments);
    if (p == NULL) return twin_pass(twin, arguments);
    *(void**)arguments[0] = p;
    return 0;
  case TWIN_SIZE:
    if (!guard_is_inside((void*)arguments[0])) return twin_pass(twin, arguments);
    return check_owns((void*)arguments[0]) ? guard_find(arguments[0])->size : 0;
  case TWIN_EXPAND:
    if (!guard_is_inside((void*)arguments[0])) return twin_pass(twin, arguments);
    return check_owns((void*)arguments[0]) && arguments[1] <= guard_find(arguments[0])->size ? arguments[0]
                                                                                             : 0;
  case TWIN_OWNS:
    return check_owns((void*)arguments[0]) || (twin_pass(twin, arguments) & 0xFF) != 0;
  default:
    return twin_pass(twin, arguments);
  }
}

// ---- the end --------------------------------------------------------------------------------------------

static void look_at(const guard_run_t* run) {
  intptr_t where;
  if (run->state == GUARD_LIVE && guard_is_overwritten(run, &where))
    faults_add(FAULT_OVERWRITTEN, run->address, 0, run, where);
}

void check_end(void) {
  guard_visit(look_at);
  faults_say_end(check_unguarded());
}

// ---- exceptions -----------------------------------------------------------------------------------------

static uint32_t stack_of(const CONTEXT* context) {
  frame_t frames[STACK_FRAMES_MAX];
#if defined(__x86_64__)
  uintptr_t registers[16] = {context->Rax, context->Rcx, context->Rdx, context->Rbx,
                             context->Rsp, context->Rbp, context->Rsi, context->Rdi,
                             context->R8,  context->R9,  context->R10, context->R11,
                             context->R12, context->R13, context->R14, context->R15};
  uintptr_t pc = context->Rip;
#elif defined(__aarch64__)
  uintptr_t registers[16] = {context->Fp};
  uintptr_t pc = context->Pc;
#else
  uintptr_t registers[16] = {[4] = context->Esp};
  uintptr_t pc = context->Eip;
#endif
  return stacks_add(frames, stack_walk(registers, pc, frames, check.depth));
}

bool check_exception(const void* pointers_) {
  const EXCEPTION_POINTERS* pointers = pointers_;
  const EXCEPTION_RECORD* exception = pointers->ExceptionRecord;
  if (exception->NumberParameters < 2) return false;
  uintptr_t address = exception->ExceptionInformation[1];
  const guard_run_t* run = guard_is_inside((const void*)address) ? guard_find(address) : NULL;
  if (run == NULL || run->address == 0) return false;
  fault_kind_t kind = exception->ExceptionInformation[0] == 0 ? FAULT_READ : FAULT_WRITE;
  faults_add(kind, address, stack_of(pointers->ContextRecord), run, (intptr_t)(address - run->address));
  return true;
}
