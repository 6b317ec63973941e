#include "pe.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool pe_fail(pe_error_t* error, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error->text, sizeof(error->text), format, arguments);
  va_end(arguments);
  return false;
}

void pe_printable(char* to, size_t capacity, const char* text, size_t length) {
  size_t at = 0;
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)text[i];
    size_t need = c >= 0x20 && c < 0x7F ? 1 : 4;
    if (at + need >= capacity) break;
    if (need == 1) {
      to[at] = (char)c;
    } else {
      snprintf(to + at, capacity - at, "\\x%02X", c);
    }
    at += need;
  }
  if (capacity > 0) to[at] = 0;
}

// ---- machines ---------------------------------------------------------------------------------------------

static const struct {
  uint16_t machine;
  uint8_t bits;
  const char* name;
} machines[] = {
    {0x014C, 32, "x86"},       {0x8664, 64, "x86-64"},       {0xAA64, 64, "ARM64"},
    {0xA641, 64, "ARM64EC"},   {0xA64E, 64, "ARM64X"},       {0x01C0, 32, "ARM"},
    {0x01C2, 32, "ARM Thumb"}, {0x01C4, 32, "ARM Thumb-2"},  {0x0200, 64, "IA-64"},
    {0x5064, 64, "RISC-V 64"}, {0x6264, 64, "LoongArch 64"}, {0x0166, 32, "MIPS"},
    {0x01F0, 32, "PowerPC"},   {0x01A2, 32, "SH3"},          {0x01A6, 32, "SH4"},
    {0x0184, 32, "Alpha"},
};

const char* pe_machine_name(uint16_t machine) {
  for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
    if (machines[i].machine == machine) return machines[i].name;
  }
  return NULL;
}

static bool machine_has_bits(uint16_t machine, unsigned bits) {
  for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
    if (machines[i].machine == machine) return machines[i].bits == bits;
  }
  return true; // unknown
}

// ---- headers ----------------------------------------------------------------------------------------------

// What a file is that isn't a PE file.
static bool not_a_pe(bytes_t file, pe_error_t* error) {
  const uint8_t* start = bytes_at(file, 0, 4);
  if (file.size == 0) return pe_fail(error, "the file is empty");
  if (start == NULL) return pe_fail(error, "not a PE file: it has only %u bytes", (unsigned)file.size);
  if (memcmp(start,
             "\x7F"
             "ELF",
             4) == 0) {
    return pe_fail(error, "not a PE file: it is an ELF file (Linux)");
  }
  if (start[0] == '#' && start[1] == '!') return pe_fail(error, "not a PE file: it is a script");
  if (start[0] == 'P' && start[1] == 'K') return pe_fail(error, "not a PE file: it is a ZIP archive");
  if (start[0] == 'M' && start[1] == 'Z') {
    return pe_fail(error, "not a PE file: it is a DOS program, without a PE header");
  }
  return pe_fail(error, "not a PE file: it doesn't begin with \"MZ\"");
}

static bool is_power_of_two(uint32_t value) { return value != 0 && (value & (value - 1)) == 0; }

static bool check_alignments(pe_t* pe, pe_error_t* error) {
  uint32_t section = pe->section_alignment, file = pe->file_alignment;
  if (!is_power_of_two(section) || !is_power_of_two(file)) {
    return pe_fail(error, "damaged: section alignment 0x%x and file alignment 0x%x must be powers of two",
                   section, file);
  }
  if (section > 0x40000000u)
    return pe_fail(error, "damaged: section alignment 0x%x is beyond sense", section);
  if (file > section) {
    return pe_fail(error, "damaged: file alignment 0x%x exceeds section alignment 0x%x", file, section);
  }
  if (file < 512 && file != section) {
    return pe_fail(error,
                   "damaged: file alignment 0x%x is below 512 and not equal to the section alignment 0x%x",
                   file, section);
  }
  pe->is_flat = section < PE_PAGE_SIZE;
  return true;
}

