// Everything that a person can get wrong, and what may be wrong with program and DLL: the exit code, words
// that name the cause, and no process left behind, suspended or otherwise.
#include <stdlib.h>

#include "run.h"

#include "support/check.h"
#include "support/runtime.h"

enum { OWN = 125, CANNOT = 126, MISSING = 127 };

static const wchar_t* const methods[] = {L"import", L"thread", L"apc"};
enum { METHODS = 3 };

static wchar_t program_name[64]; // of this run alone, so that what is left behind can be counted
static wchar_t child[MAX_PATH];
static file_bytes_t child_file, dll_file;

// After a failed run: an error, a remedy, nothing else, nobody left.
static void check_failed(DWORD code, const char* words, int line) {
  run_assert_code(code, __FILE__, line);
  run_assert_contains(ran.error, "errors", words, __FILE__, line);
  run_assert_contains(ran.error, "errors", "mi-run: error: ", __FILE__, line);
  run_assert_contains(ran.error, "errors", "\nmi-run: remedy: ", __FILE__, line);
  if (strcmp(ran.output, "") != 0 || run_count(program_name) != 0) {
    printf("the program ran, or is still there: %d\n", run_count(program_name));
    run_print();
    _fail(__FILE__, line);
  }
}
#define assert_failed(code, words) check_failed(code, words, __LINE__)

static file_bytes_t copy_of(file_bytes_t file) {
  file_bytes_t copy = {.bytes = malloc(file.size), .size = file.size};
  memcpy(copy.bytes, file.bytes, file.size);
  return copy;
}

static const wchar_t* program_of(file_bytes_t changed) {
  const wchar_t* path = file_write(program_name, changed.bytes, changed.size);
  free(changed.bytes);
  return path;
}

static const wchar_t* dll_of(const wchar_t* name, file_bytes_t changed) {
  const wchar_t* path = file_write(name, changed.bytes, changed.size);
  free(changed.bytes);
  return path;
}

// --- how mi-run is called ----------------------------------------------------------------------------------

static void wrong_use(void** state) {
  (void)state;
  run_mi(L"");
  assert_failed(OWN, "no program given");
  assert_error("mi-run --help");
  run_mi(L"--nonsense app.exe");
  assert_failed(OWN, "unknown option '--nonsense'");
  run_mi(L"--method \u6f22 app.exe");
  assert_failed(OWN, "not '\xe6\xbc\xa2'");
  run_mi(L"--attach 0");
  assert_failed(OWN, "'0'");
  run_mi(L"--attach 10 --stats");
  assert_failed(OWN, "--stats");
}

// --- the program -------------------------------------------------------------------------------------------

static void program_missing(void** state) {
  (void)state;
  run_mi(L"--dll \"%ls\" no-such-program-anywhere x", run_dll);
  assert_failed(MISSING, "program 'no-such-program-anywhere' not found");
  assert_error("PATH");
  run_mi(L"--dll \"%ls\" \"%ls\\nothing.exe\"", run_dll, run_work);
  assert_failed(MISSING, "nothing.exe' not found");
  run_mi(L"--dll \"%ls\" \"%ls\\no\\folder\\nothing.exe\"", run_dll, run_work);
  assert_failed(MISSING, "nothing.exe' not found");
  run_mi(L"--dll \"%ls\" \"a<b|c\"", run_dll);
  assert_failed(MISSING, "not found");
  run_mi(L"--dll \"%ls\" \"%ls\"", run_dll, run_work);
  assert_failed(CANNOT, "is a folder, not a program");
}

