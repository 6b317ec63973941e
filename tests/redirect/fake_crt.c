// A C runtime DLL that misbehaves as the tests want. FAKE_CRT says how:
//
//   1  plain: nothing wrong
//   2  malloc starts with instructions that can't be moved
//   3  debug: blocks carry a header of 48 bytes (32 on i386), as those of Microsoft's debug runtimes, and are
//   validated by it
//   4  calls itself by other entries than it exports, as one that was built for two processors
//
// Built without any other runtime. Its own heap, as Microsoft's runtimes before the UCRT had.
#define _CRTIMP // the headers must not think that these functions come from another DLL
#include <stddef.h>
#include <stdint.h>
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#define EXPORT __declspec(dllexport)
#define REAL   __attribute__((noipa)) // is called, also from inside this file

#if FAKE_CRT == 3
#define HEADER (sizeof(void*) == 8 ? 48u : 32u)
#else
#define HEADER 0u
#endif
#define MARK ((uintptr_t)0xFA4EB10C)

static HANDLE heap;
static int new_mode, error_number;
static int(__cdecl* new_handler)(size_t size);

// What it did by itself, for the tests.
EXPORT void* fake_attach_block;       // allocated by DllMain
EXPORT volatile LONG fake_free_count; // blocks that its free has really freed
EXPORT volatile LONG fake_bad_count;  // blocks that its free was given and that weren't its own

EXPORT intptr_t _get_heap_handle(void) { return (intptr_t)heap; }
#if FAKE_CRT == 1
// As Microsoft's: in a block of the thread that is made when it is first asked for.
void* calloc(size_t count, size_t size);
static DWORD errno_index;
EXPORT int* _errno(void) {
  int* mine = TlsGetValue(errno_index);
  if (mine == NULL) mine = calloc(1, 100);
  if (mine == NULL) return &error_number;
  TlsSetValue(errno_index, mine);
  return mine;
}
#else
EXPORT int* _errno(void) { return &error_number; }
#endif
EXPORT int _set_new_mode(int mode) {
  int old = new_mode;
  new_mode = mode;
  return old;
}
EXPORT int _query_new_mode(void) { return new_mode; }
EXPORT void fake_set_new_handler(int(__cdecl* handler)(size_t size)) { new_handler = handler; }
EXPORT int _callnewh(size_t size) { return new_handler != NULL && new_handler(size); }

static uint8_t* base_of(void* block) { return (uint8_t*)block - HEADER; }

static __attribute__((noinline, used)) void* fake_allocate(size_t size) {
  uint8_t* base = HeapAlloc(heap, 0, size + HEADER);
  if (base == NULL) return NULL;
  if (HEADER != 0) {
    ((uintptr_t*)base)[0] = MARK;
    ((uintptr_t*)base)[1] = size;
  }
  return base + HEADER;
}

static int is_own(void* block) {
  uint8_t* base = base_of(block);
  if (!HeapValidate(heap, 0, base)) return 0;
  return HEADER == 0 || ((uintptr_t*)base)[0] == MARK;
}

static void release(void* block) {
  if (block == NULL) return;
  if (!is_own(block)) {
    fake_bad_count++;
    return;
  }
  if (HEADER != 0) ((uintptr_t*)base_of(block))[0] = 0;
  HeapFree(heap, 0, base_of(block));
  fake_free_count++;
}

#if FAKE_CRT == 2
void* malloc(size_t size);
#if defined(__x86_64__)
__asm__(".globl malloc\n"
        ".section .drectve,\"yn\"\n .ascii \" -export:malloc\"\n"
        ".text\n"
        "malloc:\n"
        "  jrcxz 1f\n" // only a byte reaches its target
        "  jmp fake_allocate\n"
        "1: movl $1, %ecx\n"
        "  jmp fake_allocate\n");
#else
__asm__(".globl _malloc\n"
        ".section .drectve,\"yn\"\n .ascii \" -export:malloc\"\n"
        ".text\n"
        "_malloc:\n"
        "  jecxz 1f\n"
        "  jmp _fake_allocate\n"
        "1: jmp _fake_allocate\n");
#endif
#elif FAKE_CRT == 3
// As Microsoft's: the header is written when the inner function, which is hooked, too, has come back.
EXPORT void(__cdecl* fake_pause)(void);
EXPORT REAL void* _malloc_base(size_t size) { return HeapAlloc(heap, 0, size); }
EXPORT REAL void* malloc(size_t size) {
  if (fake_pause != NULL) fake_pause();
  uintptr_t* base = _malloc_base(size + HEADER);
  if (base == NULL) return NULL;
  base[0] = MARK;
  base[1] = size;
  return (uint8_t*)base + HEADER;
}
#else
EXPORT REAL void* malloc(size_t size) { return fake_allocate(size); }
#endif

