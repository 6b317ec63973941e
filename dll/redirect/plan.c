#include "plan.h"

#include "base/memory.h"
#include "follow.h"

#define BODY_MAX     ((size_t)16 * MI_KIB) // bytes of a function that are looked through
#define JUMP_NEAR    0xE9
#define JUMP_IF_NEAR 0x80 // after 0F
#define BREAKPOINT   0xCC
#define NOP          0x90

// ---- writing code ---------------------------------------------------------------------------------------

typedef struct writer_s {
  plan_move_t* move;
  const plan_code_t* code;
  uintptr_t address; // of the trampoline
} writer_t;

static void put(writer_t* w, const uint8_t* bytes, size_t count) {
  mem_copy(w->move->trampoline + w->move->size, bytes, count);
  w->move->size = (uint8_t)(w->move->size + count);
}

static void put_byte(writer_t* w, uint8_t byte) { put(w, &byte, 1); }

static void store_u32(uint8_t* at, uint32_t value) {
  for (unsigned i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (8 * i));
}

// The displacement that leads from `end` (of an instruction) to `target`. On i386 every address is in reach.
static bool displacement(uintptr_t end, uintptr_t target, bool is_64, uint32_t* value) {
  intptr_t distance = (intptr_t)(target - end);
  *value = (uint32_t)distance;
  return !is_64 || (int64_t)distance == (int32_t)distance;
}

static bool put_target(writer_t* w, uintptr_t target) {
  uint8_t bytes[4];
  uint32_t value;
  if (!displacement(w->address + w->move->size + 4, target, w->code->is_64, &value)) return false;
  store_u32(bytes, value);
  put(w, bytes, 4);
  return true;
}

bool plan_jump(uint8_t patch[PATCH_SIZE], uintptr_t from, uintptr_t to, bool is_64) {
  uint32_t value;
  patch[0] = JUMP_NEAR;
  if (!displacement(from + PATCH_SIZE, to, is_64, &value)) return false;
  store_u32(patch + 1, value);
  return true;
}

// ---- moving instructions --------------------------------------------------------------------------------

static const char too_far[] = "an address in its first instructions is out of the trampoline's reach";

static const char* move_branch(writer_t* w, const uint8_t* bytes, const instruction_t* instruction,
                               size_t offset) {
  uintptr_t target = w->code->address + offset + (uintptr_t)decode_target(bytes, instruction);
  if (instruction->target_size == 4) {
    put(w, bytes, instruction->target_offset);
  } else {
    if (instruction->target_offset != 1) return "it begins with a short branch that has a prefix";
    if (instruction->kind == INSTRUCTION_JUMP) {
      put_byte(w, JUMP_NEAR);
    } else {
      put_byte(w, 0x0F);
      put_byte(w, (uint8_t)(JUMP_IF_NEAR | (instruction->opcode & 15)));
    }
  }
  return put_target(w, target) ? NULL : too_far;
}

static const char* move_relative(writer_t* w, const uint8_t* bytes, const instruction_t* instruction,
                                 size_t offset) {
  uint8_t copy[INSTRUCTION_MAX];
  uint32_t old = 0, value;
  mem_copy(copy, bytes, instruction->length);
  for (unsigned i = 0; i < 4; i++) old |= (uint32_t)bytes[instruction->rip_offset + i] << (8 * i);
  uintptr_t target = w->code->address + offset + instruction->length + (uintptr_t)(intptr_t)(int32_t)old;
  if (!displacement(w->address + w->move->size + instruction->length, target, true, &value)) return too_far;
  store_u32(copy + instruction->rip_offset, value);
  put(w, copy, instruction->length);
  return NULL;
}

