// Prints what an edited program must still know: the order in which its DLLs were initialised, its resource,
// its overlay.
#include <process.h>
#include <stdio.h>
#include <windows.h>
#include <winternl.h>

#ifdef PROGRAM_CALLS_MIMALLOC
__declspec(dllimport) int mi_version(void);
#endif
#ifdef PROGRAM_CALLS_LIBRARY
__declspec(dllimport) int library_function(void);
#endif

// What winternl.h keeps to itself, as documented by every debugger.
typedef struct loader_data_s {
  ULONG length;
  BOOLEAN is_initialised;
  HANDLE handle;
  LIST_ENTRY load_order, memory_order, initialisation_order;
} loader_data_t;

typedef struct loader_module_s {
  LIST_ENTRY load_order, memory_order, initialisation_order;
  PVOID base, entry;
  ULONG size;
  UNICODE_STRING path, name;
} loader_module_t;

static void print_order(void) {
  loader_data_t* loader = (loader_data_t*)NtCurrentTeb()->ProcessEnvironmentBlock->Ldr;
  LIST_ENTRY* head = &loader->initialisation_order;
  for (LIST_ENTRY* at = head->Flink; at != head; at = at->Flink) {
    const loader_module_t* module = CONTAINING_RECORD(at, loader_module_t, initialisation_order);
    printf("initialised: %ls\n", module->name.Buffer);
  }
}

static void print_resource(void) {
  HRSRC found = FindResourceA(NULL, MAKEINTRESOURCEA(7), (LPCSTR)RT_RCDATA);
  if (found == NULL) return;
  printf("resource: %lu bytes, %.32s\n", SizeofResource(NULL, found),
         (const char*)LockResource(LoadResource(NULL, found)));
}

static void print_end(void) {
  char path[MAX_PATH], end[17] = "";
  GetModuleFileNameA(NULL, path, sizeof(path));
  FILE* file = fopen(path, "rb");
  if (file == NULL || fseek(file, -16, SEEK_END) != 0 || fread(end, 1, 16, file) != 16) {
    printf("can't read the end of %s\n", path);
    exit(1);
  }
  fclose(file);
  if (strncmp(end, "overlay", 7) == 0) printf("overlay: %s\n", end);
}

int main(int count, char** arguments) {
  print_order();
  print_resource();
  print_end();
#ifdef PROGRAM_CALLS_MIMALLOC
  printf("version: %d\n", mi_version());
#endif
#ifdef PROGRAM_CALLS_LIBRARY
  printf("library: %d\n", library_function());
#endif
  for (int i = 1; i < count; i++) printf("argument: %s\n", arguments[i]);
  if (count > 2 && strcmp(arguments[1], "--run") == 0) {
    fflush(stdout);
    printf("exit code: %d\n", (int)_spawnv(_P_WAIT, arguments[2], (const char* const*)&arguments[2]));
  }
  return 7;
}
