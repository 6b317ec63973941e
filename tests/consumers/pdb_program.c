// Asks Windows' own reader of debug information about a DLL: a function's name, source and line, and where it knows them from.
// pdb_program.exe DLL FUNCTION SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <windows.h>
// behind it
#include <dbghelp.h>

static int fail(const char* what, const char* more) {
  printf("%s: %s (error %lu)\n", what, more, GetLastError());
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 4) return fail("usage", "pdb_program.exe DLL FUNCTION SOURCE");
  HMODULE dll = LoadLibraryA(argv[1]);
  if (dll == NULL) return fail("can't load", argv[1]);
  DWORD64 address = (DWORD64)(uintptr_t)GetProcAddress(dll, argv[2]);
  if (address == 0) return fail("no such export", argv[2]);

  HANDLE self = GetCurrentProcess();
  SymSetOptions(SYMOPT_LOAD_LINES | SYMOPT_FAIL_CRITICAL_ERRORS);
  if (!SymInitialize(self, NULL, TRUE)) return fail("SymInitialize", "");
  IMAGEHLP_MODULE64 module = {.SizeOfStruct = sizeof(module)};
  if (!SymGetModuleInfo64(self, address, &module)) return fail("SymGetModuleInfo64", argv[1]);
  if (module.SymType != SymPdb) {
    printf("symbols of kind %d from '%s', not from a .pdb\n", (int)module.SymType, module.LoadedPdbName);
    return 1;
  }
  union {
    SYMBOL_INFO info;
    char room[sizeof(SYMBOL_INFO) + 256];
  } symbol = {.info = {.SizeOfStruct = sizeof(SYMBOL_INFO), .MaxNameLen = 255}};
  DWORD64 behind = 0;
  if (!SymFromAddr(self, address, &behind, &symbol.info)) return fail("SymFromAddr", argv[2]);
  DWORD column = 0;
  IMAGEHLP_LINE64 line = {.SizeOfStruct = sizeof(line)};
  if (!SymGetLineFromAddr64(self, address, &column, &line)) return fail("SymGetLineFromAddr64", argv[2]);
  printf("%s+%u, %s:%lu, from %s\n", symbol.info.Name, (unsigned)behind, line.FileName, line.LineNumber, module.LoadedPdbName);
  if (strcmp(symbol.info.Name, argv[2]) != 0 || behind != 0) return fail("the wrong function", symbol.info.Name);
  size_t length = strlen(line.FileName), wanted = strlen(argv[3]);
  if (length < wanted || strcmp(line.FileName + length - wanted, argv[3]) != 0) return fail("the wrong source", line.FileName);
  puts("ok");
  return 0;
}
