// Reading of mapped modules: a small module made here, whole, with each byte of its headers and tables
// changed, changed at random, cut off, and with pages that can't be read.
#include "support/check.h"

#include <stdlib.h>

#include "parse.h"
#include "support/test_data.h"

enum {
  SIZE = 0x5000,
  HEADER = 0x80,
  SECTIONS = 0x300,
  TABLES = 0x1000,
  CODE_AT = 0x2000,
  SLOTS = 0x3000,
  REST = 0x4000
};

typedef struct module_s {
  uint8_t* bytes;
  bool is_64;
} module_t;

static void put(module_t* m, size_t at, uint64_t value, size_t size) {
  for (size_t i = 0; i < size; i++) m->bytes[at + i] = (uint8_t)(value >> (8 * i));
}
static void put32(module_t* m, size_t at, uint32_t value) { put(m, at, value, 4); }
static void put_text(module_t* m, size_t at, const char* text) {
  memcpy(m->bytes + at, text, strlen(text) + 1);
}

static void section(module_t* m, unsigned index, uint32_t address, uint32_t size, uint32_t flags) {
  size_t at = SECTIONS + 40 * index;
  put32(m, at + 8, size);
  put32(m, at + 12, address);
  put32(m, at + 36, flags);
}

// Exports: alpha at 2000, beta at 2020, gamma is a forwarder, omega at 2040. Imports: one.dll (first, second,
// number 7), two.dll without names; delayed: late.dll (third).
static module_t make(bool is_64) {
  module_t m = {calloc(1, SIZE), is_64};
  size_t pointer = is_64 ? 8 : 4, optional = HEADER + 24, directories = optional + (is_64 ? 112 : 96);
  put(&m, 0, 0x5A4D, 2);
  put32(&m, 0x3C, HEADER);
  put32(&m, HEADER, 0x4550);
  put(&m, HEADER + 6, 3, 2);
  put(&m, HEADER + 20, SECTIONS - optional, 2);
  put(&m, HEADER + 22, 0x2000, 2);
  put(&m, optional, is_64 ? 0x20B : 0x10B, 2);
  put32(&m, optional + 56, SIZE);
  put32(&m, directories - 4, 16);
  section(&m, 0, CODE_AT, 0x800, 0x60000020);
  section(&m, 1, SLOTS, 0x1000, 0xC0000040);
  section(&m, 2, TABLES, 0x1000, 0x40000040);

  const uint32_t exports = TABLES, functions = TABLES + 0x40, names = TABLES + 0x60, ordinals = TABLES + 0x80;
  put32(&m, directories, exports);
  put32(&m, directories + 4, 0x200);
  put32(&m, exports + 20, 4);
  put32(&m, exports + 24, 4);
  put32(&m, exports + 28, functions);
  put32(&m, exports + 32, names);
  put32(&m, exports + 36, ordinals);
  const char* const export_names[] = {"alpha", "beta", "gamma", "omega"};
  const uint32_t export_rvas[] = {CODE_AT, CODE_AT + 0x20, TABLES + 0x180, CODE_AT + 0x40};
  for (unsigned i = 0; i < 4; i++) {
    put_text(&m, TABLES + 0x100 + 16 * i, export_names[i]);
    put32(&m, names + 4 * i, TABLES + 0x100 + 16 * i);
    put(&m, ordinals + 2 * i, 3 - i, 2); // functions in the opposite order
    put32(&m, functions + 4 * (3 - i), export_rvas[i]);
  }
  put_text(&m, TABLES + 0x180, "other.gamma");

  const uint32_t imports = TABLES + 0x300, lookup = TABLES + 0x380;
  put32(&m, directories + 8, imports);
  put32(&m, directories + 12, 60);
  put32(&m, imports, lookup);
  put32(&m, imports + 12, TABLES + 0x400);
  put32(&m, imports + 16, SLOTS);
  put32(&m, imports + 20 + 12, TABLES + 0x410);
  put32(&m, imports + 20 + 16, SLOTS + 0x100);
  put_text(&m, TABLES + 0x400, "one.dll");
  put_text(&m, TABLES + 0x410, "two.dll");
  put_text(&m, TABLES + 0x422, "first");
  put_text(&m, TABLES + 0x432, "second");
  put_text(&m, TABLES + 0x442, "third");
  put(&m, lookup, TABLES + 0x420, pointer);
  put(&m, lookup + pointer, TABLES + 0x430, pointer);
  put(&m, lookup + 2 * pointer, 7 | (uint64_t)1 << (8 * pointer - 1), pointer);
  for (unsigned i = 0; i < 3; i++) put(&m, SLOTS + i * pointer, 0x11110000 + i, pointer);
  put(&m, SLOTS + 0x100, 0x22220000, pointer);

  const uint32_t delayed = TABLES + 0x480, delayed_names = TABLES + 0x4C0;
  put32(&m, directories + 8 * 13, delayed);
  put32(&m, directories + 8 * 13 + 4, 64);
  put32(&m, delayed, 1);
  put32(&m, delayed + 4, TABLES + 0x400);
  put32(&m, delayed + 12, SLOTS + 0x200);
  put32(&m, delayed + 16, delayed_names);
  put(&m, delayed_names, TABLES + 0x440, pointer);
  put(&m, SLOTS + 0x200, 0x33330000, pointer);

  if (is_64) {
    const uint32_t unwind = TABLES + 0x600;
    put32(&m, directories + 8 * 3, unwind);
    put32(&m, directories + 8 * 3 + 4, 36);
    const uint32_t begins[] = {CODE_AT, CODE_AT + 0x23, CODE_AT + 0x40},
                   ends[] = {CODE_AT + 0x1F, CODE_AT + 0x30, CODE_AT + 0x77};
    for (unsigned i = 0; i < 3; i++) {
      put32(&m, unwind + 12 * i, begins[i]);
      put32(&m, unwind + 12 * i + 4, ends[i]);
    }
  }
  return m;
}

