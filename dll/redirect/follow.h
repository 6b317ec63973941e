// Do a function's first instructions lead out of the module that it belongs to? Who redirects it writes such a
// thing. Compilers leave a module through its import slots alone, mostly when some work is done.
//
//   slot   a pointer in memory that a jump goes through, or that is loaded into a register first
//
// Recognised are relative jumps and chains of them, jumps through a pointer near or far, jumps to an address
// that was put into a register or onto the stack (mov, lea, push, pop, xchg, then jmp or ret), far jumps, and
// relative calls and conditional jumps out of the module. Nothing is executed.
#ifndef DLL_REDIRECT_FOLLOW_H
#define DLL_REDIRECT_FOLLOW_H

#include "base/attributes.h"

typedef struct follow_code_s {
  uintptr_t from, to; // the module: [from, to)
  bool is_64;
  void* context;
  // Can `size` bytes at `address` be read?
  bool (*is_readable)(void* context, uintptr_t address, size_t size);
  // Is the slot one that compilers use? `is_first`: the jump is the function's first instruction.
  bool (*is_compilers)(void* context, uintptr_t slot, bool is_first);
} follow_code_t;

// The first address outside of the module where the function at `entry` leads without having done any work of
// its own; 0: none.
uintptr_t follow_out(const follow_code_t* code, uintptr_t entry);

#endif
