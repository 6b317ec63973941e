// A small PE file in memory, for tests of what reads one: a header, one section that holds an export table,
// nothing to run.
#ifndef TESTS_MI_RUN_PE_BUILDER_H
#define TESTS_MI_RUN_PE_BUILDER_H

#include "pe_image.h"

enum {
  PE_BUILT_BYTES = 0x600,
  PE_BUILT_HEADER_AT = 0x80,     // of "PE\0\0"
  PE_BUILT_SECTION_RVA = 0x1000, // lies at PE_BUILT_SECTION_AT in the file
  PE_BUILT_SECTION_AT = 0x400,
  PE_BUILT_SECTION_BYTES = 0x200,
  PE_BUILT_SIZE = 0x3000,
};

typedef struct pe_built_s {
  size_t size; // readers see no more; tests make it smaller
  uint8_t bytes[PE_BUILT_BYTES];
} pe_built_t;

// An x86-64 (PE32+) or x86 (PE32) console program with 16 directories, which exports "first", "mi_version"
// and "zlast".
void pe_build(pe_built_t* built, bool is_64);

uint8_t* pe_built_directory(pe_built_t* built, bool is_64, int index);
void pe_put16(uint8_t* at, uint32_t value);
void pe_put32(uint8_t* at, uint32_t value);

// A pe_read_fn; source is a pe_built_t.
bool pe_built_read(void* source, uint64_t offset, void* to, size_t size);

#endif
