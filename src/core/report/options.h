// Run-time options. Each has the value that the program set, else the environment's, else its default.
//
// The environment is read lazily, option by option, by whoever asks first; options_init reads what is left.
// Every thread that races here computes the same value and the first one is kept, so there is nothing to lock
// and nothing to wait for. Afterwards an option costs one load.
#ifndef CORE_REPORT_OPTIONS_H
#define CORE_REPORT_OPTIONS_H

#include <limits.h>

#include "base/atomics.h"
#include "core/report/message.h"

typedef enum option_e {
#define OPTION(name, default_value, kind, older) option_##name,
#define DEPRECATED                               OPTION
#define IGNORED                                  OPTION
#include "core/report/options_table.h"
  OPTION_COUNT
} option_t;

#define OPTION_UNREAD LONG_MIN // not a possible value: option_set turns it into LONG_MIN + 1

extern long option_values[OPTION_COUNT];

// Reads the environment; idempotent. Warns of a value that doesn't parse.
long option_read_slow(option_t option);

MI_INLINE long option_get(option_t option) {
  long value = atomic_get_relaxed(&option_values[option]);
  return MI_LIKELY(value != OPTION_UNREAD) ? value : option_read_slow(option);
}

MI_INLINE bool option_is_enabled(option_t option) { return option_get(option) != 0; }

MI_INLINE long option_get_clamp(option_t option, long min, long max) {
  long value = option_get(option);
  return value < min ? min : value > max ? max : value;
}

// The value of a size option in bytes, other options as they are; 0 when negative. At most PTRDIFF_MAX.
size_t option_get_size(option_t option);

// Amounts of kind KIB are in KiB.
void option_set(option_t option, long value);

// Has an effect only when neither the environment nor the program has set the option.
void option_set_default(option_t option, long value);

// The environment or the program has set the option.
bool option_is_set(option_t option);

// "show_errors"; the environment variable is MIMALLOC_ and the name in capitals.
const char* option_name(option_t option);

// Reads all options, so that later changes of the environment have no effect, and warns of variables that
// begin with MIMALLOC_ but name no option. Idempotent.
void options_init(void);

// One line per option, or per option that is set.
void options_print(message_output_t* output, void* arg);
void options_print_set(message_output_t* output, void* arg);

// MIMALLOC_DISABLE_REDIRECT and MIMALLOC_DISABLE_IDLE_PURGE (no timer): not in the table, whose numbers are
// upstream's. The first has to be known before a program could set it, the second when the first memory is
// freed.
bool options_redirect_is_disabled(void);

// MIMALLOC_FIXED_ADDRESSES: memory lies where it lay in the last run, as far as the system lets us.
bool options_addresses_are_fixed(void);

// MIMALLOC_ZERO_ON_FREE, secure builds: blocks are zeroed wholly when they are freed.
bool options_zero_on_free(void);

// MIMALLOC_ABORT_ON_ERROR: the process ends when memory is misused.
bool options_abort_on_error(void);
bool options_idle_purge_is_disabled(void);

#endif
