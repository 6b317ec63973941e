#include "pe_image.h"

#include <string.h>

enum {
  DOS_HEADER_BYTES = 64,
  DOS_PE_AT = 0x3C,
  FILE_HEADER_BYTES = 24, // with the signature
  SECTION_BYTES = 40,
  OPTIONAL_BYTES = 112, // PE32+ up to the directories; PE32: 96
  CHARACTERISTIC_EXECUTABLE = 0x0002,
  CHARACTERISTIC_DLL = 0x2000,
  EXPORT_BYTES = 40,
  IMPORT_BYTES = 20,
};

static uint16_t u16(const uint8_t* at) { return (uint16_t)(at[0] | at[1] << 8); }
static uint32_t u32(const uint8_t* at) { return u16(at) | (uint32_t)u16(at + 2) << 16; }

const char* pe_machine_name(uint16_t machine) {
  switch (machine) {
  case PE_MACHINE_X86:
    return "x86 (32-bit)";
  case PE_MACHINE_X64:
    return "x86-64 (64-bit)";
  case PE_MACHINE_ARM:
    return "ARM (32-bit)";
  case PE_MACHINE_ARM64:
    return "ARM64 (64-bit)";
  default:
    return NULL;
  }
}

pe_status_t pe_read(pe_read_fn read, void* source, pe_image_t* image) {
  memset(image, 0, sizeof(*image));
  uint8_t dos[DOS_HEADER_BYTES];
  if (!read(source, 0, dos, 2) || dos[0] != 'M' || dos[1] != 'Z') return PE_NOT_PE;
  if (!read(source, 0, dos, sizeof(dos))) return PE_16_BITS;
  uint32_t header_at = u32(dos + DOS_PE_AT);
  uint8_t header[FILE_HEADER_BYTES];
  if (!read(source, header_at, header, 4)) return PE_16_BITS; // a DOS program need not have this field
  if (memcmp(header, "PE\0\0", 4) != 0) return PE_16_BITS;
  if (!read(source, header_at, header, sizeof(header))) return PE_DAMAGED;
  image->machine = u16(header + 4);
  image->section_count = u16(header + 6);
  uint16_t optional_bytes = u16(header + 20);
  uint16_t characteristics = u16(header + 22);
  image->is_dll = (characteristics & CHARACTERISTIC_DLL) != 0;

  uint64_t optional_at = (uint64_t)header_at + FILE_HEADER_BYTES;
  uint8_t optional[OPTIONAL_BYTES];
  if (optional_bytes < 2 || !read(source, optional_at, optional, 2)) return PE_DAMAGED;
  uint16_t magic = u16(optional);
  if (magic != 0x10B && magic != 0x20B) return PE_DAMAGED;
  image->is_64 = magic == 0x20B;
  uint16_t fixed_bytes = image->is_64 ? OPTIONAL_BYTES : OPTIONAL_BYTES - 16;
  if (optional_bytes < fixed_bytes || !read(source, optional_at, optional, fixed_bytes)) return PE_DAMAGED;
  image->size = u32(optional + 56);
  image->subsystem = u16(optional + 68);
  image->directories_at = optional_at + fixed_bytes;
  image->directory_count = u32(optional + fixed_bytes - 4);
  if (image->directory_count > PE_DIRECTORIES) image->directory_count = PE_DIRECTORIES;
  if (optional_bytes - fixed_bytes < (int)(8 * image->directory_count)) return PE_DAMAGED;
  uint8_t directories[8 * PE_DIRECTORIES];
  if (!read(source, image->directories_at, directories, 8 * image->directory_count)) return PE_DAMAGED;
  for (uint32_t i = 0; i < image->directory_count; i++) {
    image->directories[i] = (pe_directory_t){u32(directories + 8 * i), u32(directories + 8 * i + 4)};
  }
  image->is_managed = image->directories[PE_MANAGED].rva != 0;
  image->sections_at = optional_at + optional_bytes;
  if ((characteristics & CHARACTERISTIC_EXECUTABLE) == 0) return PE_DAMAGED; // the linker reported an error
  return PE_OK;
}

