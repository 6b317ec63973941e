#include "section.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t record_magic[16] = {'m', 'i', 'n', 'j', 'e', 'c', 't', '/',
                                         'i', 'm', 'p', 'o', 'r', 't', '/', '1'};
enum { RECORD_EXTENSION = 1, RECORD_CHECKSUM_WAS_RIGHT = 2 };
enum { EXTENSION_MAX = 64 * 1024 * 1024 }; // zeros that extending a section may add to the file

// ---- the record -------------------------------------------------------------------------------------------

// Visits the numbers of a record in the order of the file; read or written, the order can't differ.
static void record_numbers(record_t* record, uint32_t* numbers[14]) {
  uint32_t* all[14] = {&record->insert_at,
                       &record->insert_size,
                       &record->size,
                       &record->imports.address,
                       &record->imports.size,
                       &record->bound.address,
                       &record->bound.size,
                       &record->iat.address,
                       &record->iat.size,
                       &record->size_of_image,
                       &record->size_of_headers,
                       &record->size_of_initialized_data,
                       &record->checksum,
                       NULL};
  memcpy(numbers, all, sizeof(all));
}

static void record_write(record_t record, uint8_t bytes[RECORD_BYTES]) {
  uint32_t* numbers[14];
  memset(bytes, 0, RECORD_BYTES);
  memcpy(bytes, record_magic, 16);
  set_u32(bytes + 16, (record.is_extension ? RECORD_EXTENSION : 0u) |
                          (record.checksum_was_right ? RECORD_CHECKSUM_WAS_RIGHT : 0u));
  record_numbers(&record, numbers);
  for (size_t i = 0; numbers[i] != NULL; i++) set_u32(bytes + 20 + 4 * i, *numbers[i]);
  memcpy(bytes + 72, record.section_header, PE_SECTION_HEADER_SIZE);
}

bool record_find(const pe_t* pe, record_t* record) {
  uint8_t bytes[RECORD_BYTES];
  uint32_t* numbers[14];
  const uint32_t imports = pe->directory[PE_IMPORT].address;
  memset(record, 0, sizeof(*record));
  if (imports < RECORD_BYTES || !pe_read(pe, imports - RECORD_BYTES, bytes, RECORD_BYTES) ||
      memcmp(bytes, record_magic, 16) != 0) {
    return false;
  }
  record->rva = imports - RECORD_BYTES;
  record->is_extension = (get_u32(bytes + 16) & RECORD_EXTENSION) != 0;
  record->checksum_was_right = (get_u32(bytes + 16) & RECORD_CHECKSUM_WAS_RIGHT) != 0;
  record_numbers(record, numbers);
  for (size_t i = 0; numbers[i] != NULL; i++) *numbers[i] = get_u32(bytes + 20 + 4 * i);
  memcpy(record->section_header, bytes + 72, PE_SECTION_HEADER_SIZE);
  return record->size > RECORD_BYTES && record->size <= PE_SIZE_MAX - record->rva;
}

bool edit_is_own(const pe_t* pe, const pe_import_t* import) {
  record_t record;
  if (!record_find(pe, &record)) return false;
  const uint32_t places[3] = {import->fields[PE_LOOKUP], import->fields[PE_ADDRESS_TABLE],
                              import->fields[PE_NAME]};
  for (size_t i = 0; i < 3; i++) {
    if (places[i] < record.rva || places[i] - record.rva >= record.size) return false;
  }
  pe_function_t function;
  return import->functions == 1 && pe_import_function(pe, import, 0, &function) && function.name != NULL &&
         function.length > 0 && function.length < EDIT_FUNCTION_MAX;
}

// ---- what has to follow when bytes move -------------------------------------------------------------------

static void put_directory(image_t* image, const pe_t* pe, uint32_t index, pe_directory_t directory) {
  if (index >= pe->directory_count) return;
  image_put_u32(image, pe->directories + 8 * index, directory.address);
  image_put_u32(image, pe->directories + 8 * index + 4, directory.size);
}

