// Reads a PE file (program or DLL, PE32 or PE32+, any machine) out of untrusted bytes.
//
// Vocabulary: an `offset` counts bytes of the file; an `rva` counts bytes of the image in memory, from its
// base. A section's bytes are `backed` by the file up to its raw size; what it maps beyond that reads as
// zero. A `thunk` is a slot of a lookup or address table: the rva of a function's name, or an ordinal.
#ifndef MINJECT_PE_H
#define MINJECT_PE_H

#include "bytes.h"

#include <stdbool.h>

enum {
  PE_EXPORT = 0,
  PE_IMPORT = 1,
  PE_CERTIFICATE = 4, // its address is a file offset
  PE_DEBUG = 6,
  PE_BOUND_IMPORT = 11,
  PE_IAT = 12,
  PE_DELAY_IMPORT = 13,
  PE_CLR = 14,
  PE_DIRECTORIES = 16,
};

enum {
  PE_SECTION_HEADER_SIZE = 40,
  PE_DESCRIPTOR_SIZE = 20,
  PE_PAGE_SIZE = 4096,            // below this section alignment, file and memory have the same layout
  PE_SECTIONS_MAX = 96,           // what every Windows version loads
  PE_IMPORTS_MAX = 4096,          // DLLs; no linker comes near
  PE_FUNCTIONS_MAX = 1024 * 1024, // in all: bounds the work that a crafted file can cause
  PE_NAME_BYTES_MAX = 64 * 1024 * 1024,
  PE_DLL_NAME_MAX = 260, // with its NUL
};
#define PE_SIZE_MAX 0x7FFFFFFFu // of a file and of an image

// Fields of a section header's characteristics, and of two other headers.
#define PE_SECTION_INITIALIZED 0x00000040u
#define PE_SECTION_READ        0x40000000u
#define PE_SECTION_WRITE       0x80000000u
#define PE_FILE_EXECUTABLE     0x0002u
#define PE_FILE_DLL            0x2000u
#define PE_DLL_FORCE_INTEGRITY 0x0080u

// Where the header fields lie that are edited, relative to the "PE\0\0" signature; the same in PE32 and
// PE32+.
enum {
  PE_AT_SECTION_COUNT = 6,
  PE_AT_SYMBOL_TABLE = 12,
  PE_AT_INITIALIZED_DATA = 32,
  PE_AT_SIZE_OF_IMAGE = 80,
  PE_AT_SIZE_OF_HEADERS = 84,
  PE_AT_CHECKSUM = 88,
};

// And of a section header.
enum {
  PE_SECTION_AT_VIRTUAL_SIZE = 8,
  PE_SECTION_AT_ADDRESS = 12,
  PE_SECTION_AT_RAW_SIZE = 16,
  PE_SECTION_AT_RAW = 20,
  PE_SECTION_AT_RELOCATIONS = 24,
  PE_SECTION_AT_LINE_NUMBERS = 28,
  PE_SECTION_AT_CHARACTERISTICS = 36,
};

typedef struct pe_error_s {
  char text[400]; // one sentence, no newline
} pe_error_t;

typedef struct pe_directory_s {
  uint32_t address;
  uint32_t size;
} pe_directory_t;

typedef struct pe_section_s {
  char name[9]; // printable
  uint32_t address;
  uint32_t extent; // bytes in memory: the virtual size, or the raw size when that is 0
  uint32_t raw;    // offset as the loader takes it, rounded down to a sector
  uint32_t raw_size;
  uint32_t header; // offset of its header
  uint32_t characteristics;
} pe_section_t;

typedef struct pe_import_s {
  uint32_t fields[5]; // the descriptor: lookup table, timestamp, forwarder, name, address table
  uint32_t lookup;    // rva of the table to read names from: the lookup table, or else the address table
  uint32_t functions;
  char dll[PE_DLL_NAME_MAX]; // as in the file: any byte but NUL
} pe_import_t;

enum {
  PE_LOOKUP = 0,
  PE_TIMESTAMP = 1,
  PE_FORWARDER = 2,
  PE_NAME = 3,
  PE_ADDRESS_TABLE = 4
}; // indices of fields

