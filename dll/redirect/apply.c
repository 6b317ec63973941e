#include "apply.h"

#include "base/atomics.h"
#include "base/bits.h"
#include "base/memory.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#define GRANULARITY ((uintptr_t)64 * MI_KIB) // of reservations
#define PAGE        ((uintptr_t)4 * MI_KIB)  // of protection, on all processors that this is for
#define REACH       ((uintptr_t)0x7FFF0000)  // of a 32-bit displacement, with room for the instruction

// ---- memory near a module -------------------------------------------------------------------------------

static void* allocate_at(uintptr_t address, size_t size) {
  void* p = VirtualAlloc((void*)address, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  if (p != NULL && (uintptr_t)p != address) { // not documented to happen
    VirtualFree(p, 0, MEM_RELEASE);
    p = NULL;
  }
  return p;
}

// The first free room above `from` that ends below `limit`.
static void* allocate_above(uintptr_t from, uintptr_t limit, size_t size) {
  MEMORY_BASIC_INFORMATION info;
  uintptr_t next = from;
  while (next < limit && VirtualQuery((void*)next, &info, sizeof(info)) != 0) {
    uintptr_t end = (uintptr_t)info.BaseAddress + info.RegionSize, start = bits_align_up(next, GRANULARITY);
    if (info.State == MEM_FREE && start < end && end - start >= size && start + size <= limit) {
      void* p = allocate_at(start, size);
      if (p != NULL) return p;
    }
    if (end <= next) return NULL;
    next = end;
  }
  return NULL;
}

// The first free room below `from`, not below `limit`.
static void* allocate_below(uintptr_t from, uintptr_t limit, size_t size) {
  MEMORY_BASIC_INFORMATION info;
  uintptr_t next = from;
  while (next > limit && VirtualQuery((void*)(next - 1), &info, sizeof(info)) != 0) {
    uintptr_t base = (uintptr_t)info.BaseAddress;
    uintptr_t start = next >= size ? bits_align_down(next - size, GRANULARITY) : 0;
    if (info.State == MEM_FREE && start >= base && start >= limit && start != 0) {
      void* p = allocate_at(start, size);
      if (p != NULL) return p;
    }
    next = base;
  }
  return NULL;
}

void* apply_memory(const void* image, size_t image_size) {
  if (!MI_64BIT) return VirtualAlloc(NULL, PLAN_MEMORY_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  uintptr_t start = (uintptr_t)image, end = start + image_size;
  uintptr_t lowest = end > REACH ? end - REACH : GRANULARITY, highest = start + REACH;
  void* p = allocate_above(end, highest, PLAN_MEMORY_SIZE);
  return p != NULL ? p : allocate_below(start, lowest, PLAN_MEMORY_SIZE);
}

void apply_memory_release(void* memory) { VirtualFree(memory, 0, MEM_RELEASE); }

// ---- protection -----------------------------------------------------------------------------------------

#ifndef PAGE_TARGETS_NO_UPDATE
#define PAGE_TARGETS_NO_UPDATE 0x40000000
#endif

// Memory that becomes executable is open to all indirect calls, unless Control Flow Guard is told to leave its
// table of targets as it is. Systems before Windows 10 don't know that flag.
static bool protect_code(void* start, size_t size, DWORD protection, DWORD* old) {
  return VirtualProtect(start, size, protection | PAGE_TARGETS_NO_UPDATE, old) ||
         VirtualProtect(start, size, protection, old);
}

// Pages that were made writable, with what they were before.
typedef struct open_pages_s {
  size_t count;
  struct {
    uintptr_t page;
    DWORD protection;
  } pages[2 * PLAN_HOOKS_MAX];
} open_pages_t;

static bool open_page(open_pages_t* open, uintptr_t page, DWORD protection) {
  for (size_t i = 0; i < open->count; i++) {
    if (open->pages[i].page == page) return true;
  }
  DWORD old;
  if (!protect_code((void*)page, PAGE, protection, &old)) return false;
  open->pages[open->count].page = page;
  open->pages[open->count++].protection = old;
  return true;
}

static void close_pages(open_pages_t* open) {
  for (size_t i = 0; i < open->count; i++) {
    DWORD writable;
    protect_code((void*)open->pages[i].page, PAGE, open->pages[i].protection, &writable);
  }
  open->count = 0;
}

// ---- jumps ----------------------------------------------------------------------------------------------

const char* apply_trampolines(const plan_runtime_t* plan) {
  mem_fill((void*)plan->memory, 0xCC, PLAN_MEMORY_SIZE);
  for (size_t i = 0; i < plan->count; i++) {
    const plan_hook_t* hook = &plan->hooks[i];
    mem_copy((void*)plan_relay(plan, i), hook->relay, hook->relay_size);
    mem_copy((void*)plan_trampoline(plan, i), hook->move.trampoline, hook->move.size);
  }
  DWORD old;
  if (!protect_code((void*)plan->memory, PLAN_MEMORY_SIZE, PAGE_EXECUTE_READ, &old))
    return "the process may not make memory executable";
  FlushInstructionCache(GetCurrentProcess(), (void*)plan->memory, PLAN_MEMORY_SIZE);
  return NULL;
}

// Will the thread return into a function that no thread may be in?
static bool returns_into_exclusive(const plan_runtime_t* plan, const uintptr_t* stack, size_t word_count) {
  for (size_t i = 0; i < word_count; i++) {
    if (stack[i] - (uintptr_t)plan->image.base >= plan->image.size) continue;
    for (size_t k = 0; k < plan->count; k++) {
      const plan_hook_t* hook = &plan->hooks[k];
      if (plan_is_exclusive(plan, hook) && stack[i] > hook->entry && stack[i] - hook->entry < hook->body_size)
        return true;
    }
  }
  return false;
}

// A thread that is between the instructions about to be overwritten goes on in the trampoline.
static freeze_answer_t place(void* context, uintptr_t* address, const uintptr_t* stack, size_t word_count) {
  const plan_runtime_t* plan = context;
  if (returns_into_exclusive(plan, stack, word_count)) return FREEZE_LATER;
  if (*address - (uintptr_t)plan->image.base >= plan->image.size) return FREEZE_STAY;
  for (size_t i = 0; i < plan->count; i++) {
    const plan_hook_t* hook = &plan->hooks[i];
    uintptr_t offset = *address - hook->entry;
    if (offset == 0 || offset >= hook->body_size) continue; // at 0 it is about to run the jump instead
    if (plan_is_exclusive(plan, hook)) return FREEZE_LATER;
    if (offset >= PATCH_SIZE) continue;
    for (size_t k = 0; k < hook->move.count; k++) {
      if (hook->move.from[k] != offset) continue;
      *address = plan_trampoline(plan, i) + hook->move.to[k];
      return FREEZE_MOVE;
    }
    return FREEZE_LATER; // behind the end of a function that is shorter than the jump
  }
  return FREEZE_STAY;
}

static bool entries_are(const plan_runtime_t* plan, bool patched) {
  for (size_t i = 0; i < plan->count; i++) {
    const plan_hook_t* hook = &plan->hooks[i];
    const uint8_t* entry = (const uint8_t*)hook->entry;
    const uint8_t* expected = patched ? hook->patch : hook->original;
    for (unsigned k = 0; k < PATCH_SIZE; k++) {
      if (entry[k] != expected[k]) return false;
    }
  }
  return true;
}

bool apply_jumps_stand(const plan_runtime_t* plan) { return entries_are(plan, true); }

// Code must not be written by a function that may be among those written over, so not by memcpy.
static void write_jumps(const plan_runtime_t* plan) {
  for (size_t i = 0; i < plan->count; i++) {
    volatile uint8_t* entry = (volatile uint8_t*)plan->hooks[i].entry;
    for (unsigned k = 0; k < PATCH_SIZE; k++) entry[k] = plan->hooks[i].patch[k];
    FlushInstructionCache(GetCurrentProcess(), (const void*)plan->hooks[i].entry, PATCH_SIZE);
  }
}

static bool open_entries(open_pages_t* open, const plan_runtime_t* plan) {
  for (size_t i = 0; i < plan->count; i++) {
    uintptr_t first = bits_align_down(plan->hooks[i].entry, PAGE);
    uintptr_t last = bits_align_down(plan->hooks[i].entry + PATCH_SIZE - 1, PAGE);
    if (!open_page(open, first, PAGE_EXECUTE_READWRITE) || !open_page(open, last, PAGE_EXECUTE_READWRITE))
      return false;
  }
  return true;
}

const char* apply_jumps(const plan_runtime_t* plan, freeze_t* freeze) {
  open_pages_t open;
  open.count = 0;
  const char* problem = NULL;
  if (!open_entries(&open, plan)) {
    problem = "its code can't be made writable";
  } else if (freeze != NULL && !freeze_stop(freeze, place, (void*)(uintptr_t)plan)) {
    problem = "a thread stays in the code that would be overwritten";
  } else {
    if (entries_are(plan, false)) {
      write_jumps(plan);
    } else {
      problem = "its code is being changed by somebody else";
    }
    if (freeze != NULL) freeze_go(freeze);
  }
  close_pages(&open);
  return problem;
}

// ---- import slots ---------------------------------------------------------------------------------------

// Writable, and still executable if it was: some programs keep everything in one section.
static DWORD writable_form(const void* p) {
  MEMORY_BASIC_INFORMATION info;
  const DWORD executable = PAGE_EXECUTE | PAGE_EXECUTE_READ | PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY;
  bool is_code = VirtualQuery(p, &info, sizeof(info)) != 0 && (info.Protect & executable) != 0;
  return is_code ? PAGE_EXECUTE_READWRITE : PAGE_READWRITE;
}

static bool open_slot(apply_slot_t* slot) {
  DWORD old;
  if (!protect_code(slot->slot, sizeof(void*), writable_form(slot->slot), &old)) return false;
  slot->protection = old;
  return true;
}

// Backwards: the first one that was opened in a page knows what it was.
static void close_slots(const apply_slot_t* slots, size_t count) {
  while (count-- > 0) {
    DWORD writable;
    protect_code(slots[count].slot, sizeof(void*), slots[count].protection, &writable);
  }
}

static freeze_answer_t place_anywhere(void* context, uintptr_t* address, const uintptr_t* stack,
                                      size_t word_count) {
  MI_UNUSED(context);
  MI_UNUSED(address);
  MI_UNUSED(stack);
  MI_UNUSED(word_count);
  return FREEZE_STAY;
}

const char* apply_slots(apply_slot_t* slots, size_t count, freeze_t* freeze) {
  const char* problem = NULL;
  size_t opened = 0;
  while (opened < count && open_slot(&slots[opened])) opened++;
  if (opened < count) {
    problem = "an import table can't be made writable";
  } else if (freeze != NULL && !freeze_stop(freeze, place_anywhere, NULL)) {
    problem = "the threads can't be stopped";
  } else {
    for (size_t i = 0; i < count; i++)
      atomic_set_release(slots[i].slot, slots[i].new_value); // whole: aligned
    if (freeze != NULL) freeze_go(freeze);
  }
  close_slots(slots, opened);
  return problem;
}
