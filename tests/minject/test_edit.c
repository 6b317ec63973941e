// Adding, removing and moving imports: what changes, what must not, and the way back.
#include "edits.h"

// ---- add and remove ---------------------------------------------------------------------------------------

static void check_add(const char* architecture, const char* name, const seed_t* seed) {
  (void)architecture;
  if (strcmp(name, "linked.exe") == 0) return; // imports it already; see test_reorder
  seed_t edited = add(seed, mimalloc);
  pe_t old = seed_parse(seed), new = seed_parse(&edited);
  assert_int_equal(new.import_count, old.import_count + 1);
  assert_string_equal(new.imports[0].dll, mimalloc);
  assert_int_equal(new.imports[0].functions, 1);
  assert_true(edit_is_own(&new, &new.imports[0]));
  pe_function_t function;
  assert_true(pe_import_function(&new, &new.imports[0], 0, &function));
  assert_int_equal(function.length, strlen("mi_version"));
  assert_memory_equal(function.name, "mi_version", function.length);
  for (uint32_t i = 0; i < old.import_count; i++) {
    assert_same_import(&old, i, &new, i + 1);
    assert_false(edit_is_own(&new, &new.imports[i + 1]));
  }
  const pe_section_t* last = &new.sections[new.section_count - 1];
  const uint32_t flags = PE_SECTION_READ | PE_SECTION_WRITE | PE_SECTION_INITIALIZED;
  assert_int_equal(last->characteristics & flags, flags);
  assert_int_equal(pe_section_of(&new, new.imports[0].fields[PE_ADDRESS_TABLE]) - new.sections,
                   new.section_count - 1);
  if (strcmp(name, "full.exe") != 0 && !(strcmp(name, "flat.exe") == 0 && !new.is_64)) {
    assert_string_equal(last->name, ".minject");
    assert_int_equal(last->raw_size % new.file_alignment, 0);
    assert_int_equal(last->raw % new.file_alignment, 0);
  } else {
    assert_int_equal(new.section_count, old.section_count); // no room for a header
  }
  assert_rest_is_same(&old, &new, (uint32_t)(edited.size - seed->size));
  pe_free(&old);
  pe_free(&new);

  expect(&edited, (edit_request_t){.action = EDIT_ADD_FIRST, .dll = "MIMALLOC", .function = "mi_version"},
         EDIT_NOTHING_TO_DO, "it imports MIMALLOC already, as import 1 of");
  seed_t back = take_out(&edited, mimalloc);
  assert_same(&back, seed);
  seed_free(&back);
  seed_free(&edited);
}

static void test_add_and_remove(void** state) {
  (void)state;
  seed_each(check_add);
}

// Two DLLs added and removed in both orders; what is left over is the original in any case.
static void check_two(const char* architecture, const char* name, const seed_t* seed) {
  (void)architecture;
  if (strcmp(name, "linked.exe") == 0) return;
  seed_t one = add(seed, "one.dll");
  seed_t two = add(&one, "two.dll");
  pe_t old = seed_parse(seed), new = seed_parse(&two);
  assert_int_equal(new.import_count, old.import_count + 2);
  assert_string_equal(new.imports[0].dll, "two.dll");
  assert_string_equal(new.imports[1].dll, "one.dll");
  assert_true(edit_is_own(&new, &new.imports[0]) && edit_is_own(&new, &new.imports[1]));
  for (uint32_t i = 0; i < old.import_count; i++) assert_same_import(&old, i, &new, i + 2);
  assert_true(new.section_count <= old.section_count + 1); // one section for both
  pe_free(&old);
  pe_free(&new);

  seed_t only_two = take_out(&two, "one.dll"), only_one = take_out(&two, "two.dll");
  assert_same(&only_one, &one);
  seed_t fresh = add(seed, "two.dll");
  assert_same(&only_two, &fresh);
  seed_t back = take_out(&only_two, "two.dll");
  assert_same(&back, seed);
  seed_t reordered = move_first(&two, "one.dll");
  pe_t pe = seed_parse(&reordered);
  assert_string_equal(pe.imports[0].dll, "one.dll");
  assert_string_equal(pe.imports[1].dll, "two.dll");
  pe_free(&pe);
  seed_t* all[] = {&one, &two, &only_two, &only_one, &fresh, &back, &reordered};
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) seed_free(all[i]);
}

static void test_two(void** state) {
  (void)state;
  seed_each(check_two);
}

