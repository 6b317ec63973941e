// --method import on programs of every make: none, bound and many imports, no table of addresses, moved and
// fixed, one that knows mimalloc.dll itself.
#include <stdlib.h>

#include "run.h"

#include "support/check.h"
#include "support/runtime.h"

static wchar_t child[MAX_PATH];
static file_bytes_t child_file;

static void run_changed(const wchar_t* name, file_bytes_t file) {
  run_mi(L"--dll \"%ls\" \"%ls\"", run_dll, file_write(name, file.bytes, file.size));
  assert_code(6);
  assert_string_equal(ran.error, "");
  assert_output("at tls 1");
}

static file_bytes_t fresh(void) {
  file_bytes_t file = {.bytes = malloc(child_file.size), .size = child_file.size};
  memcpy(file.bytes, child_file.bytes, file.size);
  return file;
}

// A number after these words in the output.
static unsigned long number_after(const char* words) {
  unsigned long number = 0;
  assert_output(words);
  assert_int_equal(sscanf(strstr(ran.output, words) + strlen(words), " %lx", &number), 1);
  return number;
}

static unsigned get32(const uint8_t* at) {
  return (unsigned)at[0] | (unsigned)at[1] << 8 | (unsigned)at[2] << 16 | (unsigned)at[3] << 24;
}

// Where in the file what lies at this address of the image is, by the section table.
static uint8_t* pe_at(file_bytes_t file, unsigned rva) {
  uint8_t* header = pe_header(file);
  const uint8_t* section = header + 24 + header[20];
  for (int i = 0; i < header[6]; i++, section += 40) {
    if (rva >= get32(section + 12) && rva - get32(section + 12) < get32(section + 16))
      return file.bytes + (rva - get32(section + 12) + get32(section + 20));
  }
  fail_msg("no section has address %x", rva);
  return NULL;
}

static uint8_t* pe_imports(file_bytes_t file) {
  return pe_at(file, get32(pe_directory(file, IMAGE_DIRECTORY_ENTRY_IMPORT)));
}

static void ordinary(void** state) {
  (void)state;
  run_todo(L"modules headers exit=6");
  file_bytes_t file = fresh();
  run_changed(L"ordinary.exe", file);
  // First of the descriptors; the old ones follow, in their order.
  char expected[2048] = "mimalloc.dll stamp 0\n";
  size_t length = strlen(expected), count = 0;
  bool has_runtime = false;
  for (const uint8_t* descriptor = pe_imports(file); get32(descriptor + 12) != 0; descriptor += 20, count++) {
    const char* dll = (const char*)pe_at(file, get32(descriptor + 12));
    length += (size_t)snprintf(expected + length, sizeof(expected) - length, "imports %s stamp 0\n", dll);
    has_runtime = has_runtime || strcmp(dll, TEST_RUNTIME_IMPORT) == 0;
  }
  assert_true(count >= 3 && has_runtime && length < sizeof(expected));
  const char* first = strstr(ran.output, "imports ");
  assert_non_null(first);
  const char* mimalloc = strstr(first, "mimalloc.dll stamp 0\n");
  assert_true(mimalloc != NULL && mimalloc < strchr(first, '\n'));
  assert_memory_equal(mimalloc, expected, length);
  assert_true(strncmp(mimalloc + length, "imports ", 8) != 0); // and no more
  assert_int_equal(number_after("directory bound"), 0);
  assert_int_equal(number_after("directory iat"), get32(pe_directory(file, IMAGE_DIRECTORY_ENTRY_IAT)));
  // Above the image, within what RVAs reach; nothing left writable.
  assert_true(number_after("directory import") >= number_after(" size"));
  assert_true(number_after("directory import") < 0x80000000u);
  assert_int_equal(number_after("protection header"), PAGE_READONLY);
  assert_output("imports 2\n");
  free(file.bytes);
}

static void no_imports(void** state) {
  (void)state;
  for (int i = 0; i < 2; i++) {
    run_mi(L"--method %ls --dll \"%ls\" \"%ls\"", i == 0 ? L"import" : L"apc", run_dll,
           run_built(L"no-imports.exe"));
    assert_string_equal(ran.error, "");
    assert_int_equal(ran.code, 43); // after ntdll, kernelbase, kernel32
  }
  run_line(run_built(L"no-imports.exe"), NULL, NULL);
  assert_code(1);
}