EXPORT REAL void free(void* block) { release(block); }
EXPORT size_t _msize(void* block) {
  if (!is_own(block)) return (size_t)-1;
  return HEADER != 0 ? ((size_t*)base_of(block))[1] : HeapSize(heap, 0, block);
}
EXPORT REAL void* calloc(size_t count, size_t size) {
  uint8_t* block = fake_allocate(count * size);
  for (size_t i = 0; block != NULL && i < count * size; i++) ((volatile uint8_t*)block)[i] = 0;
  return block;
}
EXPORT void* realloc(void* block, size_t size) {
  if (block == NULL) return fake_allocate(size);
  size_t old = _msize(block);
  volatile uint8_t* fresh = fake_allocate(size);
  for (size_t i = 0; i < old && i < size; i++) fresh[i] = ((uint8_t*)block)[i];
  release(block);
  return (void*)(uintptr_t)fresh;
}

#if FAKE_CRT == 1
// Makes an aligned block inside of one from malloc, as all runtimes do; before that it calls what the tests
// want.
EXPORT void(__cdecl* fake_pause)(void);
EXPORT REAL void* _aligned_realloc(void* block, size_t size, size_t alignment) {
  (void)block;
  if (fake_pause != NULL) fake_pause();
  uint8_t* whole = malloc(size + alignment + sizeof(void*));
  uintptr_t place = ((uintptr_t)whole + sizeof(void*) + alignment - 1) & ~(uintptr_t)(alignment - 1);
  ((void**)place)[-1] = whole;
  return (void*)place;
}
#endif

// A function of the runtime that hands out memory of its malloc.
EXPORT char* _strdup(const char* text) {
  size_t length = 0;
  while (text[length] != 0) length++;
#if FAKE_CRT == 4
  volatile char* copy = fake_allocate(length + 1);
#else
  volatile char* copy = malloc(length + 1);
#endif
  for (size_t i = 0; i <= length; i++) copy[i] = text[i];
  return (char*)(uintptr_t)copy;
}

// Two functions whose instructions the tests know, to put threads between them. Both return their argument
// plus one.
//
//   _expand           offsets 0, 1, 4 (i386: 0, 1, 5), all but the first inside of what a jump overwrites
//   _aligned_malloc   the same
void* _expand(void* block, size_t size);
void* _aligned_malloc(size_t size, size_t alignment);
#if defined(__x86_64__)
#define KNOWN(name)                                                                                          \
  __asm__(".globl " name "\n.section .drectve,\"yn\"\n .ascii \" -export:" name                              \
          "\"\n.text\n.balign 16\n" name ":\n"                                                               \
          "  pushq %rbx\n"      /* 53 */                                                                     \
          "  movq %rcx, %rbx\n" /* 48 89 CB */                                                               \
          "  nop\n  nop\n"                                                                                   \
          "  leaq 1(%rbx), %rax\n"                                                                           \
          "  popq %rbx\n"                                                                                    \
          "  ret\n.balign 16\n")
#else
#define KNOWN(name)                                                                                          \
  __asm__(".globl _" name "\n.section .drectve,\"yn\"\n .ascii \" -export:" name                             \
          "\"\n.text\n.balign 16\n_" name ":\n"                                                              \
          "  pushl %ebx\n"         /* 53 */                                                                  \
          "  movl 8(%esp), %ebx\n" /* 8B 5C 24 08 */                                                         \
          "  nop\n  nop\n"                                                                                   \
          "  leal 1(%ebx), %eax\n"                                                                           \
          "  popl %ebx\n"                                                                                    \
          "  ret\n.balign 16\n")
#endif
KNOWN("_expand");
KNOWN("_aligned_malloc");

#if FAKE_CRT == 3
EXPORT void* _malloc_dbg(size_t size, int use, const char* file, int line) {
  (void)use, (void)file, (void)line;
  return fake_allocate(size);
}
EXPORT void _free_dbg(void* block, int use) {
  (void)use;
  release(block);
}
EXPORT size_t _msize_dbg(void* block, int use) {
  (void)use;
  return is_own(block) ? ((size_t*)base_of(block))[1] : (size_t)-1;
}
#endif

BOOL WINAPI fake_entry(HINSTANCE module, DWORD reason, LPVOID reserved);
BOOL WINAPI fake_entry(HINSTANCE module, DWORD reason, LPVOID reserved) {
  (void)module, (void)reserved;
  if (reason == DLL_PROCESS_ATTACH) {
    heap = HeapCreate(0, 0, 0);
#if FAKE_CRT == 1
    errno_index = TlsAlloc();
#endif
    fake_attach_block = malloc(10);
  }
  return TRUE;
}
