// Little-endian numbers in untrusted bytes. Whoever reads a file's bytes asks bytes_at first: nothing else in
// minject turns an offset into a pointer.
#ifndef MINJECT_BYTES_H
#define MINJECT_BYTES_H

#include <stddef.h>
#include <stdint.h>

typedef struct bytes_s {
  const uint8_t* data;
  size_t size;
} bytes_t;

// NULL unless `count` bytes lie at `offset`. Offsets are 64 bits wide so that callers may add without
// overflow.
static inline const uint8_t* bytes_at(bytes_t bytes, uint64_t offset, uint64_t count) {
  return offset <= bytes.size && count <= bytes.size - offset ? bytes.data + offset : NULL;
}

static inline uint16_t get_u16(const uint8_t* p) { return (uint16_t)(p[0] | p[1] << 8); }
static inline uint32_t get_u32(const uint8_t* p) { return get_u16(p) | (uint32_t)get_u16(p + 2) << 16; }
static inline uint64_t get_u64(const uint8_t* p) { return get_u32(p) | (uint64_t)get_u32(p + 4) << 32; }

static inline void set_u16(uint8_t* p, uint16_t value) {
  p[0] = (uint8_t)value;
  p[1] = (uint8_t)(value >> 8);
}
static inline void set_u32(uint8_t* p, uint32_t value) {
  set_u16(p, (uint16_t)value);
  set_u16(p + 2, (uint16_t)(value >> 16));
}

// alignment: a power of two.
static inline uint64_t align_up(uint64_t value, uint32_t alignment) {
  return (value + alignment - 1) & ~(uint64_t)(alignment - 1);
}

#endif
