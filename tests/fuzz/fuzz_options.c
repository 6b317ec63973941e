// The parser of options: any text as the value of any option. An input is the option's number, a byte of
// choices, and the text.
#include "fuzz.h"

#include "base/format.h"
#include "core/report/options.h"

static char printed[32 * 1024];
static size_t printed_size;

static void on_print(const char* text, void* arg) {
  (void)arg;
  size_t length = strlen(text);
  PROMISE(printed_size + length < sizeof(printed));
  memcpy(printed + printed_size, text, length + 1);
  printed_size += length;
}

static long read_option(option_t option, const char* variable, const char* text) {
  setenv(variable, text, 1);
  option_values[option] = OPTION_UNREAD;
  long value = option_get(option);
  PROMISE(value != OPTION_UNREAD && value == option_get(option));
  return value;
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  static bool is_ready;
  if (!is_ready) {
    is_ready = true;
    message_register_output(on_print, NULL);
  }
  printed_size = 0;
  option_t option = (option_t)(data[0] % OPTION_COUNT);
  char variable[64], text[2048];
  size_t length = size - 2 < sizeof(text) - 1 ? size - 2 : sizeof(text) - 1;
  memcpy(text, data + 2, length);
  text[length] = 0;
  snprintf(variable, sizeof(variable), "MIMALLOC_%s", option_name(option));
  for (char* c = variable; *c != 0; c++) *c = (char)((*c >= 'a' && *c <= 'z') ? *c - 32 : *c);

  long value = read_option(option, variable, text);
  size_t amount = option_get_size(option);
  PROMISE(amount <= PTRDIFF_MAX && (value > 0 || amount == 0));
  long clamped = option_get_clamp(option, -5, 5);
  PROMISE(clamped >= -5 && clamped <= 5);

  // The parsers below it, on the text itself; and what is printed of a number reads as that number again.
  int64_t number = 0;
  bool has_unit;
  if (format_parse_size(text, &number, &has_unit)) PROMISE(number >= 0 || text[0] == '-');
  const char* rest = text;
  if (format_parse_integer(&rest, &number)) {
    PROMISE(rest > text && rest <= text + strlen(text));
    char again[32];
    int64_t second = 0;
    format_print(again, sizeof(again), "%lld", (long long)number);
    rest = again;
    PROMISE(format_parse_integer(&rest, &second) && *rest == 0 && second == number);
  }
  if ((data[1] & 1) != 0) options_print(on_print, NULL);
  if ((data[1] & 2) != 0) {
    setenv("MIMALLOC_DISABLE_REDIRECT", text, 1);
    (void)options_redirect_is_disabled();
    unsetenv("MIMALLOC_DISABLE_REDIRECT");
  }
  // As it was: the next input finds defaults.
  unsetenv(variable);
  option_values[option] = OPTION_UNREAD;
  return 0;
}
