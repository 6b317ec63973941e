// Edits the import table of a PE file: bytes in, bytes out, no files.
//
// The loader initialises DLLs in the order of the import descriptors, so a DLL that must come before the C
// runtime has to be the first. Descriptors are copied, with a new one in front, into a new section; the
// tables that they point to stay where the code expects them. A record in front of the copies tells how to
// take the section out again.
#ifndef MINJECT_EDIT_H
#define MINJECT_EDIT_H

#include "pe.h"

enum { EDIT_FUNCTION_MAX = 256, EDIT_NOTES_MAX = 12 };

typedef enum edit_action_e {
  EDIT_ADD_FIRST,  // import the DLL, as the first
  EDIT_REMOVE,     // take out what EDIT_ADD_FIRST put in
  EDIT_MOVE_FIRST, // make an import that the file has the first
} edit_action_t;

typedef struct edit_request_s {
  edit_action_t action;
  const char* dll;      // a bare name, see edit_check_dll_name
  const char* function; // EDIT_ADD_FIRST: what to import; the loader skips a DLL of which nothing is imported
  bool keep_overlay_offset; // put the section behind the overlay instead of the overlay behind the section
  bool force;               // EDIT_REMOVE: also an import that minject did not put there
} edit_request_t;

typedef enum edit_status_e {
  EDIT_DONE,
  EDIT_NOTHING_TO_DO, // the file is as requested
  EDIT_REFUSED,       // the file is well, but this can't be done to it
  EDIT_DAMAGED,       // not a PE file, or one that Windows couldn't load
  EDIT_NO_MEMORY,
} edit_status_t;

typedef struct edit_note_s {
  bool is_warning;
  char text[320];
} edit_note_t;

typedef struct edit_result_s {
  uint8_t* data; // the new file; NULL unless EDIT_DONE
  size_t size;
  pe_error_t reason; // one sentence: what was done, or why not; with the remedy where there is one
  edit_note_t notes[EDIT_NOTES_MAX];
  uint32_t note_count;
} edit_result_t;

// edit_result_free in any case.
edit_status_t edit_imports(const uint8_t* data, size_t size, const edit_request_t* request,
                           edit_result_t* result);
void edit_result_free(edit_result_t* result);

// False with the reason when the loader couldn't look for a DLL (a function) of this name.
bool edit_check_dll_name(const char* name, pe_error_t* error);
bool edit_check_function_name(const char* name, pe_error_t* error);

// Was this import of the file put there by minject?
bool edit_is_own(const pe_t* pe, const pe_import_t* import);

// Is there room for another section header? NULL, or the reason why not, in `error`.
const char* edit_no_header_room(const pe_t* pe, pe_error_t* error);

#endif
