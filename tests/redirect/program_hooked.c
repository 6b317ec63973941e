// A program whose runtime somebody else has redirected, when mimalloc.dll comes: blocks from before must still
// be resized and freed by whom they are from.
//
//   redirect-hooked FORM DLL   plants jumps of the form in front of its runtime's functions, allocates, loads DLL
//   redirect-hooked --list     prints the forms
//
// Prints "ok FORM" or "not ok FORM: why"; the exit code is 0, 1, or 100 when it can't begin.
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#include "support/runtime.h"

#if defined(__x86_64__)
#define IS_64 1
#else
#define IS_64 0
#endif

// ---- the other allocator --------------------------------------------------------------------------------

static HANDLE heap;
static volatile LONG live, strangers; // its blocks; pointers to it that aren't

static bool is_known(void* block) { return HeapValidate(heap, 0, block); }

static void* __cdecl other_malloc(size_t size) {
  InterlockedIncrement(&live);
  return HeapAlloc(heap, 0, size);
}
static void* __cdecl other_calloc(size_t count, size_t size) {
  InterlockedIncrement(&live);
  return HeapAlloc(heap, HEAP_ZERO_MEMORY, count * size);
}
static void __cdecl other_free(void* block) {
  if (block == NULL) return;
  if (!is_known(block)) { // the runtime's, from before
    InterlockedIncrement(&strangers);
    return;
  }
  InterlockedDecrement(&live);
  HeapFree(heap, 0, block);
}
static void* __cdecl other_realloc(void* block, size_t size) {
  if (block == NULL) return other_malloc(size);
  if (!is_known(block)) {
    InterlockedIncrement(&strangers);
    return NULL;
  }
  return HeapReAlloc(heap, 0, block, size);
}
static size_t __cdecl other_msize(void* block) {
  return is_known(block) ? HeapSize(heap, 0, block) : (size_t)-1;
}

static struct {
  const char* name;
  uintptr_t function;
} functions[] = {{"malloc", (uintptr_t)other_malloc},
                 {"calloc", (uintptr_t)other_calloc},
                 {"free", (uintptr_t)other_free},
                 {"realloc", (uintptr_t)other_realloc},
                 {"_msize", (uintptr_t)other_msize}};
enum { FUNCTION_COUNT = sizeof(functions) / sizeof(functions[0]) };

// ---- how it comes in front ------------------------------------------------------------------------------

static uint8_t* near_memory; // within reach of the runtime's functions, not part of it
static size_t near_used;

// Room near the runtime, for pointers and relays.
static uint8_t* near_room(size_t size) {
  uint8_t* room = near_memory + near_used;
  near_used += (size + 15) & ~(size_t)15;
  return room;
}

static bool find_near_memory(uint8_t* runtime) {
  for (uintptr_t distance = 1u << 20; distance < 1u << 30 && near_memory == NULL; distance += 1u << 20)
    near_memory = VirtualAlloc((uint8_t*)(((uintptr_t)runtime + distance) & ~(uintptr_t)0xFFFF), 4096,
                               MEM_RESERVE | MEM_COMMIT, PAGE_EXECUTE_READWRITE);
  return near_memory != NULL;
}

static uint8_t* out; // where the next byte goes
static void bytes(const void* data, size_t size) {
  memcpy(out, data, size);
  out += size;
}
#define CODE(...) bytes((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
static void word32(uint64_t value) { bytes(&(uint32_t){(uint32_t)value}, 4); }
static void pointer(uintptr_t value) { bytes(&value, sizeof(value)); }
static void relative(const uint8_t* target) { word32((uint64_t)(target - (out + 4))); }

// A jump that reaches every address.
static uint8_t* relay(uintptr_t target) {
  uint8_t *room = near_room(32), *before = out;
  out = room;
#if IS_64
  CODE(0x48, 0xB8), pointer(target), CODE(0xFF, 0xE0);
#else
  CODE(0xB8), pointer(target), CODE(0xFF, 0xE0);
#endif
  out = before;
  return room;
}

static uint8_t* near_pointer(uintptr_t target) {
  uint8_t* room = near_room(sizeof(target));
  memcpy(room, &target, sizeof(target));
  return room;
}

