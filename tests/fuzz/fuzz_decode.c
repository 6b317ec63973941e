// The decoder of instructions, and what is done with what it says: any bytes as code. An input is a byte of
// choices and the code.
#include "fuzz.h"
#include "plan.h"

static bool same(const instruction_t* a, const instruction_t* b) {
  return a->length == b->length && a->kind == b->kind && a->opcode == b->opcode &&
         a->target_offset == b->target_offset && a->target_size == b->target_size &&
         a->rip_offset == b->rip_offset;
}

// A copy of exactly this size, for AddressSanitizer.
static uint8_t* exact(const uint8_t* data, size_t size) {
  uint8_t* copy = malloc(size == 0 ? 1 : size);
  memcpy(copy, data, size);
  return copy;
}

static void check_instruction(const uint8_t* code, size_t available, bool is_64) {
  instruction_t instruction, again;
  if (!decode(code, available, is_64, &instruction)) return;
  size_t length = instruction.length;
  PROMISE(length >= 1 && length <= INSTRUCTION_MAX && length <= available);
  PROMISE(instruction.target_size == 0 || instruction.target_size == 1 || instruction.target_size == 4);
  PROMISE(instruction.target_size == 0 || instruction.target_offset + instruction.target_size == length);
  PROMISE(instruction.rip_offset == 0 || (size_t)instruction.rip_offset + 4 <= length);
  PROMISE(is_64 || instruction.rip_offset == 0);
  if (instruction.target_size != 0) {
    int64_t target = decode_target(code, &instruction);
    PROMISE(target >= INT32_MIN - (int64_t)INSTRUCTION_MAX && target <= INT32_MAX + (int64_t)INSTRUCTION_MAX);
  }
  // What follows doesn't matter, and nothing of the instruction may be missing.
  uint8_t* alone = exact(code, length);
  PROMISE(decode(alone, length, is_64, &again) && same(&instruction, &again));
  PROMISE(!decode(alone, length - 1, is_64, &again));
  free(alone);
}

static void check_move(const uint8_t* bytes, size_t size, bool is_64, uintptr_t trampoline) {
  plan_code_t code = {bytes, size, 0x10001000, is_64};
  plan_move_t move;
  if (plan_move(&code, trampoline, &move) != NULL) return;
  PROMISE(move.size <= TRAMPOLINE_MAX && move.moved <= size && move.count >= 1 && move.count <= PATCH_SIZE);
  size_t at = 0; // the trampoline is made of instructions, and so is what it replaces
  for (unsigned i = 0; i < move.count; i++) {
    instruction_t instruction;
    PROMISE(move.from[i] == at && decode(bytes + at, size - at, is_64, &instruction));
    PROMISE(move.to[i] < move.size &&
            decode(move.trampoline + move.to[i], move.size - move.to[i], is_64, &instruction));
    PROMISE(decode(bytes + at, size - at, is_64, &instruction));
    at += instruction.length;
  }
  PROMISE(at == move.moved);
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  bool is_64 = (data[0] & 1) != 0;
  size -= 1;
  uint8_t* code = exact(data + 1, size);
  for (size_t at = 0; at < size; at++) check_instruction(code + at, size - at, is_64);
  plan_code_t whole = {code, size, 0x10001000, is_64};
  PROMISE(plan_body_size(&whole, size) <= size);
  (void)plan_branches_into_patch(&whole, size);
  check_move(code, size, is_64, (data[0] & 2) != 0 ? 0x10000000 : 0x7F000000);
  free(code);
  return 0;
}