static bool parse_optional_header(pe_t* pe, uint32_t optional_size, pe_error_t* error) {
  const uint32_t optional = pe->header + 24;
  const uint8_t* magic = bytes_at(pe->file, optional, 2);
  if (magic == NULL) return pe_fail(error, "truncated: the file ends before its optional header");
  if (get_u16(magic) != 0x10B && get_u16(magic) != 0x20B) {
    return pe_fail(
        error, "damaged: magic number 0x%x of the optional header is neither PE32 (0x10b) nor PE32+ (0x20b)",
        get_u16(magic));
  }
  pe->is_64 = get_u16(magic) == 0x20B;
  const uint32_t fixed = pe->is_64 ? 112 : 96;
  const uint8_t* p = bytes_at(pe->file, optional, fixed);
  if (p == NULL) return pe_fail(error, "truncated: the file ends inside its optional header");
  if (!machine_has_bits(pe->machine, pe->is_64 ? 64 : 32)) {
    return pe_fail(error, "damaged: it is for %s, but its optional header is that of %s",
                   pe_machine_name(pe->machine), pe->is_64 ? "PE32+ (64 bits)" : "PE32 (32 bits)");
  }
  pe->size_of_initialized_data = get_u32(p + 8);
  pe->image_base = pe->is_64 ? get_u64(p + 24) : get_u32(p + 28);
  pe->section_alignment = get_u32(p + 32);
  pe->file_alignment = get_u32(p + 36);
  pe->size_of_image = get_u32(p + 56);
  pe->size_of_headers = get_u32(p + 60);
  pe->checksum = get_u32(p + 64);
  pe->subsystem = get_u16(p + 68);
  pe->dll_characteristics = get_u16(p + 70);

  uint32_t count = get_u32(p + fixed - 4);
  pe->directory_count = count < PE_DIRECTORIES ? count : PE_DIRECTORIES;
  pe->directories = optional + fixed;
  if (optional_size < fixed + 8 * pe->directory_count) {
    return pe_fail(error, "damaged: an optional header of %u bytes has no room for its %u data directories",
                   optional_size, pe->directory_count);
  }
  const uint8_t* directory = bytes_at(pe->file, pe->directories, 8u * pe->directory_count);
  if (directory == NULL) return pe_fail(error, "truncated: the file ends inside its data directories");
  for (uint32_t i = 0; i < pe->directory_count; i++) {
    pe->directory[i].address = get_u32(directory + 8 * i);
    pe->directory[i].size = get_u32(directory + 8 * i + 4);
  }
  return check_alignments(pe, error);
}

// ---- sections ---------------------------------------------------------------------------------------------

static bool parse_section(pe_t* pe, uint32_t index, const uint8_t* header, pe_error_t* error) {
  pe_section_t* section = &pe->sections[index];
  size_t length = 0;
  while (length < 8 && header[length] != 0) length++;
  for (size_t i = 0; i < length; i++) {
    section->name[i] = header[i] >= 0x20 && header[i] < 0x7F ? (char)header[i] : '?';
  }
  section->name[length] = 0;
  const uint32_t virtual_size = get_u32(header + PE_SECTION_AT_VIRTUAL_SIZE);
  const uint32_t raw = get_u32(header + PE_SECTION_AT_RAW);
  section->header = pe->section_table + PE_SECTION_HEADER_SIZE * index;
  section->address = get_u32(header + PE_SECTION_AT_ADDRESS);
  section->raw_size = get_u32(header + PE_SECTION_AT_RAW_SIZE);
  section->extent = virtual_size != 0 ? virtual_size : section->raw_size;
  section->characteristics = get_u32(header + PE_SECTION_AT_CHARACTERISTICS);
  if (raw == 0) section->raw_size = 0; // the loader's rule for sections without contents
  if (section->raw_size == 0)
    section->raw = 0;
  else
    section->raw = pe->is_flat ? raw : raw & ~511u;

  const char* name = section->name;
  if (section->address % pe->section_alignment != 0) {
    return pe_fail(
        error,
        "damaged: section %u (%s) starts at 0x%x, which isn't a multiple of the section alignment 0x%x",
        index + 1, name, section->address, pe->section_alignment);
  }
  const uint32_t before_end = index == 0 ? pe->size_of_headers : pe->image_end;
  if (section->address < before_end) {
    return pe_fail(error,
                   "damaged: section %u (%s) starts at 0x%x, inside of what lies before it (up to 0x%x)",
                   index + 1, name, section->address, before_end);
  }
  if ((uint64_t)section->address + section->extent > PE_SIZE_MAX) {
    return pe_fail(error, "damaged: section %u (%s), 0x%x bytes at 0x%x, reaches beyond 2 GiB", index + 1,
                   name, section->extent, section->address);
  }
  if (section->raw_size > 0 &&
      bytes_at(pe->file, section->raw, (uint64_t)(raw - section->raw) + section->raw_size) == NULL) {
    return pe_fail(
        error, "truncated: section %u (%s) wants 0x%x bytes at file offset 0x%x, but the file has 0x%x bytes",
        index + 1, name, section->raw_size, raw, (unsigned)pe->file.size);
  }
  if (pe->is_flat && section->raw_size > 0 && section->raw != section->address) {
    return pe_fail(
        error,
        "damaged: with section alignment 0x%x, section %u (%s) must have the same place in file (0x%x) and "
        "memory (0x%x)",
        pe->section_alignment, index + 1, name, section->raw, section->address);
  }
  pe->image_end = section->address + section->extent;
  if (section->raw_size > 0 && raw + section->raw_size > pe->raw_end) pe->raw_end = raw + section->raw_size;
  return true;
}