static const char* move_one(writer_t* w, const uint8_t* bytes, const instruction_t* instruction,
                            size_t offset) {
  switch ((instruction_kind_t)instruction->kind) {
  case INSTRUCTION_LOOP:
    return "it begins with a loop instruction, whose target only a byte reaches";
  case INSTRUCTION_TRAP:
    return instruction->opcode == BREAKPOINT ? "a breakpoint is set at its start" : "it begins with a trap";
  case INSTRUCTION_CALL:
  case INSTRUCTION_CALL_INDIRECT:
    // Its return address, on the stack of a thread that is inside, would point into the jump.
    if (offset + instruction->length < PATCH_SIZE) return "it begins with a call that is too short";
    if (instruction->kind == INSTRUCTION_CALL) {
      int64_t target = decode_target(bytes, instruction);
      if (target == instruction->length) return "it begins by asking for its own address";
      w->move->call_offset = (uint32_t)(offset + (uint64_t)target);
    }
    break;
  default:
    break;
  }
  if (instruction->target_size != 0) return move_branch(w, bytes, instruction, offset);
  if (instruction->rip_offset != 0) return move_relative(w, bytes, instruction, offset);
  put(w, bytes, instruction->length);
  return NULL;
}

// Does the instruction do nothing, as compilers write it between functions? nop, long nop; in 32-bit code
// also mov reg,reg and lea reg,[reg+0].
static bool is_no_operation(const uint8_t* bytes, const instruction_t* instruction, bool is_64) {
  size_t at = 0, end = instruction->length;
  while (at < end && (bytes[at] == 0x66 || bytes[at] == 0x2E)) at++;
  if (at == end) return false;
  if (bytes[at] == NOP) return true;
  if (end - at < 2) return false;
  uint8_t opcode = bytes[at], modrm = bytes[at + 1];
  if (opcode == 0x0F) return modrm == 0x1F;
  unsigned mod = modrm >> 6, reg = modrm >> 3 & 7, rm = modrm & 7;
  if (is_64 || (opcode != 0x8D && opcode != 0x89 && opcode != 0x8B)) return false;
  if (mod == 3) return opcode != 0x8D && reg == rm;
  if (opcode != 0x8D || (mod == 0 && rm == 5)) return false;
  at += 2;
  if (rm == 4) {
    if (bytes[at] >> 3 != 4 || (mod == 0 && (bytes[at] & 7) == 5)) return false; // an index, or no base
    rm = bytes[at++] & 7;
  }
  for (; at < end; at++) {
    if (bytes[at] != 0) return false;
  }
  return reg == rm;
}

// Is what follows a function that ends within the jump's bytes of no use to anybody?
static bool is_padding(const plan_code_t* code, size_t offset) {
  while (offset < PATCH_SIZE) {
    const uint8_t* bytes = code->bytes + offset;
    instruction_t instruction;
    if (offset >= code->size || !decode(bytes, code->size - offset, code->is_64, &instruction)) return false;
    if (*bytes != BREAKPOINT && !is_no_operation(bytes, &instruction, code->is_64)) return false;
    offset += instruction.length;
  }
  return true;
}

// May a moved branch go to `target`? Back to the function's start is as good as calling it anew.
static bool is_inside(int64_t target, size_t moved) { return target > 0 && target < (int64_t)moved; }

const char* plan_move(const plan_code_t* code, uintptr_t trampoline, plan_move_t* move) {
  writer_t w = {move, code, trampoline};
  int64_t targets[PATCH_SIZE];
  size_t offset = 0, target_count = 0;
  bool has_ended = false;
  *move = (plan_move_t){0};
  while (offset < PATCH_SIZE && !has_ended) {
    instruction_t instruction;
    const uint8_t* bytes = code->bytes + offset;
    if (!decode(bytes, code->size - offset, code->is_64, &instruction))
      return "it begins with an instruction that is not understood";
    move->from[move->count] = (uint8_t)offset;
    move->to[move->count++] = move->size;
    const char* problem = move_one(&w, bytes, &instruction, offset);
    if (problem != NULL) return problem;
    if (instruction.target_size != 0)
      targets[target_count++] = (int64_t)offset + decode_target(bytes, &instruction);
    has_ended = instruction.kind == INSTRUCTION_JUMP || instruction.kind == INSTRUCTION_JUMP_INDIRECT ||
                instruction.kind == INSTRUCTION_RETURN;
    offset += instruction.length;
  }
  move->moved = (uint8_t)offset;
  for (size_t i = 0; i < target_count; i++) {
    if (is_inside(targets[i], offset)) return "it branches within its first instructions";
  }
  if (has_ended) return is_padding(code, offset) ? NULL : "it is shorter than a jump";
  put_byte(&w, JUMP_NEAR);
  return put_target(&w, code->address + offset) ? NULL : too_far;
}

