// Blocks that a C runtime allocated and the program gives to us: what _getcwd(NULL) returned, a library that is
// not linked with libmimalloc-crt.a, or anybody before the runtime was redirected. Each runtime has a heap of
// its own, which tells who owns a block.
//
// All functions: any thread, with none of our locks held. They say nothing; a false or NULL where no runtime owns the
// block leaves it as it is.
#ifndef DLL_CRT_FOREIGN_H
#define DLL_CRT_FOREIGN_H

#include "base/attributes.h"

typedef enum foreign_kind_e {
  FOREIGN_PLAIN, // from malloc and its like
  FOREIGN_ALIGNED // from _aligned_malloc and its like: lies inside of a plain block, its address stored in front
} foreign_kind_t;

typedef struct foreign_block_s {
  void* origin;    // start of the plain block: itself, unless it is an aligned one
  void* heap;      // its runtime's
  bool has_header; // a debug runtime's
  size_t runtime;  // index into crt_modules.h
  size_t size;     // bytes from the block that was asked for on
} foreign_block_t;

// False when no runtime of this process owns `p`.
bool foreign_find(const void* p, foreign_kind_t kind, foreign_block_t* found);

void foreign_free(const foreign_block_t* block);
// Resizes a plain block in place; false when that is impossible.
bool foreign_expand(const foreign_block_t* block, size_t size);

#endif