static void test_function(void** state) {
  (void)state;
  seed_t seed = seed_load("x86_64", "small.exe");
  edit_result_t result;
  seed_t edited =
      edit(&seed, (edit_request_t){.action = EDIT_ADD_FIRST, .dll = "a", .function = "?new@@YAX"}, &result);
  pe_t pe = seed_parse(&edited);
  pe_function_t function;
  assert_string_equal(pe.imports[0].dll, "a");
  assert_true(pe_import_function(&pe, &pe.imports[0], 0, &function));
  assert_memory_equal(function.name, "?new@@YAX", function.length);
  pe_free(&pe);
  seed_free(&edited);

  char longest[PE_DLL_NAME_MAX], too_long[PE_DLL_NAME_MAX + 1];
  memset(longest, 'x', sizeof(longest) - 1);
  longest[sizeof(longest) - 1] = 0;
  memset(too_long, 'x', sizeof(too_long) - 1);
  too_long[sizeof(too_long) - 1] = 0;
  edited = add(&seed, longest);
  seed_t back = take_out(&edited, longest);
  assert_same(&back, &seed);
  seed_free(&back);
  seed_free(&edited);
  expect(&seed, (edit_request_t){.action = EDIT_ADD_FIRST, .dll = too_long, .function = "f"}, EDIT_REFUSED,
         "the DLL's name has 260 characters, more than the 259 that Windows takes");
  expect(&seed, (edit_request_t){.action = EDIT_ADD_FIRST, .dll = "", .function = "f"}, EDIT_REFUSED,
         "the DLL's name is empty");
  expect(&seed, (edit_request_t){.action = EDIT_ADD_FIRST, .dll = "a\\b.dll", .function = "f"}, EDIT_REFUSED,
         "the DLL's name has a character that can't be in it (character 2)");
  expect(&seed, (edit_request_t){.action = EDIT_ADD_FIRST, .dll = "a.dll", .function = ""}, EDIT_REFUSED,
         "the function's name is empty");
  expect(&seed, (edit_request_t){.action = EDIT_ADD_FIRST, .dll = "a.dll", .function = "a b"}, EDIT_REFUSED,
         "the function's name has a character that can't be in it (character 2)");
  seed_free(&seed);
}

// No DLL more than the parser takes.
static void test_too_many(void** state) {
  (void)state;
  for (size_t a = 0; seed_architectures[a] != NULL; a++) {
    seed_t seed = seed_load(seed_architectures[a], "small.exe");
    pe_t pe = seed_parse(&seed);
    const uint32_t first = seed_offset(&seed, pe.directory[PE_IMPORT].address);
    uint32_t address;
    const uint32_t at = seed_append_section(&seed, (PE_IMPORTS_MAX + 1) * PE_DESCRIPTOR_SIZE, &address);
    for (uint32_t i = 1; i < PE_IMPORTS_MAX; i++) { // one less than the maximum
      memcpy(seed.data + at + i * PE_DESCRIPTOR_SIZE, seed.data + first, PE_DESCRIPTOR_SIZE);
    }
    seed_put_directory(&seed, PE_IMPORT, address + PE_DESCRIPTOR_SIZE, 0);
    seed_t edited = add(&seed, mimalloc);
    expect(&edited, (edit_request_t){.action = EDIT_ADD_FIRST, .dll = "one.dll", .function = "f"},
           EDIT_REFUSED, "it imports 4096 DLLs, and one more would be more than minject takes");
    seed_t back = take_out(&edited, mimalloc);
    assert_same(&back, &seed);
    seed_free(&back);
    seed_free(&edited);
    pe_free(&pe);
    seed_free(&seed);
  }
}

static void test_damaged(void** state) {
  (void)state;
  const seed_t text = {(uint8_t*)(uintptr_t) "just text", 9};
  for (int action = EDIT_ADD_FIRST; action <= EDIT_MOVE_FIRST; action++) {
    expect(&text, (edit_request_t){.action = (edit_action_t)action, .dll = mimalloc, .function = "f"},
           EDIT_DAMAGED, "not a PE file: it doesn't begin with \"MZ\"");
  }
}

// ---- imports of the program's own -------------------------------------------------------------------------

