// The planner: what can be moved and what must be refused, bytes of trampolines and jumps, and trampolines
// that are run. Sources of machine code: the manuals' encodings, written by hand.
#include "support/check.h"

#include <stdlib.h>
#if defined(__x86_64__) && !defined(_WIN32)
#include <sys/mman.h>
#endif

#include "plan.h"

#define CODE(...) ((const uint8_t[64]){__VA_ARGS__})

static const char* move(const uint8_t* bytes, bool is_64, uintptr_t at, uintptr_t trampoline,
                        plan_move_t* result) {
  plan_code_t code = {bytes, 64, at, is_64};
  return plan_move(&code, trampoline, result);
}

static void assert_moves(const uint8_t* bytes, bool is_64, const uint8_t* expected, size_t size,
                         size_t moved) {
  plan_move_t result;
  const char* problem = move(bytes, is_64, 0x10001000, 0x10000000, &result);
  if (problem != NULL) fail_msg("refused: %s", problem);
  assert_int_equal(result.moved, moved);
  assert_int_equal(result.size, size);
  assert_memory_equal(result.trampoline, expected, size);
}

static void assert_refused(const uint8_t* bytes, bool is_64, const char* part) {
  plan_move_t result;
  const char* problem = move(bytes, is_64, 0x10001000, 0x10000000, &result);
  if (problem == NULL) fail_msg("moved, but should have been refused: %s", part);
  if (strstr(problem, part) == NULL) fail_msg("refused because \"%s\", not \"%s\"", problem, part);
}

// ---- what is moved, byte for byte -----------------------------------------------------------------------

static void plain_instructions_are_copied(void** state) {
  (void)state;
  // push rbx; sub rsp,32; mov rbx,rcx
  assert_moves(CODE(0x53, 0x48, 0x83, 0xEC, 0x20, 0x48, 0x89, 0xCB), true,
               CODE(0x53, 0x48, 0x83, 0xEC, 0x20, 0xE9, 0xFB, 0x0F, 0, 0), 10,
               5); // to 10001005 from 1000000A
  // mov edi,edi; push ebp; mov ebp,esp
  assert_moves(CODE(0x8B, 0xFF, 0x55, 0x8B, 0xEC), false,
               CODE(0x8B, 0xFF, 0x55, 0x8B, 0xEC, 0xE9, 0xFB, 0x0F, 0, 0), 10, 5);
  // the last one begins inside of the jump and ends behind it: lea rax,[rsp+0x12345678] behind push rbx
  assert_moves(CODE(0x53, 0x48, 0x8D, 0x84, 0x24, 0x78, 0x56, 0x34, 0x12), true,
               CODE(0x53, 0x48, 0x8D, 0x84, 0x24, 0x78, 0x56, 0x34, 0x12, 0xE9, 0xFB, 0x0F, 0, 0), 14, 9);
  // endbr64; push rbp
  assert_moves(CODE(0xF3, 0x0F, 0x1E, 0xFA, 0x55), true,
               CODE(0xF3, 0x0F, 0x1E, 0xFA, 0x55, 0xE9, 0xFB, 0x0F, 0, 0), 10, 5);
}

static void relative_addresses_are_adjusted(void** state) {
  (void)state;
  // mov rax,[rip+0x10]: 10001017, seen from 10000007
  assert_moves(CODE(0x48, 0x8B, 0x05, 0x10, 0, 0, 0), true,
               CODE(0x48, 0x8B, 0x05, 0x10, 0x10, 0, 0, 0xE9, 0xFB, 0x0F, 0, 0), 12, 7);
  // cmp dword [rip-0x20],0x11223344: the displacement isn't at the end
  assert_moves(CODE(0x81, 0x3D, 0xE0, 0xFF, 0xFF, 0xFF, 0x44, 0x33, 0x22, 0x11), true,
               CODE(0x81, 0x3D, 0xE0, 0x0F, 0, 0, 0x44, 0x33, 0x22, 0x11, 0xE9, 0xFB, 0x0F, 0, 0), 15, 10);
  // In 32-bit mode the same bytes hold an absolute address: mov eax,[0x10] behind dec eax
  assert_moves(CODE(0x48, 0x8B, 0x05, 0x10, 0, 0, 0), false,
               CODE(0x48, 0x8B, 0x05, 0x10, 0, 0, 0, 0xE9, 0xFB, 0x0F, 0, 0), 12, 7);
}

