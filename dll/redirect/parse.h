// A module as the loader has mapped it (PE32 or PE32+): what it exports, where its functions end, which
// import slots it has. Changes nothing in it. Everything is checked against the module's size and against
// what can be read, so a damaged module yields less, never a fault.
//
//   rva    address relative to the module's base
//   slot   a pointer that the loader has filled with the address of an imported function; calls go through it
#ifndef DLL_REDIRECT_PARSE_H
#define DLL_REDIRECT_PARSE_H

#include "base/attributes.h"

// Which bytes around `p` can be read? False: not even that one. Protected programs hide parts of themselves.
typedef bool parse_readable_t(const void* p, uintptr_t* from, uintptr_t* to);

typedef struct parse_directory_s {
  uint32_t rva, size;
} parse_directory_t;

typedef struct parse_image_s {
  const uint8_t* base;
  size_t size;
  bool is_64;
  bool is_dll;
  uint32_t sections, section_count; // rva of the section table
  parse_directory_t exports, imports, delay_imports, functions;
  parse_readable_t* readable;           // NULL: all of it can be read
  uintptr_t readable_from, readable_to; // what it said last
} parse_image_t;

// `available`: bytes mapped at `base` if known, else SIZE_MAX to believe the header. NULL when all is well,
// else why not.
const char* parse_image(const void* base, size_t available, parse_readable_t* readable, parse_image_t* image);

// Can `size` bytes at `p` be read? They may lie outside of the module, if the image has a parse_readable_t.
bool parse_is_readable(parse_image_t* image, const void* p, size_t size);

// ---- exports --------------------------------------------------------------------------------------------

// Rva of an exported function; 0 when there is none, or when it is another module's (a forwarder).
uint32_t parse_export(parse_image_t* image, const char* name);

// Does an exported function start within [from, to)?
bool parse_has_export_in(parse_image_t* image, uint32_t from, uint32_t to);

// ---- code -----------------------------------------------------------------------------------------------

// Bytes of executable section from rva on; 0 when it isn't code.
size_t parse_code_size(parse_image_t* image, uint32_t rva);

// Bytes of the function that starts at rva, from the table for unwinding; 0 when the module doesn't tell
// (always on i386).
size_t parse_function_size(parse_image_t* image, uint32_t rva);

// Does a function of the table for unwinding start within [from, to)?
bool parse_has_function_in(parse_image_t* image, uint32_t from, uint32_t to);

// ---- imports --------------------------------------------------------------------------------------------

// `dll`: the name the import was made by. `function`: its name, NULL when imported by number. Return false to
// stop.
typedef bool parse_slot_t(void* context, const char* dll, const char* function, void** slot);

// All import slots, those of delayed imports included. False when the visitor stopped.
bool parse_imports(parse_image_t* image, parse_slot_t* visit, void* context);

// Is there an import slot at `p`?
bool parse_is_slot(parse_image_t* image, uintptr_t p);

#endif
