#include "edit.h"

#include "image.h"
#include "section.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void edit_note(edit_result_t* result, bool is_warning, const char* format, ...) {
  if (result->note_count == EDIT_NOTES_MAX) return;
  edit_note_t* note = &result->notes[result->note_count++];
  va_list arguments;
  note->is_warning = is_warning;
  va_start(arguments, format);
  vsnprintf(note->text, sizeof(note->text), format, arguments);
  va_end(arguments);
}

void edit_result_free(edit_result_t* result) {
  free(result->data);
  result->data = NULL;
}

bool edit_check_dll_name(const char* name, pe_error_t* error) {
  const size_t length = strlen(name);
  if (length == 0) return pe_fail(error, "the DLL's name is empty");
  if (length >= PE_DLL_NAME_MAX) {
    return pe_fail(error, "the DLL's name has %u characters, more than the %u that Windows takes",
                   (unsigned)length, PE_DLL_NAME_MAX - 1);
  }
  for (size_t i = 0; i < length; i++) {
    const unsigned char c = (unsigned char)name[i];
    if (c < 0x20 || c >= 0x7F || strchr("\"*/:<>?\\|", c) != NULL) {
      return pe_fail(error, "the DLL's name has a character that can't be in it (character %u)",
                     (unsigned)i + 1);
    }
  }
  return true;
}

bool edit_check_function_name(const char* name, pe_error_t* error) {
  const size_t length = strlen(name);
  if (length == 0) return pe_fail(error, "the function's name is empty");
  if (length >= EDIT_FUNCTION_MAX) {
    return pe_fail(error, "the function's name has %u characters, more than %u", (unsigned)length,
                   EDIT_FUNCTION_MAX - 1);
  }
  for (size_t i = 0; i < length; i++) {
    const unsigned char c = (unsigned char)name[i];
    if (c <= 0x20 || c >= 0x7F) {
      return pe_fail(error, "the function's name has a character that can't be in it (character %u)",
                     (unsigned)i + 1);
    }
  }
  return true;
}

// ---- the list of imports ----------------------------------------------------------------------------------

static bool entries_read(const pe_t* pe, entries_t* entries) {
  entries->count = 0;
  entries->entry = calloc((size_t)pe->import_count + 1, sizeof(entry_t)); // one may be added
  if (entries->entry == NULL) return false;
  for (uint32_t i = 0; i < pe->import_count; i++) {
    const pe_import_t* import = &pe->imports[i];
    entry_t* entry = &entries->entry[entries->count++];
    memcpy(entry->fields, import->fields, sizeof(entry->fields));
    memcpy(entry->dll, import->dll, sizeof(entry->dll));
    entry->functions = import->functions;
    entry->is_own = edit_is_own(pe, import);
    pe_function_t function;
    if (entry->is_own && pe_import_function(pe, import, 0, &function)) {
      memcpy(entry->function, function.name, function.length);
      entry->function[function.length] = 0;
    }
  }
  return true;
}

static void entries_free(entries_t* entries) {
  free(entries->entry);
  entries->entry = NULL;
}

static void entries_drop(entries_t* entries, uint32_t index) {
  entries->count--;
  memmove(&entries->entry[index], &entries->entry[index + 1], (entries->count - index) * sizeof(entry_t));
}

static void entries_push_first(entries_t* entries, const entry_t* entry) {
  memmove(&entries->entry[1], &entries->entry[0], entries->count * sizeof(entry_t));
  entries->entry[0] = *entry;
  entries->count++;
}

// Moves every entry of the DLL to the front; they keep their order.
static void entries_move_first(entries_t* entries, const char* dll) {
  uint32_t front = 0;
  for (uint32_t i = 0; i < entries->count; i++) {
    if (!pe_same_dll(entries->entry[i].dll, dll)) continue;
    const entry_t entry = entries->entry[i];
    memmove(&entries->entry[front + 1], &entries->entry[front], (i - front) * sizeof(entry_t));
    entries->entry[front++] = entry;
  }
}

