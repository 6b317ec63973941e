// The operating system of the interleaving tests: os/os.h for threads that are coroutines. A block of address
// space, a clock that stands still, locks that the scheduler knows of. All of it is static memory or lies in
// that block, so that the scheduler brings it back with everything else.
#ifndef TESTS_INTERLEAVE_MODEL_H
#define TESTS_INTERLEAVE_MODEL_H

#include "base/attributes.h"

void model_begin(void); // once: maps the address space

#define MODEL_SIZE (64 * MI_MIB)
uint8_t* model_memory(void);

bool model_is_reserved(const void* start, size_t size);
bool model_is_committed(const void* start, size_t size);
size_t model_committed_bytes(void);

extern uint32_t model_clock_ms;
extern bool model_commits_fail;
extern unsigned model_messages; // that were written to standard error
extern char model_message[256]; // the last one
extern void (*model_on_decommit)(const void* start, size_t size);

#endif
