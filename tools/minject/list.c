#include "list.h"

#include "edit.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 1100 }; // a DLL name with every byte escaped fits

static const char* machine_text(const pe_t* pe, char* text, size_t capacity) {
  const char* name = pe_machine_name(pe->machine);
  if (name != NULL) return name;
  snprintf(text, capacity, "machine 0x%04x", pe->machine);
  return text;
}

static const char* kind_text(const pe_t* pe) {
  if ((pe->characteristics & PE_FILE_DLL) != 0) return "DLL";
  switch (pe->subsystem) {
  case 1:
    return "driver or native program";
  case 2:
    return "GUI program";
  case 3:
    return "console program";
  case 9:
    return "Windows CE program";
  case 10:
  case 11:
  case 12:
  case 13:
    return "EFI program";
  default:
    return "program of another subsystem";
  }
}

static void print_facts(FILE* to, const char* path, const pe_t* pe) {
  char text[TEXT_MAX];
  fprintf(to, "%s: %s (%s bits), %s, %s, %u sections\n", path, pe->is_64 ? "PE32+" : "PE32",
          pe->is_64 ? "64" : "32", machine_text(pe, text, sizeof(text)), kind_text(pe), pe->section_count);

  const pe_directory_t signature = pe->directory[PE_CERTIFICATE];
  if (signature.address == 0)
    fprintf(to, "  signature      none\n");
  else
    fprintf(to, "  signature      %u bytes at file offset 0x%x (not checked)\n", signature.size,
            signature.address);

  const pe_directory_t bound = pe->directory[PE_BOUND_IMPORT];
  if (bound.address == 0)
    fprintf(to, "  bound imports  none\n");
  else
    fprintf(to, "  bound imports  yes, %u bytes at 0x%x\n", bound.size, bound.address);

  const uint32_t overlay = (uint32_t)(pe->file.size - pe->raw_end);
  if (overlay == 0)
    fprintf(to, "  overlay        none\n");
  else
    fprintf(to, "  overlay        %u bytes at file offset 0x%x%s\n", overlay, pe->raw_end,
            pe->symbol_table >= pe->raw_end && pe->symbol_table < pe->file.size ? ", with a symbol table"
            : signature.address >= pe->raw_end                                  ? ", with the signature"
                                                                                : "");

  const uint32_t checksum = pe_checksum(pe);
  if (pe->checksum == 0)
    fprintf(to, "  checksum       not set\n");
  else if (pe->checksum == checksum)
    fprintf(to, "  checksum       0x%08x, right\n", checksum);
  else
    fprintf(to, "  checksum       0x%08x, wrong: 0x%08x would be right\n", pe->checksum, checksum);

  pe_error_t why;
  const char* no_room = edit_no_header_room(pe, &why);
  if (no_room == NULL)
    fprintf(to, "  header room    for another section, yes\n");
  else
    fprintf(to, "  header room    none for another section: %s\n", no_room);
  static const char* const clr_texts[] = {
      [PE_CLR_MIXED] = "yes, with machine code",
      [PE_CLR_ONLY] = "yes; Windows does not read its imports",
      [PE_CLR_ANY_CPU] = "yes, AnyCPU: 64 bits on 64-bit Windows; Windows does not read its imports"};
  const pe_clr_t clr = pe_clr(pe);
  if (clr != PE_CLR_NONE) fprintf(to, "  .NET           %s\n", clr_texts[clr]);
}

static void print_functions(FILE* to, const pe_t* pe, const pe_import_t* import) {
  char text[TEXT_MAX];
  pe_function_t function;
  for (uint32_t i = 0; i < import->functions && pe_import_function(pe, import, i, &function); i++) {
    if (function.name == NULL) {
      fprintf(to, "         #%u\n", function.ordinal);
    } else {
      pe_printable(text, sizeof(text), function.name, function.length);
      fprintf(to, "         %s%s\n", text, function.length >= sizeof(text) ? "..." : "");
    }
  }
}

static void print_import(FILE* to, const pe_t* pe, const pe_import_t* import, uint32_t number,
                         const char* remark, bool show_functions) {
  char text[TEXT_MAX];
  pe_printable(text, sizeof(text), import->dll, strlen(import->dll));
  fprintf(to, "  %4u  %s (%u)%s\n", number, text, import->functions, remark);
  if (show_functions) print_functions(to, pe, import);
}

static const char* remark_on(const pe_t* pe, const pe_import_t* import) {
  if (edit_is_own(pe, import)) return "  added by minject";
  if (import->functions == 0) return "  nothing imported: the loader skips it";
  return "";
}

bool list_print(FILE* to, const char* path, const pe_t* pe, bool show_functions) {
  print_facts(to, path, pe);
  if (pe->import_count == 0) {
    fprintf(to, "imports nothing\n");
  } else {
    fprintf(to, "imports, in the order of their initialisation (functions):\n");
  }
  for (uint32_t i = 0; i < pe->import_count; i++) {
    print_import(to, pe, &pe->imports[i], i + 1, remark_on(pe, &pe->imports[i]), show_functions);
  }

  bool good;
  pe_error_t error;
  pe_import_t* delayed = calloc(PE_IMPORTS_MAX, sizeof(pe_import_t));
  if (delayed == NULL) {
    fprintf(to, "delay imports: out of memory\n");
    return false;
  }
  const uint32_t count = pe_delay_imports(pe, delayed, PE_IMPORTS_MAX, &good, &error);
  if (count > 0) fprintf(to, "delay imports, loaded at the first call (functions):\n");
  for (uint32_t i = 0; i < count; i++) print_import(to, pe, &delayed[i], i + 1, "", show_functions);
  if (!good) fprintf(to, "delay imports are damaged: %s\n", error.text);
  free(delayed);
  return good;
}
