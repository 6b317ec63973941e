// Lets check_code.py ask the decoder and the planner. Two ways to call it:
//
//   code_tool lengths 32|64        reads records of 32 bytes from standard input; prints for each the length
//   of the
//                                  instruction at its start, 0 when it is refused
//   code_tool plan FILE            reads a PE file; plans a trampoline for each function that it exports, in
//   memory behind the
//                                  module; prints "base bits" of the module, then for each function
//                                  "rva address moved call-offset body-size code" or "rva - reason", numbers
//                                  in hexadecimal
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decode.h"
#include "parse.h"
#include "plan.h"

enum { RECORD = 32 };

static int lengths(bool is_64) {
  uint8_t record[RECORD];
  while (fread(record, 1, RECORD, stdin) == RECORD) {
    instruction_t instruction;
    printf("%d\n", decode(record, RECORD, is_64, &instruction) ? instruction.length : 0);
  }
  return 0;
}

static uint8_t* read_file(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
    fprintf(stderr, "code_tool: can't read %s\n", path);
    exit(2);
  }
  *size = (size_t)ftell(file);
  rewind(file);
  uint8_t* bytes = malloc(*size + 1);
  if (bytes == NULL || fread(bytes, 1, *size, file) != *size) exit(2);
  fclose(file);
  return bytes;
}

static uint32_t u32(const uint8_t* p) { return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24; }
static uint32_t u16(const uint8_t* p) { return p[0] | (uint32_t)p[1] << 8; }

// The file as the loader would lay it out, without relocation. Our test files are known to be good.
static uint8_t* map_image(const char* path, size_t* image_size, uint64_t* image_base) {
  size_t size;
  uint8_t* file = read_file(path, &size);
  const uint8_t *pe = file + u32(file + 0x3C), *optional = pe + 24;
  *image_size = u32(optional + 56);
  *image_base =
      u16(optional) == 0x20B ? u32(optional + 24) | (uint64_t)u32(optional + 28) << 32 : u32(optional + 28);
  uint8_t* image = calloc(1, *image_size);
  if (image == NULL) exit(2);
  memcpy(image, file, u32(optional + 60)); // the headers
  const uint8_t* section = optional + u16(pe + 20);
  for (unsigned i = 0; i < u16(pe + 6); i++, section += 40) {
    uint32_t address = u32(section + 12), raw_size = u32(section + 16), raw = u32(section + 20);
    if (raw == 0 || raw >= size || address >= *image_size) continue;
    if (raw_size > size - raw) raw_size = (uint32_t)(size - raw);
    if (raw_size > *image_size - address) raw_size = (uint32_t)(*image_size - address);
    memcpy(image + address, file + raw, raw_size);
  }
  free(file);
  return image;
}

static int plan(const char* path) {
  size_t size, planned = 0;
  uint64_t base;
  uint8_t* bytes = map_image(path, &size, &base);
  parse_image_t image;
  const char* problem = parse_image(bytes, size, NULL, &image);
  if (problem != NULL) {
    fprintf(stderr, "code_tool: %s: %s\n", path, problem);
    return 2;
  }
  uint64_t trampolines = (base + size + 0xFFFFF) & ~(uint64_t)0xFFFF;
  printf("%" PRIx64 " %d\n", base, image.is_64 ? 64 : 32);
  const uint8_t* directory = bytes + image.exports.rva;
  const uint8_t* functions = bytes + u32(directory + 28);
  for (uint32_t i = 0; i < u32(directory + 20); i++) {
    uint32_t rva = u32(functions + 4 * i);
    if (rva == 0 || (rva >= image.exports.rva && rva < image.exports.rva + image.exports.size)) continue;
    size_t code_size = parse_code_size(&image, rva);
    if (code_size == 0) continue; // data
    plan_code_t code = {bytes + rva, code_size, (uintptr_t)(base + rva), image.is_64};
    plan_move_t move;
    problem = plan_move(&code, (uintptr_t)(trampolines + 64 * planned), &move);
    if (problem != NULL) {
      printf("%x - %s\n", rva, problem);
      continue;
    }
    size_t body = parse_function_size(&image, rva);
    printf("%x %" PRIx64 " %x %x %zx ", rva, trampolines + 64 * planned, move.moved, move.call_offset,
           body != 0 ? body : plan_body_size(&code, 65536));
    for (unsigned k = 0; k < move.size; k++) printf("%02x", move.trampoline[k]);
    printf("\n");
    planned++;
  }
  free(bytes);
  return 0;
}

int main(int count, char** arguments) {
  if (count == 3 && strcmp(arguments[1], "lengths") == 0) return lengths(atoi(arguments[2]) == 64);
  if (count == 3 && strcmp(arguments[1], "plan") == 0) return plan(arguments[2]);
  fprintf(stderr, "usage: code_tool lengths BITS | plan FILE\n");
  return 2;
}
