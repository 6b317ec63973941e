// Editing files with more in them than imports: overlays, debug data, bound imports, signatures, full
// headers; and files that were changed after an edit.
#include "edits.h"

// ---- what is around the imports ---------------------------------------------------------------------------

static void test_overlay_stays(void** state) {
  (void)state;
  const char* const names[] = {"overlay.exe", "plain.exe"};
  for (size_t i = 0; i < 4; i++) {
    seed_t seed = seed_load(seed_architectures[i / 2], names[i % 2]);
    edit_result_t result;
    seed_t edited =
        edit(&seed,
             (edit_request_t){
                 .action = EDIT_ADD_FIRST, .dll = mimalloc, .function = "f", .keep_overlay_offset = true},
             &result);
    assert_true(has_note(&result, false, "stays at file offset"));
    pe_t old = seed_parse(&seed), new = seed_parse(&edited);
    assert_rest_is_same(&old, &new, 0);
    assert_true(new.sections[new.section_count - 1].raw >= seed.size);
    pe_free(&old);
    pe_free(&new);
    // A second edit keeps it there without being told.
    seed_t second = add(&edited, "one.dll");
    new = seed_parse(&second);
    assert_true(new.sections[new.section_count - 1].raw >= seed.size);
    pe_free(&new);
    seed_t first = take_out(&second, "one.dll");
    assert_same(&first, &edited);
    seed_t back = take_out(&edited, mimalloc);
    assert_same(&back, &seed);
    seed_free(&first);
    seed_free(&second);
    seed_free(&back);
    seed_free(&edited);
    seed_free(&seed);
  }
}

static void test_overlay_moves(void** state) {
  (void)state;
  seed_t seed = seed_load("x86_64", "overlay.exe");
  edit_result_t result;
  seed_t edited =
      edit(&seed, (edit_request_t){.action = EDIT_ADD_FIRST, .dll = mimalloc, .function = "f"}, &result);
  assert_true(
      has_note(&result, false, "the overlay (5001 bytes behind the last section) moved from file offset 0x"));
  assert_memory_equal(edited.data + edited.size - 5001, seed.data + seed.size - 5001, 5001);
  seed_free(&edited);
  seed_free(&seed);
}

// Debug data may lie in the overlay, unmapped; the directory knows its file offset.
static void test_debug_directory(void** state) {
  (void)state;
  for (size_t a = 0; seed_architectures[a] != NULL; a++) {
    seed_t seed = seed_load(seed_architectures[a], "debug.exe");
    pe_t pe = seed_parse(&seed);
    assert_int_equal(pe.directory[PE_DEBUG].size, 28);
    const uint32_t entry = seed_offset(&seed, pe.directory[PE_DEBUG].address);
    const uint32_t mapped = seed_u32(&seed, entry + 24);
    assert_true(mapped != 0 && mapped < pe.raw_end);
    seed_t edited = add(&seed, mimalloc);
    assert_int_equal(seed_u32(&edited, entry + 24), mapped); // in a section: stays
    seed_free(&edited);

    const uint32_t raw_end = pe.raw_end;
    seed_resize(&seed, raw_end + 100);
    seed_put_u32(&seed, entry + 20, 0);
    seed_put_u32(&seed, entry + 24, raw_end + 40);
    edited = add(&seed, mimalloc);
    const uint32_t moved = seed_u32(&edited, entry + 24);
    assert_int_equal(moved, raw_end + 40 + (edited.size - seed.size));
    assert_memory_equal(edited.data + moved, seed.data + raw_end + 40, 60);
    seed_t back = take_out(&edited, mimalloc);
    assert_same(&back, &seed);
    pe_free(&pe);
    seed_free(&back);
    seed_free(&edited);
    seed_free(&seed);
  }
}

