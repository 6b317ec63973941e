// The file while it is edited: bytes that grow and shrink. Writes outside of it are refused and remembered.
#ifndef MINJECT_IMAGE_H
#define MINJECT_IMAGE_H

#include "bytes.h"

#include <stdbool.h>

typedef struct image_s {
  uint8_t* data;
  size_t size;
  bool is_broken; // a write was out of bounds: the image must not be used
} image_t;

// False when memory runs out.
bool image_copy(image_t* image, bytes_t from);
bool image_insert(image_t* image, size_t at, size_t count); // zeros
void image_delete(image_t* image, size_t at, size_t count);
void image_free(image_t* image);

void image_put(image_t* image, uint64_t offset, const void* from, size_t count);
void image_put_u16(image_t* image, uint64_t offset, uint16_t value);
void image_put_u32(image_t* image, uint64_t offset, uint32_t value);

#endif
