// Memory, files and messages. Memory lives until the program ends, which is soon.
#ifndef MI_REPORT_COMMON_H
#define MI_REPORT_COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

void* allocate(size_t size); // zeroed; ends the program when there is none
char* text_copy(const char* text, size_t length);
char* text_format(const char* format, ...);

// A growing text or byte string.
typedef struct bytes_s {
  char* data; // always followed by a NUL
  size_t size, capacity;
} bytes_t;

void bytes_add(bytes_t* bytes, const void* data, size_t size);
void bytes_print(bytes_t* bytes, const char* format, ...);

// Of records that are sorted by the uint32_t they begin with: the last one that isn't above `key`. NULL: all are.
const void* find_at_or_before(const void* records, size_t count, size_t size, uint32_t key);

// NULL with errno set when it can't be read. Followed by a NUL.
char* file_read(const char* path, size_t* size);

// What comes after the last slash of either kind.
const char* file_name(const char* path);

// Two lines, cause and remedy, on standard error; ends the program with code 1.
_Noreturn void give_up(const char* remedy, const char* format, ...);
void warn(const char* format, ...);

#endif