static void test_bound_imports(void** state) {
  (void)state;
  const char* const names[] = {"stripped.exe", "linked.exe"};
  for (size_t i = 0; i < 4; i++) {
    seed_t seed = seed_load(seed_architectures[i / 2], names[i % 2]);
    seed_bind(&seed);
    pe_t pe = seed_parse(&seed);
    const uint32_t table = seed_offset(&seed, pe.directory[PE_IMPORT].address);
    const bool is_linked = i % 2 == 1;
    edit_result_t result;
    seed_t edited =
        edit(&seed,
             (edit_request_t){
                 .action = is_linked ? EDIT_MOVE_FIRST : EDIT_ADD_FIRST, .dll = mimalloc, .function = "f"},
             &result);
    assert_true(has_note(&result, false, "bound imports dropped"));
    pe_t new = seed_parse(&edited);
    assert_string_equal(new.imports[0].dll, mimalloc);
    assert_int_equal(new.directory[PE_BOUND_IMPORT].address, 0);
    assert_int_equal(new.directory[PE_BOUND_IMPORT].size, 0);
    for (uint32_t import = 0; import < new.import_count; import++) {
      assert_int_equal(new.imports[import].fields[PE_TIMESTAMP], 0);
      assert_int_equal(new.imports[import].fields[PE_FORWARDER], 0);
    }
    pe_free(&new);
    if (!is_linked) { // the bound imports' place was taken for the section header; removal gives it back
      assert_int_equal(seed_u32(&edited, table + 4 * PE_TIMESTAMP), 0xFFFFFFFF);
      seed_t back = take_out(&edited, mimalloc);
      pe_t bound = seed_parse(&back);
      assert_int_equal(bound.directory[PE_BOUND_IMPORT].address, pe.directory[PE_BOUND_IMPORT].address);
      pe_free(&bound);
      assert_same(&back, &seed);
      seed_free(&back);
    }
    pe_free(&pe);
    seed_free(&edited);
    seed_free(&seed);
  }
}

static void test_signature(void** state) {
  (void)state;
  for (size_t a = 0; seed_architectures[a] != NULL; a++) {
    seed_t seed = seed_load(seed_architectures[a], "stripped.exe");
    seed_t plain = seed_copy(seed.data, seed.size);
    seed_sign(&seed, 1480);
    edit_result_t result;
    seed_t edited =
        edit(&seed, (edit_request_t){.action = EDIT_ADD_FIRST, .dll = mimalloc, .function = "f"}, &result);
    assert_true(has_note(&result, true, "the Authenticode signature (1480 bytes) is removed"));
    assert_false(has_note(&result, true, "FORCE_INTEGRITY"));
    pe_t pe = seed_parse(&edited);
    assert_int_equal(pe.directory[PE_CERTIFICATE].address, 0);
    assert_int_equal(pe.directory[PE_CERTIFICATE].size, 0);
    assert_int_equal(pe.raw_end, edited.size); // no bytes of it are left
    pe_free(&pe);
    seed_t back = take_out(&edited, mimalloc);
    pe = seed_parse(&plain);
    seed_put_u32(&back, pe.header + PE_AT_CHECKSUM, pe.checksum); // seed_sign made it stale
    assert_same(&back, &plain);
    seed_free(&back);
    seed_free(&edited);

    // Bytes behind a signature are kept, and so is the signature then.
    seed_t tail = seed_copy(seed.data, seed.size);
    seed_resize(&tail, tail.size + 64);
    edited =
        edit(&tail, (edit_request_t){.action = EDIT_ADD_FIRST, .dll = mimalloc, .function = "f"}, &result);
    assert_true(has_note(&result, true, "the Authenticode signature is not valid any more"));
    assert_memory_equal(edited.data + edited.size - 1480 - 64, tail.data + tail.size - 1480 - 64, 1480 + 64);
    seed_free(&edited);
    seed_free(&tail);

    seed_put_u16(&seed, pe.header + 94, pe.dll_characteristics | PE_DLL_FORCE_INTEGRITY);
    edited =
        edit(&seed, (edit_request_t){.action = EDIT_ADD_FIRST, .dll = mimalloc, .function = "f"}, &result);
    assert_true(has_note(&result, true, "FORCE_INTEGRITY"));
    seed_free(&edited);
    pe_free(&pe);
    seed_free(&plain);
    seed_free(&seed);
  }
}

