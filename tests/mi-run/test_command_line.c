// How mi-run cuts command lines and puts them together; on Windows against CommandLineToArgvW itself.
#include "support/check.h"
#include "support/test_data.h"

#include "command_line.h"

#if defined(_WIN32)
#include <windows.h>
#include <shellapi.h>
#endif

enum { ROOM = 256, ARGUMENTS_MAX = 64 };

typedef struct arguments_s {
  size_t count;
  utf16_t text[ARGUMENTS_MAX][ROOM];
} arguments_t;

static bool equal(const utf16_t* a, const utf16_t* b) {
  size_t length = utf16_length(a);
  return length == utf16_length(b) && memcmp(a, b, length * sizeof(utf16_t)) == 0;
}

static void split(const utf16_t* line, arguments_t* result) {
  result->count = 0;
  for (const utf16_t* at = command_line_arguments(line); *at != 0;) {
    assert_true(result->count < ARGUMENTS_MAX);
    const utf16_t* end = command_line_argument(at, result->text[result->count++]);
    assert_true(end > at);
    assert_true(*end == 0 || *end == ' ' || *end == '\t');
    at = command_line_skip_blanks(end);
  }
}

static void print(const char* what, const utf16_t* text) {
  printf("%s: ", what);
  for (; *text != 0; text++) printf(*text >= 32 && *text < 127 ? "%c" : "{%04x}", *text);
  printf("\n");
}

typedef struct example_s {
  const utf16_t* line;
  const utf16_t* arguments[6];
} example_t;

static void documented_examples(void** state) {
  (void)state;
  static const example_t examples[] = {
      {u"p \"a b c\" d e", {u"a b c", u"d", u"e"}},
      {u"p \"ab\\\"c\" \"\\\\\" d", {u"ab\"c", u"\\", u"d"}},
      {u"p a\\\\\\b d\"e f\"g h", {u"a\\\\\\b", u"de fg", u"h"}},
      {u"p a\\\\\\\"b c d", {u"a\\\"b", u"c", u"d"}},
      {u"p a\\\\\\\\\"b c\" d e", {u"a\\\\b c", u"d", u"e"}},
      {u"p a\"b\"\" c d", {u"ab\"", u"c", u"d"}}, // where C runtimes differ from CommandLineToArgvW
      {u"p", {NULL}},
      {u"", {NULL}},
      {u"p \t ", {NULL}},
      {u"p \"\"", {u""}},
      {u"p \"\" x", {u"", u"x"}},
      {u"p \"unfinished and ", {u"unfinished and "}},
      {u"p trailing\\", {u"trailing\\"}},
      {u"p \"C:\\dir\\\\\" x", {u"C:\\dir\\", u"x"}},
      {u"p \"C:\\dir\\\" x", {u"C:\\dir\" x"}}, // the classic mistake
      {u"p a\u00e4\u6f22\U0001F600 b", {u"a\u00e4\u6f22\U0001F600", u"b"}},
      {u"p a\nb\u00a0c", {u"a\nb\u00a0c"}}, // only blank and tab separate
  };
  for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
    arguments_t found;
    split(examples[i].line, &found);
    size_t expected = 0;
    while (expected < 6 && examples[i].arguments[expected] != NULL) expected++;
    if (found.count != expected) print("line", examples[i].line);
    assert_int_equal(found.count, expected);
    for (size_t j = 0; j < expected; j++) {
      if (!equal(found.text[j], examples[i].arguments[j])) {
        print("line", examples[i].line);
        print("found", found.text[j]);
        fail();
      }
    }
  }
}

static void program_names_end_at_their_quote_or_blank(void** state) {
  (void)state;
  static const utf16_t* const lines[][2] = {
      {u"p.exe a b", u"a b"},
      {u"\"C:\\Program Files\\p.exe\" a b", u"a b"},
      {u"\"C:\\dir\\\" a", u"a"}, // no escapes here
      {u"C:\\a\"b\tc", u"c"},
      {u"\"p\"x y", u"x y"},
      {u" p", u"p"}, // a line that starts with a blank: the name is empty
      {u"\"open", u""},
      {u"\"\"", u""},
      {u"", u""},
  };
  for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
    if (!equal(command_line_arguments(lines[i][0]), lines[i][1])) {
      print("line", lines[i][0]);
      print("found", command_line_arguments(lines[i][0]));
      fail();
    }
  }
}

