// The mode `check`: what each twin does when blocks are guarded, and what an access violation means.
#ifndef DLL_RECORD_CHECK_H
#define DLL_RECORD_CHECK_H

#include "twins.h"

// After stacks and images are started. False: there is no memory.
bool check_start(uint32_t depth, void* text_file);

twin_event_t check_call;

// At the process's end: blocks that still live, too, may be overwritten.
void check_end(void);

// `pointers`: EXCEPTION_POINTERS of an access violation. True: it was an access to a block, and is told of.
bool check_exception(const void* pointers);

// Blocks that should have been guarded, and were not for want of room.
uint64_t check_unguarded(void);

// Is it the start of a block that lives?
bool check_owns(const void* p);

#endif
