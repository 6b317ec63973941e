// Reading PE headers: both forms, everything that can be wrong with them, and bytes at random.
#include "support/check.h"
#include "support/test_data.h"

#include "pe_builder.h"

static pe_built_t built;
static pe_image_t image;

static pe_status_t status(void) { return pe_read(pe_built_read, &built, &image); }
static uint8_t* header(size_t offset) { return built.bytes + PE_BUILT_HEADER_AT + offset; }
static bool exports(const char* name) { return pe_file_exports(pe_built_read, &built, &image, name); }

static void reads_both_forms(void** state) {
  (void)state;
  for (int is_64 = 0; is_64 <= 1; is_64++) {
    pe_build(&built, is_64);
    pe_put32(pe_built_directory(&built, is_64, PE_IMPORTS), 0x1234);
    pe_put32(pe_built_directory(&built, is_64, PE_IMPORTS) + 4, 0x56);
    assert_int_equal(status(), PE_OK);
    assert_int_equal(image.machine, is_64 ? PE_MACHINE_X64 : PE_MACHINE_X86);
    assert_int_equal(image.is_64, is_64);
    assert_false(image.is_dll);
    assert_false(image.is_managed);
    assert_int_equal(image.subsystem, PE_SUBSYSTEM_CONSOLE);
    assert_int_equal(image.size, PE_BUILT_SIZE);
    assert_int_equal(image.directory_count, 16);
    assert_int_equal(image.directories[PE_IMPORTS].rva, 0x1234);
    assert_int_equal(image.directories[PE_IMPORTS].size, 0x56);
    assert_ptr_equal(built.bytes + image.directories_at, pe_built_directory(&built, is_64, 0));
    assert_int_equal(image.section_count, 1);
  }
}

static void recognises_kinds(void** state) {
  (void)state;
  pe_build(&built, true);
  pe_put16(header(22), 0x2002);
  pe_put16(header(4), PE_MACHINE_ARM64);
  pe_put16(header(24 + 68), PE_SUBSYSTEM_GUI);
  pe_put32(pe_built_directory(&built, true, PE_MANAGED), 0x1000);
  assert_int_equal(status(), PE_OK);
  assert_true(image.is_dll);
  assert_true(image.is_managed);
  assert_int_equal(image.machine, PE_MACHINE_ARM64);
  assert_int_equal(image.subsystem, PE_SUBSYSTEM_GUI);
  assert_string_equal(pe_machine_name(PE_MACHINE_ARM64), "ARM64 (64-bit)");
  assert_string_equal(pe_machine_name(PE_MACHINE_X86), "x86 (32-bit)");
  assert_null(pe_machine_name(0x200));
}

// The header's end decides: less than two bytes are no program, without the header's place it is one for DOS.
static void cut_off_anywhere(void** state) {
  (void)state;
  for (int is_64 = 0; is_64 <= 1; is_64++) {
    pe_build(&built, is_64);
    size_t directories_end = (size_t)(pe_built_directory(&built, is_64, 16) - built.bytes);
    for (built.size = 0; built.size < PE_BUILT_BYTES; built.size++) {
      pe_status_t expected = built.size < 2                        ? PE_NOT_PE
                             : built.size < PE_BUILT_HEADER_AT + 4 ? PE_16_BITS
                             : built.size < directories_end        ? PE_DAMAGED
                                                                   : PE_OK;
      assert_int_equal(status(), expected);
    }
  }
}

static void other_files(void** state) {
  (void)state;
  pe_build(&built, true);
  built.bytes[1] = 'A';
  assert_int_equal(status(), PE_NOT_PE);
  pe_build(&built, true);
  memcpy(header(0), "NE\0\0", 4);
  assert_int_equal(status(), PE_16_BITS);
  pe_build(&built, true);
  pe_put32(built.bytes + 0x3C, 0xFFFFFFFF); // beyond the end
  assert_int_equal(status(), PE_16_BITS);
  pe_build(&built, true);
  pe_put16(header(24), 0x107); // a ROM image
  assert_int_equal(status(), PE_DAMAGED);
  pe_build(&built, true);
  pe_put16(header(20), 0); // no optional header: an object file has none
  assert_int_equal(status(), PE_DAMAGED);
  pe_build(&built, true);
  pe_put16(header(20), 239); // no room for the last directory
  assert_int_equal(status(), PE_DAMAGED);
  pe_build(&built, true);
  pe_put16(header(22), 0);
  assert_int_equal(status(), PE_DAMAGED);
}

static void fewer_and_more_directories(void** state) {
  (void)state;
  pe_build(&built, false);
  pe_put32(pe_built_directory(&built, false, PE_MANAGED), 0x1000);
  pe_put32(header(24 + 92), 2);
  assert_int_equal(status(), PE_OK);
  assert_int_equal(image.directory_count, 2);
  assert_false(image.is_managed); // beyond the end of the table
  pe_put32(header(24 + 92), 0xFFFFFFFF);
  assert_int_equal(status(), PE_OK);
  assert_int_equal(image.directory_count, 16);
}

static void finds_sections(void** state) {
  (void)state;
  pe_build(&built, true);
  assert_int_equal(status(), PE_OK);
  pe_directory_t section;
  assert_true(pe_section_of(pe_built_read, &built, &image, PE_BUILT_SECTION_RVA, &section));
  assert_int_equal(section.rva, PE_BUILT_SECTION_RVA);
  assert_int_equal(section.size, PE_BUILT_SECTION_BYTES);
  assert_true(pe_section_of(pe_built_read, &built, &image, PE_BUILT_SECTION_RVA + PE_BUILT_SECTION_BYTES - 1,
                            &section));
  assert_false(
      pe_section_of(pe_built_read, &built, &image, PE_BUILT_SECTION_RVA + PE_BUILT_SECTION_BYTES, &section));
  assert_false(pe_section_of(pe_built_read, &built, &image, PE_BUILT_SECTION_RVA - 1, &section));
}

