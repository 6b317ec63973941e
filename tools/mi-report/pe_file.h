// A program or DLL as a file: its sections, and the functions that its symbol table and its exports name.
#ifndef MI_REPORT_PE_FILE_H
#define MI_REPORT_PE_FILE_H

#include <stdbool.h>

#include "common.h"

typedef struct pe_section_s {
  const char* name;
  uint32_t rva, size; // in memory
  const uint8_t* data;
  size_t data_size;
  bool is_code;
} pe_section_t;

typedef struct pe_symbol_s {
  uint32_t rva; // first, for find_at_or_before
  const char* name;
} pe_symbol_t;

typedef struct pe_file_s {
  const uint8_t* data;
  size_t size;
  uint64_t image_base;
  uint32_t timestamp, image_size;
  bool is_64;
  pe_section_t* sections;
  size_t section_count;
  pe_symbol_t* symbols; // sorted by rva
  size_t symbol_count;
} pe_file_t;

// NULL: it can't be read, or is no PE file.
pe_file_t* pe_open(const char* path);

const pe_section_t* pe_section(const pe_file_t* file, const char* name);
const pe_section_t* pe_section_at(const pe_file_t* file, uint32_t rva);

// The function that the place belongs to as far as names tell: the last one before it in its section.
const pe_symbol_t* pe_function(const pe_file_t* file, uint32_t rva);

#endif
