// mi-run --follow: the processes that a program starts, by whatever function, get the DLL, too; what isn't
// followed is named, and works as without mi-run.
#include <stdlib.h>

#include "run.h"

#include "support/check.h"
#include "support/runtime.h"

static wchar_t child[MAX_PATH];

// How often `text` stands in the output.
static int times(const char* text) {
  int count = 0;
  for (const char* at = ran.output; (at = strstr(at, text)) != NULL; at += strlen(text)) count++;
  return count;
}

// The program does `todo`, what it starts `then`.
static void follow(const wchar_t* todo, const wchar_t* then, const wchar_t* options) {
  run_todo(todo);
  SetEnvironmentVariableW(L"MI_RUN_GRANDCHILD", then);
  run_mi(L"--dll \"%ls\" %ls \"%ls\"", run_dll, options, child);
}

static const char* with_dll(void) {
  static char text[64];
  snprintf(text, sizeof(text), "mimalloc version %d at tls 1", MI_RUN_EXPECTED_VERSION);
  return text;
}

static void every_way_of_starting(void** state) {
  (void)state;
  static const wchar_t* const ways[] = {L"w", L"a", L"suspended", L"bare", L"system"};
  for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
    wchar_t todo[128];
    swprintf(todo, 128, L"modules start=%ls exit=6", ways[i]);
    follow(todo, L"modules exit=5", L"--follow");
    assert_code(6);
    assert_output("exit code 5\n");
    if (times(with_dll()) != 2) {
      printf("way %ls\n", ways[i]);
      run_print();
      fail();
    }
    assert_string_equal(ran.error, "");
    // Initialised before the C runtime, so it needs none; and mimalloc.dll still comes before it.
    const char *mimalloc = strstr(ran.output, "mimalloc.dll"), *own = strstr(ran.output, "mi-follow");
    const char* runtime = strstr(ran.output, TEST_RUNTIME);
    assert_true(mimalloc != NULL && own != NULL && runtime != NULL && mimalloc < own && own < runtime);
  }
  follow(L"start=suspended", L"", L"--follow");
  assert_output("suspended 1 times");
  follow(L"modules start=w", L"modules exit=5", L""); // the check can tell
  assert_int_equal(times(with_dll()), 1);
  assert_output("mimalloc version -1");
}

static void over_generations(void** state) {
  (void)state;
  follow(L"modules start=w exit=1", L"modules start=bare exit=2|modules start=a exit=3|modules exit=4",
         L"--follow");
  assert_code(1);
  assert_output("started, exit code 2");
  assert_int_equal(times(with_dll()),
                   3); // "bare" keeps MI_RUN_GRANDCHILD from the third, which so starts a fourth plainly
}

static void errors_are_the_programs(void** state) {
  (void)state;
  run_todo(L"start=absent");
  run_line(child, NULL, NULL);
  char plain[64];
  snprintf(plain, sizeof(plain), "%.60s", strstr(ran.output, "not started"));
  follow(L"start=absent", L"", L"--follow");
  assert_code(0);
  assert_output(plain);
  assert_string_equal(ran.error, "");
}

static void says_what_is_not_followed(void** state) {
  (void)state;
  // A program whose header has no room for a directory of addresses is started, but without the DLL.
  file_bytes_t few = file_read(child);
  uint8_t* optional = pe_header(few) + 24;
  pe_set32(optional + (optional[1] == 2 ? 108 : 92), 12);
  const wchar_t* path = file_write(L"few.exe", few.bytes, few.size);
  wchar_t todo[1024];
  swprintf(todo, 1024, L"modules start=%ls exit=6", path);
  follow(todo, L"modules exit=5", L"--follow");
  assert_code(6);
  assert_output("started, exit code 5");
  assert_int_equal(times(with_dll()), 1);
  assert_error("mi-run: warning: not followed: 'few.exe' (process ");
  assert_error("its header has too few directories");
}

