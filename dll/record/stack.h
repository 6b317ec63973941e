// Who called us: the return addresses on the calling thread's stack.
//
// x64: by the modules' tables for unwinding, read by ourselves: the system's RtlVirtualUnwind would restore a whole
// context for each frame, and its way to the table takes locks on some systems. What unwinding at an address
// means is worked out once per address (a recipe). Code without a module (made at run time) ends the stack.
//
// x86: there is no such table, and compilers leave frame pointers out. Our caller is known by our own frame pointers;
// from there on, the next word on the stack that points behind a call of the very function is taken for its return
// address, else one behind a call by a pointer, else one behind any call. Where a function ends is found by following its
// instructions. A stack may still miss a frame, or show one that has returned already.
//
// arm64: by frame pointers, which Windows demands there.
#ifndef DLL_RECORD_STACK_H
#define DLL_RECORD_STACK_H

#include "images.h"

#define STACK_FRAMES_MAX 64

// False: there is no memory.
bool stack_start(void);

// Frames of the callers outside of our module, innermost first. Each points to the last byte of a call. Takes no
// lock, allocates nothing, changes no thread's state.
size_t stack_capture(frame_t* frames, size_t capacity);

// The same of the calling thread as it was interrupted: registers by their number in machine code (x86: only the stack
// pointer counts; arm64: x29 alone). The first frame is `pc` itself.
size_t stack_walk(uintptr_t registers[16], uintptr_t pc, frame_t* frames, size_t capacity);

// Where the stack ends that the pointer points into: the thread's, a fiber's, or memory that the program takes for one.
uintptr_t stack_end(uintptr_t stack_pointer);

#if !MI_64BIT
// Where the function ends that starts there, by its instructions.
uintptr_t stack_function_end(uintptr_t start);
// Where it goes if it ends in a jump to another function, else 0.
uintptr_t stack_function_tail(uintptr_t start);
#endif

#endif
