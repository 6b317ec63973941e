// Options, as the program sees them.
#include "mimalloc.h"

#include "core/report/options.h"

// The table and the public enum are the same list.
#define OPTION(name, default_value, kind, older)                                                             \
  _Static_assert((int)option_##name == (int)mi_option_##name, "order of " #name);
#define DEPRECATED(name, default_value, kind, older)                                                         \
  _Static_assert((int)option_##name == (int)mi_option_deprecated_##name, "order of " #name);
#define IGNORED OPTION
#include "core/report/options_table.h"
_Static_assert((int)OPTION_COUNT == (int)_mi_option_last, "number of options");

static bool is_option(mi_option_t option) { return (unsigned)option < OPTION_COUNT; }

long mi_option_get(mi_option_t option) { return is_option(option) ? option_get((option_t)option) : 0; }

long mi_option_get_clamp(mi_option_t option, long min, long max) {
  long value = mi_option_get(option);
  return value < min ? min : value > max ? max : value;
}

size_t mi_option_get_size(mi_option_t option) {
  return is_option(option) ? option_get_size((option_t)option) : 0;
}

void mi_option_set(mi_option_t option, long value) {
  if (is_option(option)) option_set((option_t)option, value);
}

void mi_option_set_default(mi_option_t option, long value) {
  if (is_option(option)) option_set_default((option_t)option, value);
}

bool mi_option_is_enabled(mi_option_t option) { return mi_option_get(option) != 0; }
void mi_option_enable(mi_option_t option) { mi_option_set(option, 1); }
void mi_option_disable(mi_option_t option) { mi_option_set(option, 0); }
void mi_option_set_enabled(mi_option_t option, bool enable) { mi_option_set(option, enable); }
void mi_option_set_enabled_default(mi_option_t option, bool enable) { mi_option_set_default(option, enable); }

void mi_options_print_out(mi_output_fun* out, void* arg) {
  message_print_to(out, arg, "mimalloc %d.%d.%d%s\n", MI_MALLOC_VERSION / 10000,
                   MI_MALLOC_VERSION / 100 % 100, MI_MALLOC_VERSION % 100,
                   MI_DEBUG ? ", with debug checks" : "");
  options_print(out, arg);
}

void mi_options_print(void) { mi_options_print_out(NULL, NULL); }
