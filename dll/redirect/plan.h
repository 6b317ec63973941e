// What would have to be written to send a C runtime's functions to others, worked out without writing
// anything.
//
//   runtime      a C runtime DLL
//   replacement  the function that is to be called instead of one of a runtime's
//   entry        the first byte of the runtime's function, where a jump of PATCH_SIZE bytes goes
//   relay        near the runtime: jumps on to a replacement that is too far away for the entry's jump
//   trampoline   near the runtime: the instructions that the jump overwrites, moved, and a jump behind them:
//                calling it calls the function as it was
//   unit         UNIT_SIZE bytes near the runtime for one function: relay, then trampoline
#ifndef DLL_REDIRECT_PLAN_H
#define DLL_REDIRECT_PLAN_H

#include "decode.h"
#include "parse.h"

#define PATCH_SIZE       5 // jmp, 32-bit displacement
#define RELAY_SIZE       16
#define TRAMPOLINE_MAX   48
#define UNIT_SIZE        (RELAY_SIZE + TRAMPOLINE_MAX)
#define PLAN_HOOKS_MAX   160
#define PLAN_MEMORY_SIZE ((size_t)PLAN_HOOKS_MAX * UNIT_SIZE)

// ---- one function ---------------------------------------------------------------------------------------

typedef struct plan_code_s {
  const uint8_t* bytes; // of the function and what follows it
  size_t size;
  uintptr_t address; // of bytes[0]
  bool is_64;
} plan_code_t;

typedef struct plan_move_s {
  uint8_t moved; // bytes that the trampoline replaces, PATCH_SIZE at least unless the function is shorter
  uint8_t size;  // of the trampoline
  uint8_t count; // of instructions
  uint8_t from[PATCH_SIZE]; // their offsets in the function
  uint8_t to[PATCH_SIZE];   // and in the trampoline
  uint32_t call_offset; // where a moved call's target lies, from the function's start; 0: no call was moved
  uint8_t trampoline[TRAMPOLINE_MAX];
} plan_move_t;

// Makes the trampoline, to lie at `trampoline`. Returns NULL, or why these instructions can't be moved.
const char* plan_move(const plan_code_t* code, uintptr_t trampoline, plan_move_t* move);

// Where the function ends as far as its own branches tell, for functions that no table tells of. At most
// `limit` bytes.
size_t plan_body_size(const plan_code_t* code, size_t limit);

// Does an instruction of the function's first `size` bytes branch into what the jump overwrites?
bool plan_branches_into_patch(const plan_code_t* code, size_t size);

// A jump at `from` to `to`. False when `to` is out of reach.
bool plan_jump(uint8_t patch[PATCH_SIZE], uintptr_t from, uintptr_t to, bool is_64);

// ---- a runtime ------------------------------------------------------------------------------------------

typedef struct plan_replacement_s {
  const char* name; // that the runtime exports, if it has such a function
  const void* function;
  bool is_exclusive; // no thread may be anywhere in the runtime's function while the jump is written
} plan_replacement_t;

typedef struct plan_hook_s {
  const plan_replacement_t* replacement; // the first in the table when several names mean one function
  uintptr_t entry;
  size_t body_size; // of the runtime's function
  uint8_t original[PATCH_SIZE], patch[PATCH_SIZE];
  uint8_t relay_size; // 0: the entry's jump reaches the replacement itself
  uint8_t relay[RELAY_SIZE];
  plan_move_t move;
} plan_hook_t;

typedef struct plan_runtime_s {
  parse_image_t image;
  uintptr_t memory;         // of unit 0
  const char* problem;      // NULL, or why it can't be done
  const char* problem_name; // the function concerned, or NULL
  bool is_exclusive;        // all functions are as those whose replacement is
  size_t count;
  plan_hook_t hooks[PLAN_HOOKS_MAX];
} plan_runtime_t;

// Finds the functions to replace in plan->image. `table` ends with a NULL name; the first `required` names
// must exist. False: see `problem`.
bool plan_resolve(plan_runtime_t* plan, const plan_replacement_t* table, size_t required);

// After plan_resolve: works the jumps, relays and trampolines out, for PLAN_MEMORY_SIZE bytes at `memory`.
// False: see `problem`.
bool plan_inline(plan_runtime_t* plan, uintptr_t memory);

// After plan_resolve: where the function leads out of the module before it does anything, as only who
// redirects it writes; 0: it doesn't.
uintptr_t plan_leads_out(plan_runtime_t* plan, const plan_hook_t* hook);

// May no thread be in the function while its jump is written?
static inline bool plan_is_exclusive(const plan_runtime_t* plan, const plan_hook_t* hook) {
  return plan->is_exclusive || hook->replacement->is_exclusive;
}

// The hook of the function at `entry`, or NULL.
const plan_hook_t* plan_find(const plan_runtime_t* plan, uintptr_t entry);

static inline uintptr_t plan_relay(const plan_runtime_t* plan, size_t index) {
  return plan->memory + index * UNIT_SIZE;
}
static inline uintptr_t plan_trampoline(const plan_runtime_t* plan, size_t index) {
  return plan_relay(plan, index) + RELAY_SIZE;
}

#endif
