// Reading PE files: facts of good ones, and the exact reason why a damaged one is refused.
#include "seeds.h"

#include <stdlib.h>

static void check_facts(const char* architecture, const char* name, const seed_t* seed) {
  pe_t pe = seed_parse(seed);
  const bool is_64 = strcmp(architecture, "x86_64") == 0;
  assert_int_equal(pe.is_64, is_64);
  assert_string_equal(pe_machine_name(pe.machine), is_64 ? "x86-64" : "x86");
  assert_int_equal(pe.is_flat, strcmp(name, "flat.exe") == 0);
  assert_int_equal((pe.characteristics & PE_FILE_DLL) != 0, strcmp(name, "library.dll") == 0);
  // The linker has computed the checksum; where make_seeds.py changed the file afterwards it's stale or not
  // set.
  const bool is_changed =
      strcmp(name, "overlay.exe") == 0 || strcmp(name, "full.exe") == 0 || strcmp(name, "delay.exe") == 0;
  if (!is_changed) assert_int_equal(pe.checksum, pe_checksum(&pe));
  if (strcmp(name, "overlay.exe") == 0) assert_int_equal(seed->size - pe.raw_end, 5001);
  pe_free(&pe);
}

static void test_facts(void** state) {
  (void)state;
  seed_each(check_facts);
}

static void check_function(const pe_t* pe, uint32_t import, uint32_t index, const char* name,
                           uint32_t ordinal) {
  pe_function_t function;
  assert_true(pe_import_function(pe, &pe->imports[import], index, &function));
  assert_int_equal(function.name != NULL, name != NULL);
  if (name == NULL) {
    assert_int_equal(function.ordinal, ordinal);
  } else {
    assert_int_equal(function.length, strlen(name));
    assert_memory_equal(function.name, name, function.length);
  }
}

static void test_imports(void** state) {
  (void)state;
  for (size_t a = 0; seed_architectures[a] != NULL; a++) {
    seed_t seed = seed_load(seed_architectures[a], "linked.exe");
    pe_t pe = seed_parse(&seed);
    assert_int_equal(pe.import_count, 3);
    assert_string_equal(pe.imports[0].dll, "second.dll");
    assert_string_equal(pe.imports[1].dll, "third.dll");
    assert_string_equal(pe.imports[2].dll, "mimalloc.dll");
    assert_int_equal(pe.imports[0].functions, 1);
    assert_int_equal(pe.imports[1].functions, 2);
    check_function(&pe, 0, 0, "second_function", 0);
    check_function(&pe, 2, 0, "mi_version", 0);
    // By number and by name, in the linker's order.
    pe_function_t function;
    assert_true(pe_import_function(&pe, &pe.imports[1], 0, &function));
    check_function(&pe, 1, 0, function.name == NULL ? NULL : "third_function", 7);
    check_function(&pe, 1, 1, function.name == NULL ? "third_function" : NULL, 7);
    pe_free(&pe);
    seed_free(&seed);
  }
}

// The headers are mapped as well, and some linkers put tables there.
static void test_import_in_headers(void** state) {
  (void)state;
  for (size_t a = 0; seed_architectures[a] != NULL; a++) {
    seed_t seed = seed_load(seed_architectures[a], "small.exe");
    pe_t pe = seed_parse(&seed);
    const uint32_t at = pe.size_of_headers - 12;
    memcpy(seed.data + at, "head.dll", 9);
    seed_put_u32(&seed, seed_offset(&seed, pe.directory[PE_IMPORT].address) + 4 * PE_NAME, at);
    pe_free(&pe);
    pe = seed_parse(&seed);
    assert_string_equal(pe.imports[0].dll, "head.dll");
    pe_free(&pe);
    seed_free(&seed);
  }
}

