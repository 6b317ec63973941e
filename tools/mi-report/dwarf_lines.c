#include "dwarf_lines.h"

#include <stdlib.h>
#include <string.h>

typedef struct row_s {
  uint32_t rva; // first, for find_at_or_before
  unsigned line;
  const char* name;
  uint32_t order; // rows of one address: the last one counts
  bool is_end;
} row_t;

struct lines_s {
  row_t* rows;
  size_t count, capacity;
};

// ---- bytes ----------------------------------------------------------------------------------------------

// Reading past the end gives zeros and is noticed once, at the end of a unit.
typedef struct cursor_s {
  const uint8_t *at, *end;
} cursor_t;

static uint64_t fixed(cursor_t* cursor, unsigned size) {
  uint64_t value = 0;
  if ((size_t)(cursor->end - cursor->at) < size) {
    cursor->at = cursor->end;
    return 0;
  }
  for (unsigned i = 0; i < size; i++) value |= (uint64_t)cursor->at[i] << (8 * i);
  cursor->at += size;
  return value;
}

static uint64_t leb(cursor_t* cursor) {
  uint64_t value = 0;
  for (unsigned shift = 0; cursor->at < cursor->end; shift += 7) {
    uint8_t byte = *cursor->at++;
    if (shift < 64) value |= (uint64_t)(byte & 0x7F) << shift;
    if ((byte & 0x80) == 0) break;
  }
  return value;
}

static int64_t signed_leb(cursor_t* cursor) {
  uint64_t value = 0;
  unsigned shift = 0;
  while (cursor->at < cursor->end) {
    uint8_t byte = *cursor->at++;
    if (shift < 64) value |= (uint64_t)(byte & 0x7F) << shift;
    shift += 7;
    if ((byte & 0x80) != 0) continue;
    if ((byte & 0x40) != 0 && shift < 64) value |= ~(uint64_t)0 << shift;
    break;
  }
  return (int64_t)value;
}

static void skip(cursor_t* cursor, uint64_t size) {
  cursor->at = size > (uint64_t)(cursor->end - cursor->at) ? cursor->end : cursor->at + size;
}

static const char* text(cursor_t* cursor) {
  const uint8_t* end =
      cursor->at == cursor->end ? NULL : memchr(cursor->at, 0, (size_t)(cursor->end - cursor->at));
  if (end == NULL) {
    cursor->at = cursor->end;
    return "";
  }
  const char* found = (const char*)cursor->at;
  cursor->at = end + 1;
  return found;
}

static const char* text_in(const pe_section_t* section, uint64_t offset) {
  if (section == NULL || offset >= section->data_size) return "";
  cursor_t cursor = {section->data + offset, section->data + section->data_size};
  return text(&cursor);
}

// ---- names ----------------------------------------------------------------------------------------------

typedef struct unit_s {
  const pe_file_t* file;
  const pe_section_t *line_strings, *strings;
  unsigned version, offset_size;
  const char** folders;
  size_t folder_count;
  const char** names; // of files, by number
  size_t name_count;
} unit_t;

static const char* join(const unit_t* unit, uint64_t folder, const char* name) {
  bool is_absolute = name[0] == '/' || name[0] == '\\' || (name[0] != 0 && name[1] == ':');
  if (is_absolute || folder >= unit->folder_count || *unit->folders[folder] == 0) return name;
  return text_format("%s/%s", unit->folders[folder], name);
}

static void add_name(const char*** list, size_t* count, const char* name) {
  if ((*count & (*count - 1)) == 0) { // a power of two, or 0: time for more
    const char** larger = allocate((*count == 0 ? 4 : 4 * *count) * sizeof(char*));
    if (*count > 0) memcpy(larger, *list, *count * sizeof(char*));
    *list = larger;
  }
  (*list)[(*count)++] = name;
}

static void old_names(unit_t* unit, cursor_t* cursor) {
  add_name(&unit->folders, &unit->folder_count, ""); // where the compiler ran: not told here
  for (const char* name = text(cursor); *name != 0; name = text(cursor))
    add_name(&unit->folders, &unit->folder_count, name);
  add_name(&unit->names, &unit->name_count, "");
  for (const char* name = text(cursor); *name != 0; name = text(cursor)) {
    uint64_t folder = leb(cursor);
    leb(cursor); // time
    leb(cursor); // size
    add_name(&unit->names, &unit->name_count, join(unit, folder, name));
  }
}

