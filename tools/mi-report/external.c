#include "external.h"

#include <stdlib.h>
#include <string.h>

#include "platform.h"

// cmd.exe takes the outermost quotes away.
static const char* quoted(const char* command) {
  return is_windows() ? text_format("\"%s\"", command) : command;
}

static const char* nowhere(void) { return is_windows() ? "NUL" : "/dev/null"; }

static bool answers(const char* program) {
  // Asked for its version it must say something.
  char line[16] = "";
  FILE* pipe = pipe_open(quoted(text_format("\"%s\" --version 2>%s", program, nowhere())));
  if (pipe == NULL) return false;
  bool said = fgets(line, sizeof(line), pipe) != NULL;
  while (fgetc(pipe) != EOF) {}
  return pipe_close(pipe) == 0 && said;
}

const char* external_find(const char* wanted) {
  static const char* const usual[] = {"llvm-symbolizer", "x86_64-w64-mingw32-addr2line",
                                      "i686-w64-mingw32-addr2line", "addr2line"};
  if (wanted != NULL) return answers(wanted) ? wanted : NULL;
  for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
    if (answers(usual[i])) return usual[i];
  }
  return NULL;
}

static void cut_line_end(char* line) { line[strcspn(line, "\r\n")] = 0; }

// "file:12", "file:12 (discriminator 3)", "file:?", "??:0"
static void set_place(location_t* location, char* place) {
  char* blank = strstr(place, " (discriminator");
  if (blank != NULL) *blank = 0;
  char* colon = strrchr(place, ':');
  if (colon == NULL || place[0] == '?') return;
  location->line = (unsigned)strtoul(colon + 1, NULL, 10);
  *colon = 0;
  if (location->line != 0) location->file = text_copy(place, strlen(place));
}

static void add(code_t* code, const char* function, char* place) {
  location_t* larger = allocate((code->location_count + 1) * sizeof(location_t));
  if (code->location_count > 0) memcpy(larger, code->locations, code->location_count * sizeof(location_t));
  larger[code->location_count].function = text_copy(function, strlen(function));
  set_place(&larger[code->location_count], place);
  code->locations = larger;
  code->location_count++;
}

// Both programs answer alike: the address, and for each function there a line with its name and one with its place.
static bool read_answers(FILE* pipe, code_t** codes, size_t count, uint64_t image_base) {
  static char line[8192], place[8192];
  size_t at = 0;
  code_t* code = NULL;
  while (fgets(line, sizeof(line), pipe) != NULL) {
    cut_line_end(line);
    if (strncmp(line, "0x", 2) == 0 && strspn(line + 2, "0123456789abcdefABCDEF") == strlen(line + 2)) {
      uint64_t address = strtoull(line, NULL, 16);
      if (at == count || codes[at]->offset + image_base != address) return false;
      code = codes[at++];
    } else if (line[0] != 0 && code != NULL) {
      if (fgets(place, sizeof(place), pipe) == NULL) return false;
      cut_line_end(place);
      if (line[0] != '?') add(code, line, place);
    }
  }
  return at == count;
}

bool external_resolve(const char* program, const char* path, const pe_file_t* file, code_t** codes,
                      size_t count) {
  bool is_llvm = strstr(file_name(program), "symbolizer") != NULL;
  char* list = temporary_file();
  FILE* out = list == NULL ? NULL : file_open(list, "wb");
  if (out == NULL || strchr(path, '"') != NULL) return false;
  for (size_t i = 0; i < count; i++)
    fprintf(out, "0x%llx\n", (unsigned long long)(file->image_base + codes[i]->offset));
  bool done = fclose(out) == 0;
  char* command = text_format("\"%s\" %s-a -f -i -C -e \"%s\" <\"%s\" 2>%s", program,
                              is_llvm ? "--output-style=GNU " : "", path, list, nowhere());
  FILE* pipe = done ? pipe_open(quoted(command)) : NULL;
  done = pipe != NULL && read_answers(pipe, codes, count, file->image_base);
  while (pipe != NULL && fgetc(pipe) != EOF) {}
  if (pipe != NULL && pipe_close(pipe) != 0) done = false;
  file_remove(list);
  if (!done) {
    for (size_t i = 0; i < count; i++) codes[i]->locations = NULL, codes[i]->location_count = 0;
  }
  return done;
}