static void test_delay_imports(void** state) {
  (void)state;
  for (size_t a = 0; seed_architectures[a] != NULL; a++) {
    pe_import_t imports[4];
    pe_error_t error;
    bool ok;
    seed_t seed = seed_load(seed_architectures[a], "delay.exe");
    pe_t pe = seed_parse(&seed);
    assert_int_equal(pe_delay_imports(&pe, imports, 4, &ok, &error), 1);
    assert_true(ok);
    assert_string_equal(imports[0].dll, "delayed.dll");
    assert_int_equal(imports[0].functions, 2);
    pe_function_t function;
    assert_true(pe_import_function(&pe, &imports[0], 0, &function));
    assert_memory_equal(function.name, "delayed_", 8);
    const pe_directory_t directory = pe.directory[PE_DELAY_IMPORT];
    pe_free(&pe);

    // The form of the first linkers: addresses in place of rvas (of 32 bits, so only where the image lies
    // low).
    if (strcmp(seed_architectures[a], "i686") == 0) {
      seed_t old = seed_copy(seed.data, seed.size);
      pe = seed_parse(&old);
      const uint32_t at = seed_offset(&old, directory.address);
      seed_put_u32(&old, at, 0);
      for (uint32_t field = 4; field <= 16; field += 4) {
        seed_put_u32(&old, at + field, seed_u32(&old, at + field) + (uint32_t)pe.image_base);
      }
      pe_free(&pe);
      pe = seed_parse(&old);
      assert_int_equal(pe_delay_imports(&pe, imports, 4, &ok, &error), 1);
      assert_true(ok);
      assert_string_equal(imports[0].dll, "delayed.dll");
      assert_int_equal(imports[0].functions, 2);
      pe_free(&pe);
      seed_free(&old);
    }

    seed_put_u32(&seed, seed_offset(&seed, directory.address) + 4, 0x7FFFFFF0); // the name
    pe = seed_parse(&seed);
    assert_int_equal(pe_delay_imports(&pe, imports, 4, &ok, &error), 0);
    assert_false(ok);
    assert_string_equal(error.text, "the name of the DLL of delay import 1 can't be read");
    pe_free(&pe);
    seed_put_directory(&seed, PE_DELAY_IMPORT, 0x7FFFFFF0, 64);
    pe = seed_parse(&seed);
    assert_int_equal(pe_delay_imports(&pe, imports, 4, &ok, &error), 0);
    assert_false(ok);
    pe_free(&pe);
    seed_free(&seed);
  }
}

static void test_exports(void** state) {
  (void)state;
  for (size_t a = 0; seed_architectures[a] != NULL; a++) {
    seed_t seed = seed_load(seed_architectures[a], "library.dll");
    pe_t pe = seed_parse(&seed);
    pe_error_t error;
    bool ok;
    assert_true(pe_exports(&pe, "exported_one", &ok, &error));
    assert_true(pe_exports(&pe, "exported_two", &ok, &error));
    assert_false(pe_exports(&pe, "exported_tw", &ok, &error));
    assert_true(ok);
    assert_false(pe_exports(&pe, "exported_two_", &ok, &error));
    assert_true(ok);
    pe_free(&pe);
    seed_put_directory(&seed, PE_EXPORT, 0x7FFFFFF0, 40);
    pe = seed_parse(&seed);
    assert_false(pe_exports(&pe, "exported_one", &ok, &error));
    assert_false(ok);
    assert_string_equal(error.text, "its export directory at 0x7ffffff0 lies outside of its sections");
    pe_free(&pe);
    seed_free(&seed);
  }
}

static void test_dll_names(void** state) {
  (void)state;
  assert_true(pe_same_dll("mimalloc.dll", "MiMalloc.DLL"));
  assert_true(pe_same_dll("mimalloc", "mimalloc.dll")); // the loader adds the extension
  assert_true(pe_same_dll("winspool.drv", "WINSPOOL.DRV"));
  assert_false(pe_same_dll("mimalloc.dll", "mimalloc2.dll"));
  assert_false(pe_same_dll("winspool.drv", "winspool.drv.dll")); // it has one
  assert_false(pe_same_dll("", "a"));
  assert_true(pe_same_dll(".dll", ""));
}

static void test_printable(void** state) {
  (void)state;
  char text[16];
  pe_printable(text, sizeof(text), "ab\x1B[0m", 6);
  assert_string_equal(text, "ab\\x1B[0m");
  pe_printable(text, 6, "a\xFF\xFF", 3);
  assert_string_equal(text, "a\\xFF");
  pe_printable(text, 5, "a\xFF", 2); // no half of an escape
  assert_string_equal(text, "a");
}

// ---- damage -----------------------------------------------------------------------------------------------

static void expect_refusal(const uint8_t* data, size_t size, const char* expected) {
  pe_t pe;
  pe_error_t error;
  if (pe_parse(data, size, &pe, &error)) fail_msg("was taken; expected: %s", expected);
  if (strncmp(error.text, expected, strlen(expected)) != 0)
    fail_msg("expected: %s\nbut was: %s", expected, error.text);
  pe_free(&pe);
}

#define REFUSED(text, expected) expect_refusal((const uint8_t*)(text), sizeof(text) - 1, expected)

