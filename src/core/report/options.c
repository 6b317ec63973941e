#include "core/report/options.h"

#include "base/format.h"
#include "base/text.h"
#include "os/os.h"

typedef enum option_kind_e { KIND_FLAG, KIND_NUMBER, KIND_MS, KIND_BYTES, KIND_KIB } option_kind_t;

typedef struct option_entry_s {
  const char* name;
  const char* older_name;
  long default_value;
  option_kind_t kind;
  bool is_ignored;
} option_entry_t;

static const option_entry_t option_entries[OPTION_COUNT] = {
#define OPTION(name, default_value, kind, older)  {#name, older, default_value, KIND_##kind, false},
#define IGNORED(name, default_value, kind, older) {#name, older, default_value, KIND_##kind, true},
#define DEPRECATED                                IGNORED
#include "core/report/options_table.h"
};

long option_values[OPTION_COUNT] = {
#define OPTION(name, default_value, kind, older) OPTION_UNREAD,
#define DEPRECATED                               OPTION
#define IGNORED                                  OPTION
#include "core/report/options_table.h"
};

static uint8_t option_set_marks[OPTION_COUNT]; // 1: the environment or the program has set it

const char* option_name(option_t option) { return option_entries[option].name; }
bool option_is_set(option_t option) {
  (void)option_get(option);
  return atomic_get_relaxed(&option_set_marks[option]) != 0;
}

// ---- the environment --------------------------------------------------------------------------------------

#define VARIABLE_CAPACITY 64
#define VALUE_CAPACITY    1024 // no sensible value is longer

static void variable_name(const char* option, char variable[VARIABLE_CAPACITY]) {
  size_t length = format_print(variable, VARIABLE_CAPACITY, "MIMALLOC_%s", option);
  for (size_t i = 0; i < length; i++) variable[i] = text_upper(variable[i]);
}

// Looks for MIMALLOC_NAME, then mimalloc_name: upstream ignores the case, which Windows' environment does by
// itself.
static bool environment_get(const char* name, char variable[VARIABLE_CAPACITY], char value[VALUE_CAPACITY]) {
  variable_name(name, variable);
  if (os_environment(variable, value, VALUE_CAPACITY)) return true;
  for (size_t i = 0; variable[i] != 0; i++) variable[i] = text_lower(variable[i]);
  return os_environment(variable, value, VALUE_CAPACITY);
}

static const char* trim(char* text) {
  while (text_is_space(*text)) text++;
  size_t length = text_length(text);
  while (length > 0 && text_is_space(text[length - 1])) length--; // "set X=1 && program" leaves a space
  text[length] = 0;
  return text;
}

static bool parse_word(const char* text, long* value) {
  static const char* const words[] = {"", "1", "true", "yes", "on", "0", "false", "no", "off"};
  for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
    if (text_equal_ignoring_case(text, words[i])) {
      *value = i < 5;
      return true;
    }
  }
  return false;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

// A whole number, sign and all; one beyond 64 bits counts as the nearest there is.
static bool parse_integer(const char** text, int64_t* number) {
  if (format_parse_integer(text, number)) return true;
  const char* p = *text;
  bool is_negative = *p == '-';
  if (*p == '-' || *p == '+') p++;
  if (!is_digit(*p)) return false;
  while (is_digit(*p)) p++;
  *number = is_negative ? INT64_MIN : INT64_MAX;
  *text = p;
  return true;
}

static long clamp_to_long(int64_t number) { // LONG_MIN is OPTION_UNREAD
  return number > (int64_t)LONG_MAX ? LONG_MAX : number <= (int64_t)LONG_MIN ? LONG_MIN + 1 : (long)number;
}

static bool parse_size(const char* text, option_kind_t kind, long* value) {
  int64_t number;
  bool has_unit;
  if (format_parse_size(text, &number, &has_unit)) {
    if (kind == KIND_KIB) number = number / 1024 + (number % 1024 != 0);
    *value = clamp_to_long(number);
    return true;
  }
  // Below zero, or beyond 64 bits: clamped, if what follows the number makes sense.
  char unit[8] = "1";
  if (!parse_integer(&text, &number) || text_length(text) >= sizeof(unit) - 1) return false;
  for (size_t i = 0; i <= text_length(text); i++) unit[i + 1] = text[i];
  int64_t ignored;
  if (!format_parse_size(unit, &ignored, &has_unit)) return false;
  *value = number < 0 ? 0 : LONG_MAX;
  return true;
}

static bool parse_value(const char* text, option_kind_t kind, long* value) {
  if (kind == KIND_BYTES || kind == KIND_KIB) {
    if (parse_size(text, kind, value)) return true; // first: "1" is a byte, not "on"
  } else {
    int64_t number;
    const char* end = text;
    if (parse_integer(&end, &number) && *end == 0) {
      *value = clamp_to_long(number);
      return true;
    }
  }
  return parse_word(text, value);
}

