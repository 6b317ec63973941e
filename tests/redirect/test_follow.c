// Which first instructions are taken for another's redirection, form by form, and which are not.
#include "support/check.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <sys/mman.h>
#endif

#include "follow.h"

// A module below 2 GiB, so that code for 32 bits can be looked at, too; beside it memory that isn't the module's.
enum { MODULE_SIZE = 0x1000, MEMORY_SIZE = 0x3000, ENTRY = 0x100, DATA = 0x800, BESIDE = 0x2000 };
static uint8_t* module;

#define OUTSIDE ((uintptr_t)0x12345678)

static bool is_readable(void* context, uintptr_t address, size_t size) {
  (void)context;
  uintptr_t offset = address - (uintptr_t)module;
  return offset < MEMORY_SIZE && size <= MEMORY_SIZE - offset;
}

// DATA on: import slots, and other pointers.
static bool is_compilers(void* context, uintptr_t slot, bool is_first) {
  (void)context;
  uintptr_t offset = slot - (uintptr_t)module;
  return offset >= DATA && offset < MODULE_SIZE && !is_first;
}

static bool make_memory(void) {
  void* wish = (void*)(uintptr_t)0x20000000;
#if defined(_WIN32)
  module = VirtualAlloc(wish, MEMORY_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
#else
  module = mmap(wish, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
#endif
  return module != NULL && (uintptr_t)module <= 0x7FFFFFFF - MEMORY_SIZE;
}

static uintptr_t follow(bool is_64) {
  const follow_code_t code = {(uintptr_t)module, (uintptr_t)module + MODULE_SIZE, is_64, NULL, is_readable,
                              is_compilers};
  return follow_out(&code, (uintptr_t)module + ENTRY);
}

// Bytes of machine code at an offset; addresses are put in behind them.
static size_t end;
static void at(size_t offset) { end = offset; }
static void emit(const void* bytes, size_t size) {
  memcpy(module + end, bytes, size);
  end += size;
}
#define CODE(...) emit((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
static void word32(uint64_t value) { emit(&(uint32_t){(uint32_t)value}, 4); }
static void word64(uint64_t value) { emit(&value, 8); }
static void relative(uintptr_t target) { word32(target - ((uintptr_t)module + end + 4)); }

static void begin(void) {
  memset(module, 0xCC, MEMORY_SIZE);
  at(ENTRY);
}

static void found(bool is_64) { assert_int_equal(follow(is_64), OUTSIDE); }
static void not_found(bool is_64) { assert_int_equal(follow(is_64), 0); }

// ---- what others write ----------------------------------------------------------------------------------

static void relative_jumps(void** state) {
  (void)state;
  for (int is_64 = 0; is_64 < 2; is_64++) {
    begin(), CODE(0xE9), relative(OUTSIDE), found(is_64);
    begin(), CODE(0xE8), relative(OUTSIDE), found(is_64);       // call
    begin(), CODE(0x0F, 0x84), relative(OUTSIDE), found(is_64); // je
    begin(), CODE(0x90, 0xE9), relative(OUTSIDE), found(is_64);
    begin(), CODE(0xF3, 0x0F, 0x1E, 0xFA, 0xE9), relative(OUTSIDE), found(is_64); // endbr64
    begin(), CODE(0x8B, 0xFF, 0xE9), relative(OUTSIDE), found(is_64);             // mov edi,edi
    // A short jump to the bytes in front of the function, from there out; and a longer chain.
    begin(), CODE(0xEB, 0xF9), at(ENTRY - 5), CODE(0xE9), relative(OUTSIDE), found(is_64);
    begin(), CODE(0xEB, 0x10), at(ENTRY + 0x12), CODE(0xEB, 0x20), at(ENTRY + 0x34), CODE(0xE9),
        relative((uintptr_t)module + 0x400), at(0x400), CODE(0xE9), relative(OUTSIDE), found(is_64);
  }
}

static void jumps_through_a_pointer(void** state) {
  (void)state;
  begin(), CODE(0xFF, 0x25), word32(0), word64(OUTSIDE), found(true); // the pointer comes next
  begin(), CODE(0x48, 0xFF, 0x25), word32(0), word64(OUTSIDE), found(true);
  begin(), CODE(0xFF, 0x25), relative((uintptr_t)module + 0x200), at(0x200), word64(OUTSIDE), found(true);
  begin(), CODE(0xFF, 0x25), relative((uintptr_t)module + BESIDE), at(BESIDE), word64(OUTSIDE), found(true);
  begin(), CODE(0xFF, 0x24, 0x25), word32((uintptr_t)module + BESIDE), at(BESIDE), word64(OUTSIDE),
      found(true);
  begin(), CODE(0xFF, 0x25), relative((uintptr_t)module + DATA + 0x200), at(DATA + 0x200), word64(OUTSIDE);
  found(true); // in the module's data, and nothing else
  begin(), CODE(0xEB, 0x10), at(ENTRY + 0x12), CODE(0xFF, 0x25), word32(0), word64(OUTSIDE), found(true);
  begin(), CODE(0xFF, 0x2D), relative((uintptr_t)module + BESIDE), at(BESIDE), word64(OUTSIDE), found(true);
  begin(), CODE(0xFF, 0x25), word32((uintptr_t)module + BESIDE), at(BESIDE), word32(OUTSIDE), found(false);
  begin(), CODE(0xFF, 0x25), word32((uintptr_t)module + 0x200), at(0x200), word32(OUTSIDE), found(false);
  begin(), CODE(0xFF, 0x2D), word32((uintptr_t)module + BESIDE), at(BESIDE), word32(OUTSIDE), found(false);
  begin(), CODE(0xEA), word32(OUTSIDE), CODE(0x33, 0x00), found(false);
}

static void jumps_through_a_register(void** state) {
  (void)state;
  begin(), CODE(0x48, 0xB8), word64(OUTSIDE), CODE(0xFF, 0xE0), found(true);       // mov rax, n; jmp rax
  begin(), CODE(0x49, 0xBB), word64(OUTSIDE), CODE(0x41, 0xFF, 0xE3), found(true); // r11
  begin(), CODE(0x48, 0xC7, 0xC1), word32(OUTSIDE), CODE(0xFF, 0xE1), found(true); // mov rcx, n
  begin(), CODE(0xB8), word32(OUTSIDE), CODE(0xFF, 0xE0), found(true);
  begin(), CODE(0x48, 0x8D, 0x05), relative(OUTSIDE), CODE(0xFF, 0xE0), found(true); // lea rax,[rip+n]
  begin(), CODE(0x48, 0x8B, 0x05), relative((uintptr_t)module + 0x200), CODE(0xFF, 0xE0);
  at(0x200), word64(OUTSIDE), found(true); // mov rax,[rip+n]
  begin(), CODE(0x48, 0xB8), word64((uintptr_t)module + BESIDE), CODE(0xFF, 0x20);
  at(BESIDE), word64(OUTSIDE), found(true); // jmp [rax]
  begin(), CODE(0xB8), word32(OUTSIDE), CODE(0xFF, 0xE0), found(false);
  begin(), CODE(0xC7, 0xC2), word32(OUTSIDE), CODE(0xFF, 0xE2), found(false);
  begin(), CODE(0xA1), word32((uintptr_t)module + BESIDE), CODE(0xFF, 0xE0);
  at(BESIDE), word32(OUTSIDE), found(false);
  begin(), CODE(0x8B, 0x0D), word32((uintptr_t)module + BESIDE), CODE(0xFF, 0xE1);
  at(BESIDE), word32(OUTSIDE), found(false);
}

static void returns_to_a_pushed_address(void** state) {
  (void)state;
  // push low; mov dword [rsp+4], high; ret
  begin(), CODE(0x68), word32(OUTSIDE), CODE(0xC7, 0x44, 0x24, 0x04), word32(0), CODE(0xC3), found(true);
  begin(), CODE(0x68), word32(0x80000000), CODE(0xC7, 0x44, 0x24, 0x04), word32(0x7FFE), CODE(0xC3);
  if (sizeof(uintptr_t) == 8) assert_int_equal(follow(true), (uintptr_t)0x7FFE80000000u);
  begin(), CODE(0x68), word32(OUTSIDE), CODE(0xC3), found(true);
  begin(), CODE(0x48, 0xB8), word64(OUTSIDE), CODE(0x50, 0xC3), found(true); // mov rax, n; push rax; ret
  begin(), CODE(0x49, 0xBA), word64(OUTSIDE), CODE(0x41, 0x52, 0xC3), found(true);
  // push rax; mov rax, n; xchg [rsp], rax; ret
  begin(), CODE(0x50, 0x48, 0xB8), word64(OUTSIDE), CODE(0x48, 0x87, 0x04, 0x24, 0xC3), found(true);
  // push rax; push rax; mov rax, n; mov [rsp+8], rax; pop rax; ret
  begin(), CODE(0x50, 0x50, 0x48, 0xB8), word64(OUTSIDE), CODE(0x48, 0x89, 0x44, 0x24, 0x08, 0x58, 0xC3),
      found(true);
  // sub rsp, 8; mov dword [rsp], low; mov dword [rsp+4], high; ret
  begin(), CODE(0x48, 0x83, 0xEC, 0x08, 0xC7, 0x04, 0x24), word32(OUTSIDE);
  CODE(0xC7, 0x44, 0x24, 0x04), word32(0), CODE(0xC3), found(true);
  begin(), CODE(0xFF, 0x35), word32(1), CODE(0xC3), word64(OUTSIDE), found(true); // push [rip+1]; ret
  begin(), CODE(0x68), word32(OUTSIDE), CODE(0xC3), found(false);
  begin(), CODE(0xB8), word32(OUTSIDE), CODE(0x50, 0xC3), found(false);
  begin(), CODE(0x83, 0xEC, 0x04, 0xC7, 0x04, 0x24), word32(OUTSIDE), CODE(0xC3), found(false);
  begin(), CODE(0x50, 0xB8), word32(OUTSIDE), CODE(0x87, 0x04, 0x24, 0xC3), found(false);
  begin(), CODE(0xFF, 0x35), word32((uintptr_t)module + BESIDE), CODE(0xC3), at(BESIDE), word32(OUTSIDE),
      found(false);
}

// ---- what compilers write -------------------------------------------------------------------------------

static void functions_that_stay_at_home(void** state) {
  (void)state;
  begin(), CODE(0x53, 0x48, 0x83, 0xEC, 0x20, 0x48, 0x89, 0xCB, 0xE8), relative((uintptr_t)module + 0x600),
      not_found(true);
  begin(), CODE(0xE9), relative((uintptr_t)module + 0x600), at(0x600), CODE(0x31, 0xC0, 0xC3),
      not_found(true);
  begin(), CODE(0x31, 0xC0, 0xC3), not_found(true);
  begin(), CODE(0xC3), not_found(true);
  begin(), CODE(0x8B, 0xFF, 0x55, 0x8B, 0xEC, 0x5D, 0xC3), not_found(false);
  begin(), CODE(0x58, 0xC3), not_found(true); // the caller's
  begin(), CODE(0xFF, 0xE0), not_found(true); // a register that the caller has set
  begin(), CODE(0xEB, 0xFE), not_found(true); // for ever
  // Half of an address says nothing, and a register that has been computed with since neither.
  begin(), CODE(0x48, 0x83, 0xEC, 0x08, 0xC7, 0x04, 0x24), word32(OUTSIDE), CODE(0xC3), not_found(true);
  begin(), CODE(0x48, 0xB8), word64(OUTSIDE), CODE(0x48, 0x01, 0xC8, 0xFF, 0xE0), not_found(true);
  // Behind a branch of its own nobody looks: test rcx, rcx; je; mov rax, n; jmp rax
  begin(), CODE(0x48, 0x85, 0xC9, 0x74, 0x10, 0x48, 0xB8), word64(OUTSIDE), CODE(0xFF, 0xE0), not_found(true);
}

static void pointers_of_compilers(void** state) {
  (void)state;
  // A call at the function's end: mov rcx, [heap]; jmp [import].
  begin(), CODE(0x48, 0x8B, 0x0D), relative((uintptr_t)module + DATA + 0x300), CODE(0xFF, 0x25);
  relative((uintptr_t)module + DATA), at(DATA), word64(OUTSIDE), not_found(true);
  begin(), CODE(0x8B, 0x0D), word32((uintptr_t)module + DATA + 0x300), CODE(0xFF, 0x25);
  word32((uintptr_t)module + DATA), at(DATA), word32(OUTSIDE), not_found(false);
  begin(), CODE(0x48, 0x8B, 0x05), relative((uintptr_t)module + DATA), CODE(0xFF, 0xE0);
  at(DATA), word64(OUTSIDE), not_found(true); // mov rax, [import]; jmp rax
  // Nothing but a jump: the caller of follow_out looks where it leads.
  begin(), CODE(0xFF, 0x25), relative((uintptr_t)module + DATA), at(DATA), word64(OUTSIDE), found(true);
  begin(), CODE(0xFF, 0x25), word32((uintptr_t)module + DATA), at(DATA), word32(OUTSIDE), found(false);
}

static void unreadable_memory_is_not_touched(void** state) {
  (void)state;
  begin(), at(ENTRY), CODE(0xFF, 0x25), relative((uintptr_t)module + MEMORY_SIZE - 4), not_found(true);
  begin(), at(ENTRY), CODE(0xFF, 0x25), word32(0x12345678), not_found(false);
  begin(), CODE(0x48, 0xB8), word64(UINT64_C(0xFFFFFFFFFFFFFFF8)), CODE(0xFF, 0x20),
      not_found(true); // jmp [rax]
}

int main(void) {
  const struct CMUnitTest cases[] = {
      cmocka_unit_test(relative_jumps),
      cmocka_unit_test(jumps_through_a_pointer),
      cmocka_unit_test(jumps_through_a_register),
      cmocka_unit_test(returns_to_a_pushed_address),
      cmocka_unit_test(functions_that_stay_at_home),
      cmocka_unit_test(pointers_of_compilers),
      cmocka_unit_test(unreadable_memory_is_not_touched),
  };
  if (!make_memory()) {
    fprintf(stderr, "redirect-follow: there is no memory below 2 GiB\n");
    return 1;
  }
  return check_run(cases);
}
