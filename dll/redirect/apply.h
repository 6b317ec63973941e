// Writes what plan.c has worked out: the only file that changes memory of other modules. Each function does
// all of its work or none; the protection of every page is afterwards what it was.
#ifndef DLL_REDIRECT_APPLY_H
#define DLL_REDIRECT_APPLY_H

#include "freeze.h"
#include "plan.h"

// Memory for plan_inline, within reach of the jumps at the module's functions; NULL when there is none.
void* apply_memory(const void* image, size_t image_size);
void apply_memory_release(void* memory);

// Writes relays and trampolines into the plan's memory and makes them executable. Returns NULL, or why that
// is impossible.
const char* apply_trampolines(const plan_runtime_t* plan);

// After apply_trampolines: writes the jumps, with all threads stopped. `freeze` may be NULL when no thread
// can be running in this module. Returns NULL, or why nothing was changed; the plan's memory must stay all
// the same, because a thread may have been sent there.
const char* apply_jumps(const plan_runtime_t* plan, freeze_t* freeze);

// Are all jumps of the plan in place? Not when the module was unloaded and loaded again at the same address.
bool apply_jumps_stand(const plan_runtime_t* plan);

typedef struct apply_slot_s {
  void** slot;
  void* new_value;
  uint32_t protection; // of its page; filled in
} apply_slot_t;

// Writes new values into import slots, with all threads stopped: one that got a block by a slot that has been
// written must not give it back by one that hasn't. `freeze` may be NULL when nobody can have used the
// functions yet. Returns NULL, or why nothing was changed.
const char* apply_slots(apply_slot_t* slots, size_t count, freeze_t* freeze);

#endif