static bool parse_sections(pe_t* pe, pe_error_t* error) {
  if (pe->section_count == 0) return pe_fail(error, "it has no sections");
  const uint8_t* table =
      bytes_at(pe->file, pe->section_table, (uint64_t)PE_SECTION_HEADER_SIZE * pe->section_count);
  if (table == NULL) {
    return pe_fail(error, "truncated: its table of %u sections at 0x%x reaches beyond the file's %u bytes",
                   pe->section_count, pe->section_table, (unsigned)pe->file.size);
  }
  if (bytes_at(pe->file, 0, pe->size_of_headers) == NULL) {
    return pe_fail(error, "truncated: it has headers of 0x%x bytes, but the file has 0x%x bytes",
                   pe->size_of_headers, (unsigned)pe->file.size);
  }
  pe->sections = calloc(pe->section_count, sizeof(pe_section_t));
  if (pe->sections == NULL) return pe_fail(error, "out of memory");
  const uint32_t table_end = pe->section_table + PE_SECTION_HEADER_SIZE * pe->section_count;
  pe->raw_end = pe->size_of_headers > table_end ? pe->size_of_headers : table_end;
  for (uint32_t i = 0; i < pe->section_count; i++) {
    if (!parse_section(pe, i, table + (size_t)PE_SECTION_HEADER_SIZE * i, error)) return false;
  }
  if (pe->size_of_image > PE_SIZE_MAX || align_up(pe->size_of_image, pe->section_alignment) < pe->image_end) {
    return pe_fail(error, "damaged: its sections end at 0x%x, but the image is said to have 0x%x bytes",
                   pe->image_end, pe->size_of_image);
  }
  return true;
}

bool pe_parse(const uint8_t* data, size_t size, pe_t* pe, pe_error_t* error) {
  memset(pe, 0, sizeof(*pe));
  error->text[0] = 0;
  pe->file = (bytes_t){data, size};
  if (size > PE_SIZE_MAX) return pe_fail(error, "larger than 2 GiB: no Windows loads such a file");
  const uint8_t* dos = bytes_at(pe->file, 0, 64);
  if (dos == NULL || dos[0] != 'M' || dos[1] != 'Z') return not_a_pe(pe->file, error);
  pe->header = get_u32(dos + 60);
  const uint8_t* p = bytes_at(pe->file, pe->header, 24);
  if (p == NULL) {
    if (pe->header < size || size < 512) {
      return pe_fail(error, "truncated: its PE header should lie at 0x%x, but the file has 0x%x bytes",
                     pe->header, (unsigned)size);
    }
    return not_a_pe(pe->file, error);
  }
  if (p[0] == 'N' && p[1] == 'E') return pe_fail(error, "not a PE file: it is a 16-bit Windows program (NE)");
  if (p[0] == 'L' && (p[1] == 'E' || p[1] == 'X'))
    return pe_fail(error, "not a PE file: it is a program for OS/2 or a VxD (LE)");
  if (memcmp(p, "PE\0\0", 4) != 0) return not_a_pe(pe->file, error);
  pe->machine = get_u16(p + 4);
  pe->section_count = get_u16(p + 6);
  pe->symbol_table = get_u32(p + 12);
  const uint32_t optional_size = get_u16(p + 20);
  pe->characteristics = get_u16(p + 22);
  if ((pe->characteristics & PE_FILE_EXECUTABLE) == 0) {
    return pe_fail(error,
                   "damaged: it isn't marked as executable; the linker that wrote it had reported an error");
  }
  if (!parse_optional_header(pe, optional_size, error)) return false;
  pe->section_table = pe->header + 24 + optional_size;
  return parse_sections(pe, error) && pe_parse_imports(pe, error);
}

void pe_free(pe_t* pe) {
  free(pe->sections);
  free(pe->imports);
  pe->sections = NULL;
  pe->imports = NULL;
}

// ---- from rva to bytes ------------------------------------------------------------------------------------

