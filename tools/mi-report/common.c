#include "common.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "platform.h"

void* allocate(size_t size) {
  void* p = calloc(1, size == 0 ? 1 : size);
  if (p == NULL) give_up("close other programs, or take a report with fewer stacks", "out of memory");
  return p;
}

char* text_copy(const char* text, size_t length) {
  char* copy = allocate(length + 1);
  memcpy(copy, text, length);
  return copy;
}

void bytes_add(bytes_t* bytes, const void* data, size_t size) {
  if (bytes->size + size + 1 > bytes->capacity) {
    size_t capacity = 2 * (bytes->size + size + 1);
    char* larger = allocate(capacity);
    if (bytes->size > 0) memcpy(larger, bytes->data, bytes->size);
    free(bytes->data);
    bytes->data = larger;
    bytes->capacity = capacity;
  }
  memcpy(bytes->data + bytes->size, data, size);
  bytes->size += size;
  bytes->data[bytes->size] = 0;
}

static void print(bytes_t* bytes, const char* format, va_list args) {
  char text[4096];
  va_list again;
  va_copy(again, args);
  int length = vsnprintf(text, sizeof(text), format, args);
  if (length >= (int)sizeof(text)) {
    char* large = allocate((size_t)length + 1);
    vsnprintf(large, (size_t)length + 1, format, again);
    bytes_add(bytes, large, (size_t)length);
    free(large);
  } else if (length > 0) {
    bytes_add(bytes, text, (size_t)length);
  }
  va_end(again);
}

void bytes_print(bytes_t* bytes, const char* format, ...) {
  va_list args;
  va_start(args, format);
  print(bytes, format, args);
  va_end(args);
}

char* text_format(const char* format, ...) {
  bytes_t bytes = {0};
  va_list args;
  va_start(args, format);
  bytes_add(&bytes, "", 0);
  print(&bytes, format, args);
  va_end(args);
  return bytes.data;
}

const void* find_at_or_before(const void* records, size_t count, size_t size, uint32_t key) {
  const char* first = records;
  size_t low = 0, high = count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (*(const uint32_t*)(const void*)(first + middle * size) <= key)
      low = middle + 1;
    else
      high = middle;
  }
  return low == 0 ? NULL : first + (low - 1) * size;
}

char* file_read(const char* path, size_t* size) {
  FILE* file = file_open(path, "rb");
  if (file == NULL) return NULL;
  bytes_t bytes = {0};
  char part[65536];
  size_t got;
  bytes_add(&bytes, "", 0);
  while ((got = fread(part, 1, sizeof(part), file)) > 0) bytes_add(&bytes, part, got);
  int failed = ferror(file);
  fclose(file);
  if (failed) {
    errno = EIO;
    return NULL;
  }
  *size = bytes.size;
  return bytes.data;
}

const char* file_name(const char* path) {
  const char* name = path;
  for (; *path != 0; path++) {
    if (*path == '/' || *path == '\\') name = path + 1;
  }
  return name;
}

void warn(const char* format, ...) {
  va_list args;
  va_start(args, format);
  fputs("mi-report: warning: ", stderr);
  vfprintf(stderr, format, args);
  fputs("\n", stderr);
  va_end(args);
}

void give_up(const char* remedy, const char* format, ...) {
  va_list args;
  va_start(args, format);
  fputs("mi-report: error: ", stderr);
  vfprintf(stderr, format, args);
  fprintf(stderr, "\nmi-report: remedy: %s\n", remedy);
  va_end(args);
  exit(1);
}
