// mi-run and a program that must not notice: where the DLL comes in, and that all else is as without mi-run.
#include <fcntl.h>
#include <io.h>
#include <process.h>
#include <stdlib.h>

#include "run.h"

#include "support/check.h"
#include "support/runtime.h"

static const wchar_t* const methods[] = {L"import", L"thread", L"apc"};
enum { METHODS = 3 };

static wchar_t child[MAX_PATH];

static const char* utf8(const wchar_t* text) {
  static char converted[4][4 * MAX_PATH];
  static int turn;
  char* to = converted[turn++ % 4];
  WideCharToMultiByte(CP_UTF8, 0, text, -1, to, 4 * MAX_PATH, NULL, NULL);
  return to;
}

// The place of "module N NAME" in the output; -1: none.
static int place_of(const char* name) {
  for (const char* at = ran.output; (at = strstr(at, "module ")) != NULL; at++) {
    char found[64];
    int place;
    if (sscanf(at, "module %d %63s", &place, found) == 2 && _stricmp(found, name) == 0) return place;
  }
  return -1;
}

static void run_with(const wchar_t* method, const wchar_t* rest) {
  run_mi(L"--method %ls --dll \"%ls\" \"%ls\"%ls", method, run_dll, child, rest);
}

static void dll_is_in(void** state) {
  (void)state;
  run_todo(L"modules");
  for (int i = 0; i < METHODS; i++) {
    run_with(methods[i], L"");
    assert_code(0);
    assert_string_equal(ran.error, "");
    char expected[256];
    snprintf(expected, sizeof(expected), "mimalloc version %d", MI_RUN_EXPECTED_VERSION);
    assert_output(expected);
    assert_output(utf8(run_dll));
    assert_true(place_of(TEST_RUNTIME) >= 0);
    if (i == 0) { // before the C runtime and the program's TLS callbacks, right after the lowest DLLs
      assert_int_equal(place_of("mimalloc.dll"), place_of("kernel32.dll") + 1);
      assert_true(place_of("mimalloc.dll") < place_of(TEST_RUNTIME));
      assert_output("at tls 1");
    } else { // after both
      assert_true(place_of("mimalloc.dll") > place_of(TEST_RUNTIME));
      assert_output("at tls 0");
    }
  }
  run_line(child, NULL, NULL);
  assert_output("mimalloc version -1"); // the check can tell
}

// --- what passes through -----------------------------------------------------------------------------------

// The program's whole state, run plainly, is the oracle.
static void same_state(const wchar_t* method, const wchar_t* tail, const wchar_t* folder) {
  static char plain[RUN_TEXT_MAX];
  static wchar_t line[RUN_LINE_MAX];
  run_todo(L"state exit=300");
  swprintf(line, RUN_LINE_MAX, L"\"%ls\"%ls", child, tail);
  run_line(line, NULL, folder);
  assert_code(300);
  strcpy(plain, ran.output);
  assert_non_null(strstr(plain, "env PATH="));
  assert_non_null(strstr(plain, "error mode"));
  swprintf(line, RUN_LINE_MAX, L"\"%ls\" --method %ls --dll \"%ls\" \"%ls\"%ls", run_mi_run, method, run_dll,
           child, tail);
  run_line(line, NULL, folder);
  if (strcmp(ran.output, plain) != 0) {
    size_t at = 0;
    while (ran.output[at] == plain[at]) at++;
    while (at > 0 && plain[at - 1] != '\n') at--;
    printf("method %ls; from here on it differs:\n%.1000s\nwithout mi-run:\n%.1000s\n", method,
           ran.output + at, plain + at);
    fail();
  }
  assert_code(300);
  assert_string_equal(ran.error, "");
}