static void branches_are_adjusted(void** state) {
  (void)state;
  // test rcx,rcx; je +0x20 becomes a near one: its target is 10001025
  assert_moves(CODE(0x48, 0x85, 0xC9, 0x74, 0x20), true,
               CODE(0x48, 0x85, 0xC9, 0x0F, 0x84, 0x1C, 0x10, 0, 0, 0xE9, 0xF7, 0x0F, 0, 0), 14, 5);
  // jne near +0x100: target 10001106
  assert_moves(CODE(0x0F, 0x85, 0, 1, 0, 0), true, CODE(0x0F, 0x85, 0, 0x11, 0, 0, 0xE9, 0xFB, 0x0F, 0, 0),
               11, 6);
  // sub rsp,40; call +0x50: target 10001059
  assert_moves(CODE(0x48, 0x83, 0xEC, 0x28, 0xE8, 0x50, 0, 0, 0), true,
               CODE(0x48, 0x83, 0xEC, 0x28, 0xE8, 0x50, 0x10, 0, 0, 0xE9, 0xFB, 0x0F, 0, 0), 14, 9);
  // jmp near +0x50, after which nothing comes
  assert_moves(CODE(0xE9, 0x50, 0, 0, 0), true, CODE(0xE9, 0x50, 0x10, 0, 0), 5, 5);
  // jmp short +0x50 and padding: target 10001052
  assert_moves(CODE(0xEB, 0x50, 0xCC, 0xCC, 0xCC), true, CODE(0xE9, 0x4D, 0x10, 0, 0), 5, 2);
  // jmp [rip+0x50]: slot 10001056
  assert_moves(CODE(0xFF, 0x25, 0x50, 0, 0, 0), true, CODE(0xFF, 0x25, 0x50, 0x10, 0, 0), 6, 6);
  // xor eax,eax; ret; long padding
  assert_moves(CODE(0x31, 0xC0, 0xC3, 0x66, 0x2E, 0x0F, 0x1F, 0x84, 0, 0, 0, 0, 0), true,
               CODE(0x31, 0xC0, 0xC3), 3, 3);
  // the same with the padding of 32-bit code: lea esi,[esi+eiz+0]; mov esi,esi
  assert_moves(CODE(0xEB, 0x50, 0x8D, 0xB4, 0x26, 0, 0, 0, 0), false, CODE(0xE9, 0x4D, 0x10, 0, 0), 5, 2);
  assert_moves(CODE(0xEB, 0x50, 0x89, 0xF6, 0x8D, 0x76, 0x00), false, CODE(0xE9, 0x4D, 0x10, 0, 0), 5, 2);
  // back to the function's own start, which is as good as calling it: jmp -5
  assert_moves(CODE(0xE9, 0xFB, 0xFF, 0xFF, 0xFF), true, CODE(0xE9, 0xFB, 0x0F, 0, 0), 5, 5);
}

static void boundaries_are_kept(void** state) {
  (void)state;
  plan_move_t result;
  // push rbx; je +0x10 (grows from 2 to 6 bytes); push rsi; push rdi
  assert_null(move(CODE(0x53, 0x74, 0x10, 0x56, 0x57, 0x90), true, 0x1000, 0x2000, &result));
  assert_int_equal(result.count, 4);
  const uint8_t from[] = {0, 1, 3, 4}, to[] = {0, 1, 7, 8};
  assert_memory_equal(result.from, from, 4);
  assert_memory_equal(result.to, to, 4);
}

// ---- what is refused ------------------------------------------------------------------------------------

