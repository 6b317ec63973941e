// Tables of a PE file that lie in its sections: imports, delay imports, exports.
#include "pe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FUNCTION_NAME_LIMIT = 65536 }; // NUL included; mangled C++ names get long

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

// Length without an extension ".dll", which the loader adds to a name that has none.
static size_t stem_length(const char* name) {
  size_t length = strlen(name);
  if (length >= 4 && name[length - 4] == '.' && lower(name[length - 3]) == 'd' &&
      lower(name[length - 2]) == 'l' && lower(name[length - 1]) == 'l') {
    return length - 4;
  }
  return length;
}

bool pe_same_dll(const char* a, const char* b) {
  const size_t length = stem_length(a);
  if (length != stem_length(b)) return false;
  for (size_t i = 0; i < length; i++) {
    if (lower(a[i]) != lower(b[i])) return false;
  }
  // "x" is x.dll, and so is "x.dll"; "x.exe" is neither "x" nor "x.exe.dll", for it has an extension.
  const bool a_is_bare = a[length] == 0, b_is_bare = b[length] == 0;
  return a_is_bare == b_is_bare || memchr(a, '.', length) == NULL;
}

// ---- thunks -----------------------------------------------------------------------------------------------

static bool read_thunk(const pe_t* pe, uint64_t rva, uint64_t* value) {
  uint8_t bytes[8] = {0};
  if (rva > UINT32_MAX || !pe_read(pe, (uint32_t)rva, bytes, pe->is_64 ? 8 : 4)) return false;
  *value = get_u64(bytes);
  return true;
}

static bool is_ordinal(const pe_t* pe, uint64_t thunk) { return thunk >> (pe->is_64 ? 63 : 31) != 0; }

bool pe_import_function(const pe_t* pe, const pe_import_t* import, uint32_t index, pe_function_t* function) {
  uint64_t thunk;
  memset(function, 0, sizeof(*function));
  if (!read_thunk(pe, import->lookup + (uint64_t)index * (pe->is_64 ? 8 : 4), &thunk)) return false;
  if (is_ordinal(pe, thunk)) {
    function->ordinal = (uint16_t)thunk;
    return true;
  }
  // A hint of two bytes precedes the name.
  return thunk <= UINT32_MAX - 2 &&
         pe_text(pe, (uint32_t)thunk + 2, FUNCTION_NAME_LIMIT, &function->name, &function->length);
}

typedef struct budget_s {
  uint32_t functions; // left
  uint32_t name_bytes;
} budget_t;

// Counts the functions and makes sure that each can be read.
static bool check_functions(const pe_t* pe, pe_import_t* import, budget_t* budget, pe_error_t* error) {
  char dll[80];
  pe_printable(dll, sizeof(dll), import->dll, strlen(import->dll));
  const uint32_t width = pe->is_64 ? 8 : 4;
  for (uint32_t i = 0;; i++) {
    uint64_t thunk;
    pe_function_t function;
    if (!read_thunk(pe, import->lookup + (uint64_t)i * width, &thunk)) {
      return pe_fail(error, "damaged: the import table of %s at 0x%x has no end within its section", dll,
                     import->lookup);
    }
    // The loader writes an address for each, so the slots must exist; what is in them doesn't matter.
    if (!read_thunk(pe, import->fields[PE_ADDRESS_TABLE] + (uint64_t)i * width, &(uint64_t){0})) {
      return pe_fail(error, "damaged: the address table of %s at 0x%x reaches out of its section", dll,
                     import->fields[PE_ADDRESS_TABLE]);
    }
    if (thunk == 0) {
      import->functions = i;
      return true;
    }
    if (budget->functions-- == 0) {
      return pe_fail(error, "damaged: it imports more than %u functions", PE_FUNCTIONS_MAX);
    }
    if (!pe_import_function(pe, import, i, &function)) {
      char high[12] = "";
      if (thunk >> 32 != 0) snprintf(high, sizeof(high), "%x'", (unsigned)(thunk >> 32));
      return pe_fail(
          error,
          "damaged: the name of function %u of %s at 0x%s%x lies outside of its sections or has no end",
          i + 1, dll, high, (unsigned)thunk);
    }
    if (function.length > budget->name_bytes) {
      return pe_fail(error, "damaged: the names of the functions that it imports take more than %u bytes",
                     PE_NAME_BYTES_MAX);
    }
    budget->name_bytes -= function.length;
  }
}

static bool copy_dll_name(const pe_t* pe, uint32_t rva, char to[PE_DLL_NAME_MAX]) {
  const char* text;
  uint32_t length;
  if (!pe_text(pe, rva, PE_DLL_NAME_MAX, &text, &length)) return false;
  memcpy(to, text, length);
  to[length] = 0;
  return true;
}

// ---- imports ----------------------------------------------------------------------------------------------

static bool grow_imports(pe_t* pe, uint32_t* capacity, pe_error_t* error) {
  if (pe->import_count < *capacity) return true;
  const uint32_t wanted = *capacity == 0 ? 16 : *capacity * 2;
  pe_import_t* imports = realloc(pe->imports, wanted * sizeof(pe_import_t));
  if (imports == NULL) return pe_fail(error, "out of memory");
  pe->imports = imports;
  *capacity = wanted;
  return true;
}

