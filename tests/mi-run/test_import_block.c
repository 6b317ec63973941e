// The new import directory, read the way the loader reads one.
#include "support/check.h"

#include "import_block.h"
#include "pe_builder.h"

enum { RVA = 0x40000, ROOM = 4096, DESCRIPTORS_MAX = 8 };

static uint8_t block[ROOM];

static uint32_t at32(size_t offset) {
  const uint8_t* at = block + offset;
  assert_true(offset + 4 <= ROOM);
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

// An address in the block, as an offset.
static size_t inside(uint32_t rva, size_t bytes) {
  assert_true(rva >= RVA && rva - RVA + bytes <= ROOM);
  return rva - RVA;
}

// Descriptor i: all fields different; every other one bound.
static void fill(uint8_t* descriptors, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    uint8_t* to = descriptors + IMPORT_DESCRIPTOR_BYTES * i;
    pe_put32(to, 0x1000 + i);
    pe_put32(to + 4, i % 2 ? 0xFFFFFFFF : 0);
    pe_put32(to + 8, i % 2 ? 0x2000 + i : 0);
    pe_put32(to + 12, 0x3000 + i);
    pe_put32(to + 16, 0x4000 + i);
  }
}

static void write_block(const import_request_t* request) {
  size_t bytes = import_block_bytes(request);
  assert_true(bytes < ROOM);
  memset(block, 0xEE, sizeof(block));
  import_block_write(request, RVA, block);
  for (size_t i = bytes; i < ROOM; i++) assert_int_equal(block[i], 0xEE);
}

static void dll_comes_first(void** state) {
  (void)state;
  for (int is_64 = 0; is_64 <= 1; is_64++) {
    for (uint32_t count = 0; count <= DESCRIPTORS_MAX; count++) {
      uint8_t descriptors[DESCRIPTORS_MAX * IMPORT_DESCRIPTOR_BYTES];
      fill(descriptors, count);
      import_request_t request = {.is_64 = is_64,
                                  .descriptors = descriptors,
                                  .descriptor_count = count,
                                  .dll = "C:\\some where\\mimalloc.dll",
                                  .symbol = "mi_version"};
      write_block(&request);

      assert_string_equal((char*)block + inside(at32(12), 26), "C:\\some where\\mimalloc.dll");
      assert_int_equal(at32(4), 0);
      assert_int_equal(at32(8), 0);
      size_t tables[2] = {inside(at32(0), 16), inside(at32(16), 16)};
      assert_true(tables[0] != tables[1]);
      for (int i = 0; i < 2; i++) {
        size_t table = tables[i], slot = is_64 ? 8 : 4;
        assert_int_equal(table % slot, 0);
        size_t by_name = inside(at32(table), 13);
        assert_int_equal(by_name % 2, 0);
        assert_int_equal(block[by_name] | block[by_name + 1], 0); // hint
        assert_string_equal((char*)block + by_name + 2, "mi_version");
        if (is_64) assert_int_equal(at32(table + 4), 0); // imported by name
        for (size_t j = 0; j < slot; j += 4) assert_int_equal(at32(table + slot + j), 0);
      }

      for (uint32_t i = 0; i < count; i++) {
        size_t at = (i + 1) * IMPORT_DESCRIPTOR_BYTES;
        assert_int_equal(at32(at), 0x1000 + i);
        assert_int_equal(at32(at + 4), 0); // no longer bound
        assert_int_equal(at32(at + 8), 0);
        assert_int_equal(at32(at + 12), 0x3000 + i);
        assert_int_equal(at32(at + 16), 0x4000 + i);
        assert_false(import_descriptor_ends(block + at));
      }
      for (int i = 0; i < IMPORT_DESCRIPTOR_BYTES; i += 4) {
        assert_int_equal(at32((count + 1) * IMPORT_DESCRIPTOR_BYTES + (size_t)i), 0);
      }
    }
  }
}

