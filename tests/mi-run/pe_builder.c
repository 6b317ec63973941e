#include "pe_builder.h"

#include <string.h>

void pe_put16(uint8_t* at, uint32_t value) {
  at[0] = (uint8_t)value;
  at[1] = (uint8_t)(value >> 8);
}

void pe_put32(uint8_t* at, uint32_t value) {
  pe_put16(at, value & 0xFFFF);
  pe_put16(at + 2, value >> 16);
}

uint8_t* pe_built_directory(pe_built_t* built, bool is_64, int index) {
  return built->bytes + PE_BUILT_HEADER_AT + 24 + (is_64 ? 112 : 96) + 8 * index;
}

void pe_build(pe_built_t* built, bool is_64) {
  memset(built, 0, sizeof(*built));
  built->size = PE_BUILT_BYTES;
  uint8_t* bytes = built->bytes;
  memcpy(bytes, "MZ", 2);
  pe_put32(bytes + 0x3C, PE_BUILT_HEADER_AT);
  uint8_t* header = bytes + PE_BUILT_HEADER_AT;
  memcpy(header, "PE\0\0", 4);
  pe_put16(header + 4, is_64 ? 0x8664 : 0x14C);
  pe_put16(header + 6, 1); // sections
  pe_put16(header + 20, is_64 ? 240 : 224);
  pe_put16(header + 22, 0x0002); // executable
  uint8_t* optional = header + 24;
  pe_put16(optional, is_64 ? 0x20B : 0x10B);
  pe_put32(optional + 56, PE_BUILT_SIZE);
  pe_put16(optional + 68, 3); // console
  pe_put32(optional + (is_64 ? 108 : 92), 16);
  uint8_t* section = optional + (is_64 ? 240 : 224);
  memcpy(section, ".data\0\0\0", 8);
  pe_put32(section + 8, PE_BUILT_SECTION_BYTES);
  pe_put32(section + 12, PE_BUILT_SECTION_RVA);
  pe_put32(section + 16, PE_BUILT_SECTION_BYTES);
  pe_put32(section + 20, PE_BUILT_SECTION_AT);

  static const char* const names[] = {"first", "mi_version", "zlast"};
  uint8_t* data = bytes + PE_BUILT_SECTION_AT;
  pe_put32(pe_built_directory(built, is_64, PE_EXPORTS), PE_BUILT_SECTION_RVA);
  pe_put32(pe_built_directory(built, is_64, PE_EXPORTS) + 4, 40);
  pe_put32(data + 24, 3);
  pe_put32(data + 32, PE_BUILT_SECTION_RVA + 40);
  size_t at = PE_BUILT_SECTION_BYTES; // the last name ends where the section ends
  for (int i = 2; i >= 0; i--) {
    at -= strlen(names[i]) + 1;
    strcpy((char*)data + at, names[i]);
    pe_put32(data + 40 + 4 * i, PE_BUILT_SECTION_RVA + (uint32_t)at);
  }
}

bool pe_built_read(void* source, uint64_t offset, void* to, size_t size) {
  const pe_built_t* built = source;
  if (offset > built->size || built->size - offset < size) return false;
  memcpy(to, built->bytes + offset, size);
  return true;
}