enum { CONTENT_PATH = 1, CONTENT_FOLDER = 2 };

// A field of an entry; *number or *name receives its value.
static bool field(unit_t* unit, cursor_t* cursor, uint64_t form, const char** name, uint64_t* number) {
  switch (form) {
  case 0x08:
    *name = text(cursor);
    return true;
  case 0x1F:
    *name = text_in(unit->line_strings, fixed(cursor, unit->offset_size));
    return true;
  case 0x0E:
    *name = text_in(unit->strings, fixed(cursor, unit->offset_size));
    return true;
  case 0x0B:
    *number = fixed(cursor, 1);
    return true;
  case 0x05:
    *number = fixed(cursor, 2);
    return true;
  case 0x06:
    *number = fixed(cursor, 4);
    return true;
  case 0x07:
    *number = fixed(cursor, 8);
    return true;
  case 0x0F:
    *number = leb(cursor);
    return true;
  case 0x1E:
    skip(cursor, 16);
    return true;
  case 0x09:
    skip(cursor, leb(cursor));
    return true;
  default:
    return false;
  }
}

static bool new_table(unit_t* unit, cursor_t* cursor, bool is_folders) {
  uint64_t formats[2 * 16];
  size_t format_count = (size_t)fixed(cursor, 1);
  if (format_count > 16) return false;
  for (size_t i = 0; i < 2 * format_count; i++) formats[i] = leb(cursor);
  uint64_t count = leb(cursor);
  for (uint64_t i = 0; i < count && cursor->at < cursor->end; i++) {
    const char* name = "";
    uint64_t folder = 0;
    for (size_t k = 0; k < format_count; k++) {
      const char* found = "";
      uint64_t number = 0;
      if (!field(unit, cursor, formats[2 * k + 1], &found, &number)) return false;
      if (formats[2 * k] == CONTENT_PATH) name = found;
      if (formats[2 * k] == CONTENT_FOLDER) folder = number;
    }
    if (is_folders)
      add_name(&unit->folders, &unit->folder_count, join(unit, 0, name));
    else
      add_name(&unit->names, &unit->name_count, join(unit, folder, name));
  }
  return true;
}

// ---- rows -----------------------------------------------------------------------------------------------

typedef struct machine_s {
  uint64_t address;
  uint64_t file;
  int64_t line;
} machine_t;

static void emit(lines_t* lines, const unit_t* unit, const machine_t* machine, bool is_end) {
  uint64_t rva = machine->address - unit->file->image_base;
  if (rva >= unit->file->image_size) return; // of a function that the linker left out
  if (lines->count == lines->capacity) {
    lines->capacity = lines->capacity == 0 ? 4096 : 2 * lines->capacity;
    row_t* larger = allocate(lines->capacity * sizeof(row_t));
    if (lines->count > 0) memcpy(larger, lines->rows, lines->count * sizeof(row_t));
    free(lines->rows);
    lines->rows = larger;
  }
  lines->rows[lines->count] =
      (row_t){.rva = (uint32_t)rva,
              .line = machine->line < 0 ? 0 : (unsigned)machine->line,
              .name = machine->file < unit->name_count ? unit->names[machine->file] : NULL,
              .order = (uint32_t)lines->count,
              .is_end = is_end};
  lines->count++;
}