// ---- what is asked for ------------------------------------------------------------------------------------

typedef struct matches_s {
  uint32_t count;
  uint32_t own;
  uint32_t first; // index
  uint32_t functions;
  bool all_first;
} matches_t;

static matches_t find_matches(const entries_t* entries, const char* dll) {
  matches_t matches = {.all_first = true};
  for (uint32_t i = 0; i < entries->count; i++) {
    if (!pe_same_dll(entries->entry[i].dll, dll)) continue;
    if (matches.count == 0) matches.first = i;
    if (i != matches.count) matches.all_first = false;
    matches.count++;
    if (entries->entry[i].is_own)
      matches.own++;
    else
      matches.functions += entries->entry[i].functions;
  }
  return matches;
}

static edit_status_t apply_add(const edit_request_t* request, entries_t* entries, edit_result_t* result) {
  const matches_t matches = find_matches(entries, request->dll);
  if (matches.count > 0 && matches.first == 0) {
    pe_fail(&result->reason, "it imports %s already, as import 1 of %u", request->dll, entries->count);
    return EDIT_NOTHING_TO_DO;
  }
  if (matches.count > 0) {
    pe_fail(&result->reason, "it imports %s already, as import %u of %u; --reorder makes it the first",
            request->dll, matches.first + 1, entries->count);
    return EDIT_REFUSED;
  }
  if (entries->count >= PE_IMPORTS_MAX) {
    pe_fail(&result->reason, "it imports %u DLLs, and one more would be more than minject takes",
            entries->count);
    return EDIT_REFUSED;
  }
  entry_t entry = {.functions = 1, .is_own = true};
  snprintf(entry.dll, sizeof(entry.dll), "%s", request->dll);
  snprintf(entry.function, sizeof(entry.function), "%s", request->function);
  entries_push_first(entries, &entry);
  pe_fail(&result->reason, "%s (%s) is now import 1 of %u", request->dll, request->function, entries->count);
  return EDIT_DONE;
}

static edit_status_t apply_move(const edit_request_t* request, entries_t* entries, edit_result_t* result) {
  const matches_t matches = find_matches(entries, request->dll);
  if (matches.count == 0) {
    pe_fail(&result->reason,
            "it doesn't import %s, so there is nothing to move; leave --reorder away to add it",
            request->dll);
    return EDIT_REFUSED;
  }
  if (matches.all_first) {
    pe_fail(&result->reason, "%s is import 1 of %u already", request->dll, entries->count);
    return EDIT_NOTHING_TO_DO;
  }
  entries_move_first(entries, request->dll);
  pe_fail(&result->reason, "%s, import %u before, is now import 1 of %u", request->dll, matches.first + 1,
          entries->count);
  return EDIT_DONE;
}

static edit_status_t apply_remove(const edit_request_t* request, entries_t* entries, edit_result_t* result) {
  const matches_t matches = find_matches(entries, request->dll);
  if (matches.count == 0) {
    pe_fail(&result->reason, "it doesn't import %s", request->dll);
    return EDIT_NOTHING_TO_DO;
  }
  if (matches.own == 0 && !request->force) {
    pe_fail(&result->reason,
            "minject didn't put its import of %s there (functions: %u); if the program was linked with it, "
            "it calls them and "
            "would crash without them; --force removes it all the same",
            request->dll, matches.functions);
    return EDIT_REFUSED;
  }
  const bool only_own = matches.own > 0 && !request->force;
  for (uint32_t i = entries->count; i-- > 0;) {
    if (pe_same_dll(entries->entry[i].dll, request->dll) && (entries->entry[i].is_own || !only_own))
      entries_drop(entries, i);
  }
  pe_fail(&result->reason, "%s is not imported any more; imports left: %u", request->dll, entries->count);
  if (only_own && matches.count > matches.own) {
    pe_fail(&result->reason,
            "the import of %s that minject put there is gone; the program's own (functions: %u) stays",
            request->dll, matches.functions);
  }
  return EDIT_DONE;
}

// ---- the file ---------------------------------------------------------------------------------------------

