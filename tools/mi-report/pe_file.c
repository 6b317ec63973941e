#include "pe_file.h"

#include <stdlib.h>
#include <string.h>

enum { SECTION_HEADER = 40, SYMBOL = 18, DIRECTORY_EXPORTS = 0 };

static uint32_t u16(const uint8_t* p) { return (uint32_t)(p[0] | p[1] << 8); }
static uint32_t u32(const uint8_t* p) { return u16(p) | u16(p + 2) << 16; }
static uint64_t u64(const uint8_t* p) { return u32(p) | (uint64_t)u32(p + 4) << 32; }

static bool has(const pe_file_t* file, uint64_t at, uint64_t size) {
  return at <= file->size && size <= file->size - at;
}

static const uint8_t* at_rva(const pe_file_t* file, uint32_t rva, uint32_t size) {
  const pe_section_t* section = pe_section_at(file, rva);
  if (section == NULL || rva - section->rva > section->data_size ||
      size > section->data_size - (rva - section->rva))
    return NULL;
  return section->data + (rva - section->rva);
}

// Text in the file; NULL when it doesn't end there.
static const char* text_at(const pe_file_t* file, uint64_t at) {
  if (at >= file->size || memchr(file->data + at, 0, file->size - (size_t)at) == NULL) return NULL;
  return (const char*)file->data + at;
}

static const char* name_of(const pe_file_t* file, const uint8_t* field, uint64_t strings, bool is_section) {
  const char* name = NULL;
  if (is_section && field[0] == '/')
    name = text_at(file, strings + strtoul((const char*)field + 1, NULL, 10));
  if (!is_section && u32(field) == 0) name = text_at(file, strings + u32(field + 4));
  if (name != NULL) return name;
  size_t length = 0;
  while (length < 8 && field[length] != 0) length++;
  return text_copy((const char*)field, length);
}

static void read_sections(pe_file_t* file, uint64_t headers, size_t count, uint64_t strings) {
  file->sections = allocate(count * sizeof(pe_section_t));
  for (size_t i = 0; i < count && has(file, headers + i * SECTION_HEADER, SECTION_HEADER); i++) {
    const uint8_t* header = file->data + headers + i * SECTION_HEADER;
    pe_section_t* section = &file->sections[file->section_count++];
    uint32_t raw_size = u32(header + 16), raw = u32(header + 20);
    section->name = name_of(file, header, strings, true);
    section->rva = u32(header + 12);
    section->size = u32(header + 8) != 0 ? u32(header + 8) : raw_size;
    section->is_code = (u32(header + 36) & 0x20) != 0;
    section->data_size = raw_size < section->size ? raw_size : section->size;
    if (has(file, raw, section->data_size))
      section->data = file->data + raw;
    else
      section->data_size = 0;
  }
}

static void add_symbol(pe_file_t* file, size_t* capacity, uint32_t rva, const char* name) {
  if (name == NULL || *name == 0) return;
  if (file->symbol_count == *capacity) {
    *capacity = *capacity == 0 ? 1024 : 2 * *capacity;
    pe_symbol_t* larger = allocate(*capacity * sizeof(pe_symbol_t));
    if (file->symbol_count > 0) memcpy(larger, file->symbols, file->symbol_count * sizeof(pe_symbol_t));
    free(file->symbols);
    file->symbols = larger;
  }
  file->symbols[file->symbol_count++] = (pe_symbol_t){rva, name};
}

// The C compiler's prefix, which sections and exports don't have.
static const char* without_prefix(const pe_file_t* file, const char* name) {
  return !file->is_64 && name != NULL && name[0] == '_' ? name + 1 : name;
}

// "f" of ".text$f" and ".text.startup.f": where a function has a section of its own, that names it even if it is static and its
// symbol was stripped.
static const char* function_of_section(const char* name) {
  if (strncmp(name, ".text", 5) != 0) return NULL;
  if (name[5] == '$') return name + 6;
  const char* dot = name[5] == '.' ? strchr(name + 6, '.') : NULL;
  return dot == NULL ? NULL : dot + 1;
}

