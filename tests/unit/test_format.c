// Formatting and parsing without the C runtime. Where C's own printf knows the format, it is the judge.
#include "support/check.h"

#include "base/format.h"
#include "base/text.h"

#include <limits.h>

// Both must write the same text.
#define SAME(...)                                                                                            \
  do {                                                                                                       \
    char ours[256], theirs[256];                                                                             \
    size_t length = format_print(ours, sizeof(ours), __VA_ARGS__);                                           \
    int expected = snprintf(theirs, sizeof(theirs), __VA_ARGS__);                                            \
    assert_string_equal(ours, theirs);                                                                       \
    assert_int_equal(length, expected);                                                                      \
  } while (0)

static void test_integers(void** state) {
  MI_UNUSED(state);
  SAME("%d %i %u", 0, 0, 0u);
  SAME("%d %d %u", INT_MIN, INT_MAX, UINT_MAX);
  SAME("%ld %ld %lu", LONG_MIN, LONG_MAX, ULONG_MAX);
  SAME("%lld %lld %llu", LLONG_MIN, LLONG_MAX, ULLONG_MAX);
  SAME("%zu %zd %zx", SIZE_MAX, PTRDIFF_MIN, SIZE_MAX);
  SAME("%x %X %lx %llx %llX", 0xbeefu, 0xBEEFu, 0x12345678ul, 0x123456789abcdefull, ULLONG_MAX);
}

static void test_width(void** state) {
  MI_UNUSED(state);
  SAME("[%5d] [%-5d] [%05d] [%2d]", 42, 42, 42, 12345);
  SAME("[%5d] [%-5d] [%05d]", -42, -42, -42);
  SAME("[%10llu] [%-10llu] [%010llx]", 7ull, 7ull, 0xaull);
  SAME("[%*d] [%-*d] [%*d]", 6, 1, 6, 2, -6, 3);
  SAME("[%-8x] [%08X]", 0xabu, 0xabu);
  SAME("[%5s] [%-5s] [%5c] [%-5c]", "ab", "ab", 'c', 'c');
}

static void test_strings(void** state) {
  MI_UNUSED(state);
  SAME("%s", "");
  SAME("%s%c%%", "x", 'y');
  SAME("[%.2s] [%.0s] [%.9s] [%6.2s] [%-6.2s]", "abc", "abc", "abc", "abc", "abc");
  SAME("[%.*s] [%.*s]", 1, "abc", -1, "abc");
  const char unterminated[3] = {'a', 'b', 'c'};
  SAME("%.3s", unterminated);
  char text[32];
  const char* volatile none = NULL;
  format_print(text, sizeof(text), "<%s>", none);
  assert_string_equal(text, "<(null)>");
}

static void test_pointers(void** state) {
  MI_UNUSED(state);
  char text[64];
  format_print(text, sizeof(text), "%p|%p|%8p|%-8p|", (void*)(uintptr_t)0xabc, NULL, (void*)16, (void*)16);
  assert_string_equal(text, "0xabc|0x0|    0x10|0x10    |");
  format_print(text, sizeof(text), "%3p|%-3p|%4p|%5p|", (void*)16, (void*)16, (void*)16, (void*)16);
  assert_string_equal(text, "0x10|0x10|0x10| 0x10|");
}

static void test_cut_off(void** state) {
  MI_UNUSED(state);
  char text[8];
  for (size_t capacity = 0; capacity <= sizeof(text); capacity++) {
    memset(text, 'x', sizeof(text));
    size_t length = format_print(text, capacity, "%s-%d", "abc", 12345);
    assert_int_equal(length, capacity == 0 ? 0 : capacity - 1);
    assert_memory_equal(text, "abc-1234", length);
    if (capacity > 0) assert_int_equal(text[length], 0);
    for (size_t i = capacity; i < sizeof(text); i++) assert_int_equal(text[i], 'x'); // nothing behind the end
  }
  memset(text, 'x', sizeof(text));
  const char* volatile wide = "%2147483647d"; // a width beyond sense ends, and quickly
  assert_int_equal(format_print(text, sizeof(text), wide, 1), 7);
  assert_string_equal(text, "       ");
}

static void test_unknown(void** state) {
  MI_UNUSED(state);
  char text[64];
  const char* volatile formats[] = {"a%yb", "%5", "%", "%-08.3"}; // volatile: the compiler would object
  const char* expected[] = {"a%yb", "%5", "%", "%-08.3"};
  for (unsigned i = 0; i < 4; i++) {
    format_print(text, sizeof(text), formats[i], 1);
    assert_string_equal(text, expected[i]);
  }
}