// A signature covers every byte of the file, so none is worth keeping after an edit.
static void strip_signature(image_t* image, const pe_t* pe, edit_result_t* result) {
  const pe_directory_t signature = pe->directory[PE_CERTIFICATE];
  if (signature.address == 0 && signature.size == 0) return;
  image_put_u32(image, pe->directories + 8 * PE_CERTIFICATE, 0);
  image_put_u32(image, pe->directories + 8 * PE_CERTIFICATE + 4, 0);
  const uint64_t end = (uint64_t)signature.address + signature.size;
  if (signature.address >= pe->raw_end && signature.address < image->size && end + 8 > image->size) {
    image_delete(image, signature.address, image->size - signature.address);
    edit_note(result, true,
              "the Authenticode signature (%u bytes) is removed: it would not be valid any more; sign the "
              "file again if "
              "it has to be signed",
              signature.size);
  } else {
    edit_note(result, true,
              "the Authenticode signature is not valid any more and isn't referred to any more; its %u bytes "
              "at 0x%x stay, "
              "for they are not the end of the file",
              signature.size, signature.address);
  }
  if ((pe->dll_characteristics & PE_DLL_FORCE_INTEGRITY) != 0) {
    edit_note(result, true,
              "the file demands a valid signature (FORCE_INTEGRITY): Windows won't load it until it is "
              "signed again");
  }
}

static bool has_descriptor(const pe_t* pe, const entry_t* entry) {
  for (uint32_t i = 0; i < pe->import_count; i++) {
    const uint32_t* fields = pe->imports[i].fields;
    if (fields[PE_LOOKUP] == entry->fields[PE_LOOKUP] && fields[PE_NAME] == entry->fields[PE_NAME] &&
        fields[PE_ADDRESS_TABLE] == entry->fields[PE_ADDRESS_TABLE]) {
      return true;
    }
  }
  return false;
}

// Takes minject's section out, if the file is still as minject left it and holds all imports that are not our
// own. True with image and pe changed and the record filled in, or false with all as it was. *memory is false
// when it ran out.
static bool try_undo(image_t* image, pe_t* pe, const entries_t* entries, record_t* undone_record,
                     bool* memory) {
  record_t record;
  image_t undone;
  pe_t base;
  pe_error_t ignored;
  if (!record_find(pe, &record)) return false;
  *memory = image_copy(&undone, (bytes_t){image->data, image->size});
  if (!*memory) return false;
  bool good = section_undo(&undone, pe, &record) && !undone.is_broken;
  if (good) {
    good = pe_parse(undone.data, undone.size, &base, &ignored);
    for (uint32_t i = 0; good && i < entries->count; i++) {
      if (!entries->entry[i].is_own && !has_descriptor(&base, &entries->entry[i])) good = false;
    }
    if (!good) pe_free(&base);
  }
  if (!good) {
    image_free(&undone);
    return false;
  }
  image_free(image);
  pe_free(pe);
  *image = undone;
  *pe = base;
  *undone_record = record;
  return true;
}

// Is the list just what the file's own table says?
static bool is_table_of(const pe_t* pe, const entries_t* entries) {
  if (pe->import_count != entries->count) return false;
  for (uint32_t i = 0; i < entries->count; i++) {
    const uint32_t* fields = pe->imports[i].fields;
    for (uint32_t field = 0; field < 5; field++) {
      if (field == PE_TIMESTAMP || field == PE_FORWARDER) continue; // only hints of binding
      if (fields[field] != entries->entry[i].fields[field]) return false;
    }
  }
  return true;
}