static void verbose_names_the_followed(void** state) {
  (void)state;
  follow(L"start=w", L"", L"--follow -v");
  assert_code(0);
  assert_error("mi-run: 'child-program.exe' (process ");
  assert_error(") is followed");
}

static void needs_its_dll(void** state) {
  (void)state;
  const wchar_t* alone = file_copy(run_mi_run, L"alone\\mi-run.exe");
  wchar_t line[1024];
  swprintf(line, 1024, L"\"%ls\" --dll \"%ls\" --follow \"%ls\"", alone, run_dll, child);
  run_todo(L"state");
  run_line(line, NULL, NULL);
  assert_code(127);
  assert_error(sizeof(void*) == 8 ? "mi-follow64.dll' not found, which --follow needs"
                                  : "mi-follow32.dll' not found, which --follow needs");
  assert_no_output("arg");
}

// --- the other number of bits ------------------------------------------------------------------------------

// A copy of child-program stands in for the other mi-run, as no Wine here runs both: it tells its arguments.
static void delegates(void** state) {
  (void)state;
  const bool is_64 = sizeof(void*) == 8;
  const wchar_t* here = file_copy(run_mi_run, L"both\\mi-run.exe");
  file_bytes_t other = file_read(child);
  pe_set16(pe_header(other) + 4, is_64 ? 0x14C : 0x8664);
  const wchar_t* program = file_write(L"both\\other.exe", other.bytes, other.size);
  wchar_t line[1024];
  run_todo(L"state exit=300");

  swprintf(line, 1024, L"\"%ls\" --dll \"%ls\" \"%ls\" \"a b\" c\\", here, run_dll, program);
  run_line(line, NULL, NULL);
  assert_code(126);
  assert_error(is_64 ? "as mi-run32.exe beside this one" : "as mi-run64.exe beside this one");

  file_copy(child, is_64 ? L"both\\mi-run32.exe" : L"both\\mi-run64.exe");
  run_line(line, NULL, NULL);
  assert_code(300);
  assert_output("arg 1 [--delegated]\narg 2 [--dll]\n");
  assert_output("other.exe]\narg 5 [a b]\narg 6 [c\\]\n");

  // A mi-run that was called so doesn't call another one.
  swprintf(line, 1024, L"\"%ls\" --delegated --dll \"%ls\" \"%ls\"", here, run_dll, program);
  run_line(line, NULL, NULL);
  assert_code(126);
  assert_no_output("arg");
}

// The DLL for this number of bits, when those for both lie in one folder.
static void finds_its_own_dll(void** state) {
  (void)state;
  const bool is_64 = sizeof(void*) == 8;
  const wchar_t* here = file_copy(run_mi_run, L"own\\mi-run.exe");
  file_bytes_t other = file_read(run_dll);
  pe_set16(pe_header(other) + 4, is_64 ? 0x14C : 0x8664);
  file_write(L"own\\mimalloc.dll", other.bytes, other.size);
  wchar_t line[1024];
  run_todo(L"modules");
  swprintf(line, 1024, L"\"%ls\" \"%ls\"", here, child);
  run_line(line, NULL, NULL);
  assert_code(126);
  assert_error("mimalloc.dll' is for ");
  file_copy(run_dll, is_64 ? L"own\\mimalloc64.dll" : L"own\\mimalloc32.dll");
  run_line(line, NULL, NULL);
  assert_code(0);
  assert_output(is_64 ? " mimalloc64.dll" : " mimalloc32.dll");
}

int wmain(void);
int wmain(void) {
  const struct CMUnitTest cases[] = {
      cmocka_unit_test(every_way_of_starting),
      cmocka_unit_test(over_generations),
      cmocka_unit_test(errors_are_the_programs),
      cmocka_unit_test(says_what_is_not_followed),
      cmocka_unit_test(verbose_names_the_followed),
      cmocka_unit_test(needs_its_dll),
      cmocka_unit_test(delegates),
      cmocka_unit_test(finds_its_own_dll),
  };
  run_begin(L"mi-run-follow");
  wcscpy(child, run_built(L"child-program.exe"));
  return check_run(cases);
}
