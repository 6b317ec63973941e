#include "stack.h"

#include "base/atomics.h"
#include "store.h"

#if !MI_64BIT

#define WORDS_MAX 4096 // of the stack that are looked at

bool stack_start(void) { return true; }

// Does a call instruction end right before `address`, which lies in `image`?
static bool is_behind_call(const image_t* image, uintptr_t address) {
  uint32_t offset = (uint32_t)(address - image->base);
  if (offset < image->code + 7 || offset >= image->code_end) return false;
  const uint8_t* end = (const uint8_t*)address;
  if (end[-5] == 0xE8)
    return images_find(address + (uintptr_t) * (const int32_t*)(const void*)(end - 4)) != NULL;
  for (unsigned size = 2; size <= 7; size++) {
    uint8_t form = end[1 - (int)size];
    if (end[-(int)size] != 0xFF || (form >> 3 & 7) != 2) continue; // call r/m
    unsigned mode = form >> 6, sib = mode != 3 && (form & 7) == 4;
    unsigned displacement = mode == 1 ? 1 : mode == 2 || (mode == 0 && (form & 7) == 5) ? 4 : 0;
    if (mode == 0 && sib && (end[2 - (int)size] & 7) == 5) displacement = 4;
    if (2 + sib + displacement == size) return true;
  }
  return false;
}

static size_t scan(const uintptr_t* at, frame_t* frames, size_t count, size_t capacity) {
  const uintptr_t* end = (const uintptr_t*)os_stack_base();
  if (end - at > WORDS_MAX) end = at + WORDS_MAX;
  for (; at < end && count < capacity; at++) {
    const image_t* image = *at < 0x10000 ? NULL : images_find(*at);
    if (image != NULL && !images_is_self(*at) && is_behind_call(image, *at))
      frames[count++] = frame_make(image, *at - 1);
  }
  return count;
}

MI_NOINLINE size_t stack_capture(frame_t* frames, size_t capacity) {
  return scan((const uintptr_t*)__builtin_frame_address(0), frames, 0, capacity);
}

size_t stack_walk(uintptr_t registers[16], uintptr_t pc, frame_t* frames, size_t capacity) {
  frames[0] = frame_make(images_find(pc), pc);
  return scan((const uintptr_t*)registers[4], frames, 1, capacity);
}

#endif
