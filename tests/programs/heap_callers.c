// Calls the allocation functions of C runtimes, each very often: in a trace of who calls the system's heap,
// the places that do it as often are those that malloc and its family end in. heap_trace.py tells them from a
// runtime's other calls so.
//
// usage: heap-callers ROUNDS DLL...
#include <stddef.h>
#include <stdint.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

static HANDLE output;

static void say(const char* text) {
  DWORD written;
  WriteFile(output, text, (DWORD)lstrlenA(text), &written, NULL);
}

typedef void* one_t(size_t size);               // malloc, operator new
typedef void* two_t(size_t first, size_t size); // calloc; realloc with NULL; _aligned_malloc
typedef void* three_t(void* block, size_t count, size_t size);
typedef char* copy_t(const char* text);

// What they give is kept: freeing is not what this is about.
static unsigned call_all(HMODULE runtime, unsigned rounds) {
  static const char* const ones[] = {"malloc", "_malloc_base", "??2@YAPEAX_K@Z", "??2@YAPAXI@Z"};
  static const char* const twos[] = {"calloc", "_calloc_base"};
  static const char* const reallocs[] = {"realloc", "_realloc_base"};
  unsigned functions = 0;
  union {
    FARPROC found;
    one_t* one;
    two_t* two;
    three_t* three;
    copy_t* copy;
  } function;
#define EACH(names)                                                                                          \
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)                                              \
    if ((function.found = GetProcAddress(runtime, names[i])) != NULL && ++functions)                         \
      for (unsigned k = 0; k < rounds; k++)
  EACH(ones) function.one(100 + k % 7);
  EACH(twos) function.two(3, 40 + k % 7);
  EACH(reallocs) function.two(0, 100 + k % 7);
  static const char* const aligned[] = {"_aligned_malloc"};
  EACH(aligned) function.two(100 + k % 7, 64);
  static const char* const recalloc[] = {"_recalloc"};
  EACH(recalloc) function.three(NULL, 3, 40 + k % 7);
  static const char* const copies[] = {"_strdup"};
  EACH(copies) function.copy("a text to copy");
  return functions;
}

int main(int argc, char** argv) {
  output = GetStdHandle(STD_OUTPUT_HANDLE);
  unsigned rounds = 0;
  for (const char* digit = argc > 1 ? argv[1] : ""; *digit >= '0' && *digit <= '9'; digit++)
    rounds = 10 * rounds + (unsigned)(*digit - '0');
  for (int i = 2; i < argc; i++) {
    HMODULE runtime = LoadLibraryA(argv[i]);
    if (runtime == NULL) continue; // this system has no such runtime
    if (call_all(runtime, rounds) < 4) return 1;
    say(argv[i]);
    say("\n");
  }
  return 0;
}