typedef struct pe_function_s {
  const char* name; // in the file's bytes, not NUL-terminated; NULL: by ordinal
  uint32_t length;
  uint16_t ordinal;
} pe_function_t;

typedef struct pe_s {
  bytes_t file;
  bool is_64;
  bool is_flat; // section alignment below a page: offset and rva are the same
  uint16_t machine;
  uint16_t characteristics;
  uint16_t subsystem;
  uint16_t dll_characteristics;
  uint32_t header; // offset of "PE\0\0"
  uint32_t symbol_table;
  uint64_t image_base;
  uint32_t section_alignment;
  uint32_t file_alignment;
  uint32_t size_of_image;
  uint32_t size_of_headers;
  uint32_t size_of_initialized_data;
  uint32_t checksum;
  uint32_t directories; // offset of the first
  uint32_t directory_count;
  pe_directory_t directory[PE_DIRECTORIES]; // zero where the file has none
  uint32_t section_table;                   // offset
  uint32_t section_count;
  pe_section_t* sections; // by ascending address
  uint32_t raw_end;       // where headers and sections end in the file; what follows is the overlay
  uint32_t image_end;     // where the last section ends in memory, not rounded
  uint32_t import_count;
  pe_import_t* imports;
} pe_t;

// Parses and checks headers, sections and imports. False with the reason in `error` when a Windows loader
// couldn't take the file, or memory ran out (error->text then says so). `data` must outlive `pe`; pe_free in
// any case.
bool pe_parse(const uint8_t* data, size_t size, pe_t* pe, pe_error_t* error);
void pe_free(pe_t* pe);

// The next three are false when the bytes don't lie in the image.
bool pe_read(const pe_t* pe, uint32_t rva, void* to, uint32_t count);
// File offset of `count` bytes that are all backed by the file.
bool pe_backed(const pe_t* pe, uint32_t rva, uint32_t count, uint32_t* offset);
// A string that ends within `limit` bytes, NUL included. Not NUL-terminated where the terminator isn't in the
// file.
bool pe_text(const pe_t* pe, uint32_t rva, uint32_t limit, const char** text, uint32_t* length);

// The section that holds the address, or NULL.
const pe_section_t* pe_section_of(const pe_t* pe, uint32_t rva);

// Function `index` of an import of this file; index < import->functions.
bool pe_import_function(const pe_t* pe, const pe_import_t* import, uint32_t index, pe_function_t* function);

// DLLs of the delay import directory: up to `max` into `imports` (fields are not filled in); returns how many
// there are. False in *ok with the reason when the table can't be read to its end; the loader doesn't mind,
// it never looks at it.
uint32_t pe_delay_imports(const pe_t* pe, pe_import_t* imports, uint32_t max, bool* ok, pe_error_t* error);

// What the loader makes of a .NET file.
typedef enum pe_clr_e {
  PE_CLR_NONE,    // not .NET
  PE_CLR_MIXED,   // machine code beside that of .NET: imports are loaded as for any other file
  PE_CLR_ONLY,    // code of .NET alone: the loader loads mscoree.dll and never reads the import table
  PE_CLR_ANY_CPU, // the same, and it runs with 64 bits on 64-bit Windows although its header says x86
} pe_clr_t;
pe_clr_t pe_clr(const pe_t* pe);

// Does the file export the name? *ok as above.
bool pe_exports(const pe_t* pe, const char* name, bool* ok, pe_error_t* error);

// What the CheckSum field should hold.
uint32_t pe_checksum(const pe_t* pe);

// "x86-64", or NULL for an unknown machine.
const char* pe_machine_name(uint16_t machine);

// Compares names of DLLs as the loader does: without regard to case, ".dll" added where there's no extension.
bool pe_same_dll(const char* a, const char* b);

// Copies text with every unprintable byte shown as \xNN; cut at the capacity.
void pe_printable(char* to, size_t capacity, const char* text, size_t length);

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
bool pe_fail(pe_error_t* error, const char* format, ...); // returns false

// ---- between pe.c and pe_tables.c ----
bool pe_parse_imports(pe_t* pe, pe_error_t* error);

#endif
