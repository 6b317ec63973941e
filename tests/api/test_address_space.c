// 32 bits: address space is what runs out first, whatever memory there is. What small blocks have taken of it must serve large
// ones when they are freed, and the other way round. A process for each case, since none leaves its address space as it was.
#include "api_check.h"
#include "support/child.h"

#include <stdlib.h>

enum { CHILD_LIMIT_MS = 100000, SMALL = 1000 };
#define MIB ((size_t)1024 * 1024)

typedef struct link_s {
  struct link_s* next;
} link_t;

static link_t* small_blocks;

static void need(bool condition, const char* what) {
  if (condition) return;
  fprintf(stderr, "wrong: %s\n", what);
  exit(1);
}

static void small_take(size_t mib) {
  for (size_t left = mib * MIB; left >= SMALL; left -= SMALL) {
    link_t* block = mi_malloc(SMALL);
    need(block != NULL, "small blocks find no place");
    block->next = small_blocks;
    small_blocks = block;
  }
}

static void small_free(void) {
  while (small_blocks != NULL) {
    link_t* next = small_blocks->next;
    mi_free(small_blocks);
    small_blocks = next;
  }
}

static void need_large(size_t mib) {
  char* block = mi_malloc(mib * MIB);
  need(block != NULL, "a large block finds no place");
  pattern_fill_sampled(block, mib * MIB, mib);
  need(pattern_mismatch_sampled(block, mib * MIB, mib) == SIZE_MAX,
       "a large block doesn't keep its contents");
  mi_free(block);
}

// How many blocks of that size find a place.
static size_t count_large(size_t mib) {
  enum { MANY = 64 };
  void* blocks[MANY];
  size_t count = 0;
  while (count < MANY && (blocks[count] = mi_malloc(mib * MIB)) != NULL) count++;
  for (size_t i = 0; i < count; i++) mi_free(blocks[i]);
  return count;
}

static int child_main(const char* mode) {
  mi_option_set(mi_option_max_errors, 0);
  if (strcmp(mode, "500") == 0) {
    small_take(1200);
    small_free();
    need_large(500);
  } else if (strcmp(mode, "500-purged") ==
             0) { // nothing waits for its purge, yet arenas hold their address space
    mi_option_set(mi_option_purge_delay, 0);
    small_take(1200);
    small_free();
    need_large(500);
  } else if (strcmp(mode, "500-collected") == 0) {
    small_take(1200);
    small_free();
    mi_collect(true);
    need_large(500);
  } else if (strcmp(mode, "500-kept") == 0) { // memory is never given back, address space must be
    mi_option_set(mi_option_purge_delay, -1);
    small_take(1200);
    small_free();
    need_large(500);
  } else if (strcmp(mode, "120") == 0) {
    small_take(1600);
    small_free();
    need_large(120);
  } else if (strcmp(mode, "arenas") == 0) { // the arenas' space is used as it is: nothing more is reserved
    small_take(1600);
    small_free();
    size_t count = count_large(100);
    if (count < 10) fprintf(stderr, "only %zu\n", count);
    need(count >= 10, "blocks of 100 MiB don't use the space of empty arenas");
  } else if (strcmp(mode, "back") == 0) { // and small blocks that of large ones
    need_large(500);
    small_take(1500);
    small_free();
    need_large(500);
    small_take(1500);
  } else if (strcmp(mode, "full") == 0) { // nothing is lost by running out, again and again
    size_t before = count_large(200);
    for (int i = 0; i < 3; i++) {
      link_t* block;
      while ((block = mi_malloc(SMALL)) != NULL) {
        block->next = small_blocks;
        small_blocks = block;
      }
      small_free();
    }
    size_t after = count_large(200);
    if (after + 1 < before) fprintf(stderr, "%zu, before %zu\n", after, before);
    need(after + 1 >= before, "large blocks have less room than before");
  } else {
    return 98;
  }
  return 40;
}

static void expect(const char* mode) {
  char self[CHILD_PATH_MAX];
  static child_result_t result;
  child_self(self);
  const char* const arguments[] = {self, mode, NULL};
  assert_true(child_run(arguments, CHILD_LIMIT_MS, &result));
  if (result.exit_code != 40 || result.timed_out) {
    child_print(&result);
    fail_msg("%s: exit code %u", mode, result.exit_code);
  }
}

static void test_500_after_small(void** state) {
  (void)state;
  expect("500");
}

static void test_500_after_purge(void** state) {
  (void)state;
  expect("500-purged");
}

static void test_500_after_collection(void** state) {
  (void)state;
  expect("500-collected");
}

static void test_500_without_purge(void** state) {
  (void)state;
  expect("500-kept");
}

static void test_120_after_more(void** state) {
  (void)state;
  expect("120");
}

static void test_large_in_empty_arenas(void** state) {
  (void)state;
  expect("arenas");
}

static void test_small_after_large(void** state) {
  (void)state;
  expect("back");
}

static void test_nothing_is_lost(void** state) {
  (void)state;
  expect("full");
}

int main(int argc, char** argv) {
  if (argc > 1) return child_main(argv[1]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_500_after_small),      cmocka_unit_test(test_500_after_purge),
      cmocka_unit_test(test_500_after_collection), cmocka_unit_test(test_500_without_purge),
      cmocka_unit_test(test_120_after_more),       cmocka_unit_test(test_large_in_empty_arenas),
      cmocka_unit_test(test_small_after_large),    cmocka_unit_test(test_nothing_is_lost),
  };
  return check_run(tests);
}