// Imports are read as the loader reads them: up to a descriptor without a name or without addresses.
static void lists_imports(void** state) {
  (void)state;
  enum { TABLE = 0x80, NAMES = 0x100, LAST = PE_BUILT_SECTION_BYTES - 5 };
  char name[PE_NAME_MAX];
  for (int is_64 = 0; is_64 <= 1; is_64++) {
    pe_build(&built, is_64);
    uint8_t* data = built.bytes + PE_BUILT_SECTION_AT;
    assert_int_equal(pe_read(pe_built_read, &built, &image), PE_OK);
    assert_false(pe_file_import(pe_built_read, &built, &image, 0, name)); // there are none

    pe_put32(pe_built_directory(&built, is_64, PE_IMPORTS), PE_BUILT_SECTION_RVA + TABLE);
    for (uint32_t i = 0; i < 2; i++) {
      pe_put32(data + TABLE + 20 * i + 12, PE_BUILT_SECTION_RVA + NAMES + 16 * i);
      pe_put32(data + TABLE + 20 * i + 16, PE_BUILT_SECTION_RVA);
    }
    memcpy(data + NAMES, "one.dll", 8);
    memcpy(data + NAMES + 16, "two.dll", 8);
    assert_int_equal(pe_read(pe_built_read, &built, &image), PE_OK);
    assert_true(pe_file_import(pe_built_read, &built, &image, 0, name));
    assert_string_equal(name, "one.dll");
    assert_true(pe_file_import(pe_built_read, &built, &image, 1, name));
    assert_string_equal(name, "two.dll");
    assert_false(pe_file_import(pe_built_read, &built, &image, 2, name));
    assert_false(pe_file_import(pe_built_read, &built, &image, UINT32_MAX, name));

    // Damage: a name that is empty, that doesn't end, that lies nowhere; a table that lies nowhere.
    data[NAMES] = 0;
    assert_false(pe_file_import(pe_built_read, &built, &image, 0, name));
    memset(data + LAST, 'x', 5);
    pe_put32(data + TABLE + 12, PE_BUILT_SECTION_RVA + LAST);
    assert_false(pe_file_import(pe_built_read, &built, &image, 0, name));
    pe_put32(data + TABLE + 12, 0xFFFFFFF0);
    assert_false(pe_file_import(pe_built_read, &built, &image, 0, name));
    pe_put32(data + TABLE + 16, 0);
    assert_false(pe_file_import(pe_built_read, &built, &image, 0, name));
    image.directories[PE_IMPORTS].rva = 0xFFFFFF00;
    assert_false(pe_file_import(pe_built_read, &built, &image, 0, name));
  }
}

static void finds_exports(void** state) {
  (void)state;
  for (int is_64 = 0; is_64 <= 1; is_64++) {
    pe_build(&built, is_64);
    assert_int_equal(status(), PE_OK);
    assert_true(exports("first"));
    assert_true(exports("mi_version"));
    assert_true(exports("zlast")); // shorter names are compared up to the end of the section
    assert_false(exports("mi_versio"));
    assert_false(exports("mi_version2"));
    assert_false(exports("zlast_and_beyond_the_end"));
  }
  uint8_t* table = built.bytes + PE_BUILT_SECTION_AT;
  pe_put32(table + 24, 0x10000000); // more names than there can be
  assert_false(exports("first"));
  pe_put32(table + 24, 0xFFFF); // more names than fit: those that are there count
  assert_true(exports("first"));
  assert_false(exports("nothing"));
  pe_put32(table + 32, 0xFFFFFFFC);
  assert_false(exports("first"));
  pe_build(&built, true);
  pe_put32(pe_built_directory(&built, true, PE_EXPORTS), 0);
  assert_int_equal(status(), PE_OK);
  assert_false(exports("first"));
}

static void survives_random_bytes(void** state) {
  (void)state;
  test_random_t random = {.state = 3};
  size_t good = 0;
  for (int round = 0; round < 100000; round++) {
    pe_build(&built, round % 2);
    size_t changes = 1 + test_random_below(&random, 8);
    for (size_t i = 0; i < changes; i++) {
      built.bytes[test_random_below(&random, PE_BUILT_BYTES)] = (uint8_t)test_random_next(&random);
    }
    if (status() != PE_OK) continue;
    good++;
    assert_true(image.directory_count <= PE_DIRECTORIES);
    pe_directory_t section;
    uint32_t rva = (uint32_t)test_random_next(&random);
    if (pe_section_of(pe_built_read, &built, &image, rva, &section))
      assert_true(rva - section.rva < section.size);
    exports("mi_version");
  }
  assert_true(good > 1000 && good < 100000); // both ways were taken
}

int main(void) {
  const struct CMUnitTest cases[] = {
      cmocka_unit_test(reads_both_forms),
      cmocka_unit_test(recognises_kinds),
      cmocka_unit_test(cut_off_anywhere),
      cmocka_unit_test(other_files),
      cmocka_unit_test(fewer_and_more_directories),
      cmocka_unit_test(finds_sections),
      cmocka_unit_test(finds_exports),
      cmocka_unit_test(lists_imports),
      cmocka_unit_test(survives_random_bytes),
  };
  return check_run(cases);
}