// The loader makes the address tables writable by their directory, or else the section of the import
// directory, which moves.
static void test_address_table_directory(void** state) {
  (void)state;
  for (size_t a = 0; seed_architectures[a] != NULL; a++) {
    seed_t seed = seed_load(seed_architectures[a], "small.exe");
    seed_put_directory(&seed, PE_IAT, 0, 0);
    pe_t pe = seed_parse(&seed);
    const pe_section_t* section = pe_section_of(&pe, pe.directory[PE_IMPORT].address);
    assert_non_null(section);
    // Writable: nothing to do. Linkers differ in what they make .idata.
    seed_put_u32(&seed, section->header + PE_SECTION_AT_CHARACTERISTICS,
                 section->characteristics | PE_SECTION_WRITE);
    seed_t edited = add(&seed, mimalloc);
    pe_t new = seed_parse(&edited);
    assert_int_equal(new.directory[PE_IAT].address, 0);
    pe_free(&new);
    seed_free(&edited);

    seed_put_u32(&seed, section->header + PE_SECTION_AT_CHARACTERISTICS,
                 section->characteristics & ~PE_SECTION_WRITE);
    edited = add(&seed, mimalloc);
    new = seed_parse(&edited);
    assert_int_equal(new.directory[PE_IAT].address, section->address);
    assert_int_equal(new.directory[PE_IAT].size, section->extent);
    seed_t back = take_out(&edited, mimalloc);
    assert_same(&back, &seed);
    seed_free(&back);
    pe_free(&new);
    seed_free(&edited);

    seed_put_u32(&seed, pe.directories - 4, PE_IAT); // no such directory at all
    expect(&seed, (edit_request_t){.action = EDIT_ADD_FIRST, .dll = mimalloc, .function = "f"}, EDIT_REFUSED,
           "its import tables are read-only, and its header has only 12 data directories");
    seed_put_u32(&seed, pe.directories - 4, 1);
    expect(&seed, (edit_request_t){.action = EDIT_ADD_FIRST, .dll = mimalloc, .function = "f"}, EDIT_REFUSED,
           "its header has only 1 data directories, none for imports");
    pe_free(&pe);
    seed_free(&seed);
  }
}

static void test_warnings(void** state) {
  (void)state;
  seed_t seed = seed_load("x86_64", "small.exe");
  pe_t pe = seed_parse(&seed);
  edit_result_t result;
  const edit_request_t request = {.action = EDIT_ADD_FIRST, .dll = mimalloc, .function = "f"};
  seed_t edited = edit(&seed, request, &result);
  for (uint32_t i = 0; i < result.note_count; i++) assert_false(result.notes[i].is_warning);
  seed_free(&edited);
  seed_put_directory(&seed, PE_CLR, 0x1000, 72);
  edited = edit(&seed, request, &result);
  seed_put_u32(&seed, seed_offset(&seed, 0x1000) + 16, 1); // code of .NET alone
  seed_free(&edited);
  edited = edit(&seed, request, &result);
  assert_true(has_note(&result, true, "it is a .NET program without machine code"));
  seed_free(&edited);
  seed_put_u16(&seed, pe.header + 92, 1);
  edited = edit(&seed, request, &result);
  assert_true(has_note(&result, true, "it is a driver or a native program"));
  seed_free(&edited);
  seed_put_u16(&seed, pe.header + 92, 10);
  edited = edit(&seed, request, &result);
  assert_true(has_note(&result, true, "it is neither a console nor a GUI program (subsystem 10)"));
  seed_free(&edited);
  pe_free(&pe);
  seed_free(&seed);
}

// ---- no room ----------------------------------------------------------------------------------------------

