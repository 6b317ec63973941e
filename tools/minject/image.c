#include "image.h"

#include <stdlib.h>
#include <string.h>

bool image_copy(image_t* image, bytes_t from) {
  *image = (image_t){malloc(from.size == 0 ? 1 : from.size), from.size, false};
  if (image->data == NULL) return false;
  memcpy(image->data, from.data, from.size);
  return true;
}

bool image_insert(image_t* image, size_t at, size_t count) {
  if (at > image->size || count > SIZE_MAX - image->size) {
    image->is_broken = true;
    return false;
  }
  uint8_t* data = realloc(image->data, image->size + count);
  if (data == NULL) return false;
  memmove(data + at + count, data + at, image->size - at);
  memset(data + at, 0, count);
  image->data = data;
  image->size += count;
  return true;
}

void image_delete(image_t* image, size_t at, size_t count) {
  if (at > image->size || count > image->size - at) {
    image->is_broken = true;
    return;
  }
  memmove(image->data + at, image->data + at + count, image->size - at - count);
  image->size -= count;
}

void image_free(image_t* image) {
  free(image->data);
  image->data = NULL;
}

void image_put(image_t* image, uint64_t offset, const void* from, size_t count) {
  if (bytes_at((bytes_t){image->data, image->size}, offset, count) == NULL) {
    image->is_broken = true;
    return;
  }
  memcpy(image->data + offset, from, count);
}

void image_put_u16(image_t* image, uint64_t offset, uint16_t value) {
  uint8_t bytes[2];
  set_u16(bytes, value);
  image_put(image, offset, bytes, sizeof(bytes));
}

void image_put_u32(image_t* image, uint64_t offset, uint32_t value) {
  uint8_t bytes[4];
  set_u32(bytes, value);
  image_put(image, offset, bytes, sizeof(bytes));
}
