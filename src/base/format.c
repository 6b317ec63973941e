#include "base/format.h"
#include "base/text.h"

typedef struct writer_s {
  char* buffer;
  size_t capacity;
  size_t length;
} writer_t;

static void write_char(writer_t* writer, char c) {
  if (writer->length + 1 < writer->capacity) writer->buffer[writer->length++] = c;
}

static void write_fill(writer_t* writer, char c, size_t count) {
  // A fill that doesn't fit ends the text; don't count up to an absurd width.
  if (count > writer->capacity) count = writer->capacity;
  while (count-- > 0) write_char(writer, c);
}

static void write_text(writer_t* writer, const char* text, size_t length) {
  for (size_t i = 0; i < length; i++) write_char(writer, text[i]);
}

typedef struct spec_s {
  bool is_left, is_zero_filled;
  size_t width;
  bool has_precision;
  size_t precision;
  unsigned size; // 0: int, 1: long, 2: long long, 3: size_t
} spec_t;

static void write_field(writer_t* writer, const spec_t* spec, const char* text, size_t length) {
  size_t fill = spec->width > length ? spec->width - length : 0;
  if (!spec->is_left) write_fill(writer, ' ', fill);
  write_text(writer, text, length);
  if (spec->is_left) write_fill(writer, ' ', fill);
}

static void write_number(writer_t* writer, const spec_t* spec, uint64_t value, unsigned base, bool is_upper,
                         const char* prefix) {
  const char* digits = is_upper ? "0123456789ABCDEF" : "0123456789abcdef";
  char text[24]; // 2^64 has 20 decimal digits
  size_t start = sizeof(text);
  do {
    text[--start] = digits[value % base];
    value /= base;
  } while (value != 0);
  size_t length = sizeof(text) - start, prefix_length = text_length(prefix);
  size_t total = length + prefix_length;
  size_t fill = spec->width > total ? spec->width - total : 0;
  bool is_zero_filled = spec->is_zero_filled && !spec->is_left;
  if (!spec->is_left && !is_zero_filled) write_fill(writer, ' ', fill);
  write_text(writer, prefix, prefix_length);
  if (is_zero_filled) write_fill(writer, '0', fill);
  write_text(writer, text + start, length);
  if (spec->is_left) write_fill(writer, ' ', fill);
}

static size_t parse_count(const char** format) {
  size_t count = 0;
  for (; **format >= '0' && **format <= '9'; (*format)++) {
    if (count < 10000) count = count * 10 + (size_t)(**format - '0');
  }
  return count;
}

size_t format_vprint(char* buffer, size_t capacity, const char* format, va_list args) {
  if (capacity == 0) return 0;
  writer_t writer = {buffer, capacity, 0};
  while (*format != 0) {
    if (*format != '%') {
      write_char(&writer, *format++);
      continue;
    }
    const char* start = format++;
    spec_t spec = {0};
    for (;; format++) {
      if (*format == '-') {
        spec.is_left = true;
      } else if (*format == '0') {
        spec.is_zero_filled = true;
      } else {
        break;
      }
    }
    if (*format == '*') {
      int width = va_arg(args, int);
      if (width < 0) spec.is_left = true;
      spec.width = width < 0 ? 0u - (unsigned)width : (unsigned)width;
      format++;
    } else {
      spec.width = parse_count(&format);
    }
    if (*format == '.') {
      format++;
      spec.has_precision = true;
      if (*format == '*') {
        int precision = va_arg(args, int);
        spec.has_precision = precision >= 0; // as C says: a negative one counts as none
        spec.precision = precision < 0 ? 0 : (size_t)precision;
        format++;
      } else {
        spec.precision = parse_count(&format);
      }
    }
    if (*format == 'z') {
      spec.size = 3;
      format++;
    } else {
      for (; *format == 'l' && spec.size < 2; format++) spec.size++;
    }
    switch (*format) {
    case '%':
      write_char(&writer, '%');
      break;
    case 'c': {
      char c = (char)va_arg(args, int);
      write_field(&writer, &spec, &c, 1);
      break;
    }
    case 's': {
      const char* text = va_arg(args, const char*);
      if (text == NULL) text = "(null)";
      size_t length = 0; // not text_length: with a precision the string needs no NUL
      while ((!spec.has_precision || length < spec.precision) && text[length] != 0) {
        length++;
        __asm__ volatile("");
      }
      write_field(&writer, &spec, text, length);
      break;
    }
    case 'd':
    case 'i': {
      int64_t value = spec.size == 0   ? va_arg(args, int)
                      : spec.size == 1 ? va_arg(args, long)
                      : spec.size == 2 ? va_arg(args, long long)
                                       : (int64_t)va_arg(args, ptrdiff_t);
      uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
      write_number(&writer, &spec, magnitude, 10, false, value < 0 ? "-" : "");
      break;
    }
    case 'u':
    case 'x':
    case 'X': {
      uint64_t value = spec.size == 0   ? va_arg(args, unsigned)
                       : spec.size == 1 ? va_arg(args, unsigned long)
                       : spec.size == 2 ? va_arg(args, unsigned long long)
                                        : va_arg(args, size_t);
      write_number(&writer, &spec, value, *format == 'u' ? 10 : 16, *format == 'X', "");
      break;
    }
    case 'p':
      write_number(&writer, &spec, (uintptr_t)va_arg(args, void*), 16, false, "0x");
      break;
    default: // not ours: show it, so that the mistake is seen
      write_text(&writer, start, (size_t)(format - start));
      if (*format != 0) write_char(&writer, *format);
      break;
    }
    if (*format != 0) format++;
  }
  buffer[writer.length] = 0;
  return writer.length;
}