// ---- looking through a function -------------------------------------------------------------------------

size_t plan_body_size(const plan_code_t* code, size_t limit) {
  if (limit > code->size) limit = code->size;
  size_t offset = 0, reached = 0; // reached: the furthest target of a branch so far
  while (offset < limit) {
    instruction_t instruction;
    const uint8_t* bytes = code->bytes + offset;
    if (!decode(bytes, limit - offset, code->is_64, &instruction)) return offset;
    if (instruction.kind == INSTRUCTION_JUMP || instruction.kind == INSTRUCTION_JUMP_IF ||
        instruction.kind == INSTRUCTION_LOOP) {
      int64_t target = (int64_t)offset + decode_target(bytes, &instruction);
      bool is_tail_call = instruction.kind == INSTRUCTION_JUMP && target >= (int64_t)(offset + 2048);
      if (!is_tail_call && target > (int64_t)reached && target < (int64_t)limit) reached = (size_t)target;
    }
    offset += instruction.length;
    bool goes_on = instruction.kind == INSTRUCTION_PLAIN || instruction.kind == INSTRUCTION_CALL ||
                   instruction.kind == INSTRUCTION_CALL_INDIRECT || instruction.kind == INSTRUCTION_JUMP_IF ||
                   instruction.kind == INSTRUCTION_LOOP;
    if (!goes_on && offset > reached) return offset;
  }
  return limit;
}

bool plan_branches_into_patch(const plan_code_t* code, size_t size) {
  if (size > code->size) size = code->size;
  size_t offset = 0;
  while (offset < size) {
    instruction_t instruction;
    const uint8_t* bytes = code->bytes + offset;
    if (!decode(bytes, size - offset, code->is_64, &instruction)) return false; // data, perhaps
    if (instruction.target_size != 0) {
      int64_t target = (int64_t)offset + decode_target(bytes, &instruction);
      if (target > 0 && target < PATCH_SIZE) return true;
    }
    offset += instruction.length;
  }
  return false;
}

// ---- a runtime ------------------------------------------------------------------------------------------

const plan_hook_t* plan_find(const plan_runtime_t* plan, uintptr_t entry) {
  for (size_t i = 0; i < plan->count; i++) {
    if (plan->hooks[i].entry == entry) return &plan->hooks[i];
  }
  return NULL;
}

static bool fail(plan_runtime_t* plan, const char* name, const char* problem) {
  plan->problem = problem;
  plan->problem_name = name;
  return false;
}

static plan_code_t code_of(plan_runtime_t* plan, uintptr_t entry) {
  uint32_t rva = (uint32_t)(entry - (uintptr_t)plan->image.base);
  return (plan_code_t){(const uint8_t*)entry, parse_code_size(&plan->image, rva), entry, plan->image.is_64};
}

bool plan_resolve(plan_runtime_t* plan, const plan_replacement_t* table, size_t required) {
  plan->count = 0;
  plan->problem = plan->problem_name = NULL;
  for (const plan_replacement_t* replacement = table; replacement->name != NULL; replacement++) {
    uint32_t rva = parse_export(&plan->image, replacement->name);
    if (rva == 0) {
      if ((size_t)(replacement - table) >= required) continue;
      plan->count = 0;
      return fail(plan, replacement->name, "the module does not have it, or passes calls on to another one");
    }
    uintptr_t entry = (uintptr_t)plan->image.base + rva;
    if (plan_find(plan, entry) != NULL) continue; // another name for the same function
    if (plan->count == PLAN_HOOKS_MAX) return fail(plan, replacement->name, "there are too many functions");
    plan_hook_t* hook = &plan->hooks[plan->count++];
    *hook = (plan_hook_t){.replacement = replacement, .entry = entry};
    plan_code_t code = code_of(plan, entry);
    if (code.size < PATCH_SIZE) return fail(plan, replacement->name, "it is no code");
    hook->body_size = parse_function_size(&plan->image, rva);
    if (hook->body_size == 0 || hook->body_size > code.size)
      hook->body_size = plan_body_size(&code, BODY_MAX);
  }
  return true;
}