static void composes_name_and_tail(void** state) {
  (void)state;
  static const struct {
    const utf16_t *program, *tail;
    bool quoted;
    const utf16_t* line;
  } cases[] = {
      {u"p.exe", u"", false, u"p.exe"},
      {u"p.exe", u"", true, u"\"p.exe\""},
      {u"p.exe", u" a  \"b", false, u"p.exe a  \"b"},
      {u"C:\\my dir\\p.exe", u"\ta", false, u"\"C:\\my dir\\p.exe\"\ta"},
      {u"C:\\my dir\\p.exe", u"\ta", true, u"\"C:\\my dir\\p.exe\"\ta"},
      {u"tab\there", u"", false, u"\"tab\there\""},
      {u"C:\\dir\\", u" a", false, u"C:\\dir\\ a"},
      {u"", u" a", false, u"\"\" a"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    utf16_t line[ROOM];
    command_line_compose(line, cases[i].program, cases[i].quoted, cases[i].tail);
    if (!equal(line, cases[i].line)) {
      print("composed", line);
      fail();
    }
    const utf16_t* tail = command_line_skip_blanks(cases[i].tail);
    assert_true(equal(command_line_arguments(line), tail));
  }
}

static void random_text(test_random_t* random, utf16_t* text, size_t length) {
  static const utf16_t alphabet[] = u"\"\"\"\\\\\\  \tab\u00e4\u6f22";
  for (size_t i = 0; i < length; i++) {
    text[i] = alphabet[test_random_below(random, sizeof(alphabet) / sizeof(alphabet[0]) - 1)];
  }
  text[length] = 0;
}

// The rule for writing an argument, from the documentation: always in quotes; backslashes doubled before a
// quote and at the end.
static utf16_t* quote(utf16_t* to, const utf16_t* argument) {
  size_t backslashes = 0;
  *to++ = '"';
  for (;; argument++) {
    if (*argument == '\\') {
      backslashes++;
      continue;
    }
    bool doubled = *argument == '"' || *argument == 0;
    for (size_t i = 0; i < (doubled ? 2 * backslashes : backslashes); i++) *to++ = '\\';
    backslashes = 0;
    if (*argument == 0) break;
    if (*argument == '"') *to++ = '\\';
    *to++ = *argument;
  }
  *to++ = '"';
  return to;
}

static void quoted_arguments_come_back(void** state) {
  (void)state;
  test_random_t random = {.state = 1};
  for (int round = 0; round < 20000; round++) {
    utf16_t written[4][ROOM], line[4 * ROOM] = u"p";
    utf16_t* end = line + 1;
    size_t count = 1 + test_random_below(&random, 4);
    for (size_t i = 0; i < count; i++) {
      random_text(&random, written[i], test_random_below(&random, 24));
      *end++ = ' ';
      end = quote(end, written[i]);
    }
    *end = 0;
    arguments_t found;
    split(line, &found);
    assert_int_equal(found.count, count);
    for (size_t i = 0; i < count; i++) assert_true(equal(found.text[i], written[i]));
  }
}

#if defined(_WIN32)
static void agrees_with_windows(void** state) {
  (void)state;
  test_random_t random = {.state = 2};
  for (int round = 0; round < 50000; round++) {
    utf16_t line[ROOM];
    random_text(&random, line, 1 + test_random_below(&random, 40));
    int count;
    LPWSTR* expected = CommandLineToArgvW(line, &count);
    assert_non_null(expected);
    arguments_t found;
    split(line, &found);
    bool same = (int)found.count == count - 1;
    for (int i = 1; same && i < count; i++) same = equal(found.text[i - 1], expected[i]);
    if (!same) {
      print("line", line);
      for (size_t i = 0; i < found.count; i++) print("found", found.text[i]);
      for (int i = 1; i < count; i++) print("expected", expected[i]);
      fail();
    }
    LocalFree(expected);
  }
}
#endif

int main(void) {
  const struct CMUnitTest cases[] = {
    cmocka_unit_test(documented_examples),
    cmocka_unit_test(program_names_end_at_their_quote_or_blank),
    cmocka_unit_test(composes_name_and_tail),
    cmocka_unit_test(quoted_arguments_come_back),
#if defined(_WIN32)
    cmocka_unit_test(agrees_with_windows),
#endif
  };
  return check_run(cases);
}