static void read_coff_symbols(pe_file_t* file, size_t* capacity, uint64_t symbols, uint32_t count,
                              uint64_t strings) {
  for (uint32_t i = 0; i < count; i++) {
    const uint8_t* symbol = file->data + symbols + (uint64_t)i * SYMBOL;
    uint32_t section = u16(symbol + 12), type = u16(symbol + 14), storage = symbol[16];
    bool is_function = (type >> 4 & 3) == 2 && (storage == 2 || storage == 3); // external or static
    if (is_function && section >= 1 && section <= file->section_count)
      add_symbol(file, capacity, file->sections[section - 1].rva + u32(symbol + 8),
                 without_prefix(file, name_of(file, symbol, strings, false)));
    bool is_section = type == 0 && storage == 3 && symbol[17] > 0;
    const char* name = is_section ? function_of_section(name_of(file, symbol, strings, false)) : NULL;
    if (name != NULL && section >= 1 && section <= file->section_count)
      add_symbol(file, capacity, file->sections[section - 1].rva + u32(symbol + 8), name);
    i += symbol[17]; // auxiliary records
  }
}

static void read_exports(pe_file_t* file, size_t* capacity, uint32_t rva) {
  const uint8_t* directory = rva == 0 ? NULL : at_rva(file, rva, 40);
  if (directory == NULL) return;
  uint32_t function_count = u32(directory + 20), name_count = u32(directory + 24);
  if (function_count > 65536 || name_count > 65536) return;
  const uint8_t* functions = at_rva(file, u32(directory + 28), 4 * function_count);
  const uint8_t* names = at_rva(file, u32(directory + 32), 4 * name_count);
  const uint8_t* ordinals = at_rva(file, u32(directory + 36), 2 * name_count);
  if (functions == NULL || names == NULL || ordinals == NULL) return;
  for (uint32_t i = 0; i < name_count; i++) {
    uint32_t ordinal = u16(ordinals + 2 * i);
    const uint8_t* name = at_rva(file, u32(names + 4 * i), 1);
    if (ordinal >= function_count || name == NULL) continue;
    uint32_t function = u32(functions + 4 * ordinal);
    const pe_section_t* section = pe_section_at(file, function);
    if (section != NULL && section->is_code)
      add_symbol(file, capacity, function, text_at(file, (uint64_t)(name - file->data)));
  }
}

static int by_rva(const void* a, const void* b) {
  uint32_t left = ((const pe_symbol_t*)a)->rva, right = ((const pe_symbol_t*)b)->rva;
  return left < right ? -1 : left > right;
}

pe_file_t* pe_open(const char* path) {
  pe_file_t* file = allocate(sizeof(*file));
  size_t capacity = 0;
  file->data = (const uint8_t*)file_read(path, &file->size);
  if (file->data == NULL || !has(file, 0, 64) || file->data[0] != 'M' || file->data[1] != 'Z') return NULL;
  uint64_t header = u32(file->data + 60);
  if (!has(file, header, 24 + 128) || memcmp(file->data + header, "PE\0", 4) != 0) return NULL;
  const uint8_t* coff = file->data + header + 4;
  uint32_t symbols = u32(coff + 8), symbol_count = u32(coff + 12);
  file->timestamp = u32(coff + 4);
  const uint8_t* optional = coff + 20;
  file->is_64 = u16(optional) == 0x20B;
  file->image_base = file->is_64 ? u64(optional + 24) : u32(optional + 28);
  file->image_size = u32(optional + 56);
  if (symbols == 0 || !has(file, symbols, (uint64_t)symbol_count * SYMBOL)) symbol_count = 0;
  uint64_t strings = symbols + (uint64_t)symbol_count * SYMBOL;
  read_sections(file, header + 24 + u16(coff + 16), u16(coff + 2), strings);
  if (symbol_count > 0) read_coff_symbols(file, &capacity, symbols, symbol_count, strings);
  read_exports(file, &capacity, u32(optional + (file->is_64 ? 112 : 96) + 8 * DIRECTORY_EXPORTS));
  if (file->symbol_count > 0) qsort(file->symbols, file->symbol_count, sizeof(pe_symbol_t), by_rva);
  return file;
}

const pe_section_t* pe_section(const pe_file_t* file, const char* name) {
  for (size_t i = 0; i < file->section_count; i++) {
    if (strcmp(file->sections[i].name, name) == 0) return &file->sections[i];
  }
  return NULL;
}

const pe_section_t* pe_section_at(const pe_file_t* file, uint32_t rva) {
  for (size_t i = 0; i < file->section_count; i++) {
    if (rva - file->sections[i].rva < file->sections[i].size) return &file->sections[i];
  }
  return NULL;
}

const pe_symbol_t* pe_function(const pe_file_t* file, uint32_t rva) {
  const pe_symbol_t* symbol = find_at_or_before(file->symbols, file->symbol_count, sizeof(pe_symbol_t), rva);
  return symbol == NULL || pe_section_at(file, symbol->rva) != pe_section_at(file, rva) ? NULL : symbol;
}
