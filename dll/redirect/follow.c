#include "follow.h"

#include "decode.h"

#define INSTRUCTIONS_MAX 16 // followed in all, so that a chain that closes ends
#define STACK_MAX        4  // words known

enum { KNOWN_LOW = 1, KNOWN_HIGH = 2, KNOWN = 3 }; // halves of a 64-bit word; on i386 both or none

typedef struct value_s {
  unsigned known;
  uint64_t number;
  uintptr_t slot; // that it was loaded from; 0: it stands in the instruction
} value_t;

typedef struct machine_s {
  const follow_code_t* code;
  uintptr_t at, next; // this instruction, the one behind it
  bool is_first;      // nothing but what does nothing came before
  value_t registers[16];
  value_t stack[STACK_MAX]; // [0] is the top
  unsigned wide;            // bits of the REX prefix: 8 W, 4 R, 2 X, 1 B
} machine_t;

typedef enum step_e {
  STEP_ON,    // to the next instruction
  STEP_TO,    // to a value
  STEP_FORGET // some other work: nothing is known of registers and stack any more
} step_t;

enum { REGISTER_STACK = 4 };

static uint64_t read_at(uintptr_t address, size_t size) {
  uint64_t number = 0;
  for (size_t i = 0; i < size; i++) number |= (uint64_t)((const uint8_t*)address)[i] << (8 * i);
  return number;
}

static int64_t signed_at(uintptr_t address, size_t size) {
  uint64_t number = read_at(address, size), sign = (uint64_t)1 << (8 * size - 1);
  return (int64_t)((number ^ sign) - sign);
}

static value_t constant(const machine_t* m, uint64_t number) {
  return (value_t){KNOWN, m->code->is_64 ? number : (uint32_t)number, 0};
}

static size_t word_size(const machine_t* m) { return m->code->is_64 ? 8 : 4; }

static value_t load(const machine_t* m, uint64_t address, size_t size) {
  value_t value = {0};
  uintptr_t slot = (uintptr_t)address;
  if (slot != address || !m->code->is_readable(m->code->context, slot, size)) return value;
  return (value_t){KNOWN, read_at(slot, size), slot};
}

// ---- operands -------------------------------------------------------------------------------------------

// The address that ModRM at `at` names, if it can be told: absolute, relative, or held by a register.
static bool operand_address(const machine_t* m, uintptr_t at, uint64_t* address) {
  unsigned modrm = (unsigned)read_at(at, 1), mod = modrm >> 6, rm = modrm & 7;
  uint64_t found;
  if (mod == 0 && rm == 5) {
    found = (uint64_t)signed_at(at + 1, 4) + (m->code->is_64 ? m->next : 0);
  } else if (mod == 0 && rm == 4 && read_at(at + 1, 1) == 0x25) { // no base and no index
    found = (uint64_t)signed_at(at + 2, 4);
  } else if (mod < 2 && rm != 4) {
    const value_t* base = &m->registers[rm | (m->wide & 1) << 3];
    if (base->known != KNOWN) return false;
    found = base->number + (mod == 1 ? (uint64_t)signed_at(at + 1, 1) : 0);
  } else {
    return false;
  }
  *address = m->code->is_64 ? found : (uint32_t)found;
  return true;
}

// Offset from the stack pointer that ModRM at `at` names, and where the instruction goes on; -1: another
// operand.
static int stack_offset(const machine_t* m, uintptr_t at, uintptr_t* end) {
  unsigned modrm = (unsigned)read_at(at, 1), mod = modrm >> 6;
  if ((modrm & 7) != 4 || mod > 1 || read_at(at + 1, 1) != 0x24 || (m->wide & 1) != 0) return -1;
  int offset = mod == 0 ? 0 : (int)signed_at(at + 2, 1);
  *end = at + 2 + mod;
  return offset >= 0 && offset < (int)(STACK_MAX * word_size(m)) ? offset : -1;
}

static void push(machine_t* m, value_t value) {
  for (unsigned i = STACK_MAX - 1; i > 0; i--) m->stack[i] = m->stack[i - 1];
  m->stack[0] = value;
}