static void what_cannot_be_moved_is_refused(void** state) {
  (void)state;
  assert_refused(CODE(0xE3, 0x20, 0x90, 0x90, 0x90), true, "loop instruction"); // jrcxz
  assert_refused(CODE(0x53, 0xE2, 0xFE, 0x90, 0x90), true, "loop instruction"); // push rbx; loop
  assert_refused(CODE(0xCC, 0x53, 0x53, 0x53, 0x53), true, "breakpoint");
  assert_refused(CODE(0x0F, 0x0B, 0x90, 0x90, 0x90), true, "trap");                // ud2
  assert_refused(CODE(0xC3, 0x55, 0x53, 0x56, 0x57), true, "shorter than a jump"); // ret, then something else
  assert_refused(CODE(0x31, 0xC0, 0xC3, 0x55, 0x53), true, "shorter than a jump");
  assert_refused(CODE(0xEB, 0x50, 0x8D, 0xB4, 0x26, 1, 0, 0, 0), false,
                 "shorter than a jump");                                                  // lea esi,[esi+1]
  assert_refused(CODE(0xEB, 0x50, 0x8D, 0x74, 0x36, 0x00), false, "shorter than a jump"); // lea esi,[esi+esi]
  assert_refused(CODE(0xEB, 0x50, 0x89, 0xF7, 0x90), false, "shorter than a jump");       // mov edi,esi
  assert_refused(CODE(0x74, 0x01, 0x53, 0x56, 0x57), true, "branches within");            // je +1
  assert_refused(CODE(0x53, 0x56, 0x57, 0x75, 0xFC), true, "branches within");            // jne to push rsi
  assert_refused(CODE(0xFF, 0xD0, 0x53, 0x56, 0x57), true, "call that is too short");     // call rax
  assert_refused(CODE(0x06, 0x53, 0x56, 0x57, 0x53), true,
                 "not understood");                                         // push es: no such in 64-bit mode
  assert_refused(CODE(0x66, 0xE8, 0x10, 0, 0x90), false, "not understood"); // call with a 16-bit target
  assert_refused(CODE(0x2E, 0x74, 0x10, 0x53, 0x56), true, "short branch that has a prefix");
}

static void a_call_to_the_next_instruction_is_refused(void** state) {
  (void)state;
  // call $+5; pop ebx: asks for its own address. The call's target lies at the end of what is moved, not
  // inside of it, so it is the return address that would differ.
  assert_refused(CODE(0xE8, 0, 0, 0, 0, 0x5B), false, "own address");
  assert_refused(CODE(0xE8, 0, 0, 0, 0, 0x5B), true, "own address");
}

static void addresses_out_of_reach_are_refused(void** state) {
  (void)state;
  plan_move_t result;
  const uint8_t* load = CODE(0x48, 0x8B, 0x05, 0x10, 0, 0, 0);
  const uint8_t* plain = CODE(0x53, 0x48, 0x83, 0xEC, 0x20);
  if (sizeof(uintptr_t) == 4) return;
  uintptr_t far_away = (uintptr_t)0x7FFF00000000u;
  assert_non_null(strstr(move(load, true, far_away, 0x10000, &result), "out of the trampoline's reach"));
  assert_non_null(strstr(move(plain, true, far_away, 0x10000, &result), "out of the trampoline's reach"));
  assert_null(move(plain, true, far_away, far_away - 0x70000000, &result));
  assert_null(move(plain, true, far_away, far_away + 0x70000000, &result));
  uint8_t patch[PATCH_SIZE];
  assert_false(plan_jump(patch, far_away, 0x10000, true));
  assert_true(
      plan_jump(patch, far_away, far_away - 0x7FFFFFFB, true)); // the furthest: -2^31 from the jump's end
  assert_memory_equal(patch, CODE(0xE9, 0x00, 0x00, 0x00, 0x80), PATCH_SIZE);
  assert_false(plan_jump(patch, far_away, far_away - 0x7FFFFFFC, true));
  assert_true(plan_jump(patch, far_away, far_away + 0x80000004u, true)); // +2^31 - 1
  assert_memory_equal(patch, CODE(0xE9, 0xFF, 0xFF, 0xFF, 0x7F), PATCH_SIZE);
  assert_false(plan_jump(patch, far_away, far_away + 0x80000005u, true));
}

static void no_prefix_of_a_function_is_read_beyond_its_end(void** state) {
  (void)state;
  const uint8_t bytes[] = {0x53, 0x48, 0x8D, 0x84, 0x24, 0x78, 0x56, 0x34, 0x12};
  for (size_t size = 0; size <= sizeof(bytes); size++) {
    uint8_t* copy = malloc(size + 1); // its end is where a sanitizer sees overruns
    memcpy(copy, bytes, size);
    plan_code_t code = {copy, size, 0x1000, true};
    plan_move_t result;
    const char* problem = plan_move(&code, 0x2000, &result);
    assert_true((problem == NULL) == (size == sizeof(bytes)));
    plan_body_size(&code, 100);
    plan_branches_into_patch(&code, 100);
    free(copy);
  }
}

