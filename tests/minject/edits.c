#include "edits.h"

#include <stdlib.h>

const char* const mimalloc = "mimalloc.dll";

static edit_status_t run(const seed_t* seed, const edit_request_t* request, edit_result_t* result) {
  seed_t before = seed_copy(seed->data, seed->size);
  const edit_status_t status = edit_imports(seed->data, seed->size, request, result);
  assert_memory_equal(seed->data, before.data, before.size); // the input is only read
  assert_true(result->reason.text[0] != 0);
  assert_int_equal(result->data != NULL, status == EDIT_DONE);
  if (status != EDIT_DONE) assert_int_equal(result->note_count, 0);
  seed_free(&before);
  return status;
}

seed_t edit(const seed_t* seed, edit_request_t request, edit_result_t* result) {
  if (run(seed, &request, result) != EDIT_DONE) fail_msg("%s", result->reason.text);
  seed_t edited = seed_copy(result->data, result->size);
  edit_result_free(result);
  return edited;
}

seed_t add(const seed_t* seed, const char* dll) {
  edit_result_t result;
  return edit(seed, (edit_request_t){.action = EDIT_ADD_FIRST, .dll = dll, .function = "mi_version"},
              &result);
}

seed_t take_out(const seed_t* seed, const char* dll) {
  edit_result_t result;
  return edit(seed, (edit_request_t){.action = EDIT_REMOVE, .dll = dll}, &result);
}

seed_t move_first(const seed_t* seed, const char* dll) {
  edit_result_t result;
  return edit(seed, (edit_request_t){.action = EDIT_MOVE_FIRST, .dll = dll}, &result);
}

void expect(const seed_t* seed, edit_request_t request, edit_status_t status, const char* reason) {
  edit_result_t result;
  assert_int_equal(run(seed, &request, &result), status);
  if (strstr(result.reason.text, reason) == NULL)
    fail_msg("expected: %s\nbut was: %s", reason, result.reason.text);
  edit_result_free(&result);
}

bool has_note(const edit_result_t* result, bool is_warning, const char* text) {
  for (uint32_t i = 0; i < result->note_count; i++) {
    if (result->notes[i].is_warning == is_warning && strstr(result->notes[i].text, text) != NULL) return true;
  }
  return false;
}

void assert_same(const seed_t* a, const seed_t* b) {
  assert_int_equal(a->size, b->size);
  for (size_t i = 0; i < a->size; i++) {
    if (a->data[i] != b->data[i]) fail_msg("they differ at 0x%x", (unsigned)i);
  }
}

void assert_imports(const seed_t* seed, const char* const* dlls) {
  pe_t pe = seed_parse(seed);
  for (uint32_t i = 0; i < pe.import_count; i++) {
    assert_non_null(dlls[i]);
    assert_string_equal(pe.imports[i].dll, dlls[i]);
  }
  assert_null(dlls[pe.import_count]);
  pe_free(&pe);
}

void assert_same_import(const pe_t* a, uint32_t index_a, const pe_t* b, uint32_t index_b) {
  const pe_import_t* x = &a->imports[index_a];
  const pe_import_t* y = &b->imports[index_b];
  assert_string_equal(x->dll, y->dll);
  assert_int_equal(x->fields[PE_LOOKUP], y->fields[PE_LOOKUP]);
  assert_int_equal(x->fields[PE_ADDRESS_TABLE], y->fields[PE_ADDRESS_TABLE]);
  assert_int_equal(x->functions, y->functions);
  for (uint32_t i = 0; i < x->functions; i++) {
    pe_function_t f, g;
    assert_true(pe_import_function(a, x, i, &f));
    assert_true(pe_import_function(b, y, i, &g));
    assert_int_equal(f.ordinal, g.ordinal);
    assert_int_equal(f.length, g.length);
    if (f.length > 0) assert_memory_equal(f.name, g.name, f.length);
  }
}

void assert_rest_is_same(const pe_t* old, const pe_t* new, uint32_t shift) {
  const bool extended = new->section_count == old->section_count;
  for (uint32_t i = 0; i < old->section_count; i++) {
    const pe_section_t* a = &old->sections[i];
    const pe_section_t* b = &new->sections[i];
    assert_int_equal(a->address, b->address);
    assert_int_equal(a->raw, b->raw);
    if (a->raw_size > 0) assert_memory_equal(old->file.data + a->raw, new->file.data + b->raw, a->raw_size);
    if (!extended || i + 1 < old->section_count) {
      assert_memory_equal(old->file.data + a->header, new->file.data + b->header, PE_SECTION_HEADER_SIZE);
    }
  }
  // Read-only import tables that no directory names are named by one from now on.
  const pe_section_t* tables = pe_section_of(old, old->directory[PE_IMPORT].address);
  const bool names_tables = old->directory[PE_IAT].address == 0 && old->directory[PE_IMPORT].address != 0 &&
                            tables != NULL && (tables->characteristics & PE_SECTION_WRITE) == 0;
  if (names_tables) assert_int_equal(new->directory[PE_IAT].address, tables->address);
  for (uint32_t i = 0; i < PE_DIRECTORIES; i++) {
    if (i == PE_IMPORT || i == PE_BOUND_IMPORT || i == PE_CERTIFICATE || (i == PE_IAT && names_tables))
      continue;
    assert_int_equal(old->directory[i].address, new->directory[i].address);
    assert_int_equal(old->directory[i].size, new->directory[i].size);
  }
  // The DOS stub, and the headers up to the directories but for the fields that the edit is about.
  assert_memory_equal(old->file.data, new->file.data, old->header);
  const struct {
    uint32_t at, size;
  } changed[] = {{PE_AT_SECTION_COUNT, 2}, {PE_AT_SYMBOL_TABLE, 4},    {PE_AT_INITIALIZED_DATA, 4},
                 {PE_AT_SIZE_OF_IMAGE, 4}, {PE_AT_SIZE_OF_HEADERS, 4}, {PE_AT_CHECKSUM, 4}};
  for (uint32_t at = old->header; at < old->directories; at++) {
    bool may_change = false;
    for (size_t i = 0; i < sizeof(changed) / sizeof(changed[0]); i++) {
      if (at >= old->header + changed[i].at && at < old->header + changed[i].at + changed[i].size)
        may_change = true;
    }
    if (!may_change) assert_int_equal(old->file.data[at], new->file.data[at]);
  }
  const size_t overlay = old->file.size - old->raw_end;
  if (overlay > 0)
    assert_memory_equal(old->file.data + old->raw_end, new->file.data + old->raw_end + shift, overlay);
  if (old->symbol_table != 0) assert_int_equal(new->symbol_table, old->symbol_table + shift);
  assert_int_equal(new->checksum, pe_checksum(new));
  assert_int_equal(new->size_of_image % new->section_alignment, 0);
  assert_true(new->image_end <= new->size_of_image&& new->image_end + new->section_alignment >
              new->size_of_image);
}
