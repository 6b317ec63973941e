#include "kept.h"

#include "redirect/parse.h"
#include "stack.h"

// Of the C runtimes: functions whose blocks are the caller's to free.
static const char* const hands_out[] = {
    "malloc",
    "calloc",
    "realloc",
    "_recalloc",
    "_aligned_malloc",
    "_aligned_realloc",
    "_strdup",
    "strdup",
    "_wcsdup",
    "wcsdup",
    "_mbsdup",
    "_getcwd",
    "_wgetcwd",
    "getcwd",
    "_getdcwd",
    "_wgetdcwd",
    "_fullpath",
    "_wfullpath",
    "_tempnam",
    "_wtempnam",
    "tempnam",
    "_dupenv_s",
    "_wdupenv_s",
    "_get_tnames",
    "_Getdays",
    "_Getmonths",
    // C++
    "??2@YAPEAX_K@Z",
    "??_U@YAPEAX_K@Z",
    "??2@YAPAXI@Z",
    "??_U@YAPAXI@Z",
    "_Znwy",
    "_Znay",
    "_Znwj",
    "_Znaj",
    "__cxa_demangle",
};

// Does the offset lie in the exported function?
static bool is_in_export(parse_image_t* image, uint32_t offset, const char* name) {
  uint32_t start = parse_export(image, name);
  if (start == 0 || offset < start) return false;
  size_t size = parse_function_size(image, start);
  return size != 0 ? offset - start < size : !parse_has_export_in(image, start + 1, offset + 1);
}

static bool is_handed_out(const image_t* image, uint32_t offset) {
  parse_image_t parsed;
  if (image->is_unloaded || parse_image((const void*)image->base, SIZE_MAX, NULL, &parsed) != NULL)
    return true;
  for (size_t i = 0; i < sizeof(hands_out) / sizeof(hands_out[0]); i++) {
    if (is_in_export(&parsed, offset, hands_out[i])) return true;
  }
  return false;
}

// Standard C++ is different: its containers and strings belong to the program.
static bool is_cxx(const image_t* image) {
  const char* name = images_name(image);
  return (name[0] == 'l' && name[3] == 's' && name[4] == 't' && name[5] == 'd') ||
         (name[0] == 'm' && name[1] == 's' && name[2] == 'v' && name[3] == 'c' && name[4] == 'p');
}

#if defined(__aarch64__)
static bool is_in_entry(const image_t* image, uint32_t offset) { // its tables are of another form
  MI_UNUSED(image);
  MI_UNUSED(offset);
  return false;
}
#elif MI_64BIT
static bool is_in_entry(const image_t* image, uint32_t offset) {
  parse_image_t parsed;
  if (offset < image->entry || parse_image((const void*)image->base, SIZE_MAX, NULL, &parsed) != NULL)
    return false;
  size_t size = parse_function_size(&parsed, image->entry);
  return size != 0 && offset - image->entry < size;
}
#else
// The entry point may be a short function that ends in a jump to the one that does it all.
static bool is_in_entry(const image_t* image, uint32_t offset) {
  uintptr_t address = image->base + offset, start = image->base + image->entry,
            end = stack_function_end(start);
  if (address >= start && address < end) return true;
  start = stack_function_tail(start);
  return start != 0 && address >= start && address < stack_function_end(start);
}
#endif

static bool starts_in_entry(const image_t* image, uint32_t offset) {
  return image->entry != 0 && !image->is_unloaded && is_in_entry(image, offset);
}

kept_t kept_by(const stack_t* stack, const image_t** keeper) {
  uint64_t offset = 0, next;
  *keeper = NULL;
  if (stack->count == 0) return KEPT_NOT;
  const image_t* image = frame_image(stack->frames[0], &offset);
  if (image == NULL) return KEPT_NOT;
  if (image->kind == IMAGE_PROGRAM) {
    // The function at the entry point, or one that it calls: main and constructors lie deeper.
    bool is_start = starts_in_entry(image, (uint32_t)offset);
    if (!is_start && stack->count > 1)
      is_start = frame_image(stack->frames[1], &next) == image && starts_in_entry(image, (uint32_t)next);
    if (!is_start) return KEPT_NOT;
    *keeper = image;
    return KEPT_START;
  }
  if (is_cxx(image)) {
    // Unless the program isn't on the stack at all: its own start.
    for (uint32_t i = 1; i < stack->count; i++) {
      const image_t* caller = frame_image(stack->frames[i], &next);
      if (caller == NULL || caller->kind == IMAGE_PROGRAM) return KEPT_NOT;
    }
  }
  // The last one of these frames is what the program called.
  uint32_t i = 0;
  while (i + 1 < stack->count && frame_image(stack->frames[i + 1], &next) == image) i++, offset = next;
  if (image->kind == IMAGE_RUNTIME && i + 1 < stack->count && is_handed_out(image, (uint32_t)offset))
    return KEPT_NOT;
  *keeper = image;
  return KEPT_RUNTIME;
}