static value_t pop(machine_t* m) {
  value_t top = m->stack[0];
  for (unsigned i = 1; i < STACK_MAX; i++) m->stack[i - 1] = m->stack[i];
  m->stack[STACK_MAX - 1] = (value_t){0};
  return top;
}

static step_t set_stack(machine_t* m, int offset, value_t value, size_t size) {
  size_t word = word_size(m), rest = (size_t)offset % word;
  value_t* entry = &m->stack[(size_t)offset / word];
  if (size == word && rest == 0) {
    *entry = value;
  } else if (size == 4 && rest % 4 == 0) { // half of a word
    unsigned shift = rest == 0 ? 0 : 32;
    entry->number = (entry->number & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)(uint32_t)value.number
                                                                             << shift;
    entry->known |= value.known != KNOWN ? 0u : shift == 0 ? (unsigned)KNOWN_LOW : (unsigned)KNOWN_HIGH;
    entry->slot = 0;
  } else {
    return STEP_FORGET;
  }
  return STEP_ON;
}

// ---- instructions ---------------------------------------------------------------------------------------

static step_t to(value_t* target, value_t value) {
  *target = value;
  return STEP_TO;
}

// FF: jumps and push with an operand.
static step_t step_group(machine_t* m, uintptr_t at, value_t* target) {
  unsigned modrm = (unsigned)read_at(at, 1), what = modrm >> 3 & 7;
  uint64_t address;
  if (what == 4 && modrm >= 0xC0) return to(target, m->registers[(modrm & 7) | (m->wide & 1) << 3]);
  if (what < 4 || what > 6 || modrm >= 0xC0 || !operand_address(m, at, &address)) return STEP_FORGET;
  value_t value = load(m, address, what == 5 && (m->wide & 8) == 0 ? 4 : word_size(m));
  if (what != 6) return to(target, value);
  push(m, value);
  return STEP_ON;
}

// A register and an operand: lea, and mov and xchg with memory.
static step_t step_operand(machine_t* m, uint8_t opcode, uintptr_t at) {
  unsigned modrm = (unsigned)read_at(at, 1), number = (modrm >> 3 & 7) | (m->wide & 4) << 1;
  size_t size = m->code->is_64 && (m->wide & 8) == 0 ? 4 : word_size(m);
  value_t* value = &m->registers[number];
  uint64_t address;
  uintptr_t end;
  if (number == REGISTER_STACK || modrm >= 0xC0) return STEP_FORGET;
  if (opcode == 0x8B || opcode == 0x8D) {
    if (!operand_address(m, at, &address)) return STEP_FORGET;
    *value = opcode == 0x8B ? load(m, address, size) : constant(m, address);
    return STEP_ON;
  }
  int offset = stack_offset(m, at, &end);
  if (offset < 0) return STEP_FORGET;
  if (opcode == 0x89) return set_stack(m, offset, *value, size);
  value_t old = *value; // xchg
  if (size != word_size(m) || (size_t)offset % size != 0) return STEP_FORGET;
  *value = m->stack[(size_t)offset / size];
  return set_stack(m, offset, old, size);
}

// sub rsp, a byte: room on the stack.
static step_t step_room(machine_t* m, uintptr_t at) {
  size_t bytes = (size_t)read_at(at + 1, 1), word = word_size(m);
  if (read_at(at, 1) != 0xEC || (m->code->is_64 && m->wide != 8) || bytes > 64 || bytes % word != 0)
    return STEP_FORGET;
  for (size_t i = 0; i < bytes / word; i++) push(m, (value_t){0});
  return STEP_ON;
}

static bool is_nop(uintptr_t at) {
  if (read_at(at, 1) != 0x0F) return read_at(at, 1) == 0x90;
  uint64_t second = read_at(at + 1, 1);
  return second == 0x1F || (second == 0x1E && (read_at(at + 2, 1) & 0xFE) == 0xFA); // nop; endbr32, endbr64
}

