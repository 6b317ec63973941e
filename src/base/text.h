// String helpers, since src/ calls no C runtime function but memcpy, memmove, memset and memcmp.
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/attributes.h"

static inline size_t text_length(const char* text) {
  size_t length = 0;
  while (text[length] != 0) {
    length++;
    __asm__ volatile(""); // keeps the compiler from seeing strlen in this loop and calling it
  }
  return length;
}

static inline char text_upper(char c) { return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c; }
static inline char text_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }
static inline bool text_is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// ASCII only: the names and words compared this way are ours.
static inline bool text_equal_ignoring_case(const char* a, const char* b) {
  while (*a != 0 && text_upper(*a) == text_upper(*b)) {
    a++;
    b++;
  }
  return text_upper(*a) == text_upper(*b);
}

static inline bool text_begins_ignoring_case(const char* text, const char* start) {
  while (*start != 0 && text_upper(*text) == text_upper(*start)) {
    text++;
    start++;
  }
  return *start == 0;
}

#endif