// Adds `delta` to a file offset in a header if it points to what moved: [from, end of file).
static void shift_offset(image_t* image, const pe_t* pe, uint64_t field, uint32_t from, int64_t delta) {
  const uint8_t* p = bytes_at(pe->file, field, 4);
  if (p == NULL) return;
  const uint32_t offset = get_u32(p);
  if (offset < from || offset >= pe->file.size) return;
  image_put_u32(image, field, (uint32_t)(offset + delta));
}

// File offsets outside of the section table that may point into the overlay. The image has the layout of `pe`
// still.
static void shift_offsets(image_t* image, const pe_t* pe, uint32_t from, int64_t delta) {
  enum { DEBUG_ENTRY_SIZE = 28, DEBUG_AT_RAW = 24 };
  shift_offset(image, pe, pe->header + PE_AT_SYMBOL_TABLE, from, delta);
  for (uint32_t i = 0; i < pe->section_count; i++) {
    shift_offset(image, pe, pe->sections[i].header + PE_SECTION_AT_RELOCATIONS, from, delta);
    shift_offset(image, pe, pe->sections[i].header + PE_SECTION_AT_LINE_NUMBERS, from, delta);
  }
  const pe_directory_t debug = pe->directory[PE_DEBUG];
  uint32_t offset;
  if (debug.address < pe->size_of_headers || !pe_backed(pe, debug.address, debug.size, &offset)) return;
  for (uint32_t i = 0; i < debug.size / DEBUG_ENTRY_SIZE; i++) {
    shift_offset(image, pe, offset + (uint64_t)i * DEBUG_ENTRY_SIZE + DEBUG_AT_RAW, from, delta);
  }
}

// ---- taking the section out -------------------------------------------------------------------------------

bool section_undo(image_t* image, const pe_t* pe, const record_t* record) {
  const pe_section_t* last = &pe->sections[pe->section_count - 1];
  const uint64_t insert_end = (uint64_t)record->insert_at + record->insert_size;
  if (insert_end > pe->file.size || pe_section_of(pe, record->rva) != last) return false;
  if (record->size_of_image > pe->size_of_image || record->size_of_headers > pe->size_of_headers)
    return false;
  // Only the last section may lie in the inserted bytes, and none behind them.
  for (uint32_t i = 0; i < pe->section_count; i++) {
    const pe_section_t* section = &pe->sections[i];
    if (section->raw_size == 0) continue;
    const uint64_t raw_end = (uint64_t)section->raw + section->raw_size;
    if (section != last ? raw_end > record->insert_at : raw_end != insert_end) return false;
  }
  if (record->is_extension) {
    const uint32_t old_raw = get_u32(record->section_header + PE_SECTION_AT_RAW);
    const uint32_t old_raw_size = get_u32(record->section_header + PE_SECTION_AT_RAW_SIZE);
    if (get_u32(record->section_header + PE_SECTION_AT_ADDRESS) != last->address || old_raw != last->raw ||
        (uint64_t)old_raw + old_raw_size != record->insert_at) {
      return false;
    }
  } else if (pe->section_count < 2 || last->raw < record->insert_at || last->address != record->rva) {
    return false;
  }

  shift_offsets(image, pe, (uint32_t)insert_end, -(int64_t)record->insert_size);
  image_put(image, last->header, record->section_header, PE_SECTION_HEADER_SIZE);
  if (!record->is_extension)
    image_put_u16(image, pe->header + PE_AT_SECTION_COUNT, (uint16_t)(pe->section_count - 1));
  put_directory(image, pe, PE_IMPORT, record->imports);
  put_directory(image, pe, PE_BOUND_IMPORT, record->bound);
  put_directory(image, pe, PE_IAT, record->iat);
  image_put_u32(image, pe->header + PE_AT_SIZE_OF_IMAGE, record->size_of_image);
  image_put_u32(image, pe->header + PE_AT_SIZE_OF_HEADERS, record->size_of_headers);
  image_put_u32(image, pe->header + PE_AT_INITIALIZED_DATA, record->size_of_initialized_data);
  image_put_u32(image, pe->header + PE_AT_CHECKSUM, record->checksum);
  image_delete(image, record->insert_at, record->insert_size);
  return true;
}