static void test_other_files(void** state) {
  (void)state;
  expect_refusal(NULL, 0, "the file is empty");
  REFUSED("abc", "not a PE file: it has only 3 bytes");
  REFUSED("\x7F"
          "ELF and more",
          "not a PE file: it is an ELF file (Linux)");
  REFUSED("#!/bin/sh\n", "not a PE file: it is a script");
  REFUSED("PK\3\4....", "not a PE file: it is a ZIP archive");
  REFUSED("just some text", "not a PE file: it doesn't begin with \"MZ\"");
  REFUSED("MZ and no more", "not a PE file: it is a DOS program");
  uint8_t dos[1024] = {'M', 'Z'};
  expect_refusal(dos, sizeof(dos), "not a PE file: it is a DOS program, without a PE header");
  set_u32(dos + 60, 0x80);
  memcpy(dos + 0x80, "NE", 2);
  expect_refusal(dos, sizeof(dos), "not a PE file: it is a 16-bit Windows program (NE)");
  memcpy(dos + 0x80, "LE", 2);
  expect_refusal(dos, sizeof(dos), "not a PE file: it is a program for OS/2 or a VxD (LE)");
  set_u32(dos + 60, 1020);
  expect_refusal(dos, sizeof(dos),
                 "truncated: its PE header should lie at 0x3fc, but the file has 0x400 bytes");
}

typedef enum base_e { HEADER, SECTION, DESCRIPTOR, THUNK, DIRECTORY } base_t;

typedef struct damage_s {
  base_t base;
  uint32_t at; // of a field of 32 bits, from the base
  uint32_t value;
  const char* expected;
} damage_t;

// What each field of small.exe must not be. SECTION: header of the first; DESCRIPTOR: of the first import;
// THUNK: its first.
static const damage_t damages[] = {
    {HEADER, 0, 0x12345678, "not a PE file"},
    {HEADER, 4, 0x00050000 | 0xAA64, "(machine)"},
    {HEADER, 6, 0, "it has no sections"},
    {HEADER, 6, 0xFFFF, "truncated: its table of 65535 sections at 0x"},
    {HEADER, 20, 0x00020010,
     "damaged: an optional header of 16 bytes has no room for its 16 data directories"},
    {HEADER, 22, 0x020B0000, "damaged: it isn't marked as executable"},
    {HEADER, 24, 0x00000107,
     "damaged: magic number 0x107 of the optional header is neither PE32 (0x10b) nor PE32+ (0x20b)"},
    {HEADER, 56, 0, "damaged: section alignment 0x0 and file alignment 0x200 must be powers of two"},
    {HEADER, 56, 0x3000, "damaged: section alignment 0x3000 and file alignment 0x200 must be powers of two"},
    {HEADER, 56, 0x80000000, "damaged: section alignment 0x80000000 is beyond sense"},
    {HEADER, 60, 0x2000, "damaged: file alignment 0x2000 exceeds section alignment 0x1000"},
    {HEADER, 60, 0x100,
     "damaged: file alignment 0x100 is below 512 and not equal to the section alignment 0x1000"},
    {HEADER, 80, 0x1000, "damaged: its sections end at 0x"},
    {HEADER, 80, 0x90000000, "damaged: its sections end at 0x"},
    {HEADER, 84, 0x100000, "truncated: it has headers of 0x100000 bytes, but the file has 0x"},
    {SECTION, 8, 0x70000000,
     "damaged: section 2 (.rdata) starts at 0x2000, inside of what lies before it (up to 0x70001000)"},
    {SECTION, 8, 0x7FFFFFFF, "damaged: section 1 (.text), 0x7fffffff bytes at 0x1000, reaches beyond 2 GiB"},
    {SECTION, 12, 0x1234,
     "damaged: section 1 (.text) starts at 0x1234, which isn't a multiple of the section alignment 0x1000"},
    {SECTION, 12, 0, "damaged: section 1 (.text) starts at 0x0, inside of what lies before it (up to 0x400)"},
    {SECTION, 16, 0x7FFFFFFF,
     "truncated: section 1 (.text) wants 0x7fffffff bytes at file offset 0x400, but the file has 0x"},
    {SECTION, 20, 0x10000000,
     "truncated: section 1 (.text) wants 0x200 bytes at file offset 0x10000000, but the file has 0x"},
    {DIRECTORY, 8, 0x7FFFFFF0, "damaged: its import directory at 0x7ffffff0 lies outside of its sections"},
    {DIRECTORY, 8, 0x00000900, "damaged: its import directory at 0x900 lies outside of its sections"},
    {DESCRIPTOR, 0, 0x7FFFFFF0,
     "damaged: the import table of second.dll at 0x7ffffff0 has no end within its section"},
    {DESCRIPTOR, 12, 0x7FFFFFF0,
     "damaged: the name of the DLL of import 1 at 0x7ffffff0 lies outside of its sections"},
    {DESCRIPTOR, 16, 0x7FFFFFF0,
     "damaged: the address table of second.dll at 0x7ffffff0 reaches out of its section"},
    {THUNK, 0, 0x7FFFFFF0,
     "damaged: the name of function 1 of second.dll at 0x7ffffff0 lies outside of its sections"},
    {THUNK, 0, 0x7FFFFFFF,
     "damaged: the name of function 1 of second.dll at 0x7fffffff lies outside of its sections"},
};

