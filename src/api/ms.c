// Names that Microsoft's C runtime knows.
#include "mimalloc.h"
#include "api/text_copy.h"
#include "core/report/message.h"

void* mi__expand(void* p, size_t newsize) {
  void* same = mi_expand(p, newsize);
  if (same == NULL) os_set_errno(MESSAGE_ENOMEM);
  return same;
}

void* mi_aligned_recalloc(void* p, size_t newcount, size_t size, size_t alignment) {
  return mi_recalloc_aligned(p, newcount, size, alignment);
}

void* mi_aligned_offset_recalloc(void* p, size_t newcount, size_t size, size_t alignment, size_t offset) {
  return mi_recalloc_aligned_at(p, newcount, size, alignment, offset);
}

wchar_t* mi_wcsdup(const wchar_t* s) { return (wchar_t*)text_duplicate(NULL, s, SIZE_MAX, sizeof(wchar_t)); }
unsigned char* mi_mbsdup(const unsigned char* s) {
  return (unsigned char*)text_duplicate(NULL, s, SIZE_MAX, 1);
}

#define VALUE_CAPACITY_MAX (64 * MI_KIB) // characters; Windows allows 32767

int mi_dupenv_s(char** buf, size_t* size, const char* name) {
  if (buf != NULL) *buf = NULL;
  if (size != NULL) *size = 0;
  if (buf == NULL || name == NULL) return MESSAGE_EINVAL;
  for (size_t capacity = 256; capacity <= VALUE_CAPACITY_MAX; capacity *= 4) {
    char* value = (char*)block_malloc(capacity);
    if (value == NULL) return MESSAGE_ENOMEM;
    if (os_environment(name, value, capacity)) {
      if (size != NULL) *size = text_length(value, capacity, 1) + 1;
      *buf = value;
      return 0;
    }
    mi_free(value);
  }
  return 0; // not set: NULL, as the C runtime does
}

int mi_wdupenv_s(wchar_t** buf, size_t* size, const wchar_t* name) {
  if (buf != NULL) *buf = NULL;
  if (size != NULL) *size = 0;
  if (buf == NULL || name == NULL) return MESSAGE_EINVAL;
  for (size_t capacity = 256; capacity <= VALUE_CAPACITY_MAX; capacity *= 4) {
    wchar_t* value = (wchar_t*)block_malloc(capacity * sizeof(wchar_t));
    if (value == NULL) return MESSAGE_ENOMEM;
    if (os_environment_wide(name, value, capacity)) {
      if (size != NULL) *size = text_length(value, capacity, sizeof(wchar_t)) + 1;
      *buf = value;
      return 0;
    }
    mi_free(value);
  }
  return 0;
}