typedef struct section_s {
  pe_directory_t memory;
  uint32_t file_at, file_bytes;
} section_t;

static bool find_section(pe_read_fn read, void* source, const pe_image_t* image, uint32_t rva,
                         section_t* section) {
  for (uint16_t i = 0; i < image->section_count; i++) {
    uint8_t bytes[SECTION_BYTES];
    if (!read(source, image->sections_at + (uint64_t)SECTION_BYTES * i, bytes, sizeof(bytes))) return false;
    *section = (section_t){.memory = {.rva = u32(bytes + 12), .size = u32(bytes + 8)},
                           .file_at = u32(bytes + 20),
                           .file_bytes = u32(bytes + 16)};
    if (section->memory.size == 0) section->memory.size = section->file_bytes;
    if (rva >= section->memory.rva && rva - section->memory.rva < section->memory.size) return true;
  }
  return false;
}

bool pe_section_of(pe_read_fn read, void* source, const pe_image_t* image, uint32_t rva,
                   pe_directory_t* section) {
  section_t found;
  if (!find_section(read, source, image, rva, &found)) return false;
  *section = found.memory;
  return true;
}

// Reads from where the loader would put it, in the file.
static bool read_rva(pe_read_fn read, void* source, const pe_image_t* image, uint32_t rva, void* to,
                     size_t size) {
  section_t section;
  if (!find_section(read, source, image, rva, &section)) return false;
  uint32_t offset = rva - section.memory.rva;
  if (offset > section.file_bytes || section.file_bytes - offset < size) return false;
  return read(source, (uint64_t)section.file_at + offset, to, size);
}

bool pe_file_exports(pe_read_fn read, void* source, const pe_image_t* image, const char* name) {
  pe_directory_t exports = image->directories[PE_EXPORTS];
  uint8_t table[EXPORT_BYTES];
  if (exports.rva == 0 || !read_rva(read, source, image, exports.rva, table, sizeof(table))) return false;
  uint32_t count = u32(table + 24), names = u32(table + 32);
  if (count > UINT16_MAX) return false; // more than a DLL can have
  size_t name_bytes = strlen(name) + 1;
  char found[256];
  if (name_bytes > sizeof(found)) return false;
  for (uint32_t i = 0; i < count; i++) {
    uint8_t rva[4];
    if (!read_rva(read, source, image, names + 4 * i, rva, sizeof(rva))) return false;
    // A name may end right at the end of its section: then it is shorter than ours.
    if (read_rva(read, source, image, u32(rva), found, name_bytes) && memcmp(found, name, name_bytes) == 0)
      return true;
  }
  return false;
}

bool pe_file_import(pe_read_fn read, void* source, const pe_image_t* image, uint32_t index,
                    char name[PE_NAME_MAX]) {
  enum { AT_NAME = 12, AT_ADDRESSES = 16, COUNT_MAX = 65536 };
  uint32_t table = image->directories[PE_IMPORTS].rva;
  uint8_t descriptor[IMPORT_BYTES];
  if (table == 0 || index >= COUNT_MAX || table > UINT32_MAX - IMPORT_BYTES * COUNT_MAX) return false;
  if (!read_rva(read, source, image, table + IMPORT_BYTES * index, descriptor, sizeof(descriptor)))
    return false;
  uint32_t at = u32(descriptor + AT_NAME);
  if (at == 0 || u32(descriptor + AT_ADDRESSES) == 0 || at > UINT32_MAX - PE_NAME_MAX) return false;
  for (uint32_t i = 0; i < PE_NAME_MAX; i++) {
    if (!read_rva(read, source, image, at + i, &name[i], 1)) return false;
    if (name[i] == 0) return i > 0;
  }
  return false;
}