typedef struct seen_s {
  char text[512];
  unsigned count, stop_after;
} seen_t;

static bool see(void* context, const char* dll, const char* function, void** slot) {
  seen_t* seen = context;
  size_t length = strlen(seen->text);
  snprintf(seen->text + length, sizeof(seen->text) - length, "%s!%s=%x ", dll,
           function == NULL ? "?" : function, (unsigned)(uintptr_t)*slot);
  return ++seen->count != seen->stop_after;
}

// Does nothing with what it is shown but read it, for damaged modules.
static bool read_all(void* context, const char* dll, const char* function, void** slot) {
  size_t* sum = context;
  for (; *dll != 0; dll++) *sum += (size_t)*dll;
  for (; function != NULL && *function != 0; function++) *sum += (size_t)*function;
  *sum += *(const uint8_t*)slot;
  return true;
}

static void use(module_t* m, size_t available, parse_readable_t* readable) {
  parse_image_t image;
  size_t sum = 0;
  if (parse_image(m->bytes, available, readable, &image) != NULL) return;
  if (image.is_64 != (sizeof(void*) == 8)) return; // slots are pointers of this process
  static const char* const names[] = {"alpha", "beta", "gamma", "omega", "", "zzz"};
  for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    uint32_t rva = parse_export(&image, names[i]);
    size_t size = parse_code_size(&image, rva);
    if (size > 0) sum += m->bytes[rva] + m->bytes[rva + size - 1]; // promised to be there
    size = parse_function_size(&image, rva);
    if (size > 0) sum += m->bytes[rva + size - 1];
  }
  parse_has_export_in(&image, CODE_AT, CODE_AT + 5);
  parse_has_function_in(&image, CODE_AT, CODE_AT + 5);
  parse_imports(&image, read_all, &sum);
}

static void exports_are_found(void** state) {
  (void)state;
  for (int is_64 = 0; is_64 < 2; is_64++) {
    module_t m = make(is_64);
    parse_image_t image;
    assert_null(parse_image(m.bytes, SIZE, NULL, &image));
    assert_int_equal(image.is_64, is_64);
    assert_true(image.is_dll);
    assert_int_equal(parse_export(&image, "alpha"), CODE_AT);
    assert_int_equal(parse_export(&image, "beta"), CODE_AT + 0x20);
    assert_int_equal(parse_export(&image, "gamma"), 0); // another module's
    assert_int_equal(parse_export(&image, "omega"), CODE_AT + 0x40);
    const char* const absent[] = {"", "a", "alph", "alphaa", "delta", "zeta"};
    for (unsigned i = 0; i < 6; i++) assert_int_equal(parse_export(&image, absent[i]), 0);
    assert_true(parse_has_export_in(&image, CODE_AT + 0x1C, CODE_AT + 0x21));
    assert_false(parse_has_export_in(&image, CODE_AT + 1, CODE_AT + 0x20));
    free(m.bytes);
  }
}