static void test_extension(void** state) {
  (void)state;
  for (size_t a = 0; seed_architectures[a] != NULL; a++) {
    const edit_request_t request = {.action = EDIT_ADD_FIRST, .dll = mimalloc, .function = "f"};
    edit_result_t result;
    seed_t full = seed_load(seed_architectures[a], "full.exe");
    seed_t edited = edit(&full, request, &result);
    assert_true(
        has_note(&result, false, "no room for another section header (the section headers end at 0x"));
    assert_true(has_note(&result, false, "was made longer instead, and writable"));
    seed_free(&edited);

    // With an overlay: it can move, but not stay.
    seed_resize(&full, full.size + 777);
    edited = edit(&full, request, &result);
    assert_memory_equal(edited.data + edited.size - 777, full.data + full.size - 777, 777);
    seed_t back = take_out(&edited, mimalloc);
    assert_same(&back, &full);
    seed_free(&back);
    seed_free(&edited);
    edit_request_t keep = request;
    keep.keep_overlay_offset = true;
    expect(&full, keep, EDIT_REFUSED, "can't be extended: the overlay behind it is to stay where it is");

    // A last section without contents in the file, or of gigabytes.
    pe_t pe = seed_parse(&full);
    const uint32_t last = pe.sections[pe.section_count - 1].header;
    const uint32_t raw_size = seed_u32(&full, last + PE_SECTION_AT_RAW_SIZE);
    seed_t huge = seed_copy(full.data, full.size);
    seed_put_u32(&huge, last + PE_SECTION_AT_VIRTUAL_SIZE, 0x40000000);
    seed_put_u32(&huge, pe.header + PE_AT_SIZE_OF_IMAGE, 0x40000000 + pe.size_of_image);
    expect(&huge, request, EDIT_REFUSED,
           "can't be extended: it would take more than 64 MiB of zeros in the file");
    // Zeros that memory had are zeros in the file.
    seed_put_u32(&huge, last + PE_SECTION_AT_VIRTUAL_SIZE, raw_size + 10000);
    seed_put_u32(&huge, pe.header + PE_AT_SIZE_OF_IMAGE, pe.size_of_image + 0x3000);
    edited = edit(&huge, request, &result);
    const uint32_t zeros = pe.sections[pe.section_count - 1].raw + raw_size;
    for (uint32_t i = 0; i < 10000; i++) assert_int_equal(edited.data[zeros + i], 0);
    back = take_out(&edited, mimalloc);
    assert_same(&back, &huge);
    seed_free(&back);
    seed_free(&edited);
    seed_free(&huge);
    pe_free(&pe);
    seed_free(&full);

    // Not zero behind the section headers: somebody uses these bytes.
    seed_t used = seed_load(seed_architectures[a], "small.exe");
    pe = seed_parse(&used);
    used.data[pe.section_table + PE_SECTION_HEADER_SIZE * pe.section_count + 39] = 1;
    edited = edit(&used, request, &result);
    assert_true(has_note(&result, false, "bytes behind the section headers, at 0x"));
    assert_int_equal(edited.data[pe.section_table + PE_SECTION_HEADER_SIZE * pe.section_count + 39], 1);
    back = take_out(&edited, mimalloc);
    assert_same(&back, &used);
    seed_free(&back);
    seed_free(&edited);
    pe_free(&pe);
    seed_free(&used);
  }
}

// ---- files that were changed after an edit ----------------------------------------------------------------

// An overlay that came later is kept by a removal.
static void test_overlay_appended_later(void** state) {
  (void)state;
  seed_t seed = seed_load("x86_64", "stripped.exe");
  seed_t edited = add(&seed, mimalloc);
  seed_resize(&edited, edited.size + 333);
  seed_t back = take_out(&edited, mimalloc);
  assert_int_equal(back.size, seed.size + 333);
  assert_memory_equal(back.data + seed.size, edited.data + edited.size - 333, 333);
  pe_t pe = seed_parse(&back);
  seed_put_u32(&back, pe.header + PE_AT_CHECKSUM, seed_u32(&seed, pe.header + PE_AT_CHECKSUM));
  assert_memory_equal(back.data, seed.data, seed.size);
  pe_free(&pe);
  seed_free(&back);
  seed_free(&edited);
  seed_free(&seed);
}

