// Who is asked, module by module:
//
//   a symbolizer (llvm-symbolizer, addr2line)   DWARF and PDB, inlined functions; natively if one is there, on Windows
//     |                                         only when --symbolizer names one
//     '- ourselves: .debug_line, symbol table   lines, no inlined functions; needs nothing
//          '- Windows' dbghelp.dll              PDB
//               '- names of symbol table and exports, without lines
#include "symbols.h"

#include <stdlib.h>
#include <string.h>

#include "dwarf_lines.h"
#include "external.h"
#include "platform.h"

// The module's file here: in the folders that the user names, beside the report, where the process had it.
static const char* find_file(const report_t* report, const module_t* module,
                             const symbol_options_t* options) {
  const char* name = file_name(module->path);
  for (const char* const* folder = options->folders; folder != NULL && *folder != NULL; folder++) {
    const char* path = text_format("%s/%s", *folder, name);
    if (file_is_there(path)) return path;
  }
  const char* path = path_here(module->path);
  if (file_is_there(path)) return path;
  path = text_format("%.*s%s", (int)(file_name(report->file) - report->file), report->file, name);
  return file_is_there(path) ? path : NULL;
}

static void set(code_t* code, const char* function, const char* file, unsigned line) {
  code->locations = allocate(sizeof(location_t));
  code->location_count = 1;
  code->locations[0] = (location_t){.function = demangle(function), .file = file, .line = line};
}

static void resolve_names(const pe_file_t* file, const lines_t* lines, code_t** codes, size_t count) {
  for (size_t i = 0; i < count; i++) {
    uint32_t rva = (uint32_t)codes[i]->offset;
    const char* name = NULL;
    unsigned line = 0;
    if (codes[i]->locations != NULL) continue;
    bool has_line = lines != NULL && lines_find(lines, rva, &name, &line);
    const pe_symbol_t* symbol = pe_function(file, rva);
    if (symbol != NULL)
      set(codes[i], symbol->name, has_line ? name : NULL, line);
    else if (has_line)
      set(codes[i], "?", name, line);
  }
}

static void resolve_module(const report_t* report, size_t index, code_t** codes, size_t count,
                           const char* external, const symbol_options_t* options) {
  const module_t* module = &report->modules[index];
  const char* path = find_file(report, module, options);
  if (path == NULL) {
    if (strcmp(module->kind, "program") == 0)
      warn("'%s' is not there: no symbols for it; name its folder with --path", path_here(module->path));
    return;
  }
  pe_file_t* file = pe_open(path);
  if (file == NULL) {
    warn("'%s' can't be read as a program: no symbols for it", path);
    return;
  }
  if (file->timestamp != module->timestamp || file->image_size != module->size) {
    warn("'%s' is not the file that was recorded (it was built at another time): no symbols for it; name the "
         "folder of the "
         "right one with --path",
         path);
    return;
  }
  bool has_dwarf = pe_section(file, ".debug_info") != NULL;
  if (external != NULL && strcmp(module->kind, "system") != 0 &&
      external_resolve(external, path, file, codes, count)) {
    resolve_names(file, NULL, codes, count); // what it doesn't know
    return;
  }
  if (!has_dwarf && strcmp(module->kind, "program") == 0) system_symbols(path, codes, count);
  resolve_names(file, lines_read(file), codes, count);
}

void symbols_resolve(report_t* report, const symbol_options_t* options) {
  const char* external = NULL;
  bool is_unwanted = options->symbolizer != NULL && strcmp(options->symbolizer, "none") == 0;
  if (!is_unwanted && (options->symbolizer != NULL || !is_windows()))
    external = external_find(options->symbolizer);
  if (options->symbolizer != NULL && !is_unwanted && external == NULL)
    give_up("check --symbolizer, or leave it away", "'%s' doesn't run", options->symbolizer);
  code_t** codes = allocate((report->code_count + 1) * sizeof(code_t*));
  for (size_t i = 0; i < report->module_count; i++) {
    size_t count = 0;
    for (size_t k = 0; k < report->code_count; k++) {
      if (report->codes[k]->module == (int)i) codes[count++] = report->codes[k];
    }
    if (count > 0) resolve_module(report, i, codes, count, external, options);
  }
}

// libstdc++'s memory for exceptions when there is none left; GCC's emulated thread-local storage; its 32-bit start-up code.
static bool is_for_ever(const char* function, size_t depth) {
  if (strcmp(function, "__gcc_register_frame") == 0) return true;
  return depth < 3 && ((strncmp(function, "_GLOBAL__", 9) == 0 && strstr(function, "__freeres") != NULL) ||
                       strcmp(function, "__emutls_get_address") == 0);
}

void symbols_mark_kept(report_t* report) {
  for (size_t i = 0; i < report->stack_count; i++) {
    stack_t* stack = &report->stacks[i];
    for (size_t k = 0; k < stack->count && stack->kept == NULL; k++) {
      const code_t* code = stack->frames[k];
      for (size_t n = 0; n < code->location_count; n++) {
        if (is_for_ever(code->locations[n].function, k)) stack->kept = "linked", stack->keeper = code->module;
      }
    }
  }
}
