#include "parse.h"

#define DOS_HEADER_SIZE     64
#define DOS_HEADER_PE       0x3C // offset of the PE header
#define PE_SECTION_COUNT    6    // offsets from the PE header
#define PE_OPTIONAL_SIZE    20
#define PE_FLAGS            22
#define PE_OPTIONAL         24
#define PE_FLAG_DLL         0x2000
#define OPTIONAL_PE32       0x10B
#define OPTIONAL_PE32_PLUS  0x20B
#define OPTIONAL_IMAGE_SIZE 56 // offset from the optional header
#define SECTION_SIZE        40
#define SECTION_CODE        0x20000000u // executable

enum { DIRECTORY_EXPORT = 0, DIRECTORY_IMPORT = 1, DIRECTORY_EXCEPTION = 3, DIRECTORY_DELAY_IMPORT = 13 };

#define IMPORT_SIZE       20
#define DELAY_IMPORT_SIZE 32
#define FUNCTION_SIZE     12 // of an entry in the table for unwinding: begin, end, how
#define NAME_MAX          512
#define HEADER_MAX        0x10000

// ---- bytes ----------------------------------------------------------------------------------------------

static bool is_readable(parse_image_t* image, const uint8_t* p, size_t size) {
  if (image->readable == NULL) return true;
  uintptr_t from = (uintptr_t)p, to = from + size;
  while (from < to) {
    if (from < image->readable_from || from >= image->readable_to) {
      if (!image->readable((const void*)from, &image->readable_from, &image->readable_to)) {
        image->readable_from = image->readable_to = 0;
        return false;
      }
      if (from < image->readable_from || from >= image->readable_to) return false;
    }
    from = image->readable_to;
  }
  return true;
}

bool parse_is_readable(parse_image_t* image, const void* p, size_t size) {
  uintptr_t offset = (uintptr_t)p - (uintptr_t)image->base;
  if ((uintptr_t)p + size < (uintptr_t)p) return false;
  bool is_inside = offset < image->size && size <= image->size - offset;
  return (is_inside || image->readable != NULL) && is_readable(image, p, size);
}

// `size` bytes at rva, or NULL when the module has none there.
static const uint8_t* at(parse_image_t* image, uint32_t rva, size_t size) {
  if (rva >= image->size || size > image->size - rva) return NULL;
  return is_readable(image, image->base + rva, size) ? image->base + rva : NULL;
}

// `count` elements; their size together may not fit into 32 bits.
static const uint8_t* array_at(parse_image_t* image, uint32_t rva, uint32_t count, size_t size) {
  return count <= image->size / size ? at(image, rva, count * size) : NULL;
}