const pe_section_t* pe_section_of(const pe_t* pe, uint32_t rva) {
  uint32_t low = 0, high = pe->section_count; // a crafted file has many sections and many addresses: bisect
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    const pe_section_t* section = &pe->sections[middle];
    if (rva < section->address) {
      high = middle;
    } else if (rva - section->address >= align_up(section->extent, pe->section_alignment)) {
      low = middle + 1;
    } else {
      return section;
    }
  }
  return NULL;
}

typedef struct span_s {
  uint32_t offset; // of the first byte
  uint32_t backed; // bytes from there on that the file holds
  uint32_t mapped; // bytes from there on that exist in memory; those that aren't backed are zero
} span_t;

static bool span_at(const pe_t* pe, uint32_t rva, span_t* span) {
  if (rva < pe->size_of_headers) {
    *span = (span_t){rva, pe->size_of_headers - rva, pe->size_of_headers - rva};
    return true;
  }
  const pe_section_t* section = pe_section_of(pe, rva);
  if (section == NULL) return false;
  const uint32_t within = rva - section->address;
  const uint32_t mapped = (uint32_t)align_up(section->extent, pe->section_alignment);
  const uint32_t backed = section->raw_size < mapped ? section->raw_size : mapped;
  span->offset = section->raw + within;
  span->backed = within < backed ? backed - within : 0;
  span->mapped = mapped - within;
  return true;
}

bool pe_read(const pe_t* pe, uint32_t rva, void* to, uint32_t count) {
  span_t span;
  if (!span_at(pe, rva, &span) || span.mapped < count) return false;
  const uint32_t backed = span.backed < count ? span.backed : count;
  memset(to, 0, count);
  if (backed == 0) return true;
  const uint8_t* from = bytes_at(pe->file, span.offset, backed);
  if (from == NULL) return false;
  memcpy(to, from, backed);
  return true;
}

bool pe_backed(const pe_t* pe, uint32_t rva, uint32_t count, uint32_t* offset) {
  span_t span;
  if (!span_at(pe, rva, &span) || span.backed < count || bytes_at(pe->file, span.offset, count) == NULL)
    return false;
  *offset = span.offset;
  return true;
}

pe_clr_t pe_clr(const pe_t* pe) {
  enum { AT_FLAGS = 16, IL_ONLY = 1, REQUIRES_32_BITS = 2, PREFERS_32_BITS = 0x20000, MACHINE_X86 = 0x14C };
  uint8_t flag_bytes[4];
  const uint32_t header = pe->directory[PE_CLR].address;
  if (header == 0) return PE_CLR_NONE;
  if (header > PE_SIZE_MAX - AT_FLAGS || !pe_read(pe, header + AT_FLAGS, flag_bytes, 4)) return PE_CLR_MIXED;
  const uint32_t flags = get_u32(flag_bytes);
  if ((flags & IL_ONLY) == 0) return PE_CLR_MIXED;
  // Both bits together mean "prefers 32 bits", which is 32 bits wherever there are any.
  if (pe->machine != MACHINE_X86 || (flags & (REQUIRES_32_BITS | PREFERS_32_BITS)) != 0) return PE_CLR_ONLY;
  return PE_CLR_ANY_CPU;
}

bool pe_text(const pe_t* pe, uint32_t rva, uint32_t limit, const char** text, uint32_t* length) {
  span_t span;
  if (!span_at(pe, rva, &span)) return false;
  const uint32_t backed = span.backed < limit ? span.backed : limit;
  const uint8_t* from = backed == 0 ? (const uint8_t*)"" : bytes_at(pe->file, span.offset, backed);
  if (from == NULL) return false;
  const uint8_t* end = backed == 0 ? NULL : memchr(from, 0, backed);
  if (end == NULL && (backed == limit || span.mapped == span.backed)) return false;
  *text = (const char*)from;
  *length = end == NULL ? backed : (uint32_t)(end - from);
  return true;
}

uint32_t pe_checksum(const pe_t* pe) {
  const uint64_t field = (uint64_t)pe->header + PE_AT_CHECKSUM; // counts as zero
  uint32_t sum = 0;
  const uint8_t* data = pe->file.data;
  const size_t size = pe->file.size;
  for (size_t i = 0; i < size; i += 2) {
    uint32_t low = i >= field && i < field + 4 ? 0 : data[i];
    uint32_t high = i + 1 == size || (i + 1 >= field && i + 1 < field + 4) ? 0 : data[i + 1];
    sum += low | high << 8;
    sum = (sum & 0xFFFF) + (sum >> 16);
  }
  return sum + (uint32_t)size;
}
