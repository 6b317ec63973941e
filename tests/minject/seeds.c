#include "seeds.h"

#include <stdlib.h>

const char* const seed_architectures[] = {"x86_64", "i686", NULL};
const char* const seed_names[] = {"plain.exe",   "stripped.exe",  "resources.exe", "delay.exe", "small.exe",
                                  "overlay.exe", "linked.exe",    "aligned.exe",   "flat.exe",  "debug.exe",
                                  "full.exe",    "noimports.exe", "library.dll",   NULL};

seed_t seed_load(const char* architecture, const char* name) {
  char path[1024];
  snprintf(path, sizeof(path), "%s-%s/%s", SEED_FOLDER, architecture, name);
  FILE* file = fopen(path, "rb");
  if (file == NULL) fail_msg("%s is missing; build the target minject-seeds-%s", path, architecture);
  fseek(file, 0, SEEK_END);
  seed_t seed = {NULL, (size_t)ftell(file)};
  seed.data = malloc(seed.size);
  assert_non_null(seed.data);
  rewind(file);
  assert_int_equal(fread(seed.data, 1, seed.size, file), seed.size);
  fclose(file);
  return seed;
}

seed_t seed_copy(const uint8_t* data, size_t size) {
  seed_t seed = {malloc(size == 0 ? 1 : size), size};
  assert_non_null(seed.data);
  memcpy(seed.data, data, size);
  return seed;
}

void seed_free(seed_t* seed) {
  free(seed->data);
  seed->data = NULL;
}

void seed_resize(seed_t* seed, size_t size) {
  seed->data = realloc(seed->data, size == 0 ? 1 : size);
  assert_non_null(seed->data);
  if (size > seed->size) memset(seed->data + seed->size, 0xAA, size - seed->size);
  seed->size = size;
}

pe_t seed_parse(const seed_t* seed) {
  pe_t pe;
  pe_error_t error;
  if (!pe_parse(seed->data, seed->size, &pe, &error)) fail_msg("%s", error.text);
  return pe;
}

uint32_t seed_u32(const seed_t* seed, uint64_t offset) {
  const uint8_t* p = bytes_at((bytes_t){seed->data, seed->size}, offset, 4);
  assert_non_null(p);
  return get_u32(p);
}

void seed_put_u16(seed_t* seed, uint64_t offset, uint16_t value) {
  assert_true(offset + 2 <= seed->size);
  set_u16(seed->data + offset, value);
}

void seed_put_u32(seed_t* seed, uint64_t offset, uint32_t value) {
  assert_true(offset + 4 <= seed->size);
  set_u32(seed->data + offset, value);
}

void seed_put_directory(seed_t* seed, uint32_t index, uint32_t address, uint32_t size) {
  pe_t pe = seed_parse(seed);
  assert_true(index < pe.directory_count);
  seed_put_u32(seed, pe.directories + 8 * index, address);
  seed_put_u32(seed, pe.directories + 8 * index + 4, size);
  pe_free(&pe);
}

uint32_t seed_offset(const seed_t* seed, uint32_t rva) {
  pe_t pe = seed_parse(seed);
  uint32_t offset = 0;
  assert_true(pe_backed(&pe, rva, 1, &offset));
  pe_free(&pe);
  return offset;
}

void seed_bind(seed_t* seed) {
  pe_t pe = seed_parse(seed);
  const uint32_t directory = pe.section_table + PE_SECTION_HEADER_SIZE * pe.section_count;
  const uint32_t names = directory + 8 * (pe.import_count + 1);
  const uint32_t descriptors = seed_offset(seed, pe.directory[PE_IMPORT].address);
  uint32_t name = names;
  for (uint32_t i = 0; i < pe.import_count; i++) {
    const size_t length = strlen(pe.imports[i].dll) + 1;
    assert_true(name + length <= pe.size_of_headers);
    seed_put_u32(seed, directory + 8 * i, 0x4A5BDF00 + i);
    seed_put_u16(seed, directory + 8 * i + 4, (uint16_t)(name - directory));
    memcpy(seed->data + name, pe.imports[i].dll, length);
    name += (uint32_t)length;
    seed_put_u32(seed, descriptors + PE_DESCRIPTOR_SIZE * i + 4 * PE_TIMESTAMP, 0xFFFFFFFF);
    seed_put_u32(seed, descriptors + PE_DESCRIPTOR_SIZE * i + 4 * PE_FORWARDER, 0xFFFFFFFF);
  }
  seed_put_directory(seed, PE_BOUND_IMPORT, directory, name - directory);
  pe_free(&pe);
}

void seed_sign(seed_t* seed, uint32_t size) {
  const uint32_t at = (uint32_t)align_up(seed->size, 8);
  seed_resize(seed, at + size);
  seed_put_u32(seed, at, size);
  seed_put_u32(seed, at + 4, 0x00020200);
  seed_put_directory(seed, PE_CERTIFICATE, at, size);
}

uint32_t seed_append_section(seed_t* seed, uint32_t size, uint32_t* address) {
  pe_t pe = seed_parse(seed);
  const uint32_t at = (uint32_t)align_up(seed->size, pe.file_alignment);
  *address = (uint32_t)align_up(pe.image_end, pe.section_alignment);
  seed_resize(seed, at + size);
  memset(seed->data + at, 0, size);
  uint8_t header[PE_SECTION_HEADER_SIZE] = {'.', 'n', 'e', 'w'};
  set_u32(header + PE_SECTION_AT_VIRTUAL_SIZE, size);
  set_u32(header + PE_SECTION_AT_ADDRESS, *address);
  set_u32(header + PE_SECTION_AT_RAW_SIZE, size);
  set_u32(header + PE_SECTION_AT_RAW, at);
  memcpy(seed->data + pe.section_table + PE_SECTION_HEADER_SIZE * pe.section_count, header, sizeof(header));
  seed_put_u16(seed, pe.header + PE_AT_SECTION_COUNT, (uint16_t)(pe.section_count + 1));
  seed_put_u32(seed, pe.header + PE_AT_SIZE_OF_IMAGE,
               (uint32_t)align_up(*address + size, pe.section_alignment));
  pe_free(&pe);
  return at;
}

void seed_each(void (*test)(const char* architecture, const char* name, const seed_t* seed)) {
  for (size_t a = 0; seed_architectures[a] != NULL; a++) {
    for (size_t n = 0; seed_names[n] != NULL; n++) {
      seed_t seed = seed_load(seed_architectures[a], seed_names[n]);
      print_message("         %s/%s\n", seed_architectures[a], seed_names[n]); // tells which one failed
      test(seed_architectures[a], seed_names[n], &seed);
      seed_free(&seed);
    }
  }
}