static void stamps_stay_without_lookup_table(void** state) {
  (void)state;
  uint8_t descriptor[IMPORT_DESCRIPTOR_BYTES];
  fill(descriptor, 1);
  pe_put32(descriptor, 0);
  pe_put32(descriptor + 4, 77);
  import_request_t request = {.descriptors = descriptor, .descriptor_count = 1, .dll = "d", .symbol = "s"};
  write_block(&request);
  assert_memory_equal(block + IMPORT_DESCRIPTOR_BYTES, descriptor, IMPORT_DESCRIPTOR_BYTES);
}

// Behind the DLL's name, whatever its length, at an even place and whole.
static void note_follows_the_name(void** state) {
  (void)state;
  static const char* const names[] = {"a.dll", "ab.dll", "abc.dll"};
  static const utf16_t note[] = u"\"mi-run\" \u4E2D --adopt ";
  for (size_t i = 0; i < 3; i++) {
    import_request_t request = {.is_64 = true, .dll = names[i], .symbol = "s", .note = note};
    write_block(&request);
    size_t at = inside(at32(12), 1);
    assert_string_equal((char*)block + at, names[i]);
    at += strlen(names[i]) + 1;
    at += at % 2;
    assert_memory_equal(block + at, note, sizeof(note));
    assert_int_equal(import_block_bytes(&request), at + sizeof(note));
  }
}

static void ends_without_name_or_addresses(void** state) {
  (void)state;
  uint8_t descriptor[IMPORT_DESCRIPTOR_BYTES];
  fill(descriptor, 1);
  assert_false(import_descriptor_ends(descriptor));
  pe_put32(descriptor + 12, 0);
  assert_true(import_descriptor_ends(descriptor));
  fill(descriptor, 1);
  pe_put32(descriptor + 16, 0);
  assert_true(import_descriptor_ends(descriptor));
}

static void directories_follow(void** state) {
  (void)state;
  pe_image_t image = {.directory_count = 16};
  image.directories[PE_EXPORTS] = (pe_directory_t){0x111, 0x11};
  image.directories[PE_IMPORTS] = (pe_directory_t){0x5000, 0x28};
  image.directories[PE_BOUND_IMPORTS] = (pe_directory_t){0x300, 0x60};
  image.directories[PE_IAT] = (pe_directory_t){0x5100, 0x80};
  import_request_t request = {.is_64 = true, .descriptor_count = 1, .dll = "d", .symbol = "s"};
  pe_directory_t section = {0x5000, 0x1000}, directories[PE_DIRECTORIES];

  import_block_directories(&image, &request, RVA, &section, directories);
  assert_int_equal(directories[PE_IMPORTS].rva, RVA);
  assert_int_equal(directories[PE_IMPORTS].size, 3 * IMPORT_DESCRIPTOR_BYTES);
  assert_int_equal(directories[PE_BOUND_IMPORTS].rva, 0);
  assert_int_equal(directories[PE_BOUND_IMPORTS].size, 0);
  assert_memory_equal(&directories[PE_IAT], &image.directories[PE_IAT], sizeof(pe_directory_t));
  assert_memory_equal(&directories[PE_EXPORTS], &image.directories[PE_EXPORTS], sizeof(pe_directory_t));

  image.directories[PE_IAT] = (pe_directory_t){0, 0};
  import_block_directories(&image, &request, RVA, &section, directories);
  assert_memory_equal(&directories[PE_IAT], &section, sizeof(section));
  import_block_directories(&image, &request, RVA, NULL, directories);
  assert_int_equal(directories[PE_IAT].rva, RVA);
  assert_int_equal(directories[PE_IAT].size, import_block_bytes(&request));
}

int main(void) {
  const struct CMUnitTest cases[] = {
      cmocka_unit_test(dll_comes_first),       cmocka_unit_test(stamps_stay_without_lookup_table),
      cmocka_unit_test(note_follows_the_name), cmocka_unit_test(ends_without_name_or_addresses),
      cmocka_unit_test(directories_follow),
  };
  return check_run(cases);
}