// Writes the list over the file's own table, which has at least as many descriptors.
static edit_status_t write_in_place(image_t* image, const pe_t* pe, const entries_t* entries,
                                    edit_result_t* result) {
  uint32_t offset = 0;
  if (!pe_backed(pe, pe->directory[PE_IMPORT].address, pe->import_count * PE_DESCRIPTOR_SIZE, &offset)) {
    pe_fail(&result->reason, "its import directory isn't wholly in the file, so it can't be written");
    return EDIT_REFUSED;
  }
  for (uint32_t i = 0; i < pe->import_count; i++) {
    for (uint32_t field = 0; field < 5; field++) {
      const bool is_hint = field == PE_TIMESTAMP || field == PE_FORWARDER;
      const uint32_t value = i < entries->count && !is_hint ? entries->entry[i].fields[field] : 0;
      image_put_u32(image, offset + (uint64_t)i * PE_DESCRIPTOR_SIZE + 4 * field, value);
    }
  }
  const uint32_t removed = (pe->import_count - entries->count) * PE_DESCRIPTOR_SIZE;
  const uint32_t size = pe->directory[PE_IMPORT].size;
  if (size > removed) image_put_u32(image, pe->directories + 8 * PE_IMPORT + 4, size - removed);
  return EDIT_DONE;
}

// The loader goes by the list of bound imports where there is one: it would ignore the new order.
static void drop_bound_imports(image_t* image, const pe_t* pe, edit_result_t* result) {
  if (pe->directory[PE_BOUND_IMPORT].address == 0) return;
  image_put_u32(image, pe->directories + 8 * PE_BOUND_IMPORT, 0);
  image_put_u32(image, pe->directories + 8 * PE_BOUND_IMPORT + 4, 0);
  edit_note(
      result, false,
      "bound imports dropped: the loader would follow their order; it now looks addresses up at each start");
}

static void warn_of_program(const pe_t* pe, edit_result_t* result) {
  enum { SUBSYSTEM_NATIVE = 1, SUBSYSTEM_GUI = 2, SUBSYSTEM_CONSOLE = 3 };
  const pe_clr_t clr = pe_clr(pe);
  if (clr == PE_CLR_ONLY || clr == PE_CLR_ANY_CPU) {
    edit_note(
        result, true,
        "it is a .NET program without machine code: Windows never reads the import table of such a file, so "
        "it will start without the DLL%s; mi-run --method thread brings it in",
        clr == PE_CLR_ANY_CPU ? ", and with 64 bits on 64-bit Windows (AnyCPU) although its header says x86"
                              : "");
  }
  if (pe->subsystem == SUBSYSTEM_NATIVE) {
    edit_note(result, true,
              "it is a driver or a native program (subsystem 1), which can't load an ordinary DLL");
  } else if (pe->subsystem != SUBSYSTEM_GUI && pe->subsystem != SUBSYSTEM_CONSOLE) {
    edit_note(result, true, "it is neither a console nor a GUI program (subsystem %u)", pe->subsystem);
  }
}

// Reads the new file back and compares: what was written must be what was asked for.
static edit_status_t finish(image_t* image, const entries_t* entries, bool keep_checksum,
                            edit_result_t* result) {
  pe_t pe;
  pe_error_t error;
  bool good = !image->is_broken && pe_parse(image->data, image->size, &pe, &error);
  if (image->is_broken) {
    pe_fail(&result->reason, "the edit would reach outside of the file; nothing was changed");
    return EDIT_REFUSED;
  }
  if (good) {
    if (pe.import_count != entries->count)
      good = pe_fail(&error, "it would import %u DLLs instead of %u", pe.import_count, entries->count);
    for (uint32_t i = 0; good && i < entries->count; i++) {
      if (strcmp(pe.imports[i].dll, entries->entry[i].dll) != 0 ||
          pe.imports[i].functions != entries->entry[i].functions) {
        good = pe_fail(&error, "import %u would not be what it should be", i + 1);
      }
    }
    if (good && !keep_checksum) image_put_u32(image, pe.header + PE_AT_CHECKSUM, pe_checksum(&pe));
  }
  pe_free(&pe);
  if (good) return EDIT_DONE;
  pe_fail(&result->reason,
          "parts of the file overlap in a way that the edit would break it (%.200s); nothing was changed",
          error.text);
  return EDIT_REFUSED;
}

static edit_status_t out_of_memory(edit_result_t* result) {
  pe_fail(&result->reason, "out of memory");
  return EDIT_NO_MEMORY;
}

