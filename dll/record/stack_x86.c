#include "stack.h"

#include "base/atomics.h"
#include "redirect/decode.h"
#include "store.h"

#if !MI_64BIT

#define WORDS_NEAR   1024         // of the stack, in which the best candidate is looked for
#define WORDS_MAX    8192         // of the stack, in which any is
#define FUNCTION_MAX (64 * 1024u) // bytes
#define JUMP_MAX     1024         // bytes that an unconditional jump inside of a function passes over
#define JUMP_IF_MAX  (8 * 1024)
#define EXTENTS      1024u

bool stack_start(void) { return true; }

// ---- where functions end ----------------------------------------------------------------------------------

static uint64_t extents[EXTENTS]; // start << 32 | end
static uint32_t extents_of;       // images' generation

// The table of a switch: addresses inside of the function.
static uintptr_t last_in_table(const image_t* image, const uint8_t* jump, uintptr_t start) {
  uintptr_t last = 0, table;
  if (jump[0] != 0xFF || jump[1] != 0x24 || (jump[2] & 7) != 5) return 0; // jmp table(, index, 4)
  table = *(const uint32_t*)(const void*)(jump + 3);
  for (size_t i = 0; i < 512 && images_find(table + 3) == image; i++, table += 4) {
    uintptr_t target = *(const uint32_t*)table;
    if (target < start || target - start > FUNCTION_MAX) break;
    if (target > last) last = target;
  }
  return last;
}

// Straight on from its start, until nothing behind a return or a jump was jumped to.
static uintptr_t find_end(const image_t* image, uintptr_t start) {
  uintptr_t limit = image->base + image->code_end, at = start, needed = start;
  if (limit - start > FUNCTION_MAX) limit = start + FUNCTION_MAX;
  while (at < limit) {
    instruction_t found;
    const uint8_t* code = (const uint8_t*)at;
    if (!decode(code, limit - at, false, &found)) return at;
    uintptr_t target = found.target_size == 0 ? 0 : at + (uintptr_t)decode_target(code, &found);
    uintptr_t next = at + found.length, most = found.kind == INSTRUCTION_JUMP ? JUMP_MAX : JUMP_IF_MAX;
    if (found.kind == INSTRUCTION_JUMP_INDIRECT)
      target = last_in_table(image, code, start), most = FUNCTION_MAX;
    if (found.kind != INSTRUCTION_CALL && target > needed && target < limit && target - at < most)
      needed = target;
    bool goes_on = found.kind != INSTRUCTION_RETURN && found.kind != INSTRUCTION_JUMP &&
                   found.kind != INSTRUCTION_JUMP_INDIRECT && found.opcode != 0x0B /* ud2 */;
    if (!goes_on && next > needed) return next;
    at = next;
  }
  return limit;
}

uintptr_t stack_function_end(uintptr_t start) {
  const image_t* image = images_find(start);
  if (image == NULL || start - image->base < image->code || start - image->base >= image->code_end)
    return start;
  uint32_t generation = images_generation();
  if (atomic_get_relaxed(&extents_of) != generation) {
    for (size_t i = 0; i < EXTENTS; i++) atomic_set_relaxed(&extents[i], (uint64_t)0);
    atomic_set_relaxed(&extents_of, generation);
  }
  uint64_t* place = &extents[(start * 0x9E3779B9u) >> 22];
  uint64_t known = atomic_get_relaxed(place);
  if (known >> 32 == start) return (uint32_t)known;
  uintptr_t end = find_end(image, start);
  atomic_set_relaxed(place, (uint64_t)start << 32 | end);
  return end;
}

static bool is_code(const image_t* image, uintptr_t address) {
  return address - image->base >= image->code && address - image->base < image->code_end;
}

uintptr_t stack_function_tail(uintptr_t start) {
  uintptr_t end = stack_function_end(start);
  const image_t* image = images_find(start);
  const uint8_t* code = (const uint8_t*)end;
  uintptr_t far_target = end - start < 5 ? 0 : end + *(const uint32_t*)(const void*)(code - 4);
  if (end - start >= 5 && code[-5] == 0xE9 && is_code(image, far_target)) return far_target;
  return end - start >= 2 && code[-2] == 0xEB ? end + (uintptr_t)(int8_t)code[-1] : 0;
}

// ---- return addresses -------------------------------------------------------------------------------------

typedef enum standing_e {
  STANDING_NONE,     // no return address
  STANDING_OTHER,    // of a call of something else
  STANDING_POSSIBLE, // of a call by a pointer
  STANDING_CERTAIN   // of a call of the function that `callee` lies in
} standing_t;

