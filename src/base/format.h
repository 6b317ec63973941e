// Formatting and parsing of text without allocation and without the C runtime.
#ifndef BASE_FORMAT_H
#define BASE_FORMAT_H

#include <stdarg.h>

#include "base/attributes.h"

// Writes formatted text into buffer[0..capacity), always NUL-terminated (unless capacity is 0), cut off where
// it doesn't fit. Returns the number of characters written, without the NUL.
//
//   %[-][0][width][.precision][z|l|ll]conversion     width and precision: a number or *
//
//   c            a character                    s            a string; at most `precision` characters of it
//   d i          signed                         u x X        unsigned: decimal, hexadecimal
//   p            0x and hexadecimal digits      %            a percent sign
//
// Anything else is copied as it stands. A NULL string prints as (null).
size_t format_print(char* buffer, size_t capacity, const char* format, ...) MI_PRINTF(3, 4);
size_t format_vprint(char* buffer, size_t capacity, const char* format, va_list args) MI_PRINTF(3, 0);

// An amount of bytes for readers: "512 B", "64.0 KiB", "1.5 GiB". Rounded down. Returns `buffer`.
#define FORMAT_SIZE_CAPACITY 16
const char* format_size(char buffer[FORMAT_SIZE_CAPACITY], int64_t bytes);

// Reads a decimal number with an optional sign from the start of *text and moves *text behind it.
// False (and nothing changed) when there is none or it doesn't fit.
bool format_parse_integer(const char** text, int64_t* value);

// Reads an amount of bytes: a number, or a number with the unit K, M, G or T (of 1024, either case), which
// may be followed by B or iB. *has_unit tells which. `text` must hold nothing else. False when it isn't such
// an amount. An amount above INT64_MAX becomes INT64_MAX.
bool format_parse_size(const char* text, int64_t* bytes, bool* has_unit);

#endif
