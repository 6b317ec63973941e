// The modules whose code may be on a stack: those of the process at attach, and those that came later. What was
// once known stays known, so that a stack can name a module that is gone by the time of the report.
//
//   image   a module as it is or was mapped
//   frame   a place in code that doesn't depend on what is mapped where: an image's number and an offset, or the
//           bare address where no image is known
#ifndef DLL_RECORD_IMAGES_H
#define DLL_RECORD_IMAGES_H

#include "base/attributes.h"

#define IMAGES_MAX 1024

typedef enum image_kind_e {
  IMAGE_PROGRAM, // what isn't one of the others
  IMAGE_RUNTIME, // a C or C++ runtime
  IMAGE_SYSTEM   // lies in the folder of Windows' own DLLs
} image_kind_t;

typedef struct image_s {
  uintptr_t base;
  size_t size;
  const char* path; // UTF-8
  uint32_t timestamp;
  uint32_t code, code_end; // offsets of what the header calls code
  uint32_t entry;          // offset of the entry point; 0: none
  uint32_t functions;      // offset of the table for unwinding
  uint32_t function_count;
  uint8_t kind; // image_kind_t
  bool is_unloaded;
} image_t;

// Under the loader lock, once. `self`: our own module. False: there is no memory.
bool images_start(const void* self);

// Under the loader lock: those that nobody told us of.
void images_look_again(void);

size_t images_count(void);
const image_t* images_at(size_t index);

// Changes whenever an address may mean something else than before.
uint32_t images_generation(void);

// The image that is mapped at `address` now, or NULL. Takes no lock.
const image_t* images_find(uintptr_t address);

extern uintptr_t images_self; // our own module
extern size_t images_self_size;
MI_INLINE bool images_is_self(uintptr_t address) { return address - images_self < images_self_size; }

// The path without its folders; "?" when `image` is NULL.
const char* images_name(const image_t* image);

// ---- frames ---------------------------------------------------------------------------------------------

typedef uint64_t frame_t;
#define FRAME_BARE ((frame_t)1 << 63)

frame_t frame_make(const image_t* image, uintptr_t address); // `image` may be NULL

// NULL for a bare address; `offset` receives the offset or the address.
const image_t* frame_image(frame_t frame, uint64_t* offset);

#endif