static standing_t compare_target(uintptr_t target, uintptr_t callee) {
  for (int jumps = 0; jumps < 3; jumps++) {
    const image_t* image = images_find(target);
    if (image == NULL) return jumps == 0 ? STANDING_NONE : STANDING_POSSIBLE; // a hook's memory
    if (images_is_self(target)) return STANDING_POSSIBLE;                     // and what it leads to
    if (callee >= target && callee - target < FUNCTION_MAX && callee < stack_function_end(target))
      return STANDING_CERTAIN;
    if (target + 6 - image->base > image->code_end) return STANDING_OTHER;
    const uint8_t* code = (const uint8_t*)target;
    uintptr_t slot = code[0] == 0xFF && code[1] == 0x25 ? *(const uint32_t*)(const void*)(code + 2) : 0;
    if (slot != 0 && images_find(slot) != NULL) // an import's jump
      target = *(const uint32_t*)slot;
    else
      target = stack_function_tail(target);
    if (target == 0) return STANDING_OTHER;
  }
  return STANDING_OTHER;
}

static bool ends_in_call_by_pointer(const uint8_t* end, uintptr_t callee, standing_t* standing) {
  for (unsigned size = 2; size <= 7; size++) {
    uint8_t form = end[1 - (int)size];
    if (end[-(int)size] != 0xFF || (form >> 3 & 7) != 2) continue; // call r/m
    unsigned mode = form >> 6, sib = mode != 3 && (form & 7) == 4;
    unsigned displacement = mode == 1 ? 1 : mode == 2 || (mode == 0 && (form & 7) == 5) ? 4 : 0;
    if (mode == 0 && sib && (end[2 - (int)size] & 7) == 5) displacement = 4;
    if (2 + sib + displacement != size) continue;
    *standing = STANDING_POSSIBLE;
    if (form == 0x15) { // through an import's slot
      uintptr_t slot = *(const uint32_t*)(const void*)(end - 4);
      if (images_find(slot) != NULL) *standing = compare_target(*(const uint32_t*)slot, callee);
      if (*standing == STANDING_NONE) *standing = STANDING_POSSIBLE;
    }
    return true;
  }
  return false;
}

static standing_t standing_of(uintptr_t address, uintptr_t callee) {
  standing_t standing = STANDING_NONE;
  const image_t* image = address < 0x10000 ? NULL : images_find(address);
  if (image == NULL || images_is_self(address)) return STANDING_NONE;
  uint32_t offset = (uint32_t)(address - image->base);
  if (offset < image->code + 7 || offset > image->code_end) return STANDING_NONE;
  const uint8_t* end = (const uint8_t*)address;
  if (end[-5] == 0xE8) standing = compare_target(address + *(const uint32_t*)(const void*)(end - 4), callee);
  if (standing == STANDING_NONE) ends_in_call_by_pointer(end, callee, &standing);
  return standing;
}

// The return address of the function that `callee` lies in, on the stack from `at` on. NULL: there is none.
static const uintptr_t* find_return(const uintptr_t* at, uintptr_t callee) {
  const uintptr_t *end = (const uintptr_t*)stack_end((uintptr_t)at), *best = NULL;
  standing_t best_standing = STANDING_NONE;
  size_t left = (size_t)(end - at) < WORDS_MAX ? (size_t)(end - at) : WORDS_MAX;
  for (size_t i = 0; at < end && i < left; i++) {
    if (i >= WORDS_NEAR && best != NULL) break;
    standing_t standing = standing_of(at[i], callee);
    if (standing > best_standing) best = at + i, best_standing = standing;
    if (standing == STANDING_CERTAIN) break;
  }
  return best;
}

static size_t scan(const uintptr_t* at, frame_t* frames, size_t count, size_t capacity, uintptr_t callee) {
  while (count < capacity) {
    const uintptr_t* found = find_return(at, callee);
    if (found == NULL) break;
    callee = *found - 1;
    frames[count++] = frame_make(images_find(callee), callee);
    at = found + 1;
  }
  return count;
}

// From the twin that the caller called to here all functions have frame pointers (dll/meson.build).
MI_NOINLINE size_t stack_capture(frame_t* frames, size_t capacity) {
  const uintptr_t *frame = (const uintptr_t*)__builtin_frame_address(0), *first = frame;
  const uintptr_t* end = (const uintptr_t*)stack_end((uintptr_t)frame);
  while (images_is_self(frame[1])) {
    const uintptr_t* outer = (const uintptr_t*)frame[0];
    if (outer <= frame || outer >= end - 1) return scan(first, frames, 0, capacity, 0);
    frame = outer;
  }
  if (capacity == 0) return 0;
  uintptr_t caller = frame[1] - 1;
  frames[0] = frame_make(images_find(caller), caller);
  return scan(frame + 2, frames, 1, capacity, caller);
}

size_t stack_walk(uintptr_t registers[16], uintptr_t pc, frame_t* frames, size_t capacity) {
  frames[0] = frame_make(images_find(pc), pc);
  return scan((const uintptr_t*)registers[4], frames, 1, capacity, pc);
}

#endif