static void code_and_functions_are_measured(void** state) {
  (void)state;
  module_t m = make(true);
  parse_image_t image;
  assert_null(parse_image(m.bytes, SIZE, NULL, &image));
  assert_int_equal(parse_code_size(&image, CODE_AT), 0x800);
  assert_int_equal(parse_code_size(&image, CODE_AT + 0x7FF), 1);
  assert_int_equal(parse_code_size(&image, CODE_AT + 0x800), 0);
  assert_int_equal(parse_code_size(&image, SLOTS), 0);
  assert_int_equal(parse_function_size(&image, CODE_AT), 0x1F);
  assert_int_equal(parse_function_size(&image, CODE_AT + 0x20), 0);
  assert_int_equal(parse_function_size(&image, CODE_AT + 0x40), 0x37);
  assert_true(parse_has_function_in(&image, CODE_AT + 0x21, CODE_AT + 0x25));
  assert_false(parse_has_function_in(&image, CODE_AT + 0x24, CODE_AT + 0x40));
  assert_false(parse_has_function_in(&image, CODE_AT + 0x41, CODE_AT + 0x100));
  free(m.bytes);
}

static void imports_are_visited(void** state) {
  (void)state;
  module_t m = make(sizeof(void*) == 8);
  parse_image_t image;
  seen_t seen = {"", 0, 0};
  assert_null(parse_image(m.bytes, SIZE, NULL, &image));
  assert_true(parse_imports(&image, see, &seen));
  assert_string_equal(seen.text,
                      "one.dll!first=11110000 one.dll!second=11110001 one.dll!?=11110002 two.dll!?=22220000 "
                      "one.dll!third=33330000 ");
  seen = (seen_t){"", 0, 2};
  assert_false(parse_imports(&image, see, &seen));
  assert_int_equal(seen.count, 2);
  free(m.bytes);
}

static void what_is_no_module_is_refused(void** state) {
  (void)state;
  module_t m = make(true);
  parse_image_t image;
  for (size_t available = 0; available < SECTIONS + 120; available++) {
    uint8_t* cut = malloc(available + 1);
    memcpy(cut, m.bytes, available);
    assert_non_null(parse_image(cut, available, NULL, &image));
    free(cut);
  }
  assert_null(parse_image(m.bytes, SECTIONS + 120, NULL, &image));
  m.bytes[0] = 'X';
  assert_non_null(parse_image(m.bytes, SIZE, NULL, &image));
  free(m.bytes);
}

// A sanitizer tells of reads outside of the copy.
static void no_damage_makes_it_read_elsewhere(void** state) {
  (void)state;
  test_random_t random = {1};
  module_t whole = make(sizeof(void*) == 8), m = {malloc(SIZE), whole.is_64};
  for (size_t at = 0; at < REST; at++) {
    if (whole.bytes[at] == 0 && at % 7 != 0) continue;
    static const uint8_t values[] = {0, 1, 0x7F, 0x80, 0xFF};
    for (unsigned i = 0; i < sizeof(values) + 1; i++) {
      memcpy(m.bytes, whole.bytes, SIZE);
      if (i < sizeof(values)) {
        m.bytes[at] = values[i];
      } else {
        put32(&m, at, (uint32_t)test_random_next(&random));
      }
      use(&m, SIZE, NULL);
    }
  }
  for (unsigned round = 0; round < 20000; round++) {
    memcpy(m.bytes, whole.bytes, SIZE);
    for (unsigned i = 0; i < 1 + round % 8; i++) {
      size_t at = (size_t)(test_random_next(&random) % (TABLES + 0x700 - 4));
      uint64_t value = test_random_next(&random);
      put(&m, at, value >> 8, 1 + value % 4);
    }
    use(&m, SIZE, NULL);
  }
  for (size_t available = 0; available < SIZE; available += 13) {
    module_t cut = {malloc(available + 1), whole.is_64};
    memcpy(cut.bytes, whole.bytes, available);
    use(&cut, available, NULL);
    free(cut.bytes);
  }
  free(whole.bytes);
  free(m.bytes);
}

