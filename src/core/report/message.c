#include "core/report/message.h"

#include "base/format.h"
#include "base/memory.h"
#include "base/text.h"
#include "core/report/callback.h"
#include "core/report/options.h"

#define MESSAGE_CAPACITY 1024 // on the caller's stack
#define EARLY_CAPACITY   (8 * 1024)

static callback_t output_callback;
static callback_t error_callback;
static int32_t callbacks_held;
static uint32_t callbacks_held_on; // the thread that holds the late theap's lock

void message_hold_callbacks(void) { atomic_add_acq_rel(&callbacks_held, 1); }
void message_release_callbacks(void) { atomic_sub_acq_rel(&callbacks_held, 1); }
void message_hold_callbacks_here(void) { atomic_set_relaxed(&callbacks_held_on, os_thread_id()); }
void message_release_callbacks_here(void) { atomic_set_relaxed(&callbacks_held_on, 0u); }
bool message_callbacks_are_held(void) {
  return atomic_get_acquire(&callbacks_held) > 0 ||
         atomic_get_relaxed(&callbacks_held_on) == os_thread_id() ||
         os_slot_get() == OS_SLOT_DETACHED; // this thread ends, perhaps under the loader lock
}

// ---- output -----------------------------------------------------------------------------------------------

// A program registers its output function in main() at the earliest; what was said before waits here for it.
static struct {
  os_lock_t lock;
  bool is_closed; // somebody registered: from now on text goes straight there
  size_t length;
  char text[EARLY_CAPACITY];
} early;

static void early_append(const char* text, size_t length) {
  // Never waits: standard error has the text already, and at process exit nobody will come for it.
  if (atomic_get_relaxed(&early.is_closed) || os_is_exiting() || !os_lock_try(&early.lock)) return;
  if (!early.is_closed && length < EARLY_CAPACITY - early.length) {
    mem_copy(early.text + early.length, text, length);
    early.length += length;
  }
  os_lock_release(&early.lock);
}

void message_register_output(message_output_t* output, void* arg) {
  callback_set(&output_callback, (callback_function_t*)output, arg);
  os_lock_acquire(&early.lock);
  bool is_first = !early.is_closed;
  atomic_set_relaxed(&early.is_closed, true);
  os_lock_release(&early.lock);
  if (!is_first || output == NULL || early.length == 0 || message_callbacks_are_held()) return;
  early.text[early.length] = 0;
  callback_entry_t entry;
  if (callback_enter(&output_callback.guard, &entry)) {
    output(early.text, arg);
    callback_leave(&output_callback.guard, &entry);
  }
}

// To the log file, if MIMALLOC_LOG names one, else to standard error.
static void write_text(const char* text, size_t length) {
  static const char problem[] =
      "mimalloc: warning: the file that MIMALLOC_LOG names can't be written: messages go to standard error\n";
  static uint32_t is_told;
  os_log_t log = os_log_write("MIMALLOC_LOG", text, length);
  if (log == OS_LOG_WRITTEN) return;
  uint32_t untold = 0;
  if (log == OS_LOG_FAILED && atomic_cas_acq_rel(&is_told, &untold, 1u))
    os_write_error(problem, sizeof(problem) - 1);
  os_write_error(text, length);
}

static void emit(const char* text, size_t length) {
  callback_entry_t entry;
  if (!message_callbacks_are_held() && callback_enter(&output_callback.guard, &entry)) {
    void* arg;
    message_output_t* output = (message_output_t*)callback_get(&output_callback, &arg);
    if (output != NULL) output(text, arg);
    callback_leave(&output_callback.guard, &entry);
    if (output != NULL) return;
  }
  write_text(text, length);
  early_append(text, length);
}

static size_t compose(char* line, const char* prefix, bool ends_line, const char* format, va_list args) {
  size_t length = format_print(line, MESSAGE_CAPACITY - 1, "%s", prefix); // leaves room for the end of line
  length += format_vprint(line + length, MESSAGE_CAPACITY - 1 - length, format, args);
  if (ends_line && (length == 0 || line[length - 1] != '\n')) {
    line[length++] = '\n';
    line[length] = 0;
  }
  return length;
}