// ---- where the section can go -----------------------------------------------------------------------------

typedef struct place_s {
  bool is_extension;
  uint32_t rva;    // of the record
  uint32_t offset; // of the record, once the bytes are inserted
  uint32_t insert_at;
  uint32_t insert_size;
  uint32_t size_of_headers;
} place_t;

// Bytes that the section headers may grow up to.
static uint32_t header_limit(const pe_t* pe) {
  uint32_t limit = pe->sections[0].address;
  for (uint32_t i = 0; i < pe->section_count; i++) {
    if (pe->sections[i].raw_size > 0 && pe->sections[i].raw < limit) limit = pe->sections[i].raw;
  }
  return limit;
}

const char* edit_no_header_room(const pe_t* pe, pe_error_t* error) {
  const uint32_t slot = pe->section_table + PE_SECTION_HEADER_SIZE * pe->section_count;
  const uint32_t limit = header_limit(pe);
  error->text[0] = 0;
  if (pe->section_count >= PE_SECTIONS_MAX) {
    pe_fail(error, "it has %u sections, and no Windows version is sure to load more than %u",
            pe->section_count, PE_SECTIONS_MAX);
    return error->text;
  }
  if (slot + PE_SECTION_HEADER_SIZE > limit) {
    pe_fail(error,
            "the section headers end at 0x%x, the contents of the sections begin at 0x%x, and a header takes "
            "%u bytes",
            slot, limit, PE_SECTION_HEADER_SIZE);
    return error->text;
  }
  const uint8_t* p = bytes_at(pe->file, slot, PE_SECTION_HEADER_SIZE);
  const pe_directory_t bound = pe->directory[PE_BOUND_IMPORT]; // often lies here; it is dropped anyway
  for (uint32_t i = 0; p != NULL && i < PE_SECTION_HEADER_SIZE; i++) {
    if (p[i] != 0 && (slot + i < bound.address || slot + i - bound.address >= bound.size)) p = NULL;
  }
  if (p == NULL) {
    pe_fail(error, "the %u bytes behind the section headers, at 0x%x, are in use", PE_SECTION_HEADER_SIZE,
            slot);
    return error->text;
  }
  return NULL;
}

static bool place_new_section(const pe_t* pe, uint32_t size, bool keep_overlay_offset, place_t* place) {
  const uint64_t file_size = pe->file.size;
  const uint64_t insert_at = keep_overlay_offset && file_size > pe->raw_end ? file_size : pe->raw_end;
  const uint32_t headers_end = pe->section_table + PE_SECTION_HEADER_SIZE * (pe->section_count + 1);
  uint64_t offset = align_up(insert_at, pe->file_alignment);
  uint64_t rva = align_up(pe->image_end, pe->section_alignment);
  if (pe->is_flat) offset = rva = align_up(offset > rva ? offset : rva, pe->section_alignment);
  const uint64_t end = offset + align_up(size, pe->file_alignment);
  if (end + (file_size - insert_at) > PE_SIZE_MAX ||
      align_up(rva + size, pe->section_alignment) > PE_SIZE_MAX)
    return false;
  uint64_t headers = align_up(headers_end, pe->file_alignment);
  if (headers > header_limit(pe)) headers = header_limit(pe);
  if (headers < pe->size_of_headers) headers = pe->size_of_headers;
  *place = (place_t){.rva = (uint32_t)rva,
                     .offset = (uint32_t)offset,
                     .insert_at = (uint32_t)insert_at,
                     .insert_size = (uint32_t)(end - insert_at),
                     .size_of_headers = (uint32_t)headers};
  return true;
}