static const char* kind_expectation(option_kind_t kind) {
  switch (kind) {
  case KIND_FLAG:
    return "0, 1, true, false, yes, no, on or off";
  case KIND_MS:
    return "a number of milliseconds";
  case KIND_BYTES:
  case KIND_KIB:
    return "a number of bytes, or a number with K, M, G or T";
  case KIND_NUMBER:
  default:
    return "a number";
  }
}

static const char* kind_unit(option_kind_t kind) {
  return kind == KIND_KIB ? " KiB" : kind == KIND_BYTES ? " bytes" : kind == KIND_MS ? " ms" : "";
}

static void warn_of_value(option_t option, const char* variable, const char* text) {
  const option_entry_t* entry = &option_entries[option];
  static const char format[] =
      "environment variable %s has the value \"%s\" but takes %s; the default stays (%ld%s)\n";
  // Who misspells the option that would show the warning has to see it all the same.
  if (option == option_show_errors || option == option_verbose) {
    char line[512];
    format_print(line, sizeof(line), format, variable, text, kind_expectation(entry->kind),
                 entry->default_value, kind_unit(entry->kind));
    message_print("mimalloc: warning: %s", line);
  } else {
    message_warning(format, variable, text, kind_expectation(entry->kind), entry->default_value,
                    kind_unit(entry->kind));
  }
}

// Runs on any thread, perhaps on several at once; the first one to store the value gives the warnings.
MI_COLD long option_read_slow(option_t option) {
  const option_entry_t* entry = &option_entries[option];
  char variable[VARIABLE_CAPACITY], text[VALUE_CAPACITY];
  bool is_older = false;
  os_init(); // an option may be asked for before anything else
  bool is_present = environment_get(entry->name, variable, text);
  if (!is_present && entry->older_name != NULL) {
    is_present = is_older = environment_get(entry->older_name, variable, text);
  }
  long value = entry->default_value;
  const char* trimmed = is_present ? trim(text) : "";
  if (*trimmed == 0 && entry->kind != KIND_FLAG) is_present = false; // no number: as if it weren't there
  bool is_valid = is_present && parse_value(trimmed, entry->kind, &value);

  // The mark goes first: who sees the value must see the mark too. It can't be wrong early, as the
  // environment decides.
  if (is_valid) atomic_set_release(&option_set_marks[option], (uint8_t)1);
  long expected = OPTION_UNREAD;
  if (!atomic_cas_acq_rel(&option_values[option], &expected, value)) return expected;

  // Only now, since warnings read options.
  if (is_present && !is_valid) warn_of_value(option, variable, trimmed);
  if (is_older && is_valid) {
    variable_name(entry->name, text);
    message_warning("environment variable %s is an older name of %s: please use that\n", variable, text);
  }
  return value;
}

// ---- variables that are no option -------------------------------------------------------------------------

static const char prefix[] = "MIMALLOC_";

// What else begins with the prefix: read by others than this file, or before there are options. The second part
// are the DLL's recorder's (dll/record). tests/layers/check_variables.py knows whether any is missing.
static const char* const other_names[] = {"disable_redirect",
                                          "disable_idle_purge",
                                          "fixed_addresses",
                                          "abort_on_error",
                                          "zero_on_free",
                                          "log", //
                                          "leaks",
                                          "check",
                                          "profile",
                                          "report",
                                          "report_text",
                                          "record_memory",
                                          "record_depth",
                                          "check_min",
                                          "check_max",
                                          "check_every",
                                          "check_exact",
                                          "check_memory",
                                          "check_blocks",
                                          "profile_rate",
                                          "profile_interval",
                                          "stats_interval",
                                          "stats_file"};

#define NAME_MAX 40 // of an option

// How many characters must be changed, added or left out to make one name of the other; at most `limit`.
static size_t name_distance(const char* a, const char* b, size_t limit) {
  size_t row[NAME_MAX + 1], length = text_length(b);
  if (length > NAME_MAX) return limit;
  for (size_t k = 0; k <= length; k++) row[k] = k;
  for (size_t i = 0; a[i] != 0; i++) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t k = 1; k <= length; k++) {
      size_t changed = diagonal + (text_lower(a[i]) != text_lower(b[k - 1]));
      size_t least = row[k] < row[k - 1] ? row[k] + 1 : row[k - 1] + 1;
      diagonal = row[k];
      row[k] = changed < least ? changed : least;
    }
  }
  return row[length] < limit ? row[length] : limit;
}

// The known name that `name` comes nearest to, if a slip can have made it: a third of it may be wrong.
// *distance 0: it is known.
static const char* nearest_name(const char* name, size_t* distance) {
  const char* nearest = NULL;
  *distance = text_length(name) / 3 + 2;
  for (unsigned i = 0; i < 2 * OPTION_COUNT + sizeof(other_names) / sizeof(other_names[0]); i++) {
    const char* known = i < OPTION_COUNT       ? option_entries[i].name
                        : i < 2 * OPTION_COUNT ? option_entries[i - OPTION_COUNT].older_name
                                               : other_names[i - 2 * OPTION_COUNT];
    size_t found = known == NULL ? *distance : name_distance(name, known, *distance);
    if (found < *distance) {
      nearest = known;
      *distance = found;
    }
  }
  return nearest;
}

