// A new import directory for a program in memory: the old one with mimalloc.dll in front, so that the loader,
// which works through it in order, maps and initialises that DLL first.
//
// The old descriptors keep pointing at the program's own tables. Everything new lies in one block that the
// process has above its image: descriptors, lookup table, address table (the loader writes there, so the
// block is writable), the name of one function to import, the DLL's name, a note for the DLL.
//
// Pure: no Windows call.
#ifndef MI_RUN_IMPORT_BLOCK_H
#define MI_RUN_IMPORT_BLOCK_H

#include "pe_image.h"
#include "utf16.h"

enum { IMPORT_DESCRIPTOR_BYTES = 20 };

typedef struct import_request_s {
  bool is_64;
  const uint8_t* descriptors; // the program's own, without the terminating one
  uint32_t descriptor_count;
  const char* dll;     // name or path, ASCII
  const char* symbol;  // one export of it: the loader skips DLLs of which nothing is imported
  const utf16_t* note; // to stand behind the DLL's name, at the next even address; NULL: none
} import_request_t;

// True for the descriptor that ends a directory.
bool import_descriptor_ends(const uint8_t descriptor[IMPORT_DESCRIPTOR_BYTES]);

size_t import_block_bytes(const import_request_t* request);

// Writes the block for the place where it will lie. rva + its size must not exceed 2 GiB: the import of a
// function by name has 31 bits.
void import_block_write(const import_request_t* request, uint32_t rva, uint8_t* block);

// The directories that the header must get, given the image's: imports, bound imports (none, or the loader
// would go by them) and the address tables. `old_section` is the section of the image's import directory, or
// NULL if it has none.
void import_block_directories(const pe_image_t* image, const import_request_t* request, uint32_t rva,
                              const pe_directory_t* old_section, pe_directory_t directories[PE_DIRECTORIES]);

#endif