static void test_sizes(void** state) {
  MI_UNUSED(state);
  static const struct {
    int64_t bytes;
    const char* text;
  } cases[] = {
      {0, "0 B"},
      {1023, "1023 B"},
      {1024, "1.0 KiB"},
      {1536, "1.5 KiB"},
      {1024 * 1024 - 1, "1023.9 KiB"},
      {1024 * 1024, "1.0 MiB"},
      {(int64_t)5 << 30, "5.0 GiB"},
      {INT64_MAX, "7.9 EiB"},
      {INT64_MIN, "-8.0 EiB"},
      {-1, "-1 B"},
      {-((int64_t)1023 << 50) - ((int64_t)1023 << 40), "-1023.9 PiB"},
  };
  for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    char text[FORMAT_SIZE_CAPACITY];
    assert_string_equal(format_size(text, cases[i].bytes), cases[i].text);
  }
}

static void test_parse_integer(void** state) {
  MI_UNUSED(state);
  static const struct {
    const char* text;
    int64_t value;
    size_t used; // 0: no number
  } cases[] = {
      {"0", 0, 1},
      {"-1", -1, 2},
      {"+17x", 17, 3},
      {"007", 7, 3},
      {"9223372036854775807", INT64_MAX, 19},
      {"-9223372036854775808", INT64_MIN, 20},
      {"9223372036854775808", 0, 0},
      {"-9223372036854775809", 0, 0},
      {"99999999999999999999", 0, 0},
      {"", 0, 0},
      {"-", 0, 0},
      {" 1", 0, 0},
      {"x", 0, 0},
      {"--1", 0, 0},
  };
  for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    const char* text = cases[i].text;
    int64_t value = 4711;
    bool ok = format_parse_integer(&text, &value);
    if (ok != (cases[i].used != 0) || (size_t)(text - cases[i].text) != cases[i].used ||
        value != (ok ? cases[i].value : 4711)) {
      fail_msg("\"%s\": %d, value %lld, %d characters", cases[i].text, ok, (long long)value,
               (int)(text - cases[i].text));
    }
  }
}

static void test_parse_size(void** state) {
  MI_UNUSED(state);
  static const struct {
    const char* text;
    int64_t bytes; // -1: not a size
    bool has_unit;
  } cases[] = {
      {"0", 0, false},
      {"4096", 4096, false},
      {"4k", 4096, true},
      {"4K", 4096, true},
      {"4KB", 4096, true},
      {"4kib", 4096, true},
      {"3M", 3 << 20, true},
      {"2G", (int64_t)2 << 30, true},
      {"1TiB", (int64_t)1 << 40, true},
      {"8388607T", (int64_t)8388607 << 40, true},
      {"8388608T", INT64_MAX, true},
      {"9223372036854775807G", INT64_MAX, true},
      {"", -1, false},
      {"K", -1, false},
      {"4 K", -1, false},
      {"4X", -1, false},
      {"4KX", -1, false},
      {"4KiBs", -1, false},
      {"4B", -1, false},
      {"-4K", -1, false},
      {"1.5G", -1, false},
      {"0x10", -1, false},
  };
  for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    int64_t bytes = -1;
    bool has_unit = false;
    bool ok = format_parse_size(cases[i].text, &bytes, &has_unit);
    if (ok != (cases[i].bytes >= 0) || bytes != cases[i].bytes || has_unit != cases[i].has_unit) {
      fail_msg("\"%s\": %d, %lld bytes, unit %d", cases[i].text, ok, (long long)bytes, has_unit);
    }
  }
}

static void test_text(void** state) {
  MI_UNUSED(state);
  assert_int_equal(text_length(""), 0);
  assert_int_equal(text_length("four"), 4);
  assert_true(text_equal_ignoring_case("aBc_1", "AbC_1"));
  assert_false(text_equal_ignoring_case("abc", "abcd"));
  assert_false(text_equal_ignoring_case("abcd", "abc"));
  assert_true(text_equal_ignoring_case("", ""));
  assert_int_equal(text_upper('z'), 'Z');
  assert_int_equal(text_upper('{'), '{');
  assert_int_equal(text_lower('A'), 'a');
  assert_int_equal(text_lower('@'), '@');
}

int main(void) {
  const struct CMUnitTest format_tests[] = {
      cmocka_unit_test(test_integers),   cmocka_unit_test(test_width),
      cmocka_unit_test(test_strings),    cmocka_unit_test(test_pointers),
      cmocka_unit_test(test_cut_off),    cmocka_unit_test(test_unknown),
      cmocka_unit_test(test_sizes),      cmocka_unit_test(test_parse_integer),
      cmocka_unit_test(test_parse_size), cmocka_unit_test(test_text),
  };
  return check_run(format_tests);
}