// `name`: one of the tables'.
static bool is_ignored(const char* name) {
  for (unsigned i = 0; i < OPTION_COUNT; i++)
    if (name == option_entries[i].name || name == option_entries[i].older_name)
      return option_entries[i].is_ignored;
  return !MI_SECURE && text_equal_ignoring_case(name, "zero_on_free");
}

static void warn_of_name(void* context, const char* variable) {
  MI_UNUSED(context);
  size_t distance;
  const char* nearest = nearest_name(variable + sizeof(prefix) - 1, &distance);
  char known[VARIABLE_CAPACITY];
  if (distance == 0) {
    if (is_ignored(nearest))
      message_warning("environment variable %s has no effect in this build\n", variable);
    return;
  }
  if (nearest == NULL) {
    message_warning("environment variable %s has no effect: there is no such option\n", variable);
    return;
  }
  variable_name(nearest, known);
  message_warning("environment variable %s has no effect: there is no such option; is %s meant?\n", variable,
                  known);
}

void options_init(void) {
  static uint32_t are_names_checked;
  for (unsigned i = 0; i < OPTION_COUNT; i++) (void)option_get((option_t)i);
  uint32_t unchecked = 0;
  if ((option_is_enabled(option_show_errors) || option_is_enabled(option_verbose)) &&
      atomic_cas_acq_rel(&are_names_checked, &unchecked, 1u))
    os_environment_names(prefix, warn_of_name, NULL);
}

static bool environment_flag(const char* name, const char* otherwise) {
  char variable[VARIABLE_CAPACITY], text[VALUE_CAPACITY];
  long value = 0;
  if (!environment_get(name, variable, text)) return false;
  const char* trimmed = trim(text);
  if (!parse_value(trimmed, KIND_FLAG, &value)) {
    message_warning("environment variable %s has the value \"%s\" but takes %s; %s\n", variable, trimmed,
                    kind_expectation(KIND_FLAG), otherwise);
    return false;
  }
  return value != 0;
}

bool options_redirect_is_disabled(void) {
  return environment_flag("disable_redirect", "redirection stays enabled");
}
bool options_addresses_are_fixed(void) { return environment_flag("fixed_addresses", "addresses are random"); }
bool options_zero_on_free(void) {
  return environment_flag("zero_on_free", "the ends of blocks are zeroed, and small ones");
}

bool options_abort_on_error(void) {
  static uint8_t known; // 1: no, 2: yes
  uint8_t value = atomic_get_relaxed(&known);
  if (value == 0)
    atomic_set_relaxed(&known, value = environment_flag("abort_on_error", "the process goes on") ? 2 : 1);
  return value == 2;
}

bool options_idle_purge_is_disabled(void) {
  return environment_flag("disable_idle_purge", "idle memory is purged");
}

// ---- reading and setting ----------------------------------------------------------------------------------

size_t option_get_size(option_t option) {
  long value = option_get(option);
  if (value <= 0) return 0;
  size_t size = (size_t)value, unit = option_entries[option].kind == KIND_KIB ? 1024 : 1;
  return size > (size_t)PTRDIFF_MAX / unit ? (size_t)PTRDIFF_MAX : size * unit;
}

void option_set(option_t option, long value) {
  if (value == OPTION_UNREAD) value = OPTION_UNREAD + 1;
  atomic_set_release(&option_set_marks[option], (uint8_t)1);
  atomic_set_relaxed(&option_values[option], value);
  // The range of guarded sizes is never empty: the bound that was set pulls the other one along.
  if (option == option_guarded_min && option_get(option_guarded_max) < value) {
    option_set(option_guarded_max, value);
  } else if (option == option_guarded_max && option_get(option_guarded_min) > value) {
    option_set(option_guarded_min, value);
  }
}

void option_set_default(option_t option, long value) {
  if (value == OPTION_UNREAD) value = OPTION_UNREAD + 1;
  long current = option_get(option); // reads the environment if that hasn't happened
  if (atomic_get_acquire(&option_set_marks[option]) != 0) return;
  atomic_cas_acq_rel(&option_values[option], &current, value); // who sets it meanwhile wins
}

// ---- printing ---------------------------------------------------------------------------------------------

static void print_option(message_output_t* output, void* arg, option_t option) {
  const option_entry_t* entry = &option_entries[option];
  message_print_to(output, arg, "mimalloc: option '%s': %ld%s%s%s\n", entry->name, option_get(option),
                   kind_unit(entry->kind), option_is_set(option) ? " (set)" : "",
                   entry->is_ignored ? " (no effect)" : "");
}

void options_print(message_output_t* output, void* arg) {
  for (unsigned i = 0; i < OPTION_COUNT; i++) print_option(output, arg, (option_t)i);
}

void options_print_set(message_output_t* output, void* arg) {
  for (unsigned i = 0; i < OPTION_COUNT; i++) {
    if (option_is_set((option_t)i)) print_option(output, arg, (option_t)i);
  }
}