static void not_a_program(void** state) {
  (void)state;
  run_mi(L"--dll \"%ls\" \"%ls\"", run_dll, file_write(L"text.exe", "just text\n", 10));
  assert_failed(CANNOT, "text.exe' is not a Windows program");
  run_mi(L"--dll \"%ls\" \"%ls\"", run_dll, file_write(L"empty.exe", "", 0));
  assert_failed(CANNOT, "empty.exe' is not a Windows program");
  run_mi(L"--dll \"%ls\" \"%ls\"", run_dll, file_write(L"script.bat", "@echo hi\r\n", 10));
  assert_failed(CANNOT, "script.bat' is not a Windows program");
  assert_error("cmd.exe /c");
  run_mi(L"--dll \"%ls\" \"%ls\"", run_dll, run_dll);
  assert_failed(CANNOT, "is a DLL, not a program");

  char dos[512] = "MZ";
  run_mi(L"--dll \"%ls\" \"%ls\"", run_dll, file_write(L"dos.exe", dos, sizeof(dos)));
  assert_failed(CANNOT, "is a 16-bit program");
  run_mi(L"--dll \"%ls\" \"%ls\"", run_dll, file_write(L"cut.exe", child_file.bytes, 0x100));
  assert_failed(CANNOT, "is damaged");

  file_bytes_t native = copy_of(child_file);
  pe_set16(pe_header(native) + 24 + 68, IMAGE_SUBSYSTEM_NATIVE);
  run_mi(L"--dll \"%ls\" \"%ls\"", run_dll, program_of(native));
  assert_failed(CANNOT, "(subsystem 1)");
}