// A record that doesn't fit the file, because another tool laid it out anew, or a liar wrote it: the section
// stays, and only the list of imports changes.
static void test_stale_record(void** state) {
  (void)state;
  enum { INSERT_AT = 20, INSERT_SIZE = 24, RECORD = 112 };
  const uint32_t fields[] = {INSERT_AT, INSERT_SIZE};
  const uint32_t values[] = {0, 1, 0x1000, 0x7FFFFFFF, 0xFFFFFFFF};
  for (size_t a = 0; seed_architectures[a] != NULL; a++) {
    seed_t seed = seed_load(seed_architectures[a], "stripped.exe");
    seed_t edited = add(&seed, mimalloc);
    pe_t pe = seed_parse(&edited);
    const uint32_t record = seed_offset(&edited, pe.directory[PE_IMPORT].address - RECORD);
    assert_memory_equal(edited.data + record, "minject/import/1", 16);
    for (size_t i = 0; i < 10; i++) {
      seed_t stale = seed_copy(edited.data, edited.size);
      seed_put_u32(&stale, record + fields[i / 5], values[i % 5]);
      edit_result_t result;
      seed_t back = edit(&stale, (edit_request_t){.action = EDIT_REMOVE, .dll = mimalloc}, &result);
      assert_true(has_note(&result, false, "minject's section stays, unused"));
      assert_int_equal(back.size, stale.size);
      IMPORTS(&back, "KERNEL32.dll", "msvcrt.dll");
      // And once more in front of that.
      seed_t again = add(&stale, "one.dll");
      IMPORTS(&again, "one.dll", mimalloc, "KERNEL32.dll", "msvcrt.dll");
      seed_free(&again);
      seed_free(&back);
      seed_free(&stale);
    }
    pe_free(&pe);
    seed_free(&edited);
    seed_free(&seed);
  }
}

// Another section behind ours, as another tool would add it.
static void test_section_added_later(void** state) {
  (void)state;
  seed_t seed = seed_load("x86_64", "stripped.exe");
  seed_t edited = add(&seed, mimalloc);
  uint32_t address;
  seed_append_section(&edited, 512, &address);
  edit_result_t result;
  seed_t back = edit(&edited, (edit_request_t){.action = EDIT_REMOVE, .dll = mimalloc}, &result);
  assert_true(
      has_note(&result, false, "minject's section stays, unused: other sections were added behind it"));
  IMPORTS(&back, "KERNEL32.dll", "msvcrt.dll");
  seed_t again = add(&edited, "one.dll");
  IMPORTS(&again, "one.dll", mimalloc, "KERNEL32.dll", "msvcrt.dll");
  seed_t last = take_out(&again, "one.dll");
  assert_same(&last, &edited); // that section, at least, is the last one
  seed_free(&last);
  seed_free(&again);
  seed_free(&back);
  seed_free(&edited);
  seed_free(&seed);
}

int main(void) {
  const struct CMUnitTest cases[] = {
      cmocka_unit_test(test_overlay_stays),
      cmocka_unit_test(test_overlay_moves),
      cmocka_unit_test(test_debug_directory),
      cmocka_unit_test(test_bound_imports),
      cmocka_unit_test(test_signature),
      cmocka_unit_test(test_address_table_directory),
      cmocka_unit_test(test_warnings),
      cmocka_unit_test(test_extension),
      cmocka_unit_test(test_overlay_appended_later),
      cmocka_unit_test(test_stale_record),
      cmocka_unit_test(test_section_added_later),
  };
  return check_run(cases);
}
