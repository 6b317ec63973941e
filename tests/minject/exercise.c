#include "exercise.h"

#include "edit.h"
#include "list.h"
#include "section.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROMISE(condition)                                                                                   \
  do {                                                                                                       \
    if (!(condition)) broken(#condition, __LINE__);                                                          \
  } while (0)

static void broken(const char* condition, int line) {
  fprintf(stderr, "exercise.c:%d: broken promise: %s\n", line, condition);
  abort();
}

// The promise of every result, whatever the bytes are.
static edit_status_t edit(const uint8_t* data, size_t size, const edit_request_t* request,
                          edit_result_t* result) {
  const edit_status_t status = edit_imports(data, size, request, result);
  PROMISE((result->data != NULL) == (status == EDIT_DONE));
  PROMISE(result->reason.text[0] != 0 &&
          memchr(result->reason.text, '\n', sizeof(result->reason.text)) == NULL);
  PROMISE(status != EDIT_NO_MEMORY);
  return status;
}

static void parse_edited(const edit_result_t* result, pe_t* pe) {
  pe_error_t error;
  PROMISE(pe_parse(result->data, result->size, pe, &error));
}

// Is import `a` of one file import `b` of the other?
static bool same_import(const pe_t* x, uint32_t a, const pe_t* y, uint32_t b) {
  const pe_import_t* i = &x->imports[a];
  const pe_import_t* j = &y->imports[b];
  return strcmp(i->dll, j->dll) == 0 && i->functions == j->functions;
}

static bool same_imports(const pe_t* x, const pe_t* y) {
  if (x->import_count != y->import_count) return false;
  for (uint32_t i = 0; i < x->import_count; i++) {
    if (!same_import(x, i, y, i)) return false;
  }
  return true;
}

// File offsets that point behind the file: nobody can tell whether they should move with what lies there.
static bool has_stray_offsets(const pe_t* pe) {
  if (pe->symbol_table >= pe->file.size || pe->directory[PE_DEBUG].size != 0) return true;
  for (uint32_t i = 0; i < pe->section_count; i++) {
    const uint8_t* header = bytes_at(pe->file, pe->sections[i].header, PE_SECTION_HEADER_SIZE);
    PROMISE(header != NULL);
    if (get_u32(header + PE_SECTION_AT_RELOCATIONS) >= pe->file.size ||
        get_u32(header + PE_SECTION_AT_LINE_NUMBERS) >= pe->file.size) {
      return true;
    }
  }
  return false;
}

static void add_and_remove(const pe_t* pe, bool keep_overlay_offset, exercise_counts_t* counts) {
  const uint8_t* data = pe->file.data;
  const size_t size = pe->file.size;
  const edit_request_t add = {.action = EDIT_ADD_FIRST,
                              .dll = "mimalloc-exercise.dll",
                              .function = "mi_version",
                              .keep_overlay_offset = keep_overlay_offset};
  const edit_request_t take_out = {.action = EDIT_REMOVE, .dll = add.dll};
  edit_result_t added, removed;
  pe_t with, without;
  if (edit(data, size, &add, &added) == EDIT_DONE) {
    counts->added++;
    parse_edited(&added, &with);
    PROMISE(with.import_count == pe->import_count + 1);
    PROMISE(strcmp(with.imports[0].dll, add.dll) == 0 && with.imports[0].functions == 1);
    PROMISE(edit_is_own(&with, &with.imports[0]));
    PROMISE(with.checksum == pe_checksum(&with));
    PROMISE(with.directory[PE_CERTIFICATE].address == 0 && with.directory[PE_BOUND_IMPORT].address == 0);
    for (uint32_t i = 0; i < pe->import_count; i++) PROMISE(same_import(pe, i, &with, i + 1));

    PROMISE(edit(added.data, added.size, &add, &removed) == EDIT_NOTHING_TO_DO);
    if (edit(added.data, added.size, &take_out, &removed) == EDIT_DONE) {
      parse_edited(&removed, &without);
      PROMISE(same_imports(pe, &without));
      record_t record;
      const bool is_same = removed.size == size && memcmp(removed.data, data, size) == 0;
      const bool was_edited = record_find(pe, &record);
      const bool was_signed =
          pe->directory[PE_CERTIFICATE].address != 0 || pe->directory[PE_CERTIFICATE].size != 0;
      PROMISE(is_same || was_edited || was_signed || has_stray_offsets(pe));
      counts->restored += is_same;
      pe_free(&without);
    } else {
      PROMISE(record_find(pe, &(record_t){0}) || has_stray_offsets(pe)); // a fresh edit can be taken back
    }
    edit_result_free(&removed);
    pe_free(&with);
  }
  edit_result_free(&added);
}

// Makes the last import the first, and removes the first, whoever's they are.
static void move_and_remove(const pe_t* pe) {
  if (pe->import_count == 0) return;
  const char* last = pe->imports[pe->import_count - 1].dll;
  edit_result_t result;
  pe_t edited;
  pe_error_t error;
  const edit_request_t move = {.action = EDIT_MOVE_FIRST, .dll = last};
  if (edit(pe->file.data, pe->file.size, &move, &result) == EDIT_DONE) {
    parse_edited(&result, &edited);
    PROMISE(edited.import_count == pe->import_count && pe_same_dll(edited.imports[0].dll, last));
    pe_free(&edited);
  }
  edit_result_free(&result);
  const edit_request_t take_out = {.action = EDIT_REMOVE, .dll = pe->imports[0].dll, .force = true};
  if (edit(pe->file.data, pe->file.size, &take_out, &result) == EDIT_DONE) {
    parse_edited(&result, &edited);
    for (uint32_t i = 0; i < edited.import_count; i++)
      PROMISE(!pe_same_dll(edited.imports[i].dll, take_out.dll));
    pe_free(&edited);
  } else {
    PROMISE(result.reason.text[0] != 0);
  }
  edit_result_free(&result);
  PROMISE(edit_check_dll_name(last, &error) || error.text[0] != 0);
}

static void show(const pe_t* pe) {
  static FILE* nowhere;
  bool ok;
  pe_error_t error;
  if (nowhere == NULL) nowhere = fopen("/dev/null", "w");
  PROMISE(nowhere != NULL);
  uint64_t functions = 0;
  for (uint32_t i = 0; i < pe->import_count; i++) functions += pe->imports[i].functions;
  list_print(nowhere, "x", pe, functions < 1000); // a million names are no better a test than a thousand
  pe_exports(pe, "mi_version", &ok, &error);
}

void exercise(const uint8_t* data, size_t size, exercise_counts_t* counts) {
  pe_t pe;
  pe_error_t error;
  counts->files++;
  if (pe_parse(data, size, &pe, &error)) {
    counts->accepted++;
    show(&pe);
    add_and_remove(&pe, false, counts);
    if (size > pe.raw_end) add_and_remove(&pe, true, counts);
    move_and_remove(&pe);
  } else {
    edit_result_t result;
    const edit_request_t add = {.action = EDIT_ADD_FIRST, .dll = "mimalloc.dll", .function = "mi_version"};
    PROMISE(error.text[0] != 0);
    PROMISE(edit(data, size, &add, &result) == EDIT_DAMAGED);
    PROMISE(strcmp(result.reason.text, error.text) == 0);
    edit_result_free(&result);
  }
  pe_free(&pe);
}