// Returns why it can't be done, or NULL.
static const char* place_extension(const pe_t* pe, uint32_t size, bool keep_overlay_offset, place_t* place) {
  const pe_section_t* last = &pe->sections[pe->section_count - 1];
  const uint64_t raw_end = (uint64_t)last->raw + last->raw_size;
  const uint8_t* header = bytes_at(pe->file, last->header, PE_SECTION_HEADER_SIZE);
  if (last->raw_size == 0 || raw_end != pe->raw_end || header == NULL ||
      get_u32(header + PE_SECTION_AT_RAW) != last->raw) {
    return "its contents are not the last in the file";
  }
  if (keep_overlay_offset && pe->file.size > pe->raw_end)
    return "the overlay behind it is to stay where it is";
  const uint64_t within = align_up(last->extent > last->raw_size ? last->extent : last->raw_size, 16);
  if (within - last->raw_size > EXTENSION_MAX) return "it would take more than 64 MiB of zeros in the file";
  const uint64_t insert_size = align_up(within + size - last->raw_size, pe->file_alignment);
  if (pe->file.size + insert_size > PE_SIZE_MAX ||
      align_up(last->address + within + size, pe->section_alignment) > PE_SIZE_MAX) {
    return "the file would get larger than 2 GiB";
  }
  *place = (place_t){.is_extension = true,
                     .rva = (uint32_t)(last->address + within),
                     .offset = (uint32_t)(last->raw + within),
                     .insert_at = (uint32_t)raw_end,
                     .insert_size = (uint32_t)insert_size,
                     .size_of_headers = pe->size_of_headers};
  return NULL;
}

static bool find_place(const pe_t* pe, uint32_t size, bool keep_overlay_offset, place_t* place,
                       edit_result_t* result) {
  pe_error_t no_room;
  if (edit_no_header_room(pe, &no_room) == NULL) {
    if (place_new_section(pe, size, keep_overlay_offset, place)) return true;
    return pe_fail(&result->reason, "the file would get larger than 2 GiB");
  }
  const char* last = pe->sections[pe->section_count - 1].name;
  const char* problem = place_extension(pe, size, keep_overlay_offset, place);
  if (problem != NULL) {
    return pe_fail(&result->reason,
                   "no room for another section header (%s), and the last section (%s) can't be extended: "
                   "%s; if it has debug "
                   "sections, strip them, or inject at run time instead",
                   no_room.text, last, problem);
  }
  edit_note(result, false,
            "no room for another section header (%s): section %s was made longer instead, and writable",
            no_room.text, last);
  return true;
}

// ---- its contents -----------------------------------------------------------------------------------------

static uint32_t own_size(const pe_t* pe, const entry_t* entry) {
  const uint32_t tables = 4 * (pe->is_64 ? 8 : 4); // lookup and address table, each with its end
  return tables + (uint32_t)align_up(2 + strlen(entry->function) + 1 + strlen(entry->dll) + 1, 8);
}

static uint32_t descriptors_size(const entries_t* entries) {
  return (uint32_t)align_up((uint64_t)(entries->count + 1) * PE_DESCRIPTOR_SIZE, 8);
}

static uint32_t contents_size(const pe_t* pe, const entries_t* entries) {
  uint32_t size = RECORD_BYTES + descriptors_size(entries);
  for (uint32_t i = 0; i < entries->count; i++) {
    if (entries->entry[i].is_own) size += own_size(pe, &entries->entry[i]);
  }
  return size;
}

