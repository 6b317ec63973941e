// MIMALLOC_LOG: text goes to the file that it names, and to standard error where that is impossible. The
// variable is read once per process, so the cases run in child processes: `case_x` is the child's side and
// ends with 42.
#include "support/check.h"
#include "support/child.h"
#include "support/test_thread.h"

#include "core/report/message.h"
#include "mimalloc.h"

#include <sys/stat.h>
#include <unistd.h>
#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#endif

#define VARIABLE "MIMALLOC_LOG"
#define NAME     "unit-log-file"

// ---- the child's side -------------------------------------------------------------------------------------

static int case_plain(void) {
  message_print("first line\n");
  if (chdir("..") != 0) return 1; // a relative name still means the same file
  message_print("second line\n");
  printf("%d", (int)getpid());
  return 42;
}

static char heard[256];
static void hear(const char* text, void* arg) {
  MI_UNUSED(arg);
  strncat(heard, text, sizeof(heard) - strlen(heard) - 1);
}

static int case_registered(void) { // the program's own function comes before the file
  message_register_output(hear, NULL);
  message_print("to the program\n");
  message_register_output(NULL, NULL);
  message_print("to the file\n");
  return strcmp(heard, "to the program\n") == 0 ? 42 : 1;
}

enum { TALKERS = 4, LINES = 100 };
static void talk(void* arg) {
  for (int i = 0; i < LINES; i++) message_print("thread %d says %d\n", (int)(intptr_t)arg, i);
}
static int case_threads(void) {
  static test_thread_t threads[TALKERS];
  message_print("begin\n"); // while one thread reads the variable, others don't wait
  for (intptr_t i = 0; i < TALKERS; i++) test_thread_start(&threads[i], talk, (void*)i);
  for (int i = 0; i < TALKERS; i++) test_thread_join(&threads[i]);
  return 42;
}

#ifdef _WIN32
static LONG CALLBACK on_exception(EXCEPTION_POINTERS* exception) { // what a debugger would be given
  const EXCEPTION_RECORD* record = exception->ExceptionRecord;
  if (record->ExceptionCode != 0x40010006) return EXCEPTION_CONTINUE_SEARCH; // DBG_PRINTEXCEPTION_C
  hear((const char*)record->ExceptionInformation[1], NULL);
  return EXCEPTION_CONTINUE_EXECUTION;
}

static int case_debugger(void) {
  HANDLE error = GetStdHandle(STD_ERROR_HANDLE);
  AddVectoredExceptionHandler(1, on_exception);
  message_print("to standard error\n");
  if (*heard != 0) return 1;
  SetStdHandle(STD_ERROR_HANDLE, NULL); // as in a program without a console
  message_print("to the debugger\n");
  SetStdHandle(STD_ERROR_HANDLE, error);
  return strcmp(heard, "to the debugger\n") == 0 ? 42 : 2;
}
#else
static int case_debugger(void) {
  message_print("to standard error\n");
  return 42;
}
#endif

static const struct {
  const char* name;
  int (*run)(void);
} children[] = {{"plain", case_plain},
                {"registered", case_registered},
                {"threads", case_threads},
                {"debugger", case_debugger}};

// ---- the parent's side ------------------------------------------------------------------------------------

static child_result_t result;

static void run(const char* name, const char* value) {
  char self[CHILD_PATH_MAX];
  child_self(self);
  child_set_environment(VARIABLE, value);
  bool ok = child_run((const char*[]){self, name, NULL}, 20000, &result);
  child_set_environment(VARIABLE, NULL);
  assert_true(ok);
  if (result.exit_code != 42) child_print(&result);
  assert_int_equal(result.exit_code, 42);
}

// The text of a file in the current folder, which is removed.
static char* take(const char* name) {
  static char text[64 * 1024];
  FILE* file = fopen(name, "r"); // in text mode: as it is written
  if (file == NULL) return strcpy(text, "(no file)");
  text[fread(text, 1, sizeof(text) - 1, file)] = 0;
  fclose(file);
  remove(name);
  return text;
}

static void test_file(void** state) {
  MI_UNUSED(state);
  remove(NAME);
  run("plain", NAME);
  assert_string_equal(result.error, "");
  run("plain", NAME); // appends
  assert_string_equal(take(NAME), "first line\nsecond line\nfirst line\nsecond line\n");
  run("plain", "");
  assert_string_equal(result.error, "first line\nsecond line\n");
}

static void test_process_number(void** state) {
  MI_UNUSED(state);
  char name[128];
  run("plain", NAME "-%p-%p-%d%");
  assert_string_equal(result.error, "");
  snprintf(name, sizeof(name), NAME "-%.20s-%.20s-%%d%%", result.output, result.output);
  assert_string_equal(take(name), "first line\nsecond line\n");
}

static void test_file_that_can_not_be_written(void** state) {
  MI_UNUSED(state);
  static char longest[8000];
  memset(longest, 'x', sizeof(longest) - 1);
  const char* const names[] = {"no such folder/" NAME, longest, "."};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    run("plain", names[i]);
    assert_string_equal(result.error, "mimalloc: warning: the file that MIMALLOC_LOG names can't be written: "
                                      "messages go to standard error\n"
                                      "first line\nsecond line\n");
  }
}

static void test_order(void** state) {
  MI_UNUSED(state);
  run("registered", NAME);
  assert_string_equal(result.error, "");
  assert_string_equal(take(NAME), "to the file\n");
}

static void test_threads(void** state) {
  MI_UNUSED(state);
  run("threads", NAME);
  assert_string_equal(result.error, "");
  int lines = 0, thread, number;
  static bool seen[TALKERS][LINES];
  for (char* line = strtok(take(NAME), "\n"); line != NULL; line = strtok(NULL, "\n"), lines++) {
    if (lines == 0) continue; // "begin"
    assert_int_equal(sscanf(line, "thread %d says %d", &thread, &number), 2);
    assert_false(seen[thread][number]);
    seen[thread][number] = true;
  }
  assert_int_equal(lines, TALKERS * LINES + 1);
}

static void test_debugger(void** state) {
  MI_UNUSED(state);
  run("debugger", "debugger");
  assert_string_equal(result.error, "to standard error\n");
}

int main(int argc, char** argv) {
  for (unsigned i = 0; argc == 2 && i < sizeof(children) / sizeof(children[0]); i++) {
    if (strcmp(argv[1], children[i].name) == 0) return children[i].run();
  }
  const struct CMUnitTest cases[] = {
      cmocka_unit_test(test_file),
      cmocka_unit_test(test_process_number),
      cmocka_unit_test(test_file_that_can_not_be_written),
      cmocka_unit_test(test_order),
      cmocka_unit_test(test_threads),
      cmocka_unit_test(test_debugger),
  };
  return check_run(cases);
}
