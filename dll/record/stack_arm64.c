#include "stack.h"

#include "os/os.h"

#if defined(__aarch64__)

bool stack_start(void) { return true; }

// Windows' rules for arm64: x29 points to the caller's x29 and the return address, in every function that calls another.
static size_t follow(const uintptr_t* frame, frame_t* frames, size_t count, size_t capacity,
                     bool skips_self) {
  const uintptr_t* end = (const uintptr_t*)stack_end((uintptr_t)frame);
  while (count < capacity && frame != NULL && (uintptr_t)frame % sizeof(*frame) == 0 && frame < end - 1) {
    uintptr_t caller = frame[1] - 1;
    if (frame[1] == 0) break;
    if (!skips_self || !images_is_self(caller)) {
      frames[count++] = frame_make(images_find(caller), caller);
      skips_self = false;
    }
    const uintptr_t* outer = (const uintptr_t*)frame[0];
    if (outer <= frame) break;
    frame = outer;
  }
  return count;
}

MI_NOINLINE size_t stack_capture(frame_t* frames, size_t capacity) {
  return follow((const uintptr_t*)__builtin_frame_address(0), frames, 0, capacity, true);
}

size_t stack_walk(uintptr_t registers[16], uintptr_t pc, frame_t* frames, size_t capacity) {
  frames[0] = frame_make(images_find(pc), pc);
  return follow((const uintptr_t*)registers[0], frames, 1, capacity, false);
}

#endif
