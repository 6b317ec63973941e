// What mi-run must know of a program or DLL before it starts or changes it: from the file, or from the memory
// of a process. The bytes come through a function, and nothing in them is believed.
//
// Vocabulary. PE32, PE32+: the two forms of the header; addresses of 4 or 8 bytes. RVA: address relative to
// where the image lies in memory. Directory: one of up to 16 (RVA, size) pairs in the header that say where
// the imports, exports, ... are. Pure: no Windows call.
#ifndef MI_RUN_PE_IMAGE_H
#define MI_RUN_PE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Copies `size` bytes from `offset` on; false when they aren't all there.
typedef bool (*pe_read_fn)(void* source, uint64_t offset, void* to, size_t size);

enum { PE_MACHINE_X86 = 0x14C, PE_MACHINE_X64 = 0x8664, PE_MACHINE_ARM = 0x1C4, PE_MACHINE_ARM64 = 0xAA64 };
enum { PE_SUBSYSTEM_GUI = 2, PE_SUBSYSTEM_CONSOLE = 3 };

typedef enum pe_directory_index_e {
  PE_EXPORTS = 0,
  PE_IMPORTS = 1,
  PE_BOUND_IMPORTS = 11,
  PE_IAT = 12, // the loader makes this range writable while it fills in the imports' addresses
  PE_MANAGED = 14,
  PE_DIRECTORIES = 16,
} pe_directory_index_t;

typedef struct pe_directory_s {
  uint32_t rva, size;
} pe_directory_t;

typedef enum pe_status_e {
  PE_OK,
  PE_NOT_PE,  // no program for Windows at all
  PE_16_BITS, // for DOS or 16-bit Windows
  PE_DAMAGED, // begins as a PE file, but its header is not all there or contradicts itself
} pe_status_t;

typedef struct pe_image_s {
  uint16_t machine;
  bool is_64; // PE32+
  bool is_dll;
  bool is_managed; // .NET
  uint16_t subsystem;
  uint32_t size;           // bytes of address space
  uint64_t directories_at; // offset in the header
  uint32_t directory_count;
  pe_directory_t directories[PE_DIRECTORIES]; // zero from directory_count on
  uint64_t sections_at;
  uint16_t section_count;
} pe_image_t;

pe_status_t pe_read(pe_read_fn read, void* source, pe_image_t* image);

// "x86-64 (64-bit)"; NULL when the machine isn't one of those named above.
const char* pe_machine_name(uint16_t machine);

// The section (its RVA and size in memory) that holds the address. False: none.
bool pe_section_of(pe_read_fn read, void* source, const pe_image_t* image, uint32_t rva,
                   pe_directory_t* section);

// Does the file (not: the memory) export this name? False also when its export table is damaged.
bool pe_file_exports(pe_read_fn read, void* source, const pe_image_t* image, const char* name);

enum { PE_NAME_MAX = 260 }; // of a DLL's file, with its NUL

// The name of the DLL that import descriptor `index` of the file (not: the memory) names; the descriptors are
// numbered from 0. False at their end, and when the table or the name is damaged.
bool pe_file_import(pe_read_fn read, void* source, const pe_image_t* image, uint32_t index,
                    char name[PE_NAME_MAX]);

#endif