static step_t step(machine_t* m, const instruction_t* instruction, value_t* target) {
  uintptr_t at = m->at;
  uint8_t byte = *(const uint8_t*)at;
  bool is_short = false; // operands of 16 bits
  m->wide = 0;
  for (; byte == 0x2E || byte == 0x3E || byte == 0xF2 || byte == 0xF3 || byte == 0x66;
       byte = *(const uint8_t*)++at)
    is_short = is_short || byte == 0x66;
  if (m->code->is_64 && (byte & 0xF0) == 0x40) {
    m->wide = byte & 15u;
    byte = *(const uint8_t*)++at;
  }
  if (instruction->target_size != 0) {
    uintptr_t there = m->at + (uintptr_t)decode_target((const uint8_t*)m->at, instruction);
    *target = constant(m, there);
    // Calls and conditional jumps: only compilers make those that stay within.
    if (instruction->kind == INSTRUCTION_JUMP) return STEP_TO;
    return there - m->code->from >= m->code->to - m->code->from ? STEP_TO : STEP_FORGET;
  }
  unsigned number = (byte & 7) | (m->wide & 1) << 3;
  if (is_nop(at)) return STEP_ON;
  m->is_first = m->is_first && byte == 0xFF;
  if (is_short) return STEP_FORGET;
  switch (byte & 0xF8) {
  case 0x50:
    push(m, m->registers[number]);
    return STEP_ON;
  case 0x58:
    m->registers[number] = pop(m);
    return STEP_ON;
  case 0xB8:
    m->registers[number] = constant(m, read_at(at + 1, (m->wide & 8) != 0 ? 8 : 4));
    return STEP_ON;
  default:
    break;
  }
  int offset;
  uintptr_t end;
  switch (byte) {
  case 0x68:
    push(m, constant(m, (uint64_t)signed_at(at + 1, 4)));
    return STEP_ON;
  case 0x6A:
    push(m, constant(m, (uint64_t)signed_at(at + 1, 1)));
    return STEP_ON;
  case 0x83:
    return step_room(m, at + 1);
  case 0x87:
  case 0x89:
  case 0x8B:
  case 0x8D:
    return step_operand(m, byte, at + 1);
  case 0xA1: // mov eax, [address]
    m->registers[0] = load(m, read_at(at + 1, word_size(m)), word_size(m));
    return STEP_ON;
  case 0xC3:
    return to(target, pop(m));
  case 0xC7:
    if (read_at(at + 1, 1) >= 0xC0) { // mov reg, imm32
      uint64_t value = (uint64_t)signed_at(at + 2, 4);
      m->registers[(read_at(at + 1, 1) & 7) | (m->wide & 1) << 3] =
          constant(m, (m->wide & 8) != 0 ? value : (uint32_t)value);
      return STEP_ON;
    }
    offset = stack_offset(m, at + 1, &end);
    if (offset < 0) return STEP_FORGET;
    return set_stack(m, offset, constant(m, (uint64_t)signed_at(end, 4)),
                     m->code->is_64 && (m->wide & 8) == 0 ? 4 : word_size(m));
  case 0xEA:
    return to(target, constant(m, read_at(at + 1, 4))); // i386 only
  case 0xFF:
    return step_group(m, at + 1, target);
  default:
    return STEP_FORGET;
  }
}

static void forget(machine_t* m) {
  for (unsigned i = 0; i < 16; i++) m->registers[i] = (value_t){0};
  for (unsigned i = 0; i < STACK_MAX; i++) m->stack[i] = (value_t){0};
}

uintptr_t follow_out(const follow_code_t* code, uintptr_t entry) {
  machine_t m = {.code = code, .at = entry, .is_first = true};
  for (unsigned i = 0; i < INSTRUCTIONS_MAX; i++) {
    instruction_t instruction;
    size_t available = INSTRUCTION_MAX;
    while (available > 0 && !code->is_readable(code->context, m.at, available)) available--;
    if (!decode((const uint8_t*)m.at, available, code->is_64, &instruction)) return 0;
    value_t target = {0};
    m.next = m.at + instruction.length;
    step_t done = step(&m, &instruction, &target);
    if (done == STEP_TO) {
      if (target.known != KNOWN ||
          (target.slot != 0 && code->is_compilers(code->context, target.slot, m.is_first)))
        return 0;
      m.at = (uintptr_t)target.number;
      if (m.at - code->from >= code->to - code->from) return m.at;
      continue;
    }
    if (instruction.kind != INSTRUCTION_PLAIN) return 0; // what comes behind it is the function's own work
    if (done == STEP_FORGET) forget(&m);
    m.at = m.next;
  }
  return 0;
}