// ---- whole functions ------------------------------------------------------------------------------------

static void the_end_of_a_function_is_found(void** state) {
  (void)state;
  plan_code_t simple = {CODE(0x31, 0xC0, 0xC3, 0xCC, 0xCC), 64, 0x1000, true};
  assert_int_equal(plan_body_size(&simple, 64), 3);
  // test ecx,ecx; je +1; ret; xor eax,eax; ret
  plan_code_t two = {CODE(0x85, 0xC9, 0x74, 0x01, 0xC3, 0x31, 0xC0, 0xC3, 0xCC), 64, 0x1000, true};
  assert_int_equal(plan_body_size(&two, 64), 8);
  plan_code_t cut = {CODE(0x90, 0x90, 0x90), 64, 0x1000, true};
  assert_int_equal(plan_body_size(&cut, 2), 2);
}

static void jumps_into_the_first_bytes_are_found(void** state) {
  (void)state;
  // push rbx; dec ecx; jne -4 (to dec ecx, at 1)
  plan_code_t loop = {CODE(0x53, 0xFF, 0xC9, 0x48, 0x89, 0xC8, 0x75, 0xF9, 0xC3), 64, 0x1000, true};
  assert_true(plan_branches_into_patch(&loop, 9));
  // jne to the very start is fine, and so is one to byte 5
  plan_code_t start = {CODE(0x53, 0xFF, 0xC9, 0x48, 0x89, 0xC8, 0x75, 0xF8, 0xC3), 64, 0x1000, true};
  assert_false(plan_branches_into_patch(&start, 9));
  plan_code_t behind = {CODE(0x48, 0x83, 0xEC, 0x20, 0x90, 0x90, 0x75, 0xFD, 0xC3), 64, 0x1000, true};
  assert_false(plan_branches_into_patch(&behind, 9));
}

// ---- run ------------------------------------------------------------------------------------------------

#if defined(__x86_64__) && !defined(_WIN32)

enum { FUNCTION_AT = 0, VALUE_AT = 256, CALLEE_AT = 320, TRAMPOLINE_AT = 4096 * 16 };

