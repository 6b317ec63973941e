// What the allocator says, to whom, and when it stops. Most of it is said once per process, so the cases run
// in child processes of their own: `case_x` is the child's side and ends with 42, after what it wrote to
// standard error.
#include "support/check.h"
#include "support/child.h"
#include "support/test_thread.h"

#include "core/report/hooks.h"
#include "core/report/message.h"
#include "core/report/options.h"
#include "mimalloc.h"

// ---- the child's side -------------------------------------------------------------------------------------

static char heard[16 * 1024];
static int times;

static void hear(const char* text, void* arg) {
  times++;
  strncat((char*)arg, text, sizeof(heard) - strlen((char*)arg) - 1);
}

#define NEED(condition)                                                                                      \
  do {                                                                                                       \
    if (!(condition)) {                                                                                      \
      fprintf(stderr, "line %d: not so: %s; heard \"%s\"\n", __LINE__, #condition, heard);                   \
      return 1;                                                                                              \
    }                                                                                                        \
  } while (0)

static int case_quiet(void) { // no option is set
  message_verbose("verbose");
  message_warning("warning");
  message_register_error(NULL, NULL);
  if (!MI_DEBUG) message_error(MESSAGE_ENOMEM, "error");
  message_print("printed %d", 1);
  message_print(" and %s\n", "on");
  return 42;
}

static int case_shown(void) { // show_errors
  message_verbose("verbose");
  message_warning("a warning of %zu bytes", (size_t)7);
  message_warning("ends its line by itself\n");
  message_error(MESSAGE_ENOMEM, "an error");
  return 42;
}

static int case_verbose(void) { // verbose: shows all
  message_verbose("information");
  message_warning("a warning");
  message_error(MESSAGE_EOVERFLOW, "an error");
  return 42;
}

static int case_always(void) {
  mi_option_set(mi_option_max_errors, 0);
  message_error_always(MESSAGE_ENOMEM, "whatever the options say");
  return 42;
}

static int case_limits(void) {
  mi_option_enable(mi_option_show_errors);
  mi_option_set(mi_option_max_warnings, 2);
  mi_option_set(mi_option_max_errors, 1);
  for (int i = 1; i <= 4; i++) message_warning("warning %d", i);
  for (int i = 1; i <= 4; i++) message_error(MESSAGE_ENOMEM, "error %d", i);
  mi_option_set(mi_option_max_warnings, -1); // no limit
  message_warning("warning 5");
  return 42;
}

static int case_early(void) {
  message_print("said early\n");
  message_register_output(hear, heard);
  NEED(strcmp(heard, "said early\n") == 0); // passed on at once
  message_print("and late\n");
  NEED(strcmp(heard, "said early\nand late\n") == 0);
  message_register_output(NULL, NULL);
  message_print("to standard error again\n");
  message_register_output(hear, heard); // only the first registration gets what was before it
  NEED(strcmp(heard, "said early\nand late\n") == 0);
  return 42;
}

static int case_early_overflow(void) {
  char line[101];
  memset(line, 'x', 100);
  line[100] = 0;
  for (int i = 0; i < 1000; i++) message_print("%s", line);
  message_register_output(hear, heard);
  NEED(strlen(heard) >= 4096 && strlen(heard) % 100 == 0); // whole messages, as many as fit
  NEED(strspn(heard, "x") == strlen(heard));
  return 42;
}

static int case_held(void) {
  message_register_output(hear, heard);
  message_register_error((message_error_t*)NULL, NULL);
  message_hold_callbacks();
  message_hold_callbacks();
  NEED(message_callbacks_are_held());
  message_print("held twice\n");
  message_release_callbacks();
  message_print("held once\n");
  message_print_to(hear, heard, "given for this call\n"); // by its caller: not held
  message_release_callbacks();
  NEED(!message_callbacks_are_held());
  message_print("free\n");
  NEED(strcmp(heard, "given for this call\nfree\n") == 0);
  return 42;
}

static void echo(const char* text, void* arg) {
  hear(text, arg);
  message_print("from inside\n"); // must not come back here
}

static int case_output_recursion(void) {
  message_register_output(echo, heard);
  message_print("outside\n");
  NEED(times == 1 && strcmp(heard, "outside\n") == 0);
  message_print("again\n");
  NEED(times == 2);
  return 42;
}

static int last_code;
static void note_error(int code, void* arg) {
  times++;
  last_code = code;
  if (arg == &last_code) message_error(MESSAGE_EFAULT, "from inside"); // must not come back, nor abort
}

static int case_error_callback(void) {
  message_register_error(note_error, NULL);
  message_error(MESSAGE_EFAULT, "not shown, but told");
  NEED(times == 1 && last_code == MESSAGE_EFAULT);
  message_error_always(MESSAGE_EAGAIN, "shown and told");
  NEED(times == 2 && last_code == MESSAGE_EAGAIN);
  message_register_error(note_error, &last_code);
  message_error(MESSAGE_EINVAL, "recursion");
  NEED(times == 3 && last_code == MESSAGE_EINVAL);
  message_hold_callbacks();
  message_error(MESSAGE_EFAULT, "held");
  NEED(times == 3);
  message_release_callbacks();
  return 42;
}

static int case_error_codes(void) { // nobody handles them; the harmless ones never abort
  message_error(MESSAGE_ENOMEM, "memory");
  message_error(MESSAGE_EOVERFLOW, "overflow");
  return 42;
}
static int case_efault(void) {
  message_error(MESSAGE_EFAULT, "corrupted at %p", (void*)16);
  return 42;
}
static int case_eagain(void) {
  message_error_always(MESSAGE_EAGAIN, "double free");
  return 42;
}
static int case_einval(void) {
  message_error(MESSAGE_EINVAL, "invalid");
  return 42;
}

static int case_long(void) {
  static char text[5000];
  memset(text, 'y', sizeof(text) - 1);
  mi_option_enable(mi_option_show_errors);
  message_warning("%s", text);
  return 42;
}

// Output from many threads at once: lines stay whole.
enum { TALKERS = 4, LINES = 250 };
static char shared[TALKERS * LINES][64];
static int32_t shared_lines;

static void collect(const char* text, void* arg) {
  int32_t line = __atomic_fetch_add((int32_t*)arg, 1, __ATOMIC_RELAXED);
  if (line < TALKERS * LINES) strncpy(shared[line], text, sizeof(shared[0]) - 1);
}

static void talk(void* arg) {
  for (int i = 0; i < LINES; i++) message_print("thread %d says %d\n", (int)(intptr_t)arg, i);
}

static int case_threads(void) {
  static test_thread_t threads[TALKERS];
  message_register_output(collect, &shared_lines);
  for (intptr_t i = 0; i < TALKERS; i++) test_thread_start(&threads[i], talk, (void*)i);
  for (int i = 0; i < TALKERS; i++) test_thread_join(&threads[i]);
  NEED(shared_lines == TALKERS * LINES);
  static bool seen[TALKERS][LINES];
  for (int i = 0; i < TALKERS * LINES; i++) {
    int thread, number;
    NEED(sscanf(shared[i], "thread %d says %d\n", &thread, &number) == 2);
    NEED(!seen[thread][number]);
    seen[thread][number] = true;
  }
  return 42;
}

// ---- deferred free, which shares the guards ---------------------------------------------------------------

static unsigned long long last_heartbeat;
static bool last_force;
static void deferred(bool force, unsigned long long heartbeat, void* arg) {
  ++*(int*)arg;
  last_force = force;
  last_heartbeat = heartbeat;
  hooks_deferred_free(true, 99); // must not come back
}

static int case_deferred(void) {
  int calls = 0;
  hooks_deferred_free(true, 1); // nobody registered
  mi_register_deferred_free(deferred, &calls);
  hooks_deferred_free(false, 5);
  NEED(calls == 1 && !last_force && last_heartbeat == 5);
  hooks_deferred_free(true, 6);
  NEED(calls == 2 && last_force && last_heartbeat == 6);
  message_hold_callbacks();
  hooks_deferred_free(true, 7);
  message_release_callbacks();
  NEED(calls == 2);
  mi_register_deferred_free(NULL, NULL);
  hooks_deferred_free(true, 8);
  NEED(calls == 2);
  return 42;
}

static const struct {
  const char* name;
  int (*run)(void);
} children[] = {
    {"quiet", case_quiet},
    {"shown", case_shown},
    {"verbose", case_verbose},
    {"always", case_always},
    {"limits", case_limits},
    {"early", case_early},
    {"early-overflow", case_early_overflow},
    {"held", case_held},
    {"output-recursion", case_output_recursion},
    {"error-callback", case_error_callback},
    {"error-codes", case_error_codes},
    {"efault", case_efault},
    {"eagain", case_eagain},
    {"einval", case_einval},
    {"long", case_long},
    {"threads", case_threads},
    {"deferred", case_deferred},
};

static int child_main(const char* name) {
  for (unsigned i = 0; i < sizeof(children) / sizeof(children[0]); i++) {
    if (strcmp(name, children[i].name) == 0) return children[i].run();
  }
  fprintf(stderr, "unknown case %s\n", name);
  return 98;
}

// ---- the parent's side ------------------------------------------------------------------------------------

static child_result_t result;

static void run(const char* name, const char* variable) {
  char self[CHILD_PATH_MAX];
  child_self(self);
  if (variable != NULL) child_set_environment(variable, "1");
  bool ok = child_run((const char*[]){self, name, NULL}, 20000, &result);
  if (variable != NULL) child_set_environment(variable, NULL);
  assert_true(ok);
}

// The child ended well and wrote exactly this to standard error.
static void expect(const char* name, const char* variable, const char* text) {
  run(name, variable);
  if (result.exit_code != 42) child_print(&result);
  assert_int_equal(result.exit_code, 42);
  assert_string_equal(result.error, text);
}

static void test_quiet(void** state) {
  MI_UNUSED(state);
  expect("quiet", NULL, "printed 1 and on\n");
}

static void test_shown(void** state) {
  MI_UNUSED(state);
  expect("shown", "MIMALLOC_SHOW_ERRORS",
         "mimalloc: warning: a warning of 7 bytes\n"
         "mimalloc: warning: ends its line by itself\n"
         "mimalloc: error: an error\n");
}

static void test_verbose(void** state) {
  MI_UNUSED(state);
  run("verbose", "MIMALLOC_VERBOSE"); // other parts of the allocator may say something, too
  assert_int_equal(result.exit_code, 42);
  assert_non_null(strstr(result.error, "mimalloc: information\n"));
  assert_non_null(strstr(result.error, "mimalloc: warning: a warning\n"));
  assert_non_null(strstr(result.error, "mimalloc: error: an error\n"));
}

static void test_always(void** state) {
  MI_UNUSED(state);
  expect("always", NULL, "mimalloc: error: whatever the options say\n");
}

static void test_limits(void** state) {
  MI_UNUSED(state);
  expect("limits", NULL,
         "mimalloc: warning: warning 1\n"
         "mimalloc: warning: warning 2\n"
         "mimalloc: further warnings are not shown (option max_warnings)\n"
         "mimalloc: error: error 1\n"
         "mimalloc: further errors are not shown (option max_errors)\n"
         "mimalloc: warning: warning 5\n");
}

static void test_early(void** state) {
  MI_UNUSED(state);
  expect("early", NULL, "said early\nto standard error again\n");
  run("early-overflow", NULL);
  if (result.exit_code != 42) child_print(&result);
  assert_int_equal(result.exit_code, 42);
}

static void test_held(void** state) {
  MI_UNUSED(state);
  expect("held", NULL, "held twice\nheld once\n");
}

static void test_recursion(void** state) {
  MI_UNUSED(state);
  expect("output-recursion", NULL, "from inside\nfrom inside\n");
}

static void test_error_callback(void** state) {
  MI_UNUSED(state);
  run("error-callback", NULL);
  if (result.exit_code != 42) child_print(&result);
  assert_int_equal(result.exit_code, 42);
  assert_non_null(strstr(result.error, "mimalloc: error: shown and told\n"));
  bool is_shown = strstr(result.error, "not shown, but told") != NULL;
  assert_int_equal(is_shown, MI_DEBUG); // a debug build shows errors without being asked
}

static void test_unhandled(void** state) {
  MI_UNUSED(state);
  run("error-codes", NULL);
  assert_int_equal(result.exit_code, 42);
  static const struct {
    const char *name, *text;
  } fatal[] = {{"efault", "mimalloc: error: corrupted at 0x10\n"},
               {"eagain", "mimalloc: error: double free\n"},
               {"einval", "mimalloc: error: invalid\n"}};
  for (unsigned i = 0; i < 3; i++) {
    run(fatal[i].name, "MIMALLOC_SHOW_ERRORS");
    assert_string_equal(result.error, fatal[i].text);
    if (MI_DEBUG || MI_SECURE) {
      assert_true(child_aborted(&result));
    } else {
      assert_int_equal(result.exit_code, 42);
    }
  }
}

static void test_long(void** state) {
  MI_UNUSED(state);
  run("long", NULL);
  assert_int_equal(result.exit_code, 42);
  size_t length = strlen(result.error);
  assert_in_range(length, 500, 1100); // cut off, and still a line
  assert_memory_equal(result.error, "mimalloc: warning: yyy", 22);
  assert_memory_equal(result.error + length - 2, "y\n", 2);
}

static void test_threads(void** state) {
  MI_UNUSED(state);
  expect("threads", NULL, "");
}

static void test_deferred(void** state) {
  MI_UNUSED(state);
  expect("deferred", NULL, "");
}

// ---- the guard --------------------------------------------------------------------------------------------

static callback_guard_t guard;
static test_barrier_t all_inside, all_tried;
static bool entered[CALLBACK_GUARD_THREADS + 1], entered_twice[CALLBACK_GUARD_THREADS + 1];

static MI_NOINLINE bool enter_again(void) { // from a deeper frame, as what a callback calls is
  callback_entry_t entry;
  return callback_enter(&guard, &entry);
}

static void enter(void* arg) {
  size_t i = (size_t)(uintptr_t)arg;
  callback_entry_t entry;
  entered[i] = callback_enter(&guard, &entry);
  test_barrier_wait(&all_inside);
  if (entered[i]) entered_twice[i] = enter_again();
  test_barrier_wait(&all_tried);
  if (entered[i]) callback_leave(&guard, &entry);
}

static void test_guard(void** state) {
  MI_UNUSED(state);
  static test_thread_t threads[CALLBACK_GUARD_THREADS + 1];
  test_barrier_init(&all_inside, CALLBACK_GUARD_THREADS + 1);
  test_barrier_init(&all_tried, CALLBACK_GUARD_THREADS + 1);
  for (int round = 0; round < 20; round++) {
    for (size_t i = 0; i <= CALLBACK_GUARD_THREADS; i++)
      test_thread_start(&threads[i], enter, (void*)(uintptr_t)i);
    for (size_t i = 0; i <= CALLBACK_GUARD_THREADS; i++) test_thread_join(&threads[i]);
    size_t count = 0;
    for (size_t i = 0; i <= CALLBACK_GUARD_THREADS; i++) {
      count += entered[i];
      assert_false(entered_twice[i]);
    }
    assert_int_equal(count, CALLBACK_GUARD_THREADS); // one too many was turned away, and all left again
  }
  test_barrier_done(&all_inside);
  test_barrier_done(&all_tried);
}

static void test_redirection(void** state) {
  MI_UNUSED(state);
  assert_false(mi_is_redirected());
  assert_int_equal(mi_version(), 30403);
}

int main(int argc, char** argv) {
  if (argc == 2) return child_main(argv[1]);
  child_set_environment("MIMALLOC_SHOW_ERRORS", NULL);
  child_set_environment("MIMALLOC_VERBOSE", NULL);
  child_set_environment("MIMALLOC_SHOW_STATS", NULL);
  child_set_environment("MIMALLOC_MAX_ERRORS", NULL);
  child_set_environment("MIMALLOC_MAX_WARNINGS", NULL);
  const struct CMUnitTest message_tests[] = {
      cmocka_unit_test(test_quiet),          cmocka_unit_test(test_shown),
      cmocka_unit_test(test_verbose),        cmocka_unit_test(test_always),
      cmocka_unit_test(test_limits),         cmocka_unit_test(test_early),
      cmocka_unit_test(test_held),           cmocka_unit_test(test_recursion),
      cmocka_unit_test(test_error_callback), cmocka_unit_test(test_unhandled),
      cmocka_unit_test(test_long),           cmocka_unit_test(test_threads),
      cmocka_unit_test(test_deferred),       cmocka_unit_test(test_guard),
      cmocka_unit_test(test_redirection),
  };
  return check_run(message_tests);
}
