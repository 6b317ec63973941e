// Runs each of the tiny programs beside it and demands how it ends: by abort (SIGABRT; exit code 3 on Windows), with this
// message and no other.
#include "support/check.h"
#include "support/child.h"

#include <stdlib.h>

typedef struct misuse_s {
  const char* program;
  const char*
      message; // <p> stands for the pointer that the program announced; NULL: it must end well and in silence
} misuse_t;

// Sizes as mi_usable_size tells them: a checking build keeps 8 bytes of each block for itself.
#define DOUBLE_FREE(size) "mimalloc: error: double free of block <p> (size " #size ")\n"
#define INSIDE            "mimalloc: error: free of invalid pointer <p>: inside a block, not at its start\n"
#define NOT_OURS          "mimalloc: error: free of invalid pointer <p>: not allocated by mimalloc\n"

static misuse_t misuses[] = {
    {"correct", NULL},
    {"double_free", DOUBLE_FREE(40)},
    {"double_free_only_block", DOUBLE_FREE(104)}, // 100 bytes come from the class of 112
    {"double_free_later", DOUBLE_FREE(56)},
    {"double_free_large", DOUBLE_FREE(327672)},
    {"double_free_huge", NOT_OURS},
    {"double_free_other_thread", DOUBLE_FREE(40)},
    {"free_inside", INSIDE},
    {"free_inside_large", INSIDE},
    {"free_inside_huge", INSIDE},
    {"free_inside_huge_far", INSIDE},
    {"free_never_allocated", NOT_OURS},
    {"free_stack", NOT_OURS},
    {"free_static", NOT_OURS},
    {"free_foreign", NOT_OURS},
    {"free_wild", NOT_OURS},
    {"free_released", NOT_OURS},
    {"realloc_foreign", "mimalloc: error: realloc of invalid pointer <p>: not allocated by mimalloc\n"},
};
enum { MISUSES = sizeof(misuses) / sizeof(misuses[0]) };

static void expected_text(const char* message, unsigned long long pointer, char* text, size_t capacity) {
  const char* mark = strstr(message, "<p>");
  snprintf(text, capacity, "%.*s0x%llx%s", (int)(mark - message), message, pointer, mark + 3);
}

static void run_misuse(void** state) {
  const misuse_t* misuse = *state;
  static child_result_t result;
  char name[128], program[CHILD_PATH_MAX], expected[512] = "";
  snprintf(name, sizeof(name), "abort_%s", misuse->program);
  child_sibling(name, program);
  assert_true(child_run((const char*[]){program, NULL}, 30000, &result));
  unsigned long long pointer = strtoull(result.output, NULL, 16);
  if (misuse->message != NULL) expected_text(misuse->message, pointer, expected, sizeof(expected));
  bool ended = misuse->message == NULL ? result.exit_code == 7 && result.signal == 0 : child_aborted(&result);
  if (!ended || strcmp(result.error, expected) != 0) {
    child_print(&result);
    fail_msg("expected %s and the message \"%s\"", misuse->message == NULL ? "exit code 7" : "an abort",
             expected);
  }
}

int main(void) {
  static struct CMUnitTest tests[MISUSES];
  for (size_t i = 0; i < MISUSES; i++) {
    tests[i] = (struct CMUnitTest){
        .name = misuses[i].program, .test_func = run_misuse, .initial_state = &misuses[i]};
  }
  return check_run(tests);
}
