#include "import_block.h"

#include <string.h>

// Fields of a descriptor, as 32-bit words.
enum { LOOKUP_TABLE = 0, TIME_STAMP = 1, FORWARDER_CHAIN = 2, DLL_NAME = 3, ADDRESS_TABLE = 4 };

typedef struct layout_s {
  size_t lookup, addresses, symbol, dll, note, end; // offsets in the block, which begins with the descriptors
} layout_t;

static size_t note_bytes(const utf16_t* note) {
  size_t length = 0;
  if (note == NULL) return 0;
  while (note[length] != 0) length++;
  return (length + 1) * sizeof(utf16_t);
}

static layout_t layout_of(const import_request_t* request) {
  size_t slot_bytes = request->is_64 ? 8 : 4;
  layout_t layout;
  size_t descriptors = (size_t)IMPORT_DESCRIPTOR_BYTES * (request->descriptor_count + 2);
  layout.lookup = (descriptors + 7) & ~(size_t)7;
  layout.addresses = layout.lookup + 2 * slot_bytes;
  layout.symbol = layout.addresses + 2 * slot_bytes;
  layout.dll = layout.symbol + 2 + strlen(request->symbol) + 1; // a hint precedes the name
  layout.note = (layout.dll + strlen(request->dll) + 2) & ~(size_t)1;
  layout.end = layout.note + note_bytes(request->note);
  return layout;
}

static void put(uint8_t* descriptor, int field, uint32_t value) {
  for (int i = 0; i < 4; i++) descriptor[4 * field + i] = (uint8_t)(value >> (8 * i));
}

static bool is_zero(const uint8_t* descriptor, int field) {
  static const uint8_t zero[4];
  return memcmp(descriptor + 4 * field, zero, 4) == 0;
}

bool import_descriptor_ends(const uint8_t descriptor[IMPORT_DESCRIPTOR_BYTES]) {
  return is_zero(descriptor, DLL_NAME) || is_zero(descriptor, ADDRESS_TABLE);
}

size_t import_block_bytes(const import_request_t* request) { return layout_of(request).end; }

void import_block_write(const import_request_t* request, uint32_t rva, uint8_t* block) {
  layout_t layout = layout_of(request);
  memset(block, 0, layout.end);
  put(block, LOOKUP_TABLE, rva + (uint32_t)layout.lookup);
  put(block, DLL_NAME, rva + (uint32_t)layout.dll);
  put(block, ADDRESS_TABLE, rva + (uint32_t)layout.addresses);

  uint8_t* old = block + IMPORT_DESCRIPTOR_BYTES;
  if (request->descriptor_count > 0) {
    memcpy(old, request->descriptors, (size_t)IMPORT_DESCRIPTOR_BYTES * request->descriptor_count);
  }
  for (uint32_t i = 0; i < request->descriptor_count; i++, old += IMPORT_DESCRIPTOR_BYTES) {
    // A bound import's addresses were filled in beforehand and hold for certain DLLs only. Without its stamp,
    // the loader fills them in anew, for which it needs the lookup table.
    if (!is_zero(old, LOOKUP_TABLE)) {
      put(old, TIME_STAMP, 0);
      put(old, FORWARDER_CHAIN, 0);
    }
  }

  put(block + layout.lookup, 0, rva + (uint32_t)layout.symbol);
  put(block + layout.addresses, 0, rva + (uint32_t)layout.symbol);
  strcpy((char*)block + layout.symbol + 2, request->symbol);
  strcpy((char*)block + layout.dll, request->dll);
  if (request->note != NULL) memcpy(block + layout.note, request->note, note_bytes(request->note));
}

void import_block_directories(const pe_image_t* image, const import_request_t* request, uint32_t rva,
                              const pe_directory_t* old_section, pe_directory_t directories[PE_DIRECTORIES]) {
  memcpy(directories, image->directories, sizeof(image->directories));
  directories[PE_IMPORTS] =
      (pe_directory_t){rva, (uint32_t)(IMPORT_DESCRIPTOR_BYTES * ((size_t)request->descriptor_count + 2))};
  directories[PE_BOUND_IMPORTS] = (pe_directory_t){0, 0};
  if (directories[PE_IAT].rva == 0) {
    // Without this directory the loader makes the section writable that holds the import directory. That is
    // where the program's address tables still are; the block is writable anyhow.
    directories[PE_IAT] =
        old_section != NULL ? *old_section : (pe_directory_t){rva, (uint32_t)import_block_bytes(request)};
  }
}
