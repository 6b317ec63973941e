// One planted fault for each argument. The test finds the lines by the words behind "LINE". Knows nothing of mimalloc.dll;
// "late NAME" first loads it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#define APART __attribute__((noinline, noclone))

APART static char* make_text(size_t size) {
  char* text = malloc(size); // LINE allocated
  memset(text, 'a', size);
  return text;
}

APART static void write_at(volatile char* text, size_t at) {
  text[at] = 1; // LINE written
}

APART static char read_at(const volatile char* text, size_t at) {
  return text[at]; // LINE read
}

APART static void give_back(void* block) {
  free(block); // LINE freed
  __asm__ volatile("");
}

APART static void* grow(void* block) {
  void* larger = realloc(block, 5000); // LINE resized
  __asm__ volatile("");
  return larger;
}

APART static void leak_some(void) {
  for (volatile int i = 0; i < 3; i++) make_text(1000); // LINE leaked
  char* copy = _strdup("a copy");                       // LINE copied
  write_at(copy, 0);
  write_at(grow(make_text(10)), 0); // LINE grown
}

// What is no leak: freed by another thread, resized to nothing, freed from a container, kept by the runtime.
static DWORD WINAPI free_it(void* block) {
  give_back(block);
  return 0;
}

APART static void leak_nothing(void) {
  void* blocks[100];
  for (int i = 0; i < 100; i++) blocks[i] = i % 2 ? calloc(10, (size_t)i + 1) : make_text((size_t)i + 1);
  for (int i = 0; i < 50; i++) blocks[i] = grow(blocks[i]);
  for (int i = 1; i < 100; i++) give_back(blocks[i]);
  HANDLE thread = CreateThread(NULL, 0, free_it, blocks[0], 0, NULL);
  WaitForSingleObject(thread, INFINITE);
  CloseHandle(thread);
  void* aligned = _aligned_malloc(100, 256);
  aligned = _aligned_realloc(aligned, 300, 256);
  write_at(aligned, 299);
  _aligned_free(aligned);
}

APART static void run(const char* fault) {
  char* text;
  if (strcmp(fault, "leak") == 0) leak_some();
  if (strcmp(fault, "nothing") == 0) leak_nothing();
  if (strcmp(fault, "over") == 0) write_at(make_text(32), 32);         // LINE over
  if (strcmp(fault, "over-odd") == 0) write_at(make_text(21), 21);     // LINE over-odd
  if (strcmp(fault, "read-over") == 0) read_at(make_text(4096), 4100); // LINE read-over
  if (strcmp(fault, "over-late") == 0) {
    write_at(text = make_text(21), 21);
    give_back(text); // LINE over-late
  }
  if (strcmp(fault, "under") == 0) {
    write_at((text = make_text(40)) - 1, 0);
    give_back(text); // LINE under
  }
  if (strcmp(fault, "read-freed") == 0) {
    give_back(text = make_text(100)); // LINE freed-first
    read_at(text, 7);                 // LINE read-freed
  }
  if (strcmp(fault, "write-freed") == 0) {
    give_back(text = make_text(100));
    write_at(text, 99); // LINE write-freed
  }
  if (strcmp(fault, "twice") == 0) {
    give_back(text = make_text(100));
    give_back(text); // LINE twice
  }
  if (strcmp(fault, "inside") == 0) give_back(make_text(100) + 8); // LINE inside
  if (strcmp(fault, "wild") == 0) {
    static char not_a_block[64];
    give_back(not_a_block + 16); // LINE wild
  }
  if (strcmp(fault, "resize-freed") == 0) {
    give_back(text = make_text(100));
    if (grow(text) != NULL) puts("it was resized"); // LINE resize-freed
  }
}

int main(int argc, char** argv) {
  int at = 1;
  if (argc > 2 && strcmp(argv[1], "late") == 0) {
    if (LoadLibraryA("mimalloc.dll") == NULL) return 2;
    at = 2;
  }
  for (; at < argc; at++) run(argv[at]);
  puts("done");
  return 0;
}