size_t format_print(char* buffer, size_t capacity, const char* format, ...) {
  va_list args;
  va_start(args, format);
  size_t length = format_vprint(buffer, capacity, format, args);
  va_end(args);
  return length;
}

const char* format_size(char buffer[FORMAT_SIZE_CAPACITY], int64_t bytes) {
  static const char units[] = "KMGTPE";
  uint64_t magnitude = bytes < 0 ? 0 - (uint64_t)bytes : (uint64_t)bytes;
  const char* sign = bytes < 0 ? "-" : "";
  if (magnitude < 1024) {
    format_print(buffer, FORMAT_SIZE_CAPACITY, "%s%u B", sign, (unsigned)magnitude);
    return buffer;
  }
  unsigned unit = 0, shift = 10;
  while (magnitude >> shift >= 1024) {
    unit++;
    shift += 10;
  }
  unsigned whole = (unsigned)(magnitude >> shift);
  unsigned tenth = (unsigned)(((magnitude >> (shift - 10)) & 1023) * 10 / 1024);
  format_print(buffer, FORMAT_SIZE_CAPACITY, "%s%u.%u %ciB", sign, whole, tenth, units[unit]);
  return buffer;
}

bool format_parse_integer(const char** text, int64_t* value) {
  const char* p = *text;
  bool is_negative = *p == '-';
  if (*p == '-' || *p == '+') p++;
  if (*p < '0' || *p > '9') return false;
  int64_t sum = 0; // kept negative: INT64_MIN has no positive counterpart
  for (; *p >= '0' && *p <= '9'; p++) {
    if (__builtin_mul_overflow(sum, 10, &sum) || __builtin_sub_overflow(sum, *p - '0', &sum)) return false;
  }
  if (!is_negative && __builtin_sub_overflow((int64_t)0, sum, &sum)) return false;
  *value = sum;
  *text = p;
  return true;
}

bool format_parse_size(const char* text, int64_t* bytes, bool* has_unit) {
  int64_t amount;
  if (!format_parse_integer(&text, &amount) || amount < 0) return false;
  unsigned shift = 0;
  switch (text_upper(*text)) {
  case 'K':
    shift = 10;
    break;
  case 'M':
    shift = 20;
    break;
  case 'G':
    shift = 30;
    break;
  case 'T':
    shift = 40;
    break;
  default:
    break;
  }
  if (shift != 0) {
    text++;
    if (text_upper(text[0]) == 'I' && text_upper(text[1]) == 'B') {
      text += 2;
    } else if (text_upper(*text) == 'B') {
      text++;
    }
  }
  if (*text != 0) return false;
  *has_unit = shift != 0;
  *bytes = amount > INT64_MAX >> shift ? INT64_MAX : amount << shift;
  return true;
}
