#include "platform.h"

#include <fcntl.h>
#include <io.h>
#include <string.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <dbghelp.h>

bool is_windows(void) { return true; }

// ---- paths ------------------------------------------------------------------------------------------------

static wchar_t* wide(const char* text) {
  int size = MultiByteToWideChar(CP_UTF8, 0, text, -1, NULL, 0);
  wchar_t* made = allocate(((size_t)size + 1) * sizeof(wchar_t));
  MultiByteToWideChar(CP_UTF8, 0, text, -1, made, size);
  return made;
}

static char* narrow(const wchar_t* text) {
  int size = WideCharToMultiByte(CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL);
  char* made = allocate((size_t)size + 1);
  WideCharToMultiByte(CP_UTF8, 0, text, -1, made, size, NULL, NULL);
  return made;
}

int __cdecl __wgetmainargs(int*, wchar_t***, wchar_t***, int, void*); // the C runtime's, for wmain

char** platform_arguments(int argc, char** argv) {
  int count = argc, no_new_mode = 0;
  wchar_t **words = NULL, **environment;
  if (__wgetmainargs(&count, &words, &environment, 1 /* "*.json" are files */, &no_new_mode) != 0 ||
      words == NULL)
    return argv;
  char** made = allocate(((size_t)count + 1) * sizeof(char*));
  for (int i = 0; i < count; i++) made[i] = narrow(words[i]);
  return made;
}

FILE* file_open(const char* path, const char* mode) { return _wfopen(wide(path), wide(mode)); }
void file_remove(const char* path) { DeleteFileW(wide(path)); }
bool file_is_there(const char* path) { return GetFileAttributesW(wide(path)) != INVALID_FILE_ATTRIBUTES; }

// ---- others -----------------------------------------------------------------------------------------------

FILE* pipe_open(const char* command) { return _wpopen(wide(command), L"rt"); }
int pipe_close(FILE* pipe) { return _pclose(pipe); }

char* temporary_file(void) {
  wchar_t folder[MAX_PATH + 1], name[MAX_PATH];
  if (GetTempPathW(MAX_PATH + 1, folder) == 0 || GetTempFileNameW(folder, L"mir", 0, name) == 0) return NULL;
  return narrow(name);
}

const char* path_here(const char* windows_path) { return windows_path; }

void output_is_binary(void) { _setmode(_fileno(stdout), _O_BINARY); }

// ---- dbghelp.dll ----------------------------------------------------------------------------------------

// Looked up: not every Windows has all of it, and nobody should fail to start for want of it.
typedef BOOL WINAPI initialize_t(HANDLE process, PCSTR path, BOOL invade);
typedef DWORD WINAPI set_options_t(DWORD options);
typedef DWORD64 WINAPI load_module_t(HANDLE process, HANDLE file, PCWSTR image, PCWSTR module, DWORD64 base,
                                     DWORD size, PMODLOAD_DATA data, DWORD flags);
typedef BOOL WINAPI from_address_t(HANDLE process, DWORD64 address, PDWORD64 displacement,
                                   PSYMBOL_INFO symbol);
typedef BOOL WINAPI line_from_address_t(HANDLE process, DWORD64 address, PDWORD displacement,
                                        PIMAGEHLP_LINE64 line);

static struct {
  HANDLE process;
  load_module_t* load_module;
  from_address_t* from_address;
  line_from_address_t* line_from_address;
} reader;

static void* function(HMODULE dll, const char* name) { return (void*)(uintptr_t)GetProcAddress(dll, name); }

static bool start(void) {
  HMODULE dll = LoadLibraryA("dbghelp.dll");
  if (dll == NULL) return false;
  initialize_t* initialize = (initialize_t*)function(dll, "SymInitialize");
  set_options_t* set_options = (set_options_t*)function(dll, "SymSetOptions");
  reader.load_module = (load_module_t*)function(dll, "SymLoadModuleExW");
  reader.from_address = (from_address_t*)function(dll, "SymFromAddr");
  reader.line_from_address = (line_from_address_t*)function(dll, "SymGetLineFromAddr64");
  if (initialize == NULL || set_options == NULL || reader.load_module == NULL ||
      reader.from_address == NULL || reader.line_from_address == NULL)
    return false;
  set_options(SYMOPT_LOAD_LINES | SYMOPT_UNDNAME | SYMOPT_FAIL_CRITICAL_ERRORS | SYMOPT_NO_PROMPTS);
  reader.process = (HANDLE)(uintptr_t)0x4D49; // any number that is no other caller's
  return initialize(reader.process, NULL, FALSE);
}

bool system_symbols(const char* path, code_t** codes, size_t count) {
  static int is_started = -1;
  static DWORD64 base = 0x100000000; // each module gets a place of its own
  if (is_started < 0) is_started = start();
  if (!is_started || reader.load_module(reader.process, NULL, wide(path), NULL, base, 0, NULL, 0) == 0)
    return false;
  bool has_lines = false;
  for (size_t i = 0; i < count; i++) {
    union {
      SYMBOL_INFO info;
      char room[sizeof(SYMBOL_INFO) + 1024];
    } symbol = {.info = {.SizeOfStruct = sizeof(SYMBOL_INFO), .MaxNameLen = 1000}};
    IMAGEHLP_LINE64 line = {.SizeOfStruct = sizeof(line)};
    DWORD64 distance;
    DWORD columns;
    if (!reader.line_from_address(reader.process, base + codes[i]->offset, &columns, &line)) continue;
    if (!reader.from_address(reader.process, base + codes[i]->offset, &distance, &symbol.info)) continue;
    codes[i]->locations = allocate(sizeof(location_t));
    codes[i]->location_count = 1;
    codes[i]->locations[0] = (location_t){.function = text_copy(symbol.info.Name, strlen(symbol.info.Name)),
                                          .file = text_copy(line.FileName, strlen(line.FileName)),
                                          .line = line.LineNumber};
    has_lines = true;
  }
  base += 0x100000000;
  return has_lines;
}