static void program_for_another_machine(void** state) {
  (void)state;
  static const struct {
    uint16_t machine;
    const char* words;
  } cases[] = {
      {sizeof(void*) == 8 ? IMAGE_FILE_MACHINE_I386 : IMAGE_FILE_MACHINE_AMD64,
       sizeof(void*) == 8 ? "is for x86 (32-bit), but this mi-run is for x86-64 (64-bit)"
                          : "is for x86-64 (64-bit), but this mi-run is for x86 (32-bit)"},
      {0xAA64, "is for ARM64 (64-bit), but"},
      {0x200, "is for machine type 0x0200, but"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    file_bytes_t other = copy_of(child_file);
    pe_set16(pe_header(other) + 4, cases[i].machine);
    run_mi(L"--dll \"%ls\" \"%ls\"", run_dll, program_of(other));
    assert_failed(CANNOT, cases[i].words);
  }
}

static void managed_program(void** state) {
  (void)state;
  file_bytes_t managed = copy_of(child_file);
  pe_set32(pe_directory(managed, IMAGE_DIRECTORY_ENTRY_COM_DESCRIPTOR), 0x1000);
  run_mi(L"--dll \"%ls\" \"%ls\"", run_dll, program_of(managed));
  assert_failed(CANNOT, "is a .NET program");
  assert_error("--method thread");
}

static void program_that_can_not_be_read(void** state) {
  (void)state;
  const wchar_t* path = file_copy(child, program_name);
  HANDLE held =
      CreateFileW(path, GENERIC_READ, 0, NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL); // for us alone
  assert_true(held != INVALID_HANDLE_VALUE);
  run_mi(L"--dll \"%ls\" \"%ls\"", run_dll, path);
  CloseHandle(held);
  assert_failed(CANNOT, "can't be read");
}

// The header is fine, the rest is not: only Windows notices, when it makes the process.
static void program_that_can_not_start(void** state) {
  (void)state;
  file_bytes_t broken = copy_of(child_file);
  pe_set32(pe_header(broken) + 24 + 32, 3); // alignment of sections in memory
  run_mi(L"--dll \"%ls\" \"%ls\"", run_dll, program_of(broken));
  assert_failed(CANNOT, "can't be started: ");
  assert_error("(error ");
}

// --- the DLL -----------------------------------------------------------------------------------------------

static void dll_missing(void** state) {
  (void)state;
  const wchar_t* path = file_copy(child, program_name);
  const wchar_t* alone = file_copy(run_mi_run, L"alone\\mi-run.exe");
  wchar_t line[1024];
  swprintf(line, 1024, L"\"%ls\" \"%ls\"", alone, path);
  run_line(line, NULL, NULL);
  assert_failed(MISSING, "alone\\mimalloc.dll' not found");
  assert_error("--dll PATH");
  run_mi(L"--dll nowhere\\mimalloc.dll \"%ls\"", path);
  assert_failed(MISSING, "nowhere\\mimalloc.dll' not found");
  run_mi(L"--dll \"%ls\" \"%ls\"", run_work, path);
  assert_failed(CANNOT, "is a folder");
}

static void not_the_dll(void** state) {
  (void)state;
  const wchar_t* path = file_copy(child, program_name);
  for (int i = 0; i < METHODS; i++) {
    run_mi(L"--method %ls --dll \"%ls\" \"%ls\"", methods[i], file_write(L"text.dll", "text", 4), path);
    assert_failed(CANNOT, "text.dll' is not a DLL");
    run_mi(L"--method %ls --dll \"%ls\" \"%ls\"", methods[i], child, path);
    assert_failed(CANNOT, "is not a DLL");
    run_mi(L"--method %ls --dll \"%ls\" \"%ls\"", methods[i], run_built(L"dll-nameless.dll"), path);
    assert_failed(CANNOT, "is not mimalloc: it exports no mi_version");
  }
  file_bytes_t other = copy_of(dll_file);
  pe_set16(pe_header(other) + 4, sizeof(void*) == 8 ? IMAGE_FILE_MACHINE_I386 : IMAGE_FILE_MACHINE_AMD64);
  run_mi(L"--dll \"%ls\" \"%ls\"", dll_of(L"other machine.dll", other), path);
  assert_failed(CANNOT, sizeof(void*) == 8 ? "is for x86 (32-bit), but" : "is for x86-64 (64-bit), but");
}

static void dll_that_refuses(void** state) {
  (void)state;
  const wchar_t* path = file_copy(child, program_name);
  run_todo(L"state");
  for (int i = 0; i < METHODS; i++) {
    run_mi(L"--method %ls --dll \"%ls\" \"%ls\"", methods[i], run_built(L"dll-refuses.dll"), path);
    assert_failed(CANNOT, "dll-refuses.dll' does not load: ");
    assert_error("(error 1114)");
    assert_error("start-up code");
  }
}

static void dll_that_needs_another(void** state) {
  (void)state;
  const wchar_t* path = file_copy(child, program_name);
  file_bytes_t needy = file_read(run_built(L"dll-hangs.dll"));
  pe_rename(needy, TEST_RUNTIME_IMPORT, TEST_RUNTIME_ABSENT);
  const wchar_t* dll = dll_of(L"needy.dll", needy);
  run_todo(L"state");
  for (int i = 0; i < METHODS; i++) {
    run_mi(L"--method %ls --dll \"%ls\" \"%ls\"", methods[i], dll, path);
    assert_failed(CANNOT, "needy.dll' does not load: ");
    assert_error("(error 126)");
    assert_error("it needs a DLL that is not there");
  }
}

static void dll_that_hangs(void** state) {
  (void)state;
  const wchar_t* path = file_copy(child, program_name);
  run_todo(L"state");
  SetEnvironmentVariableW(L"MI_RUN_HANG", run_unique(L"never"));
  run_mi(L"--method thread --timeout 1 --dll \"%ls\" \"%ls\"", run_built(L"dll-hangs.dll"), path);
  assert_failed(CANNOT, "dll-hangs.dll' has not loaded");
  assert_error("within 1 s");
  assert_error("--timeout");
}

// --- the program's own faults ------------------------------------------------------------------------------

// Windows ends a program whose DLLs don't come together, and so it does with mi-run: same exit code, and not
// our DLL's fault.
static void program_lacks_its_own_dll(void** state) {
  (void)state;
  file_bytes_t lacking = copy_of(child_file);
  pe_rename(lacking, "ADVAPI32.dll", "ADVAPI99.dll");
  const wchar_t* path = program_of(lacking);
  for (int i = 0; i < METHODS; i++) {
    run_mi(L"--method %ls --dll \"%ls\" \"%ls\"", methods[i], run_dll, path);
    assert_failed(0xC0000135, "can't start: DLL 'ADVAPI99.dll' was not found, which '");
    assert_error(".exe' needs (exit code 0xc0000135)");
  }
}

// By way of a DLL of the program's own, which is found where the loader finds it: in the program's folder, in the
// current one, in PATH; and by way of one that is for another machine.
static void dll_of_the_program_lacks_a_dll(void** state) {
  (void)state;
  static const wchar_t* const places[] = {L"lacking\\needed99.dll", L"here\\needed99.dll",
                                          L"in path\\needed99.dll"};
  file_bytes_t lacking = copy_of(child_file);
  pe_rename(lacking, "ADVAPI32.dll", "needed99.dll");
  const wchar_t* path = file_write(L"lacking\\lacking.exe", lacking.bytes, lacking.size);
  file_bytes_t dll = copy_of(dll_file);
  pe_rename(dll, "KERNEL32.dll", "KERNEL99.dll");
  wchar_t line[2048], folder[MAX_PATH], list[8192], old_list[8192];
  swprintf(line, 2048, L"\"%ls\" --dll \"%ls\" \"%ls\"", run_mi_run, run_dll, path);
  swprintf(folder, MAX_PATH, L"%ls\\here", run_work);
  file_write(L"here\\some file", "", 0);
  GetEnvironmentVariableW(L"PATH", old_list, 8192);
  swprintf(list, 8192, L"%ls;%ls\\in path", old_list, run_work);
  SetEnvironmentVariableW(L"PATH", list);
  for (int i = 0; i < 3; i++) {
    const wchar_t* needed = file_write(places[i], dll.bytes, dll.size);
    run_line(line, NULL, folder);
    assert_failed(0xC0000135, "can't start: DLL 'KERNEL99.dll' was not found, which '");
    assert_error("\\needed99.dll' needs");
    DeleteFileW(needed);
  }
  pe_set16(pe_header(dll) + 4, sizeof(void*) == 8 ? 0x14C : 0x8664);
  const wchar_t* needed = file_write(places[0], dll.bytes, dll.size);
  run_line(line, NULL, folder);
  assert_error("needed99.dll', which '");
  assert_error("is damaged or for another machine");
  DeleteFileW(needed);
  SetEnvironmentVariableW(L"PATH", old_list);
}

static void program_ends_before_its_start(void** state) {
  (void)state;
  const wchar_t* path = file_copy(child, program_name);
  static const wchar_t* const todo[] = {L"tls-exit=77", L"tls-exit=0"};
  static const DWORD codes[] = {77, 0};
  for (int i = 0; i < METHODS; i++) {
    for (int j = 0; j < 2; j++) {
      run_todo(todo[j]);
      run_mi(L"--method %ls --dll \"%ls\" \"%ls\"", methods[i], run_dll, path);
      assert_code(codes[j]);
      assert_string_equal(ran.error, "");
      assert_int_equal(run_count(program_name), 0);
    }
  }
}

int wmain(void);
int wmain(void) {
  const struct CMUnitTest cases[] = {
      cmocka_unit_test(wrong_use),
      cmocka_unit_test(program_missing),
      cmocka_unit_test(not_a_program),
      cmocka_unit_test(program_for_another_machine),
      cmocka_unit_test(managed_program),
      cmocka_unit_test(program_that_can_not_be_read),
      cmocka_unit_test(program_that_can_not_start),
      cmocka_unit_test(dll_missing),
      cmocka_unit_test(not_the_dll),
      cmocka_unit_test(dll_that_refuses),
      cmocka_unit_test(dll_that_needs_another),
      cmocka_unit_test(dll_that_hangs),
      cmocka_unit_test(program_lacks_its_own_dll),
      cmocka_unit_test(dll_of_the_program_lacks_a_dll),
      cmocka_unit_test(program_ends_before_its_start),
  };
  run_begin(L"mi-run-errors");
  run_todo(L"state"); // a program that runs though it must not shows in the output
  swprintf(program_name, 64, L"errors-%lu.exe", GetCurrentProcessId());
  wcscpy(child, run_built(L"child-program.exe"));
  child_file = file_read(child);
  dll_file = file_read(run_dll);
  return check_run(cases);
}
