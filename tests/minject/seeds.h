// The PE files that make_seeds.py made, and ways to change them.
#ifndef TESTS_SEEDS_H
#define TESTS_SEEDS_H

#include "support/check.h"

#include "pe.h"

typedef struct seed_s {
  uint8_t* data;
  size_t size;
} seed_t;

// Architectures ("x86_64", "i686") and names, each ended by NULL.
extern const char* const seed_architectures[];
extern const char* const seed_names[];

// Fails the test when there is no such file. seed_free it.
seed_t seed_load(const char* architecture, const char* name);
seed_t seed_copy(const uint8_t* data, size_t size);
void seed_free(seed_t* seed);
void seed_resize(seed_t* seed, size_t size); // new bytes are 0xAA

// Fails the test with the reason when the file can't be parsed. pe_free it.
pe_t seed_parse(const seed_t* seed);

uint32_t seed_u32(const seed_t* seed, uint64_t offset);
void seed_put_u16(seed_t* seed, uint64_t offset, uint16_t value);
void seed_put_u32(seed_t* seed, uint64_t offset, uint32_t value);
void seed_put_directory(seed_t* seed, uint32_t index, uint32_t address, uint32_t size);

// Where an rva's bytes lie in the file.
uint32_t seed_offset(const seed_t* seed, uint32_t rva);

// Makes bound imports of the imports: a directory behind the section headers, as bind.exe puts it, and
// timestamps.
void seed_bind(seed_t* seed);

// Appends `size` bytes that pass for a signature.
void seed_sign(seed_t* seed, uint32_t size);

// A section of `size` zeros behind the others, as another tool would add it; returns its file offset, and its rva
// in *address.
uint32_t seed_append_section(seed_t* seed, uint32_t size, uint32_t* address);

// Runs `test` on every seed of every architecture.
void seed_each(void (*test)(const char* architecture, const char* name, const seed_t* seed));

#endif