static bool is_readable(void* context, uintptr_t address, size_t size) {
  return parse_is_readable(context, (const void*)address, size);
}

// Import slots, and pointers in the module's data: behind some work of the function's own that is a call at its end.
// Not so for a function that is nothing but a jump through one.
static bool is_compilers_slot(void* context, uintptr_t slot, bool is_first) {
  parse_image_t* image = context;
  uintptr_t rva = slot - (uintptr_t)image->base;
  if (is_first) return false;
  return (rva < image->size && parse_code_size(image, (uint32_t)rva) == 0) || parse_is_slot(image, slot);
}

uintptr_t plan_leads_out(plan_runtime_t* plan, const plan_hook_t* hook) {
  uintptr_t base = (uintptr_t)plan->image.base;
  const follow_code_t code = {base,        base + plan->image.size, plan->image.is_64, &plan->image,
                              is_readable, is_compilers_slot};
  return follow_out(&code, hook->entry);
}

// On i386 a function that asks for its own address calls one that returns it; a moved call would return
// another one.
static bool calls_for_its_address(plan_runtime_t* plan, const plan_hook_t* hook) {
  if (plan->image.is_64 || hook->move.call_offset == 0) return false;
  uint32_t rva = (uint32_t)(hook->entry - (uintptr_t)plan->image.base) + hook->move.call_offset;
  if (parse_code_size(&plan->image, rva) < 4) return false;
  const uint8_t* callee = plan->image.base + rva;
  return callee[0] == 0x8B && (callee[1] & 0xC7) == 0x04 && callee[2] == 0x24 &&
         callee[3] == 0xC3; // mov reg,[esp]; ret
}

static const char* plan_hook(plan_runtime_t* plan, plan_hook_t* hook, size_t index) {
  plan_code_t code = code_of(plan, hook->entry);
  uint32_t rva = (uint32_t)(hook->entry - (uintptr_t)plan->image.base);
  mem_copy(hook->original, code.bytes, PATCH_SIZE);
  const char* problem = plan_move(&code, plan_trampoline(plan, index), &hook->move);
  if (problem != NULL) return problem;
  if (calls_for_its_address(plan, hook)) return "it begins by asking for its own address";
  if (parse_has_export_in(&plan->image, rva + 1, rva + PATCH_SIZE) ||
      parse_has_function_in(&plan->image, rva + 1, rva + PATCH_SIZE)) {
    return "another function starts within its first five bytes";
  }
  if (plan_branches_into_patch(&code, hook->body_size)) return "it jumps back into its own first five bytes";

  uintptr_t target = (uintptr_t)hook->replacement->function, relay = plan_relay(plan, index);
  if (plan_jump(hook->patch, hook->entry, target, plan->image.is_64)) return NULL;
  static const uint8_t jump_indirect[] = {0xFF, 0x25, 0, 0, 0, 0}; // through the eight bytes that follow
  hook->relay_size = sizeof(jump_indirect) + 8;
  mem_copy(hook->relay, jump_indirect, sizeof(jump_indirect));
  for (unsigned i = 0; i < 8; i++)
    hook->relay[sizeof(jump_indirect) + i] = (uint8_t)((uint64_t)target >> (8 * i));
  return plan_jump(hook->patch, hook->entry, relay, plan->image.is_64) ? NULL : "there is no memory near it";
}

bool plan_inline(plan_runtime_t* plan, uintptr_t memory) {
  plan->memory = memory;
#if defined(__aarch64__)
  return fail(plan, NULL, "jumps are known for x86 and x64 only");
#endif
  for (size_t i = 0; i < plan->count; i++) {
    plan_hook_t* hook = &plan->hooks[i];
    const char* problem = plan_hook(plan, hook, i);
    if (problem != NULL) return fail(plan, hook->replacement->name, problem);
  }
  return true;
}
