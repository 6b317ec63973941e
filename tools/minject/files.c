#include "files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#endif

static bool fail(pe_error_t* error, const char* what, const char* path) {
  const int code = errno;
  const char* remedy = code == EACCES || code == EPERM ? " (is it read-only, or a program that runs?)" : "";
  return pe_fail(error, "can't %s %.200s: %s%s", what, path, code == 0 ? "unknown error" : strerror(code),
                 remedy);
}

bool file_read(const char* path, uint8_t** data, size_t* size, pe_error_t* error) {
  size_t capacity = 256 * 1024, length = 0;
  errno = 0;
  FILE* file = fopen(path, "rb");
  if (file == NULL) return fail(error, "open", path);
  uint8_t* bytes = malloc(capacity);
  bool good = bytes != NULL || pe_fail(error, "out of memory");
  while (good) {
    length += fread(bytes + length, 1, capacity - length, file);
    if (ferror(file)) {
      good = fail(error, "read", path);
    } else if (length < capacity) {
      break; // the end
    } else if (length > PE_SIZE_MAX) {
      good = pe_fail(error, "%.200s is larger than 2 GiB: no Windows loads such a file", path);
    } else {
      capacity *= 2;
      uint8_t* more = realloc(bytes, capacity);
      if (more == NULL)
        good = pe_fail(error, "out of memory");
      else
        bytes = more;
    }
  }
  fclose(file);
  if (!good) {
    free(bytes);
    return false;
  }
  *data = bytes;
  *size = length;
  return true;
}

bool file_exists(const char* path) {
  FILE* file = fopen(path, "rb");
  if (file != NULL) fclose(file);
  return file != NULL || (errno != ENOENT && errno != ENOTDIR);
}

// A program or DLL can't be written to until the system has dealt with the end of the last process that ran it, which may
// be a moment after that process was seen to end: up to a second is waited for it.
static FILE* open_to_write(const char* path, const char* mode) {
  FILE* file = fopen(path, mode);
#ifdef _WIN32
  for (int tries = 0; file == NULL && errno == EACCES && tries < 20; tries++) {
    Sleep(50);
    errno = 0;
    file = fopen(path, mode);
  }
#endif
  return file;
}

bool file_is_writable(const char* path, pe_error_t* error) {
  errno = 0;
  FILE* file = open_to_write(path, "r+b");
  if (file == NULL) return fail(error, "write", path);
  fclose(file);
  return true;
}

bool file_write(const char* path, const uint8_t* data, size_t size, pe_error_t* error) {
  const bool is_new = !file_exists(path);
  errno = 0;
  FILE* file = open_to_write(path, "wb");
  if (file == NULL) return fail(error, "write", path);
  bool good = fwrite(data, 1, size, file) == size && fflush(file) == 0;
  if (!good) fail(error, "write", path);
  if (fclose(file) != 0 && good) good = fail(error, "write", path);
  if (!good && is_new) remove(path);
  return good;
}

const char* file_name(const char* path) {
  const char* name = path;
  for (const char* p = path; *p != 0; p++) {
    if (*p == '/' || *p == '\\' || (*p == ':' && p == path + 1)) name = p + 1;
  }
  return name;
}