static uint32_t u16(const uint8_t* p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32(const uint8_t* p) { return u16(p) | u16(p + 2) << 16; }

static bool directory_is_usable(parse_image_t* image, parse_directory_t directory, size_t least) {
  return directory.rva != 0 && directory.size >= least && at(image, directory.rva, directory.size) != NULL;
}

// A NUL-terminated text at rva, or NULL.
static const char* text_at(parse_image_t* image, uint32_t rva) {
  if (rva == 0 || rva >= image->size) return NULL;
  const char* text = (const char*)image->base + rva;
  size_t limit = image->size - rva < NAME_MAX ? image->size - rva : NAME_MAX;
  for (size_t i = 0; i < limit; i++) {
    if (!is_readable(image, (const uint8_t*)text + i, 1)) return NULL;
    if (text[i] == 0) return text;
  }
  return NULL;
}

// ---- headers --------------------------------------------------------------------------------------------

const char* parse_image(const void* base, size_t available, parse_readable_t* readable,
                        parse_image_t* image) {
  *image = (parse_image_t){.base = base, .size = available, .readable = readable};
  const uint8_t* dos = at(image, 0, DOS_HEADER_SIZE);
  if (dos == NULL) return "its header can't be read";
  if (dos[0] != 'M' || dos[1] != 'Z') return "it has no header";
  uint32_t pe_rva = u32(dos + DOS_HEADER_PE);
  if (pe_rva > HEADER_MAX) return "its header is damaged"; // the size isn't known yet
  const uint8_t* pe = at(image, pe_rva, PE_OPTIONAL);
  if (pe == NULL || u32(pe) != 0x4550) return "its header is damaged";

  uint32_t optional_size = u16(pe + PE_OPTIONAL_SIZE), optional_rva = pe_rva + PE_OPTIONAL;
  const uint8_t* optional = at(image, optional_rva, optional_size);
  if (optional == NULL || optional_size < OPTIONAL_IMAGE_SIZE + 4) return "its header is damaged";
  uint32_t magic = u16(optional);
  if (magic != OPTIONAL_PE32 && magic != OPTIONAL_PE32_PLUS) return "its header is of an unknown kind";
  image->is_64 = magic == OPTIONAL_PE32_PLUS;
  image->is_dll = (u16(pe + PE_FLAGS) & PE_FLAG_DLL) != 0;
  size_t size = u32(optional + OPTIONAL_IMAGE_SIZE);
  if (size < image->size) image->size = size;

  image->sections = optional_rva + optional_size;
  image->section_count = u16(pe + PE_SECTION_COUNT);
  const uint8_t* sections = array_at(image, image->sections, image->section_count, SECTION_SIZE);
  if (sections == NULL) return "its section table is damaged";

  uint32_t directories = image->is_64 ? 112 : 96;
  if (optional_size < directories) return "its header is damaged";
  uint32_t count = u32(optional + directories - 4), fit = (optional_size - directories) / 8;
  if (count > fit) count = fit;
  parse_directory_t* const wanted[] = {[DIRECTORY_EXPORT] = &image->exports,
                                       [DIRECTORY_IMPORT] = &image->imports,
                                       [DIRECTORY_EXCEPTION] = &image->functions,
                                       [DIRECTORY_DELAY_IMPORT] = &image->delay_imports};
  for (uint32_t i = 0; i < count && i < sizeof(wanted) / sizeof(wanted[0]); i++) {
    const uint8_t* entry = optional + directories + 8 * i;
    if (wanted[i] != NULL) *wanted[i] = (parse_directory_t){u32(entry), u32(entry + 4)};
  }
  if (!image->is_64) image->functions = (parse_directory_t){0}; // means something else there, if anything
  return NULL;
}

// ---- exports --------------------------------------------------------------------------------------------

typedef struct export_table_s {
  uint32_t function_count, name_count;
  const uint8_t *functions, *names, *ordinals; // rvas; rvas; indices into functions, a word each
} export_table_t;

static bool export_table(parse_image_t* image, export_table_t* table) {
  if (!directory_is_usable(image, image->exports, 40)) return false;
  const uint8_t* directory = image->base + image->exports.rva;
  table->function_count = u32(directory + 20);
  table->name_count = u32(directory + 24);
  table->functions = array_at(image, u32(directory + 28), table->function_count, 4);
  table->names = array_at(image, u32(directory + 32), table->name_count, 4);
  table->ordinals = array_at(image, u32(directory + 36), table->name_count, 2);
  return table->functions != NULL && table->names != NULL && table->ordinals != NULL;
}

static int compare(const char* a, const char* b) {
  while (*a != 0 && *a == *b) a++, b++;
  return (int)(unsigned char)*a - (int)(unsigned char)*b;
}

static bool in_directory(parse_directory_t directory, uint32_t rva) {
  return rva >= directory.rva && rva - directory.rva < directory.size;
}

uint32_t parse_export(parse_image_t* image, const char* name) {
  export_table_t table;
  if (!export_table(image, &table)) return 0;
  uint32_t low = 0, high = table.name_count; // sorted by name
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    const char* other = text_at(image, u32(table.names + 4 * (size_t)middle));
    if (other == NULL) return 0;
    int order = compare(name, other);
    if (order == 0) {
      uint32_t index = u16(table.ordinals + 2 * (size_t)middle);
      if (index >= table.function_count) return 0;
      uint32_t rva = u32(table.functions + 4 * (size_t)index);
      return rva >= image->size || in_directory(image->exports, rva) ? 0 : rva;
    }
    if (order < 0) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return 0;
}

bool parse_has_export_in(parse_image_t* image, uint32_t from, uint32_t to) {
  export_table_t table;
  if (!export_table(image, &table)) return false;
  for (uint32_t i = 0; i < table.function_count; i++) {
    uint32_t rva = u32(table.functions + 4 * (size_t)i);
    if (rva >= from && rva < to) return true;
  }
  return false;
}

// ---- code -----------------------------------------------------------------------------------------------

size_t parse_code_size(parse_image_t* image, uint32_t rva) {
  if (rva >= image->size) return 0; // a damaged section may claim to reach further
  const uint8_t* section = image->base + image->sections;
  for (uint32_t i = 0; i < image->section_count; i++, section += SECTION_SIZE) {
    uint32_t size = u32(section + 8), start = u32(section + 12);
    if (size == 0) size = u32(section + 16); // some linkers give only the size in the file
    if (rva < start || rva - start >= size) continue;
    size_t rest = size - (rva - start);
    if (rest > image->size - rva) rest = image->size - rva;
    return (u32(section + 36) & SECTION_CODE) != 0 ? rest : 0;
  }
  return 0;
}

// Index of the first function of the table for unwinding that starts at `rva` or later. The table is sorted.
static uint32_t function_index(parse_image_t* image, uint32_t rva, uint32_t count) {
  uint32_t low = 0, high = count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (u32(image->base + image->functions.rva + FUNCTION_SIZE * (size_t)middle) < rva) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

static const uint8_t* function_from(parse_image_t* image, uint32_t rva) {
  if (!directory_is_usable(image, image->functions, FUNCTION_SIZE)) return NULL;
  uint32_t count = image->functions.size / FUNCTION_SIZE, index = function_index(image, rva, count);
  return index == count ? NULL : image->base + image->functions.rva + FUNCTION_SIZE * (size_t)index;
}

size_t parse_function_size(parse_image_t* image, uint32_t rva) {
  const uint8_t* function = function_from(image, rva);
  if (function == NULL || u32(function) != rva) return 0;
  uint32_t end = u32(function + 4);
  return end <= rva || end > image->size ? 0 : end - rva;
}

bool parse_has_function_in(parse_image_t* image, uint32_t from, uint32_t to) {
  const uint8_t* function = function_from(image, from);
  return function != NULL && u32(function) < to;
}

// ---- imports --------------------------------------------------------------------------------------------

static uint64_t pointer_at(parse_image_t* image, const uint8_t* p) {
  return image->is_64 ? (uint64_t)u32(p) | (uint64_t)u32(p + 4) << 32 : u32(p);
}

// One DLL's slots; `lookup` holds the names, or is 0 when they are gone (replaced by the addresses
// themselves).
static bool visit_slots(parse_image_t* image, const char* dll, uint32_t slots, uint32_t lookup,
                        parse_slot_t* visit, void* context) {
  size_t size = image->is_64 ? 8 : 4;
  uint64_t by_number = (uint64_t)1 << (size * 8 - 1);
  for (size_t i = 0;; i++) {
    uint64_t offset = i * size;
    if (slots + offset > UINT32_MAX || lookup + offset > UINT32_MAX) return true;
    const uint8_t* slot = at(image, slots + (uint32_t)offset, size);
    if (slot == NULL || pointer_at(image, slot) == 0) return true;
    const char* function = NULL;
    if (lookup != 0) {
      const uint8_t* entry = at(image, lookup + (uint32_t)offset, size);
      uint64_t value = entry == NULL ? 0 : pointer_at(image, entry);
      if (value == 0) return true;
      if ((value & by_number) == 0 && value < image->size - 2) function = text_at(image, (uint32_t)value + 2);
    }
    if (!visit(context, dll, function, (void**)(uintptr_t)slot)) return false;
  }
}

// Who puts a DLL in front of a process's others (mi-run, debugging tools) can't enlarge the list of imports
// where it is: it then lies outside of the module, while all that it leads to is still within.
static const uint8_t* import_at(parse_image_t* image, uint32_t rva) {
  if (image->readable == NULL || rva < image->size) return at(image, rva, IMPORT_SIZE);
  const uint8_t* import = (const uint8_t*)((uintptr_t)image->base + rva);
  if (rva > UINT32_MAX - 2 * IMPORT_SIZE || (uintptr_t)import > UINTPTR_MAX - IMPORT_SIZE) return NULL;
  return import > image->base && is_readable(image, import, IMPORT_SIZE) ? import : NULL;
}

static bool visit_imports(parse_image_t* image, parse_slot_t* visit, void* context) {
  if (image->imports.rva == 0) return true;
  // The list ends with an empty entry, whatever the directory's size says.
  for (uint32_t rva = image->imports.rva;; rva += IMPORT_SIZE) {
    const uint8_t* import = import_at(image, rva);
    if (import == NULL || u32(import + 12) == 0) return true;
    const char* dll = text_at(image, u32(import + 12));
    uint32_t slots = u32(import + 16), lookup = u32(import);
    if (dll == NULL || slots == 0) continue;
    if (!visit_slots(image, dll, slots, lookup == slots ? 0 : lookup, visit, context)) return false;
  }
}

static bool visit_delay_imports(parse_image_t* image, parse_slot_t* visit, void* context) {
  if (image->delay_imports.rva == 0) return true;
  for (uint32_t rva = image->delay_imports.rva;; rva += DELAY_IMPORT_SIZE) {
    const uint8_t* import = at(image, rva, DELAY_IMPORT_SIZE);
    if (import == NULL || u32(import + 4) == 0) return true;
    if ((u32(import) & 1) == 0) return true; // addresses instead of rvas: compilers before 2002
    const char* dll = text_at(image, u32(import + 4));
    uint32_t slots = u32(import + 12);
    if (dll == NULL || slots == 0) continue;
    if (!visit_slots(image, dll, slots, u32(import + 16), visit, context)) return false;
  }
}

bool parse_imports(parse_image_t* image, parse_slot_t* visit, void* context) {
  return visit_imports(image, visit, context) && visit_delay_imports(image, visit, context);
}

static bool is_other_slot(void* context, const char* dll, const char* function, void** slot) {
  MI_UNUSED(dll);
  MI_UNUSED(function);
  return (uintptr_t)slot != *(const uintptr_t*)context;
}

bool parse_is_slot(parse_image_t* image, uintptr_t p) { return !parse_imports(image, is_other_slot, &p); }