static void run(lines_t* lines, const unit_t* unit, cursor_t* cursor, const uint8_t* lengths,
                unsigned opcode_base, unsigned unit_size, int line_base, unsigned line_range) {
  const machine_t start = {0, 1, 1};
  machine_t machine = start;
  while (cursor->at < cursor->end) {
    unsigned opcode = (unsigned)fixed(cursor, 1);
    if (opcode >= opcode_base) {
      unsigned adjusted = opcode - opcode_base;
      machine.address += (uint64_t)(adjusted / line_range) * unit_size;
      machine.line += line_base + (int)(adjusted % line_range);
      emit(lines, unit, &machine, false);
      continue;
    }
    switch (opcode) {
    case 0: { // extended
      uint64_t size = leb(cursor);
      if (size == 0 || size > (uint64_t)(cursor->end - cursor->at)) return;
      cursor_t inside = {cursor->at, cursor->at + size};
      cursor->at += size;
      unsigned extended = (unsigned)fixed(&inside, 1);
      if (extended == 1) {
        emit(lines, unit, &machine, true);
        machine = start;
      } else if (extended == 2) {
        machine.address =
            fixed(&inside, (unsigned)(inside.end - inside.at) > 8 ? 8 : (unsigned)(inside.end - inside.at));
      }
      break;
    }
    case 1:
      emit(lines, unit, &machine, false);
      break;
    case 2:
      machine.address += leb(cursor) * unit_size;
      break;
    case 3:
      machine.line += signed_leb(cursor);
      break;
    case 4:
      machine.file = leb(cursor);
      break;
    case 8:
      machine.address += (uint64_t)((255 - opcode_base) / line_range) * unit_size;
      break;
    case 9:
      machine.address += fixed(cursor, 2);
      break;
    default:
      for (unsigned i = 0; i < lengths[opcode - 1]; i++) leb(cursor);
      break;
    }
  }
}

static void read_unit(lines_t* lines, const pe_file_t* file, cursor_t* cursor, unsigned offset_size) {
  unit_t unit = {.file = file,
                 .line_strings = pe_section(file, ".debug_line_str"),
                 .strings = pe_section(file, ".debug_str"),
                 .offset_size = offset_size};
  unit.version = (unsigned)fixed(cursor, 2);
  if (unit.version < 2 || unit.version > 5) return;
  if (unit.version >= 5) skip(cursor, 2); // sizes of addresses and segments
  uint64_t header_size = fixed(cursor, offset_size);
  if (header_size > (uint64_t)(cursor->end - cursor->at)) return;
  cursor_t program = {cursor->at + header_size, cursor->end};
  unsigned unit_size = (unsigned)fixed(cursor, 1);
  if (unit.version >= 4) skip(cursor, 1); // operations per instruction
  skip(cursor, 1);                        // default of is_stmt
  int line_base = (int8_t)fixed(cursor, 1);
  unsigned line_range = (unsigned)fixed(cursor, 1), opcode_base = (unsigned)fixed(cursor, 1);
  const uint8_t* lengths = cursor->at;
  if (line_range == 0 || opcode_base == 0) return;
  skip(cursor, opcode_base - 1);
  if (cursor->at == cursor->end) return;
  if (unit.version >= 5) {
    if (!new_table(&unit, cursor, true) || !new_table(&unit, cursor, false)) return;
  } else {
    old_names(&unit, cursor);
  }
  run(lines, &unit, &program, lengths, opcode_base, unit_size, line_base, line_range);
}

static int by_place(const void* a_, const void* b_) {
  const row_t *a = a_, *b = b_;
  if (a->rva != b->rva) return a->rva < b->rva ? -1 : 1;
  if (a->is_end != b->is_end) return a->is_end ? -1 : 1; // where one ends, another may start
  return a->order < b->order ? -1 : a->order > b->order;
}

lines_t* lines_read(const pe_file_t* file) {
  const pe_section_t* section = pe_section(file, ".debug_line");
  if (section == NULL) return NULL;
  lines_t* lines = allocate(sizeof(*lines));
  cursor_t cursor = {section->data, section->data + section->data_size};
  while (cursor.at < cursor.end) {
    unsigned offset_size = 4;
    uint64_t size = fixed(&cursor, 4);
    if (size == 0xFFFFFFFF) {
      offset_size = 8;
      size = fixed(&cursor, 8);
    }
    if (size == 0 || size > (uint64_t)(cursor.end - cursor.at)) break;
    cursor_t unit = {cursor.at, cursor.at + size};
    cursor.at += size;
    read_unit(lines, file, &unit, offset_size);
  }
  if (lines->count == 0) return NULL;
  qsort(lines->rows, lines->count, sizeof(row_t), by_place);
  return lines;
}

bool lines_find(const lines_t* lines, uint32_t rva, const char** name, unsigned* line) {
  const row_t* row = find_at_or_before(lines->rows, lines->count, sizeof(row_t), rva);
  if (row == NULL || row->is_end || row->line == 0) return false;
  *name = row->name;
  *line = row->line;
  return true;
}