static module_t hidden_of;
static size_t hidden_page;

static bool all_but_one_page(const void* p, uintptr_t* from, uintptr_t* to) {
  size_t at = (size_t)((uintptr_t)p - (uintptr_t)hidden_of.bytes);
  if (at / 0x1000 == hidden_page) return false;
  *from = (uintptr_t)hidden_of.bytes + (at / 0x1000 < hidden_page ? 0 : (hidden_page + 1) * 0x1000);
  *to = (uintptr_t)hidden_of.bytes + (at / 0x1000 < hidden_page ? hidden_page * 0x1000 : SIZE);
  return true;
}

static void hidden_pages_are_not_touched(void** state) {
  (void)state;
  hidden_of = make(sizeof(void*) == 8);
  parse_image_t image;
  seen_t seen = {"", 0, 0};
  hidden_page = 0;
  assert_non_null(parse_image(hidden_of.bytes, SIZE, all_but_one_page, &image));
  hidden_page = TABLES / 0x1000;
  assert_null(parse_image(hidden_of.bytes, SIZE, all_but_one_page, &image));
  assert_int_equal(parse_export(&image, "alpha"), 0);
  assert_int_equal(parse_function_size(&image, CODE_AT), 0);
  assert_true(parse_imports(&image, see, &seen));
  assert_int_equal(seen.count, 0);
  hidden_page = SLOTS / 0x1000;
  assert_null(parse_image(hidden_of.bytes, SIZE, all_but_one_page, &image));
  assert_int_equal(parse_export(&image, "alpha"), CODE_AT);
  assert_true(parse_imports(&image, see, &seen));
  assert_int_equal(seen.count, 0);
  free(hidden_of.bytes);
}

static bool all(const void* p, uintptr_t* from, uintptr_t* to) {
  *from = (uintptr_t)p;
  *to = (uintptr_t)hidden_of.bytes + SIZE;
  return *from >= (uintptr_t)hidden_of.bytes && *from < *to;
}

// As mi-run leaves it: the list of imports lies behind the module.
static void imports_behind_the_module_are_visited(void** state) {
  (void)state;
  enum { BEHIND = REST + 0x800 };
  hidden_of = make(sizeof(void*) == 8);
  size_t optional = HEADER + 24, directories = optional + (hidden_of.is_64 ? 112 : 96);
  put32(&hidden_of, optional + 56, REST);
  memcpy(hidden_of.bytes + BEHIND + 20, hidden_of.bytes + TABLES + 0x300,
         60); // the first is the DLL put in front
  put32(&hidden_of, BEHIND + 12, BEHIND + 0x100);
  put32(&hidden_of, BEHIND + 16, BEHIND + 0x200);
  put32(&hidden_of, directories + 8, BEHIND);
  parse_image_t image;
  seen_t seen = {"", 0, 3};
  assert_null(parse_image(hidden_of.bytes, SIZE_MAX, all, &image));
  assert_false(parse_imports(&image, see, &seen));
  assert_string_equal(seen.text, "one.dll!first=11110000 one.dll!second=11110001 one.dll!?=11110002 ");
  put32(&hidden_of, directories + 8, SIZE - 10); // cut off
  seen = (seen_t){"", 0, 0};
  assert_null(parse_image(hidden_of.bytes, SIZE_MAX, all, &image));
  assert_true(parse_imports(&image, see, &seen));
  assert_string_equal(seen.text, "one.dll!third=33330000 ");
  free(hidden_of.bytes);
}

int main(void) {
  const struct CMUnitTest cases[] = {
      cmocka_unit_test(exports_are_found),
      cmocka_unit_test(code_and_functions_are_measured),
      cmocka_unit_test(imports_are_visited),
      cmocka_unit_test(what_is_no_module_is_refused),
      cmocka_unit_test(no_damage_makes_it_read_elsewhere),
      cmocka_unit_test(hidden_pages_are_not_touched),
      cmocka_unit_test(imports_behind_the_module_are_visited),
  };
  return check_run(cases);
}