bool pe_parse_imports(pe_t* pe, pe_error_t* error) {
  const uint32_t table = pe->directory[PE_IMPORT].address;
  if (table == 0) return true; // imports nothing
  budget_t budget = {PE_FUNCTIONS_MAX, PE_NAME_BYTES_MAX};
  for (uint32_t i = 0, capacity = 0;; i++) {
    uint8_t descriptor[PE_DESCRIPTOR_SIZE];
    const uint64_t rva = table + (uint64_t)i * PE_DESCRIPTOR_SIZE;
    if (rva > UINT32_MAX || !pe_read(pe, (uint32_t)rva, descriptor, sizeof(descriptor))) {
      return i == 0
                 ? pe_fail(error, "damaged: its import directory at 0x%x lies outside of its sections", table)
                 : pe_fail(error, "damaged: its import directory at 0x%x has no end within its section",
                           table);
    }
    // The loader stops at a descriptor that lacks either.
    if (get_u32(descriptor + 4 * PE_NAME) == 0 || get_u32(descriptor + 4 * PE_ADDRESS_TABLE) == 0)
      return true;
    if (i == PE_IMPORTS_MAX) return pe_fail(error, "damaged: it imports more than %u DLLs", PE_IMPORTS_MAX);
    if (!grow_imports(pe, &capacity, error)) return false;
    pe_import_t* import = &pe->imports[pe->import_count++];
    memset(import, 0, sizeof(*import));
    for (uint32_t field = 0; field < 5; field++) import->fields[field] = get_u32(descriptor + 4 * field);
    // Some old linkers leave something else than an address in the first field; the loader then takes the
    // other table.
    import->lookup = import->fields[PE_LOOKUP] < pe->size_of_headers ? import->fields[PE_ADDRESS_TABLE]
        : import->fields[PE_LOOKUP];
    if (!copy_dll_name(pe, import->fields[PE_NAME], import->dll)) {
      return pe_fail(error,
                     "damaged: the name of the DLL of import %u at 0x%x lies outside of its sections or has "
                     "no end within "
                     "%u bytes",
                     i + 1, import->fields[PE_NAME], PE_DLL_NAME_MAX);
    }
    if (import->dll[0] == 0)
      return pe_fail(error, "damaged: the name of the DLL of import %u is empty", i + 1);
    if (!check_functions(pe, import, &budget, error)) return false;
  }
}

// ---- delay imports ----------------------------------------------------------------------------------------

// The first linkers that knew delay imports wrote addresses where later ones write rvas; bit 0 of the
// attributes tells.
static uint32_t delay_rva(const pe_t* pe, uint32_t value, bool is_rva) {
  return is_rva ? value : (uint32_t)(value - pe->image_base);
}

uint32_t pe_delay_imports(const pe_t* pe, pe_import_t* imports, uint32_t max, bool* ok, pe_error_t* error) {
  enum { SIZE = 32, ATTRIBUTES = 0, NAME = 4, LOOKUP = 16 };
  const uint32_t table = pe->directory[PE_DELAY_IMPORT].address;
  uint32_t functions_left = PE_FUNCTIONS_MAX;
  *ok = true;
  if (table == 0) return 0;
  for (uint32_t count = 0;; count++) {
    uint8_t descriptor[SIZE];
    const uint64_t rva = table + (uint64_t)count * SIZE;
    if (count > PE_IMPORTS_MAX || rva > UINT32_MAX || !pe_read(pe, (uint32_t)rva, descriptor, SIZE)) {
      *ok = pe_fail(error, "its delay import directory at 0x%x has no end within its section", table);
      return count < max ? count : max;
    }
    if (get_u32(descriptor + NAME) == 0) return count;
    if (count >= max) continue;
    pe_import_t* import = &imports[count];
    memset(import, 0, sizeof(*import));
    const bool is_rva = (get_u32(descriptor + ATTRIBUTES) & 1) != 0;
    import->lookup = delay_rva(pe, get_u32(descriptor + LOOKUP), is_rva);
    uint64_t thunk;
    if (!copy_dll_name(pe, delay_rva(pe, get_u32(descriptor + NAME), is_rva), import->dll)) {
      *ok = pe_fail(error, "the name of the DLL of delay import %u can't be read", count + 1);
      return count;
    }
    while (functions_left > 0 &&
           read_thunk(pe, import->lookup + (uint64_t)import->functions * (pe->is_64 ? 8 : 4), &thunk) &&
           thunk != 0) {
      import->functions++;
      functions_left--;
    }
  }
}

// ---- exports ----------------------------------------------------------------------------------------------

bool pe_exports(const pe_t* pe, const char* name, bool* ok, pe_error_t* error) {
  enum { SIZE = 40, NAME_COUNT = 24, NAMES = 32 };
  const uint32_t table = pe->directory[PE_EXPORT].address;
  *ok = true;
  if (table == 0) return false;
  uint8_t directory[SIZE];
  if (!pe_read(pe, table, directory, SIZE)) {
    return *ok = pe_fail(error, "its export directory at 0x%x lies outside of its sections", table);
  }
  const uint32_t count = get_u32(directory + NAME_COUNT);
  const uint32_t wanted = (uint32_t)strlen(name);
  if (count > PE_FUNCTIONS_MAX)
    return *ok = pe_fail(error, "it exports more than %u functions", PE_FUNCTIONS_MAX);
  for (uint32_t i = 0; i < count; i++) {
    uint8_t address[4];
    const char* text;
    uint32_t length;
    const uint64_t rva = get_u32(directory + NAMES) + (uint64_t)i * 4;
    if (rva > UINT32_MAX || !pe_read(pe, (uint32_t)rva, address, 4)) {
      return *ok = pe_fail(error, "its table of exported names at 0x%x reaches out of its section",
                           get_u32(directory + NAMES));
    }
    if (pe_text(pe, get_u32(address), wanted + 1, &text, &length) && length == wanted &&
        memcmp(text, name, wanted) == 0) {
      return true;
    }
  }
  return false;
}