static uint32_t damage_offset(const seed_t* seed, base_t base) {
  pe_t pe = seed_parse(seed);
  uint32_t offset = 0;
  switch (base) {
  case HEADER:
    offset = pe.header;
    break;
  case SECTION:
    offset = pe.section_table;
    break;
  case DESCRIPTOR:
    offset = seed_offset(seed, pe.directory[PE_IMPORT].address);
    break;
  case THUNK:
    offset = seed_offset(seed, pe.imports[0].lookup);
    break;
  case DIRECTORY:
    offset = pe.directories;
    break;
  }
  pe_free(&pe);
  return offset;
}

static void test_damage(void** state) {
  (void)state;
  for (size_t a = 0; seed_architectures[a] != NULL; a++) {
    seed_t good = seed_load(seed_architectures[a], "small.exe");
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
      const damage_t* damage = &damages[i];
      const char* expected = damage->expected;
      if (strcmp(expected, "(machine)") == 0) {
        if (strcmp(seed_architectures[a], "x86_64") == 0) continue; // both have 64 bits
        expected = "damaged: it is for ARM64, but its optional header is that of PE32 (32 bits)";
      }
      seed_t seed = seed_copy(good.data, good.size);
      seed_put_u32(&seed, damage_offset(&good, damage->base) + damage->at, damage->value);
      expect_refusal(seed.data, seed.size, expected);
      seed_free(&seed);
    }
    seed_free(&good);
  }
}

static void test_flat_damage(void** state) {
  (void)state;
  for (size_t a = 0; seed_architectures[a] != NULL; a++) {
    seed_t seed = seed_load(seed_architectures[a], "flat.exe");
    pe_t pe = seed_parse(&seed);
    seed_put_u32(&seed, pe.sections[0].header + PE_SECTION_AT_RAW, pe.sections[0].raw - 32);
    pe_free(&pe);
    expect_refusal(
        seed.data, seed.size,
        "damaged: with section alignment 0x20, section 1 (.text) must have the same place in file");
    seed_free(&seed);
  }
}

static void test_endless_tables(void** state) {
  (void)state;
  for (size_t a = 0; seed_architectures[a] != NULL; a++) {
    seed_t seed = seed_load(seed_architectures[a], "small.exe");
    pe_t pe = seed_parse(&seed);
    uint8_t descriptor[PE_DESCRIPTOR_SIZE];
    memcpy(descriptor, seed.data + seed_offset(&seed, pe.directory[PE_IMPORT].address), sizeof(descriptor));
    // Descriptors up to the section's last bytes, 16 of which are left: the end is missing.
    enum { SIZE = 4096, TABLE = 4080 };
    uint32_t address;
    const uint32_t at = seed_append_section(&seed, SIZE, &address);
    for (uint32_t i = 0; i < TABLE; i += PE_DESCRIPTOR_SIZE)
      memcpy(seed.data + at + i, descriptor, sizeof(descriptor));
    seed_put_u32(&seed, pe.directories + 8 * PE_IMPORT, address);
    char expected[120];
    snprintf(expected, sizeof(expected),
             "damaged: its import directory at 0x%x has no end within its section", address);
    expect_refusal(seed.data, seed.size, expected);

    // With an end, but a DLL's name without one.
    memset(seed.data + at + TABLE - PE_DESCRIPTOR_SIZE, 0, PE_DESCRIPTOR_SIZE + 16);
    memset(seed.data + at + SIZE - 4, 'x', 4);
    seed_put_u32(&seed, at + 4 * PE_NAME, address + SIZE - 4);
    expect_refusal(seed.data, seed.size, "damaged: the name of the DLL of import 1 at 0x");
    pe_free(&pe);
    seed_free(&seed);
  }
}

