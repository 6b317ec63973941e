// The section that minject adds: record, descriptors, and the tables of the imports that are its own.
//
//   record       what the headers held before, so that the section can be taken out again
//   descriptors  one per import, in the new order, and the empty one that ends them; the import directory
//                points here
//   tables       lookup table, address table, name of function and DLL of each import of minject's own
#ifndef MINJECT_SECTION_H
#define MINJECT_SECTION_H

#include "edit.h"
#include "image.h"

typedef struct entry_s {
  uint32_t fields[5];
  char dll[PE_DLL_NAME_MAX];
  uint32_t functions;
  char function[EDIT_FUNCTION_MAX]; // of an own entry
  bool is_own; // its tables are (or will be) in minject's section; otherwise they are the program's
} entry_t;

typedef struct entries_s {
  entry_t* entry;
  uint32_t count;
} entries_t;

typedef struct record_s {
  uint32_t rva;      // where it lies
  uint32_t size;     // with all that follows it
  bool is_extension; // the last section was made longer; there was no room for another header
  bool checksum_was_right;
  uint32_t insert_at; // the bytes that were put into the file
  uint32_t insert_size;
  pe_directory_t imports, bound, iat;
  uint32_t size_of_image, size_of_headers, size_of_initialized_data, checksum;
  uint8_t section_header[PE_SECTION_HEADER_SIZE]; // bytes that the new or changed header replaced
} record_t;

enum { RECORD_BYTES = 112 };

// False when the file's import directory isn't minject's.
bool record_find(const pe_t* pe, record_t* record);

// Takes the section out of the image. False, with the image unchanged, when the file isn't laid out as it was
// when the section was put in.
bool section_undo(image_t* image, const pe_t* pe, const record_t* record);

// Puts a section in that imports `entries`. `base` is the image parsed. EDIT_DONE, EDIT_REFUSED or
// EDIT_NO_MEMORY, with the reason in result->reason for the latter two.
edit_status_t section_build(image_t* image, const pe_t* base, const entries_t* entries,
                            bool keep_overlay_offset, edit_result_t* result);

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
void edit_note(edit_result_t* result, bool is_warning, const char* format, ...);

#endif