// Lays `bytes` out as a function, with a value (7) and a function that returns 100 + its argument at fixed
// distances; overwrites its start with traps, and calls it through the trampoline.
static uint64_t run(const uint8_t* bytes, uint64_t argument) {
  uint8_t* memory = mmap(NULL, TRAMPOLINE_AT + 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(memory != MAP_FAILED);
  memcpy(memory + FUNCTION_AT, bytes, 64);
  memory[VALUE_AT] = 7;
  const uint8_t callee[] = {0x48, 0x8D, 0x47, 100, 0xC3}; // lea rax,[rdi+100]; ret
  memcpy(memory + CALLEE_AT, callee, sizeof(callee));
  plan_code_t code = {memory + FUNCTION_AT, 64, (uintptr_t)memory + FUNCTION_AT, true};
  plan_move_t result;
  const char* problem = plan_move(&code, (uintptr_t)memory + TRAMPOLINE_AT, &result);
  if (problem != NULL) fail_msg("refused: %s", problem);
  memcpy(memory + TRAMPOLINE_AT, result.trampoline, result.size);
  uint64_t (*original)(uint64_t) = (uint64_t(*)(uint64_t))(uintptr_t)(memory + FUNCTION_AT);
  uint64_t (*moved)(uint64_t) = (uint64_t(*)(uint64_t))(uintptr_t)(memory + TRAMPOLINE_AT);
  uint64_t expected = original(argument);
  memset(memory + FUNCTION_AT, 0xCC, PATCH_SIZE);
  uint64_t got = moved(argument);
  munmap(memory, TRAMPOLINE_AT + 4096);
  assert_int_equal(got, expected);
  return got;
}

static void trampolines_do_what_the_function_did(void** state) {
  (void)state;
  // lea rax,[rdi+1]; add rax,2; ret
  assert_int_equal(run(CODE(0x48, 0x8D, 0x47, 0x01, 0x48, 0x83, 0xC0, 0x02, 0xC3), 10), 13);
  // movzx eax,byte [rip+value]; add rax,rdi; ret
  assert_int_equal(run(CODE(0x0F, 0xB6, 0x05, (VALUE_AT - 7) & 0xFF, 0, 0, 0, 0x48, 0x01, 0xF8, 0xC3), 10),
                   17);
  // test rdi,rdi; je +4; mov eax,1; ret... taken and not taken
  const uint8_t* either = CODE(0x48, 0x85, 0xFF, 0x74, 0x06, 0xB8, 1, 0, 0, 0, 0xC3, 0xB8, 2, 0, 0, 0, 0xC3);
  assert_int_equal(run(either, 5), 1);
  assert_int_equal(run(either, 0), 2);
  // two short branches: test edi,edi; js +5 ; je +8...
  const uint8_t* three = CODE(0x85, 0xFF, 0x78, 0x08, 0x74, 0x0C, 0xB8, 3, 0, 0, 0, 0xC3, 0xB8, 4, 0, 0, 0,
                              0xC3, 0xB8, 5, 0, 0, 0, 0xC3);
  assert_int_equal(run(three, 1), 3);
  assert_int_equal(run(three, 0x80000000u), 4);
  assert_int_equal(run(three, 0), 5);
  // sub rsp,8; call callee; add rsp,8; ret
  assert_int_equal(
      run(CODE(0x48, 0x83, 0xEC, 0x08, 0xE8, (CALLEE_AT - 9) & 0xFF, 1, 0, 0, 0x48, 0x83, 0xC4, 0x08, 0xC3),
          1),
      101);
  // jmp callee
  assert_int_equal(run(CODE(0xE9, (CALLEE_AT - 5) & 0xFF, 1, 0, 0), 2), 102);
  // jmp short to lea rax,[rdi+1]; ret
  assert_int_equal(run(CODE(0xEB, 0x03, 0xCC, 0xCC, 0xCC, 0x48, 0x8D, 0x47, 0x01, 0xC3), 2), 3);
  // xor eax,eax; ret
  assert_int_equal(run(CODE(0x31, 0xC0, 0xC3, 0x90, 0x90, 0x90), 2), 0);
}

// The trampoline of a function of the C library, as compilers make them.
static void trampolines_of_compiled_functions_work(void** state) {
  (void)state;
  static const char text[] = "the quick brown fox";
  long (*functions[])(const char*, char**, int) = {strtol};
  for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
    plan_code_t code = {(const uint8_t*)(uintptr_t)functions[i], 64, (uintptr_t)functions[i], true};
    uint8_t* memory = NULL;
    // Within reach: ask for places above and below, as there is no other way here.
    for (uintptr_t distance = 1u << 24; memory == NULL && distance < 1u << 30; distance += 1u << 24) {
      void* wish = (void*)(((uintptr_t)functions[i] + distance) & ~(uintptr_t)4095);
      memory = mmap(wish, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
      if (memory == MAP_FAILED) memory = NULL;
    }
    assert_non_null(memory);
    plan_move_t result;
    assert_null(plan_move(&code, (uintptr_t)memory, &result));
    memcpy(memory, result.trampoline, result.size);
    long (*moved)(const char*, char**, int) = (long (*)(const char*, char**, int))(uintptr_t)memory;
    assert_int_equal(moved("  12345xyz", NULL, 10), 12345);
    assert_int_equal(moved(text, NULL, 10), 0);
    munmap(memory, 4096);
  }
}

#endif

int main(void) {
  const struct CMUnitTest cases[] = {
    cmocka_unit_test(plain_instructions_are_copied),
    cmocka_unit_test(relative_addresses_are_adjusted),
    cmocka_unit_test(branches_are_adjusted),
    cmocka_unit_test(boundaries_are_kept),
    cmocka_unit_test(what_cannot_be_moved_is_refused),
    cmocka_unit_test(a_call_to_the_next_instruction_is_refused),
    cmocka_unit_test(addresses_out_of_reach_are_refused),
    cmocka_unit_test(no_prefix_of_a_function_is_read_beyond_its_end),
    cmocka_unit_test(the_end_of_a_function_is_found),
    cmocka_unit_test(jumps_into_the_first_bytes_are_found),
#if defined(__x86_64__) && !defined(_WIN32)
    cmocka_unit_test(trampolines_do_what_the_function_did),
    cmocka_unit_test(trampolines_of_compiled_functions_work),
#endif
  };
  return check_run(cases);
}