static void form_jump(uintptr_t target) { CODE(0xE9), relative(relay(target)); }
static void form_chain(uintptr_t target) { // two short jumps, then a long one
  CODE(0xEB, 0x02, 0xCC, 0xCC, 0xEB, 0x01, 0xCC, 0xE9), relative(relay(target));
}
#if IS_64
static void form_near_pointer(uintptr_t target) { CODE(0xFF, 0x25), relative(near_pointer(target)); }
static void form_far_pointer(uintptr_t target) { CODE(0xFF, 0x25), word32(0), pointer(target); }
static void form_register(uintptr_t target) { CODE(0x48, 0xB8), pointer(target), CODE(0xFF, 0xE0); }
static void form_scratch_register(uintptr_t target) {
  CODE(0x49, 0xBB), pointer(target), CODE(0x41, 0xFF, 0xE3);
}
static void form_push_return(uintptr_t target) {
  CODE(0x68), word32(target), CODE(0xC7, 0x44, 0x24, 0x04), word32(target >> 32), CODE(0xC3);
}
static void form_exchange_return(uintptr_t target) {
  CODE(0x50, 0x48, 0xB8), pointer(target), CODE(0x48, 0x87, 0x04, 0x24, 0xC3);
}
#else
static void form_near_pointer(uintptr_t target) {
  CODE(0xFF, 0x25), pointer((uintptr_t)near_pointer(target));
}
static void form_far_pointer(uintptr_t target) {
  CODE(0xFF, 0x25), pointer((uintptr_t)out + 4), pointer(target);
}
static void form_register(uintptr_t target) { CODE(0xB8), pointer(target), CODE(0xFF, 0xE0); }
static void form_scratch_register(uintptr_t target) { CODE(0xB9), pointer(target), CODE(0xFF, 0xE1); }
static void form_push_return(uintptr_t target) { CODE(0x68), pointer(target), CODE(0xC3); }
static void form_exchange_return(uintptr_t target) {
  CODE(0x50, 0xB8), pointer(target), CODE(0x87, 0x04, 0x24, 0xC3);
}
#endif

static const struct {
  const char* name;
  void (*write)(uintptr_t target);
} forms[] = {
    {"none", NULL}, // the control: nobody was in front
    {"jump", form_jump},
    {"chain", form_chain},
    {"near-pointer", form_near_pointer},
    {"far-pointer", form_far_pointer},
    {"register", form_register},
    {"scratch-register", form_scratch_register},
    {"push-return", form_push_return},
    {"exchange-return", form_exchange_return},
    {"other-runtime", form_register}}; // not a stranger: the other runtime, which gets redirected, too
enum { FORM_COUNT = sizeof(forms) / sizeof(forms[0]), FORM_SIZE_MAX = 16 };

static bool plant(HMODULE runtime, void (*write)(uintptr_t target)) {
  for (size_t i = 0; i < FUNCTION_COUNT; i++) {
    uint8_t* entry = (uint8_t*)(uintptr_t)GetProcAddress(runtime, functions[i].name);
    DWORD protection;
    // Functions begin at multiples of 16: there is room for every form.
    if (entry == NULL || (uintptr_t)entry % FORM_SIZE_MAX != 0) return false;
    if (!VirtualProtect(entry, FORM_SIZE_MAX, PAGE_EXECUTE_READWRITE, &protection)) return false;
    out = entry;
    write(functions[i].function);
    if (out > entry + FORM_SIZE_MAX) return false;
    VirtualProtect(entry, FORM_SIZE_MAX, protection, &protection);
    FlushInstructionCache(GetCurrentProcess(), entry, FORM_SIZE_MAX);
  }
  return true;
}

// ---- the check ------------------------------------------------------------------------------------------

enum { BLOCK_COUNT = 50 };

static void fill(unsigned char* block, size_t size, size_t seed) {
  for (size_t i = 0; i < size; i++) block[i] = (unsigned char)(seed * 7 + i);
}
static bool is_filled(const unsigned char* block, size_t size, size_t seed) {
  for (size_t i = 0; i < size; i++) {
    if (block[i] != (unsigned char)(seed * 7 + i)) return false;
  }
  return true;
}