static void arguments_pass(void** state) {
  (void)state;
  static const wchar_t* const tails[] = {
      L"",
      L" ",
      L" a  b\tc ",
      L" \"\" \" \" \"\"\"\" \"\"\"a b\"\"\" ",
      L" \"a b\" a\\b \"a\\\\b\\\\\" a\\\"b \\\\\\\"x\\\\ \"c:\\dir\\\\\"",
      L" \"C:\\dir\\\" swallowed",
      L" unfinished \"quote here",
      L" --method x --help -- --dll=y",
      L" * *.exe ?hild* %PATH% ^& | > < ' ` $HOME",
      L" \u00e4\u00f6\u00fc\u00df \u6f22\u5b57 \U0001F600 \u0646\u0635 \u200b\ufeff",
      L" \xd800 lone \xdc00", // not even valid Unicode
      L" \x01\x02\x7f \u00a0\u2003",
  };
  // The methods share all that makes command lines: each tail with one of them is enough.
  for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++)
    same_state(methods[i % METHODS], tails[i], NULL);
  static wchar_t longest[RUN_LINE_MAX];
  wmemset(longest, L'x', 30000);
  longest[0] = L' ';
  longest[30000] = 0;
  same_state(L"import", longest, NULL);
}

static void environment_and_folder_pass(void** state) {
  (void)state;
  SetEnvironmentVariableW(L"MI_RUN_\u00c4\u6f22", L"\u00e4 = \U0001F600;\"quoted\"");
  SetEnvironmentVariableW(L"MI_RUN_BLANK", L"  ");
  for (int i = 0; i < METHODS; i++) same_state(methods[i], L" x", file_path(L"\u00e4 folder \u6f22\\here\\"));
  SetEnvironmentVariableW(L"MI_RUN_\u00c4\u6f22", NULL);
  SetEnvironmentVariableW(L"MI_RUN_BLANK", NULL);
}

static void exit_codes_pass(void** state) {
  (void)state;
  static const DWORD codes[] = {0,   1,   125,        126,        255,        256,
                                259, 300, 0x7FFFFFFF, 0x80000000, 0xC0000005, 0xFFFFFFFF};
  for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
    wchar_t todo[64];
    swprintf(todo, 64, L"exit=%lu", codes[i]);
    run_todo(todo);
    run_with(methods[i % METHODS], L"");
    assert_code(codes[i]);
    assert_string_equal(ran.error, "");
  }
}

static void streams_pass(void** state) {
  (void)state;
  static char much[100001];
  for (size_t i = 0; i + 1 < sizeof(much); i++) much[i] = "abcdefghijklmno\n"[i % 16];
  run_todo(L"echo");
  for (int i = 0; i < METHODS; i++) {
    wchar_t line[1024];
    swprintf(line, 1024, L"\"%ls\" --method %ls --dll \"%ls\" \"%ls\"", run_mi_run, methods[i], run_dll,
             child);
    run_line(line, much, NULL);
    assert_code(0);
    assert_string_equal(ran.output, much);
    assert_string_equal(ran.error, "child: end of input\n");
  }
}

static void inherited_handle_passes(void** state) {
  (void)state;
  for (int i = 0; i < METHODS; i++) {
    SECURITY_ATTRIBUTES inherit = {.nLength = sizeof(inherit), .bInheritHandle = TRUE};
    HANDLE read_end, write_end;
    assert_true(CreatePipe(&read_end, &write_end, &inherit, 0));
    SetHandleInformation(read_end, HANDLE_FLAG_INHERIT, 0);
    wchar_t todo[64];
    swprintf(todo, 64, L"write=%lu", (DWORD)(uintptr_t)write_end);
    run_todo(todo);
    run_with(methods[i], L"");
    assert_code(0);
    CloseHandle(write_end);
    char text[64] = "";
    DWORD length;
    assert_true(ReadFile(read_end, text, sizeof(text) - 1, &length, NULL));
    assert_string_equal(text, "through the handle\n");
    CloseHandle(read_end);
  }
}