static void say(const char* prefix, const char* format, va_list args) {
  char line[MESSAGE_CAPACITY];
  size_t length = compose(line, prefix, true, format, args);
  emit(line, length);
}

void message_print(const char* format, ...) {
  char line[MESSAGE_CAPACITY];
  va_list args;
  va_start(args, format);
  size_t length = compose(line, "", false, format, args);
  va_end(args);
  emit(line, length);
}

void message_print_to(message_output_t* output, void* arg, const char* format, ...) {
  char line[MESSAGE_CAPACITY];
  va_list args;
  va_start(args, format);
  size_t length = compose(line, "", false, format, args);
  va_end(args);
  if (output != NULL) {
    output(line, arg); // given by the caller for this call: neither held nor guarded
  } else {
    emit(line, length);
  }
}

void message_verbose(const char* format, ...) {
  if (!option_is_enabled(option_verbose)) return;
  va_list args;
  va_start(args, format);
  say("mimalloc: ", format, args);
  va_end(args);
}

// ---- warnings and errors ----------------------------------------------------------------------------------

static bool is_shown(void) {
  return option_is_enabled(option_show_errors) || option_is_enabled(option_verbose);
}

// Counts a message; true while the limit allows it. The last one allowed announces the silence that follows.
static bool is_within(int64_t* count, option_t limit_option, bool* is_last) {
  long limit = option_get(limit_option);
  *is_last = false;
  if (limit < 0) return true;
  int64_t number = atomic_add_relaxed(count, 1) + 1;
  *is_last = number == limit;
  return number <= limit;
}

void message_warning(const char* format, ...) {
  static int64_t count;
  bool is_last;
  if (!is_shown() || !is_within(&count, option_max_warnings, &is_last)) return;
  va_list args;
  va_start(args, format);
  say("mimalloc: warning: ", format, args);
  va_end(args);
  if (is_last) message_print("mimalloc: further warnings are not shown (option max_warnings)\n");
}

void message_register_error(message_error_t* error, void* arg) {
  callback_set(&error_callback, (callback_function_t*)error, arg);
}

static void react(int code) {
  callback_entry_t entry;
  if (!message_callbacks_are_held() && callback_enter(&error_callback.guard, &entry)) {
    void* arg;
    message_error_t* error = (message_error_t*)callback_get(&error_callback, &arg);
    if (error != NULL) error(code, arg);
    callback_leave(&error_callback.guard, &entry);
    if (error != NULL) return;
  } else if (atomic_get_relaxed(&error_callback.function) != NULL) {
    return; // it can't be called now, but the program did ask to decide itself
  }
  // Memory is misused and nobody handles it: a debug or secure build stops where it happens.
  bool is_misuse = code == MESSAGE_EFAULT || code == MESSAGE_EAGAIN || code == MESSAGE_EINVAL;
  if (is_misuse && (MI_DEBUG || MI_SECURE || options_abort_on_error())) os_abort();
}

// An error as far as option max_errors allows it; `always`: beyond that.
static void say_error(bool always, const char* format, va_list args) {
  static int64_t count;
  bool is_last = false;
  if (always || is_within(&count, option_max_errors, &is_last)) say("mimalloc: error: ", format, args);
  if (is_last) message_print("mimalloc: further errors are not shown (option max_errors)\n");
}

void message_error(int code, const char* format, ...) {
  if (MI_DEBUG || is_shown()) {
    va_list args;
    va_start(args, format);
    say_error(false, format, args);
    va_end(args);
  }
  react(code);
}

void message_misuse(bool always, int code, const char* format, ...) {
  if (always || MI_DEBUG || MI_SECURE || is_shown()) {
    va_list args;
    va_start(args, format);
    say_error(always, format, args);
    va_end(args);
  }
  react(code);
}

void message_error_always(int code, const char* format, ...) {
  va_list args;
  va_start(args, format);
  say("mimalloc: error: ", format, args);
  va_end(args);
  react(code);
}