// image: a copy of the file that `pe` was parsed from. On return pe is parsed from what the list was put
// into.
static edit_status_t put_list(image_t* image, pe_t* pe, entries_t* entries, const edit_request_t* request,
                              edit_result_t* result) {
  pe_error_t error;
  bool memory = true;
  record_t record, stale;
  const bool checksum_was_right = pe_checksum(pe) == pe->checksum;
  strip_signature(image, pe, result);
  pe_free(pe);
  if (!pe_parse(image->data, image->size, pe, &error)) {
    pe_fail(&result->reason, "its signature and its contents overlap (%.200s)", error.text);
    return EDIT_REFUSED;
  }
  if (checksum_was_right) { // so that it's right as well once the section is taken out
    pe->checksum = pe_checksum(pe);
    image_put_u32(image, pe->header + PE_AT_CHECKSUM, pe->checksum);
  }
  const bool undone = try_undo(image, pe, entries, &record, &memory);
  if (!memory) return out_of_memory(result);
  bool build = false;
  for (uint32_t i = 0; i < entries->count; i++) {
    entry_t* entry = &entries->entry[i];
    // Where the section could not be taken out, what is in it is as good as the program's.
    if (entry->is_own && !undone && has_descriptor(pe, entry)) entry->is_own = false;
    if (entry->is_own) build = true;
  }
  bool keep_checksum = false;
  if (!build && undone) edit_note(result, false, "minject's section is taken out again");
  if (!build && request->action == EDIT_REMOVE && record_find(pe, &stale)) {
    edit_note(result, false,
              "minject's section stays, unused: other sections were added behind it, or the file was laid "
              "out anew");
  }
  if (build) {
    const bool kept_before = undone && record.insert_at > pe->raw_end;
    const edit_status_t status =
        section_build(image, pe, entries, request->keep_overlay_offset || kept_before, result);
    if (status != EDIT_DONE) return status;
    drop_bound_imports(image, pe, result);
  } else if (is_table_of(pe, entries)) {
    keep_checksum = undone && !record.checksum_was_right; // all is as before the first edit
  } else {
    const edit_status_t status = write_in_place(image, pe, entries, result);
    if (status != EDIT_DONE) return status;
    drop_bound_imports(image, pe, result);
  }
  return finish(image, entries, keep_checksum, result);
}

edit_status_t edit_imports(const uint8_t* data, size_t size, const edit_request_t* request,
                           edit_result_t* result) {
  memset(result, 0, sizeof(*result));
  pe_t pe;
  entries_t entries = {0};
  image_t image = {0};
  edit_status_t status = EDIT_DONE;
  if (!edit_check_dll_name(request->dll, &result->reason)) return EDIT_REFUSED;
  if (request->action == EDIT_ADD_FIRST && !edit_check_function_name(request->function, &result->reason))
    return EDIT_REFUSED;
  if (!pe_parse(data, size, &pe, &result->reason)) {
    status = strcmp(result->reason.text, "out of memory") == 0 ? EDIT_NO_MEMORY : EDIT_DAMAGED;
  } else if (!entries_read(&pe, &entries)) {
    status = out_of_memory(result);
  } else {
    switch (request->action) {
    case EDIT_ADD_FIRST:
      status = apply_add(request, &entries, result);
      if (status == EDIT_DONE) warn_of_program(&pe, result);
      break;
    case EDIT_REMOVE:
      status = apply_remove(request, &entries, result);
      break;
    case EDIT_MOVE_FIRST:
      status = apply_move(request, &entries, result);
      break;
    }
  }
  if (status == EDIT_DONE) {
    status = image_copy(&image, (bytes_t){data, size}) ? put_list(&image, &pe, &entries, request, result)
                                                       : out_of_memory(result);
  }
  if (status == EDIT_DONE) {
    result->data = image.data;
    result->size = image.size;
  } else {
    image_free(&image);
    result->note_count = 0;
  }
  entries_free(&entries);
  pe_free(&pe);
  return status;
}