// Holding the program at its gate takes an event there; by thread, it is not held.
static void no_handle_is_left(void** state) {
  (void)state;
  char counts[METHODS][64];
  run_todo(L"handles");
  for (int i = 0; i < METHODS; i++) {
    run_with(methods[i], L"");
    assert_code(0);
    assert_output("handles ");
    snprintf(counts[i], sizeof(counts[i]), "%s", ran.output);
  }
  assert_string_equal(counts[0], counts[1]);
  assert_string_equal(counts[2], counts[1]);
}

// The C runtime hands its file descriptors on in a part of the start-up information that Windows calls
// reserved.
static void inherited_descriptor_passes(void** state) {
  (void)state;
  for (int i = 0; i < METHODS; i++) {
    int ends[2];
    assert_int_equal(_pipe(ends, 4096, _O_BINARY), 0);
    wchar_t todo[32], dll[MAX_PATH + 2], program[MAX_PATH + 2];
    swprintf(todo, 32, L"fd=%d", ends[1]);
    run_todo(todo);
    swprintf(dll, MAX_PATH + 2, L"\"%ls\"", run_dll);
    swprintf(program, MAX_PATH + 2, L"\"%ls\"", child);
    assert_int_equal(
        _wspawnl(_P_WAIT, run_mi_run, L"mi-run", L"--method", methods[i], L"--dll", dll, program, NULL), 0);
    _close(ends[1]);
    char text[64] = "";
    assert_int_equal(_read(ends[0], text, sizeof(text) - 1), 23);
    assert_string_equal(text, "through the descriptor\n");
    _close(ends[0]);
  }
}

static void stats_and_verbose(void** state) {
  (void)state;
  run_todo(L"state");
  run_mi(L"--stats --dll \"%ls\" \"%ls\"", run_dll, child);
  assert_code(0);
  assert_output("env MIMALLOC_SHOW_STATS=1\n");
  assert_error("mimalloc: summary: ");

  run_todo(L"exit=7");
  for (int i = 0; i < METHODS; i++) {
    run_mi(L"--verbose --method %ls --dll \"%ls\" \"%ls\"", methods[i], run_dll, child);
    assert_code(7);
    assert_string_equal(ran.output, "");
    assert_error(utf8(run_dll));
    assert_error(utf8(child));
    assert_error(utf8(methods[i]));
    assert_error("exit code 7 (0x7)");
  }
}

// --- where things are --------------------------------------------------------------------------------------

static void unicode_paths(void** state) {
  (void)state;
  run_todo(L"modules");
  const wchar_t* launcher = file_copy(run_mi_run, L"\u00fcn\u00efcode \u6f22\u5b57 \U0001F600\\mi-run.exe");
  const wchar_t* program =
      file_copy(child, L"\u00fcn\u00efcode \u6f22\u5b57 \U0001F600\\\u7a0b\u5e8f \u00e4.exe");
  const wchar_t* dll = file_copy(run_dll, L"\u00fcn\u00efcode \u6f22\u5b57 \U0001F600\\mimalloc.dll");
  const wchar_t* renamed = file_copy(run_dll, L"\u00e4\\mim\u00e4lloc \u6f22.dll");
  for (int i = 0; i < METHODS; i++) {
    wchar_t line[2048];
    swprintf(line, 2048, L"\"%ls\" --method %ls \"%ls\"", launcher, methods[i],
             program); // the DLL beside mi-run
    run_line(line, NULL, NULL);
    assert_code(0);
    assert_no_output("mimalloc version -1");
    assert_int_equal(i == 0, place_of("mimalloc.dll") < place_of(TEST_RUNTIME));
    swprintf(line, 2048, L"\"%ls\" --verbose --method %ls --dll \"%ls\" \"%ls\"", launcher, methods[i],
             renamed, program);
    run_line(line, NULL, NULL);
    assert_code(0);
    assert_error(utf8(renamed)); // found among the modules, under whatever name
    assert_error("is in '\xe7\xa8\x8b\xe5\xba\x8f \xc3\xa4.exe' at 0x");
  }
  assert_non_null(dll);
}