static void test_reorder(void** state) {
  (void)state;
  for (size_t a = 0; seed_architectures[a] != NULL; a++) {
    seed_t seed = seed_load(seed_architectures[a], "linked.exe");
    expect(&seed, (edit_request_t){.action = EDIT_ADD_FIRST, .dll = mimalloc, .function = "mi_version"},
           EDIT_REFUSED, "it imports mimalloc.dll already, as import 3 of 3; --reorder makes it the first");
    seed_t edited = move_first(&seed, mimalloc);
    IMPORTS(&edited, mimalloc, "second.dll", "third.dll");
    pe_t old = seed_parse(&seed), new = seed_parse(&edited);
    assert_int_equal(edited.size, seed.size); // in place: no section
    assert_int_equal(new.section_count, old.section_count);
    assert_int_equal(new.checksum, pe_checksum(&new));
    assert_same_import(&old, 2, &new, 0);
    assert_same_import(&old, 0, &new, 1);
    assert_same_import(&old, 1, &new, 2);
    pe_free(&old);
    pe_free(&new);
    expect(&edited, (edit_request_t){.action = EDIT_MOVE_FIRST, .dll = mimalloc}, EDIT_NOTHING_TO_DO,
           "mimalloc.dll is import 1 of 3 already");
    expect(&seed, (edit_request_t){.action = EDIT_MOVE_FIRST, .dll = "absent.dll"}, EDIT_REFUSED,
           "it doesn't import absent.dll, so there is nothing to move; leave --reorder away to add it");
    seed_t other = move_first(&edited, "third.dll");
    IMPORTS(&other, "third.dll", mimalloc, "second.dll");
    seed_free(&other);
    seed_free(&edited);
    seed_free(&seed);
  }
}

// A linker may write two descriptors for one DLL: both go to the front and keep their order.
static void test_reorder_twice_imported(void** state) {
  (void)state;
  seed_t seed = seed_load("x86_64", "linked.exe");
  pe_t pe = seed_parse(&seed);
  const uint32_t table = seed_offset(&seed, pe.directory[PE_IMPORT].address);
  seed_put_u32(&seed, table + 20 + 4 * PE_NAME,
               pe.imports[2].fields[PE_NAME]); // third.dll becomes mimalloc.dll, too
  IMPORTS(&seed, "second.dll", mimalloc, mimalloc);
  seed_t edited = move_first(&seed, mimalloc);
  IMPORTS(&edited, mimalloc, mimalloc, "second.dll");
  pe_t new = seed_parse(&edited);
  assert_int_equal(new.imports[0].functions, 2);
  assert_int_equal(new.imports[1].functions, 1);
  pe_free(&new);
  pe_free(&pe);
  seed_free(&edited);
  seed_free(&seed);
}

static void test_remove_foreign(void** state) {
  (void)state;
  for (size_t a = 0; seed_architectures[a] != NULL; a++) {
    seed_t seed = seed_load(seed_architectures[a], "linked.exe");
    expect(&seed, (edit_request_t){.action = EDIT_REMOVE, .dll = mimalloc}, EDIT_REFUSED,
           "minject didn't put its import of mimalloc.dll there (functions: 1)");
    expect(&seed, (edit_request_t){.action = EDIT_REMOVE, .dll = "absent.dll"}, EDIT_NOTHING_TO_DO,
           "it doesn't import absent.dll");
    edit_result_t result;
    seed_t edited =
        edit(&seed, (edit_request_t){.action = EDIT_REMOVE, .dll = "second.dll", .force = true}, &result);
    IMPORTS(&edited, "third.dll", mimalloc);
    pe_t old = seed_parse(&seed), new = seed_parse(&edited);
    assert_same_import(&old, 1, &new, 0);
    assert_int_equal(new.directory[PE_IMPORT].size, old.directory[PE_IMPORT].size - PE_DESCRIPTOR_SIZE);
    pe_free(&old);
    pe_free(&new);
    seed_free(&edited);

    // Removed while another DLL is added: the section stays for that one, and knows the shorter list.
    seed_t added = add(&seed, "one.dll");
    edited =
        edit(&added, (edit_request_t){.action = EDIT_REMOVE, .dll = "second.dll", .force = true}, &result);
    IMPORTS(&edited, "one.dll", "third.dll", mimalloc);
    seed_t back = take_out(&edited, "one.dll");
    IMPORTS(&back, "third.dll", mimalloc);
    seed_free(&back);
    seed_free(&edited);

    // The order is kept as well.
    edited = move_first(&added, mimalloc);
    IMPORTS(&edited, mimalloc, "one.dll", "second.dll", "third.dll");
    back = take_out(&edited, "one.dll");
    IMPORTS(&back, mimalloc, "second.dll", "third.dll");
    seed_free(&back);
    seed_free(&edited);
    seed_free(&added);
    seed_free(&seed);
  }
}

int main(void) {
  const struct CMUnitTest cases[] = {
      cmocka_unit_test(test_add_and_remove),
      cmocka_unit_test(test_two),
      cmocka_unit_test(test_function),
      cmocka_unit_test(test_too_many),
      cmocka_unit_test(test_damaged),
      cmocka_unit_test(test_reorder),
      cmocka_unit_test(test_reorder_twice_imported),
      cmocka_unit_test(test_remove_foreign),
  };
  return check_run(cases);
}