static bool lead_to_other_runtime(void) {
  HMODULE other = LoadLibraryA(TEST_OTHER_RUNTIME);
  for (size_t i = 0; i < FUNCTION_COUNT; i++)
    functions[i].function = (uintptr_t)GetProcAddress(other, functions[i].name);
  intptr_t (*other_heap)(void) = (intptr_t(*)(void))(uintptr_t)GetProcAddress(other, "_get_heap_handle");
  if (other_heap != NULL) heap = (HANDLE)other_heap();
  return other_heap != NULL;
}

static const char* check(HMODULE runtime, void (*write)(uintptr_t target), bool is_left, const char* dll) {
  unsigned char* blocks[BLOCK_COUNT];
  if (write != NULL && !plant(runtime, write)) return "the jumps can't be planted";
  LONG start = live;
  for (size_t i = 0; i < BLOCK_COUNT; i++) {
    blocks[i] = i % 2 == 0 ? malloc(10 + i) : calloc(1, 10 + i);
    if (write != NULL && !is_known(blocks[i])) return "the planted jumps don't lead to the other allocator";
    fill(blocks[i], 10 + i, i);
  }
  HMODULE mimalloc = LoadLibraryA(dll);
  if (mimalloc == NULL) return "mimalloc.dll can't be loaded";
  bool (*is_redirected)(void) = (bool (*)(void))(uintptr_t)GetProcAddress(mimalloc, "mi_is_redirected");
  if (is_redirected() == is_left) return "mi_is_redirected is wrong";
  for (size_t i = 0; i < BLOCK_COUNT; i++) {
    size_t size = _msize(blocks[i]);
    if (size < 10 + i || size > 10 + i + 16) return "_msize of a block from before is wrong";
    blocks[i] = realloc(blocks[i], 1000 + i);
    if (blocks[i] == NULL) return "realloc of a block from before gives NULL";
    if (!is_filled(blocks[i], 10 + i, i)) return "realloc of a block from before loses its contents";
  }
  for (size_t i = 0; i < BLOCK_COUNT; i++) free(blocks[i]);
  if (live != start) return "blocks are lost";
  void* fresh = malloc(100);
  if (is_known(fresh) != is_left) return "the wrong allocator is in front";
  free(fresh);
  return live != start    ? "a new block is lost"
         : strangers != 0 ? "the other allocator was given others' blocks"
                          : NULL;
}

int main(int count, char** arguments) {
  setvbuf(stdout, NULL, _IONBF, 0); // no block of the runtime for it
  if (count == 2 && strcmp(arguments[1], "--list") == 0) {
    for (size_t i = 0; i < FORM_COUNT; i++) printf("%s\n", forms[i].name);
    return 0;
  }
  HMODULE runtime = GetModuleHandleA(TEST_RUNTIME);
  heap = HeapCreate(0, 0, 0);
  for (size_t i = 0; count == 3 && i < FORM_COUNT; i++) {
    if (strcmp(arguments[1], forms[i].name) != 0) continue;
    if (runtime == NULL || heap == NULL ||
        !find_near_memory((uint8_t*)(uintptr_t)GetProcAddress(runtime, "malloc"))) {
      printf("not ok %s: there is no " TEST_RUNTIME ", or no memory\n", forms[i].name);
      return 100;
    }
    bool is_other_runtime = strcmp(forms[i].name, "other-runtime") == 0;
    bool is_left = forms[i].write != NULL && !is_other_runtime;
    if (is_other_runtime && !lead_to_other_runtime()) return 100;
    const char* problem = check(runtime, forms[i].write, is_left, arguments[2]);
    LONG lost = live;
    if (problem == NULL) {
      printf("ok %s\n", forms[i].name);
    } else {
      printf("not ok %s: %s (%ld blocks alive)\n", forms[i].name, problem, lost);
    }
    TerminateProcess(GetCurrentProcess(),
                     problem != NULL); // the runtime's own blocks would go to the other one
  }
  printf("usage: redirect-hooked FORM DLL | --list\n");
  return 100;
}
