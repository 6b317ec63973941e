// Lengths of x86 instructions, and the little more that moving them to another address needs: which ones
// branch, and where in them a displacement lies that counts from the instruction's own address. 32-bit and
// 64-bit mode.
//
// Refused, so that nobody moves what isn't understood: opcodes that don't exist, what is longer than 15
// bytes, branches with an operand-size prefix (processors disagree about their length), addresses relative to
// a truncated program counter, xbegin, prefixes that have no effect where they stand, APX. Why this isn't a
// library: docs/decisions/0004.
#ifndef DLL_REDIRECT_DECODE_H
#define DLL_REDIRECT_DECODE_H

#include "base/attributes.h"

#define INSTRUCTION_MAX 15 // bytes

typedef enum instruction_kind_e {
  INSTRUCTION_PLAIN, // goes on with the next one
  INSTRUCTION_CALL,  // to a relative target
  INSTRUCTION_CALL_INDIRECT,
  INSTRUCTION_JUMP, // unconditional, to a relative target
  INSTRUCTION_JUMP_INDIRECT,
  INSTRUCTION_JUMP_IF, // on a condition, to a relative target
  INSTRUCTION_LOOP,    // loop, jecxz and the like: relative targets that only a byte reaches
  INSTRUCTION_RETURN,
  INSTRUCTION_TRAP // int3, int, ud2, hlt
} instruction_kind_t;

typedef struct instruction_s {
  uint8_t length;
  uint8_t kind;          // instruction_kind_t
  uint8_t opcode;        // the last byte of it
  uint8_t target_offset; // of the displacement of a relative branch, at the instruction's end
  uint8_t target_size;   // its size, 1 or 4; 0: no relative branch
  uint8_t rip_offset;    // of a 32-bit displacement that counts from the instruction's end; 0: none
} instruction_t;

// Decodes the instruction at the start of `code`. False when it is refused or doesn't end within `available`
// bytes.
bool decode(const uint8_t* code, size_t available, bool is_64, instruction_t* instruction);

// Target of a relative branch, as an offset from the instruction's first byte.
int64_t decode_target(const uint8_t* code, const instruction_t* instruction);

#endif