// Writes the tables of one own import at `at`, and their addresses into the descriptor's fields.
static void put_own(image_t* image, const pe_t* pe, const place_t* place, uint32_t at, const entry_t* entry,
                    uint32_t fields[5]) {
  const uint32_t width = pe->is_64 ? 8 : 4;
  const uint32_t name = at + 4 * width;
  const uint32_t dll = name + 2 + (uint32_t)strlen(entry->function) + 1;
  const uint64_t offset = place->offset;
  image_put_u32(image, offset + at, place->rva + name);
  image_put_u32(image, offset + at + 2 * width, place->rva + name);
  image_put(image, offset + name + 2, entry->function, strlen(entry->function) + 1);
  image_put(image, offset + dll, entry->dll, strlen(entry->dll) + 1);
  fields[PE_LOOKUP] = place->rva + at;
  fields[PE_ADDRESS_TABLE] = place->rva + at + 2 * width;
  fields[PE_NAME] = place->rva + dll;
}

static void put_contents(image_t* image, const pe_t* pe, const place_t* place, const record_t* record,
                         const entries_t* entries) {
  uint8_t bytes[RECORD_BYTES];
  record_write(*record, bytes);
  image_put(image, place->offset, bytes, sizeof(bytes));
  uint32_t at = RECORD_BYTES + descriptors_size(entries);
  for (uint32_t i = 0; i < entries->count; i++) {
    const entry_t* entry = &entries->entry[i];
    uint32_t fields[5];
    memcpy(fields, entry->fields, sizeof(fields));
    // No slot holds a bound address any more as far as the loader is concerned.
    fields[PE_TIMESTAMP] = fields[PE_FORWARDER] = 0;
    if (entry->is_own) {
      put_own(image, pe, place, at, entry, fields);
      at += own_size(pe, entry);
    }
    for (uint32_t field = 0; field < 5; field++) {
      image_put_u32(image, (uint64_t)place->offset + RECORD_BYTES + i * PE_DESCRIPTOR_SIZE + 4 * field,
                    fields[field]);
    }
  }
}

static void put_section_header(image_t* image, const pe_t* pe, const place_t* place, uint32_t size) {
  if (place->is_extension) {
    const pe_section_t* last = &pe->sections[pe->section_count - 1];
    image_put_u32(image, last->header + PE_SECTION_AT_VIRTUAL_SIZE, place->rva + size - last->address);
    image_put_u32(image, last->header + PE_SECTION_AT_RAW_SIZE, last->raw_size + place->insert_size);
    image_put_u32(image, last->header + PE_SECTION_AT_CHARACTERISTICS,
                  last->characteristics | PE_SECTION_INITIALIZED | PE_SECTION_READ | PE_SECTION_WRITE);
    return;
  }
  uint8_t header[PE_SECTION_HEADER_SIZE] = {'.', 'm', 'i', 'n', 'j', 'e', 'c', 't'};
  set_u32(header + PE_SECTION_AT_VIRTUAL_SIZE, size);
  set_u32(header + PE_SECTION_AT_ADDRESS, place->rva);
  set_u32(header + PE_SECTION_AT_RAW_SIZE, (uint32_t)align_up(size, pe->file_alignment));
  set_u32(header + PE_SECTION_AT_RAW, place->offset);
  set_u32(header + PE_SECTION_AT_CHARACTERISTICS,
          PE_SECTION_INITIALIZED | PE_SECTION_READ | PE_SECTION_WRITE);
  image_put(image, pe->section_table + PE_SECTION_HEADER_SIZE * pe->section_count, header, sizeof(header));
  image_put_u16(image, pe->header + PE_AT_SECTION_COUNT, (uint16_t)(pe->section_count + 1));
}

// Without an address table directory, the loader makes the section that holds the import directory writable
// while it fills the address tables in. The import directory moves away, so from now on the file must say
// which section that is.
static bool keep_address_tables_writable(image_t* image, const pe_t* pe, edit_result_t* result) {
  const pe_section_t* section = pe_section_of(pe, pe->directory[PE_IMPORT].address);
  if (pe->directory[PE_IAT].address != 0 || pe->directory[PE_IMPORT].address == 0 || section == NULL ||
      (section->characteristics & PE_SECTION_WRITE) != 0) {
    return true;
  }
  if (pe->directory_count <= PE_IAT) {
    return pe_fail(
        &result->reason,
        "its import tables are read-only, and its header has only %u data directories, none for the "
        "address tables; inject at run time instead",
        pe->directory_count);
  }
  put_directory(image, pe, PE_IAT, (pe_directory_t){section->address, section->extent});
  return true;
}