// As `bind` leaves a program: stamps in the descriptors, a directory in the header's slack.
static void bound_imports(void** state) {
  (void)state;
  run_todo(L"modules headers exit=6");
  file_bytes_t file = fresh();
  uint8_t* bound = pe_directory(file, IMAGE_DIRECTORY_ENTRY_BOUND_IMPORT);
  pe_set32(bound, 0x3C0);
  pe_set32(bound + 4, 16);
  for (uint8_t* descriptor = pe_imports(file); get32(descriptor + 12) != 0; descriptor += 20) {
    pe_set32(descriptor + 4, 0xFFFFFFFF);
    pe_set32(descriptor + 8, 0xFFFFFFFF);
  }
  run_changed(L"bound.exe", file);
  assert_int_equal(number_after("directory bound"), 0);
  assert_no_output("stamp f");
  run_line(file_path(L"bound.exe"), NULL, NULL); // it was bound
  assert_output("stamp ffffffff");
  free(file.bytes);
}

static void no_address_directory(void** state) {
  (void)state;
  run_todo(L"modules headers exit=6");
  file_bytes_t file = fresh();
  uint8_t* addresses = pe_directory(file, IMAGE_DIRECTORY_ENTRY_IAT);
  unsigned old = get32(pe_directory(file, IMAGE_DIRECTORY_ENTRY_IMPORT));
  pe_set32(addresses, 0);
  pe_set32(addresses + 4, 0);
  run_changed(L"no addresses.exe", file);
  unsigned long start = number_after("directory iat");
  assert_true(start != 0 && start <= old && old - start < 0x1000); // the section where the imports were
  free(file.bytes);
}

// With a base that can't change, and with one far up. (Wine 8 does not start a program that must move.)
static void bases(void** state) {
  (void)state;
  run_todo(L"modules headers exit=6");
  file_bytes_t file = fresh();
  uint8_t* characteristics = pe_header(file) + 24 + 70;
  characteristics[0] &= 0x9F; // no high-entropy addresses, not to be moved
  run_changed(L"fixed.exe", file);
  free(file.bytes);
  file = file_read(run_built(L"child-high.exe"));
  run_changed(L"high.exe", file);
  free(file.bytes);
}

static void too_few_directories(void** state) {
  (void)state;
  run_todo(L"modules exit=6");
  file_bytes_t file = fresh();
  pe_set32(pe_directory(file, 0) - 4, 12);
  const wchar_t* path = file_write(L"few.exe", file.bytes, file.size);
  run_mi(L"--dll \"%ls\" \"%ls\"", run_dll, path);
  assert_code(126);
  assert_error("too few directories");
  assert_string_equal(ran.output, "");
  assert_int_equal(run_count(L"few.exe"), 0);
  run_mi(L"--method thread --dll \"%ls\" \"%ls\"", run_dll, path); // what the remedy says
  assert_code(6);
  assert_no_output("mimalloc version -1");
  free(file.bytes);
}

// The program's own mimalloc.dll lies beside it, another file than mi-run's.
static void program_that_imports_mimalloc(void** state) {
  (void)state;
  const wchar_t* program = file_copy(run_built(L"needs-mimalloc.exe"), L"own\\needs-mimalloc.exe");
  const wchar_t* own = file_copy(run_dll, L"own\\mimalloc.dll");
  const wchar_t* given = file_copy(run_dll, L"given\\mimalloc.dll");
  run_mi(L"--dll \"%ls\" \"%ls\"", given, program);
  assert_code(0);
  assert_string_equal(ran.error, "");
  assert_output("given\\mimalloc.dll\n"); // mi-run's was first: there is only that one
  static const wchar_t* const late[] = {L"thread", L"apc"};
  for (int i = 0; i < 2; i++) {
    run_mi(L"--method %ls --dll \"%ls\" \"%ls\"", late[i], given, program);
    assert_code(126);
    assert_error("has another mimalloc.dll: '");
    assert_error("own\\mimalloc.dll'");
    assert_error("leave --method away");
    assert_string_equal(ran.output, "");
    assert_int_equal(run_count(L"needs-mimalloc.exe"), 0);
    run_mi(L"--method %ls --dll \"%ls\" \"%ls\"", late[i], own, program);
    assert_code(0);
    assert_output("own\\mimalloc.dll\n");
  }
}

int wmain(void);
int wmain(void) {
  const struct CMUnitTest cases[] = {
      cmocka_unit_test(ordinary),
      cmocka_unit_test(no_imports),
      cmocka_unit_test(bound_imports),
      cmocka_unit_test(no_address_directory),
      cmocka_unit_test(bases),
      cmocka_unit_test(too_few_directories),
      cmocka_unit_test(program_that_imports_mimalloc),
  };
  run_begin(L"mi-run-images");
  wcscpy(child, run_built(L"child-program.exe"));
  child_file = file_read(child);
  return check_run(cases);
}