static void programs_are_found(void** state) {
  (void)state;
  const wchar_t* folder = file_path(L"find me\\");
  file_copy(child, L"find me\\found.exe");
  file_copy(child, L"find me\\found.1.exe");
  file_copy(child, L"find me\\no ending");
  file_copy(child, L"here.exe");
  file_path(L"here\\"); // a folder of the same name
  wchar_t path[32768], longer[32768], line[2048];
  GetEnvironmentVariableW(L"PATH", path, 32768);
  swprintf(longer, 32768, L"C:\\nothing;;\"%ls\";%ls", folder, path);
  run_todo(L"exit=55");
  static const struct {
    const wchar_t* program;
    DWORD code;
  } cases[] = {
      {L"found", 127}, // while its folder is not in PATH
      {L"here", 55},
      {L"HERE.EXE", 55},
      {L".\\here", 55},
      {L"./here.exe", 55},
      {L"\"find me/found\"", 55},
      {L"\"find me\\found.1\"", 55},
      {L"\"find me\\no ending\"", 55},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    swprintf(line, 2048, L"\"%ls\" --dll \"%ls\" %ls", run_mi_run, run_dll, cases[i].program);
    run_line(line, NULL, run_work);
    assert_code(cases[i].code);
  }
  SetEnvironmentVariableW(L"PATH", longer);
  static const wchar_t* const in_path[] = {L"found", L"found.exe", L"found.1", L"\"no ending\""};
  for (size_t i = 0; i < sizeof(in_path) / sizeof(in_path[0]); i++) {
    swprintf(line, 2048, L"\"%ls\" --dll \"%ls\" -- %ls", run_mi_run, run_dll, in_path[i]);
    run_line(line, NULL, run_work);
    assert_code(55);
  }
  SetEnvironmentVariableW(L"PATH", path);
}

static void mi_run_in_mi_run(void** state) {
  (void)state;
  run_todo(L"modules exit=9");
  run_mi(L"--dll \"%ls\" \"%ls\" --dll \"%ls\" \"%ls\"", run_dll, run_mi_run, run_dll, child);
  assert_code(9);
  assert_string_equal(ran.error, "");
  assert_output("at tls 1");
}

static void window_program(void** state) {
  (void)state;
  file_bytes_t file = file_read(child);
  pe_set16(pe_header(file) + 24 + 68, IMAGE_SUBSYSTEM_WINDOWS_GUI);
  const wchar_t* program = file_write(L"window.exe", file.bytes, file.size);
  run_todo(L"modules exit=8");
  for (int i = 0; i < METHODS; i++) {
    run_mi(L"--method %ls --dll \"%ls\" \"%ls\"", methods[i], run_dll, program);
    assert_code(8);
    assert_no_output("mimalloc version -1");
  }
  free(file.bytes);
}

static void help_and_version(void** state) {
  (void)state;
  run_mi(L"--help");
  assert_code(0);
  assert_output("usage: mi-run");
  assert_string_equal(ran.error, "");
  run_mi(L"--version");
  assert_code(0);
  assert_output("mi-run " MI_RUN_EXPECTED_TEXT ", x86");
  assert_string_equal(ran.error, "");
}

int wmain(void);
int wmain(void) {
  const struct CMUnitTest cases[] = {
      cmocka_unit_test(dll_is_in),
      cmocka_unit_test(arguments_pass),
      cmocka_unit_test(environment_and_folder_pass),
      cmocka_unit_test(exit_codes_pass),
      cmocka_unit_test(streams_pass),
      cmocka_unit_test(inherited_handle_passes),
      cmocka_unit_test(inherited_descriptor_passes),
      cmocka_unit_test(no_handle_is_left),
      cmocka_unit_test(stats_and_verbose),
      cmocka_unit_test(unicode_paths),
      cmocka_unit_test(programs_are_found),
      cmocka_unit_test(mi_run_in_mi_run),
      cmocka_unit_test(window_program),
      cmocka_unit_test(help_and_version),
  };
  run_begin(L"mi-run-start");
  wcscpy(child, run_built(L"child-program.exe"));
  return check_run(cases);
}