edit_status_t section_build(image_t* image, const pe_t* base, const entries_t* entries,
                            bool keep_overlay_offset, edit_result_t* result) {
  const uint32_t size = contents_size(base, entries);
  place_t place = {0};
  if (base->directory_count <= PE_IMPORT) {
    pe_fail(&result->reason,
            "its header has only %u data directories, none for imports; inject at run time instead",
            base->directory_count);
    return EDIT_REFUSED;
  }
  if (!find_place(base, size, keep_overlay_offset, &place, result)) return EDIT_REFUSED;
  const uint32_t last = base->section_count - (place.is_extension ? 1 : 0);
  const uint8_t* header =
      bytes_at(base->file, base->section_table + PE_SECTION_HEADER_SIZE * last, PE_SECTION_HEADER_SIZE);
  record_t record = {.rva = place.rva,
                     .size = size,
                     .is_extension = place.is_extension,
                     .checksum_was_right = base->checksum == pe_checksum(base),
                     .insert_at = place.insert_at,
                     .insert_size = place.insert_size,
                     .imports = base->directory[PE_IMPORT],
                     .bound = base->directory[PE_BOUND_IMPORT],
                     .iat = base->directory[PE_IAT],
                     .size_of_image = base->size_of_image,
                     .size_of_headers = base->size_of_headers,
                     .size_of_initialized_data = base->size_of_initialized_data,
                     .checksum = base->checksum};
  if (header != NULL) memcpy(record.section_header, header, sizeof(record.section_header));
  if (!keep_address_tables_writable(image, base, result)) return EDIT_REFUSED;

  const uint32_t overlay = (uint32_t)(base->file.size - base->raw_end);
  shift_offsets(image, base, place.insert_at, place.insert_size);
  put_section_header(image, base, &place, size);
  put_directory(image, base, PE_IMPORT,
                (pe_directory_t){place.rva + RECORD_BYTES, (entries->count + 1) * PE_DESCRIPTOR_SIZE});
  const uint32_t image_size = (uint32_t)align_up(place.rva + size, base->section_alignment);
  image_put_u32(image, base->header + PE_AT_SIZE_OF_IMAGE,
                image_size > base->size_of_image ? image_size : base->size_of_image);
  image_put_u32(image, base->header + PE_AT_SIZE_OF_HEADERS, place.size_of_headers);
  image_put_u32(image, base->header + PE_AT_INITIALIZED_DATA,
                base->size_of_initialized_data + (uint32_t)align_up(size, base->file_alignment));
  if (!image_insert(image, place.insert_at, place.insert_size)) {
    pe_fail(&result->reason, "out of memory");
    return EDIT_NO_MEMORY;
  }
  // The image may have moved: from here on base's numbers are good, its bytes are not.
  put_contents(image, base, &place, &record, entries);

  if (!place.is_extension) {
    edit_note(result, false, "new section .minject: %u bytes at 0x%x, file offset 0x%x", size, place.rva,
              place.offset);
  }
  if (overlay > 0 && place.insert_at == base->raw_end) {
    edit_note(result, false,
              "the overlay (%u bytes behind the last section) moved from file offset 0x%x to 0x%x", overlay,
              base->raw_end, base->raw_end + place.insert_size);
  } else if (overlay > 0) {
    edit_note(result, false,
              "the overlay (%u bytes) stays at file offset 0x%x and isn't the end of the file any more",
              overlay, base->raw_end);
  }
  return EDIT_DONE;
}