// What a file could ask for beyond all reason is bounded.
static void test_too_much(void** state) {
  (void)state;
  for (size_t a = 0; seed_architectures[a] != NULL; a++) {
    seed_t small = seed_load(seed_architectures[a], "small.exe");
    pe_t pe = seed_parse(&small);
    const uint32_t width = pe.is_64 ? 8 : 4;
    const uint32_t first = seed_offset(&small, pe.directory[PE_IMPORT].address);
    uint32_t address;

    seed_t seed = seed_copy(small.data, small.size); // functions, by number
    uint32_t at = seed_append_section(&seed, (PE_FUNCTIONS_MAX + 2) * width, &address);
    for (uint32_t i = 0; i <= PE_FUNCTIONS_MAX; i++) seed.data[at + (i + 1) * width - 1] = 0x80;
    seed_put_u32(&seed, first + 4 * PE_LOOKUP, address);
    seed_put_u32(&seed, first + 4 * PE_ADDRESS_TABLE, address);
    expect_refusal(seed.data, seed.size, "damaged: it imports more than 1048576 functions");
    seed_free(&seed);

    enum { NAME = 60000, THUNKS = 65544, COUNT = PE_NAME_BYTES_MAX / NAME + 1 }; // one long name, many times
    seed = seed_copy(small.data, small.size);
    at = seed_append_section(&seed, THUNKS + (COUNT + 1) * width, &address);
    memset(seed.data + at + 2, 'x', NAME);
    for (uint32_t i = 0; i < COUNT; i++) seed_put_u32(&seed, at + THUNKS + i * width, address);
    seed_put_u32(&seed, first + 4 * PE_LOOKUP, address + THUNKS);
    seed_put_u32(&seed, first + 4 * PE_ADDRESS_TABLE, address + THUNKS);
    expect_refusal(seed.data, seed.size,
                   "damaged: the names of the functions that it imports take more than");
    memset(seed.data + at + 2, 'x', 65536); // a longer name is none
    expect_refusal(seed.data, seed.size, "damaged: the name of function 1 of second.dll at 0x");
    seed_free(&seed);

    seed = seed_copy(small.data, small.size); // DLLs
    at = seed_append_section(&seed, (PE_IMPORTS_MAX + 2) * PE_DESCRIPTOR_SIZE, &address);
    for (uint32_t i = 0; i <= PE_IMPORTS_MAX; i++) {
      memcpy(seed.data + at + i * PE_DESCRIPTOR_SIZE, seed.data + first, PE_DESCRIPTOR_SIZE);
    }
    seed_put_u32(&seed, pe.directories + 8 * PE_IMPORT, address);
    expect_refusal(seed.data, seed.size, "damaged: it imports more than 4096 DLLs");
    memset(seed.data + at + PE_IMPORTS_MAX * PE_DESCRIPTOR_SIZE, 0, PE_DESCRIPTOR_SIZE);
    pe_t most = seed_parse(&seed); // as many as that are taken
    assert_int_equal(most.import_count, PE_IMPORTS_MAX);
    pe_free(&most);
    seed_free(&seed);
    pe_free(&pe);
    seed_free(&small);
  }
}

// A file cut off anywhere before the end of its last section is refused, and never read beyond its end
// (AddressSanitizer sees that: each length is an allocation of its own).
static void test_truncated(void** state) {
  (void)state;
  const char* const names[] = {"small.exe", "flat.exe"};
  for (size_t i = 0; i < 4; i++) {
    seed_t seed = seed_load(seed_architectures[i / 2], names[i % 2]);
    for (size_t size = 0; size < seed.size; size++) {
      seed_t cut = seed_copy(seed.data, size);
      pe_t pe;
      pe_error_t error;
      if (pe_parse(cut.data, size, &pe, &error))
        fail_msg("%s was taken with %u of its bytes", names[i % 2], (unsigned)size);
      assert_true(error.text[0] != 0);
      if (size >= 64) assert_int_equal(strncmp(error.text, "truncated: ", 11), 0);
      pe_free(&pe);
      seed_free(&cut);
    }
    seed_free(&seed);
  }
}

int main(void) {
  const struct CMUnitTest cases[] = {
      cmocka_unit_test(test_facts),
      cmocka_unit_test(test_imports),
      cmocka_unit_test(test_import_in_headers),
      cmocka_unit_test(test_delay_imports),
      cmocka_unit_test(test_exports),
      cmocka_unit_test(test_dll_names),
      cmocka_unit_test(test_printable),
      cmocka_unit_test(test_other_files),
      cmocka_unit_test(test_damage),
      cmocka_unit_test(test_flat_damage),
      cmocka_unit_test(test_endless_tables),
      cmocka_unit_test(test_too_much),
      cmocka_unit_test(test_truncated),
  };
  return check_run(cases);
}
