// Which blocks are no leaks although they live until the end: those that a runtime keeps for itself, and what a
// program's start-up code allocates (copies of the arguments). They are listed apart, by module.
#ifndef DLL_RECORD_KEPT_H
#define DLL_RECORD_KEPT_H

#include "stacks.h"

typedef enum kept_e {
  KEPT_NOT,     // the program's own
  KEPT_RUNTIME, // allocated by a runtime or by Windows, by a function that doesn't hand blocks to its caller
  KEPT_START    // allocated by the code between a program's entry point and its main
} kept_t;

// *keeper: the module; NULL for KEPT_NOT.
kept_t kept_by(const stack_t* stack, const image_t** keeper);

#endif
