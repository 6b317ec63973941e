// The four memory functions that a compiler may call by itself, for a DLL without a C runtime.
//
//   memcpy, memmove                                   memset
//   |- up to 64 bytes: load all, then store all       |- up to 64 bytes: stores that overlap
//   |- up to BULK_SIZE, or overlap: 32 per turn       |- up to BULK_SIZE: 32 per turn
//   '- above: rep movs (x86, x64)                     '- above: rep stos
//
// Built with -fno-builtin -fno-tree-loop-distribute-patterns, or the compiler would turn these loops into calls of the
// very functions they implement. `rep` with words, not bytes: fast on every processor since the Pentium Pro.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void* memmove(void* to, const void* from, size_t size);
void* memcpy(void* restrict to, const void* restrict from, size_t size);
void* memset(void* to, int byte, size_t size);
int memcmp(const void* left, const void* right, size_t size);

#define ANYWHERE __attribute__((aligned(1), may_alias))
typedef uint16_t ANYWHERE two_t;
typedef uint32_t ANYWHERE four_t;
typedef uint64_t ANYWHERE eight_t;
// 16 bytes: one SSE2 register on x64, four words where there is no SSE2.
typedef uint32_t sixteen_t __attribute__((vector_size(16), aligned(1), may_alias));

#define LOAD(type, address)         (*(const type*)(address))
#define STORE(type, address, value) (*(type*)(address) = (value))

// Elsewhere than on x86 and x64 there is no instruction for it: the turns do it all.
#if defined(__x86_64__) || defined(__i386__)
#define BULK_SIZE 2048
#else
#define BULK_SIZE SIZE_MAX
#endif

static inline void copy_words(char* to, const char* from, size_t words) {
#if defined(__x86_64__)
  __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
#elif defined(__i386__)
  __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
#else
  (void)to, (void)from, (void)words;
#endif
}

static inline void fill_words(char* to, uint32_t pattern, size_t words) {
#if defined(__x86_64__)
  uint64_t word = (uint64_t)pattern << 32 | pattern;
  __asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(word) : "memory");
#elif defined(__i386__)
  __asm__ volatile("rep stosl" : "+D"(to), "+c"(words) : "a"(pattern) : "memory");
#else
  (void)to, (void)pattern, (void)words;
#endif
}

// For 33 bytes and more; `to` and `from` may overlap if `to` is the lower one.
static __attribute__((noinline)) void* copy_up(char* to, const char* from, size_t size) {
  // The ends are kept in registers and stored last: the turns between them may overwrite their source.
  sixteen_t head = LOAD(sixteen_t, from);
  sixteen_t tail_low = LOAD(sixteen_t, from + size - 32), tail_high = LOAD(sixteen_t, from + size - 16);
  size_t at = 16 - ((uintptr_t)to & 15); // stores of the turns are aligned
  size_t end = size - 32;
  if (size >= BULK_SIZE && (uintptr_t)from - (uintptr_t)to >= 64) {
    copy_words(to + at, from + at, (end - at) / sizeof(uintptr_t) + 1);
  } else {
    for (; at < end; at += 32) {
      sixteen_t low = LOAD(sixteen_t, from + at), high = LOAD(sixteen_t, from + at + 16);
      STORE(sixteen_t, to + at, low);
      STORE(sixteen_t, to + at + 16, high);
    }
  }
  STORE(sixteen_t, to, head);
  STORE(sixteen_t, to + size - 32, tail_low);
  STORE(sixteen_t, to + size - 16, tail_high);
  return to;
}

// For 33 bytes and more; `to` and `from` may overlap if `to` is the higher one.
static __attribute__((noinline)) void* copy_down(char* to, const char* from, size_t size) {
  sixteen_t head_low = LOAD(sixteen_t, from), head_high = LOAD(sixteen_t, from + 16);
  sixteen_t tail = LOAD(sixteen_t, from + size - 16);
  size_t at = size - ((uintptr_t)(to + size) & 15);
  for (; at > 32; at -= 32) {
    sixteen_t low = LOAD(sixteen_t, from + at - 32), high = LOAD(sixteen_t, from + at - 16);
    STORE(sixteen_t, to + at - 32, low);
    STORE(sixteen_t, to + at - 16, high);
  }
  STORE(sixteen_t, to, head_low);
  STORE(sixteen_t, to + 16, head_high);
  STORE(sixteen_t, to + size - 16, tail);
  return to;
}

static inline __attribute__((always_inline)) void* copy(char* to, const char* from, size_t size) {
  if (size > 64) {
    bool down = (uintptr_t)to - (uintptr_t)from < size;
    return down ? copy_down(to, from, size) : copy_up(to, from, size);
  }
  if (size >= 32) {
    sixteen_t a = LOAD(sixteen_t, from), b = LOAD(sixteen_t, from + 16);
    sixteen_t c = LOAD(sixteen_t, from + size - 32), d = LOAD(sixteen_t, from + size - 16);
    STORE(sixteen_t, to, a);
    STORE(sixteen_t, to + 16, b);
    STORE(sixteen_t, to + size - 32, c);
    STORE(sixteen_t, to + size - 16, d);
  } else if (size >= 16) {
    sixteen_t a = LOAD(sixteen_t, from), b = LOAD(sixteen_t, from + size - 16);
    STORE(sixteen_t, to, a);
    STORE(sixteen_t, to + size - 16, b);
  } else if (size >= 8) {
    eight_t a = LOAD(eight_t, from), b = LOAD(eight_t, from + size - 8);
    STORE(eight_t, to, a);
    STORE(eight_t, to + size - 8, b);
  } else if (size >= 4) {
    four_t a = LOAD(four_t, from), b = LOAD(four_t, from + size - 4);
    STORE(four_t, to, a);
    STORE(four_t, to + size - 4, b);
  } else if (size >= 2) {
    two_t a = LOAD(two_t, from), b = LOAD(two_t, from + size - 2);
    STORE(two_t, to, a);
    STORE(two_t, to + size - 2, b);
  } else if (size == 1) {
    *to = *from;
  }
  return to;
}

void* memmove(void* to, const void* from, size_t size) { return copy(to, from, size); }

void* memcpy(void* restrict to, const void* restrict from, size_t size) { return copy(to, from, size); }

// For 65 bytes and more.
static __attribute__((noinline)) void* fill_up(char* to, uint32_t pattern, size_t size) {
  sixteen_t value = {pattern, pattern, pattern, pattern};
  size_t at = 16 - ((uintptr_t)to & 15);
  size_t end = size - 32;
  STORE(sixteen_t, to, value);
  if (size >= BULK_SIZE) {
    fill_words(to + at, pattern, (end - at) / sizeof(uintptr_t) + 1);
  } else {
    for (; at < end; at += 32) {
      STORE(sixteen_t, to + at, value);
      STORE(sixteen_t, to + at + 16, value);
    }
  }
  STORE(sixteen_t, to + size - 32, value);
  STORE(sixteen_t, to + size - 16, value);
  return to;
}

void* memset(void* to_, int byte, size_t size) {
  char* to = to_;
  uint32_t pattern = (uint32_t)(unsigned char)byte * 0x01010101u;
  if (size > 64) return fill_up(to, pattern, size);
  if (size >= 16) {
    sixteen_t value = {pattern, pattern, pattern, pattern};
    STORE(sixteen_t, to, value);
    STORE(sixteen_t, to + size - 16, value);
    if (size > 32) {
      STORE(sixteen_t, to + 16, value);
      STORE(sixteen_t, to + size - 32, value);
    }
  } else if (size >= 8) {
    uint64_t value = (uint64_t)pattern << 32 | pattern;
    STORE(eight_t, to, value);
    STORE(eight_t, to + size - 8, value);
  } else if (size >= 4) {
    STORE(four_t, to, pattern);
    STORE(four_t, to + size - 4, pattern);
  } else if (size >= 2) {
    STORE(two_t, to, (uint16_t)pattern);
    STORE(two_t, to + size - 2, (uint16_t)pattern);
  } else if (size == 1) {
    *to = (char)byte;
  }
  return to_;
}

int memcmp(const void* left_, const void* right_, size_t size) {
  const unsigned char* left = left_;
  const unsigned char* right = right_;
  size_t at = 0;
  while (size - at >= 8 && LOAD(eight_t, left + at) == LOAD(eight_t, right + at)) at += 8;
  for (; at < size; at++) {
    if (left[at] != right[at]) return left[at] < right[at] ? -1 : 1;
  }
  return 0;
}

#if defined(__aarch64__)
// Called in front of a large stack frame: touches each page of the x15 * 16 bytes below the stack pointer, from above. May use
// x16 and x17 only. (x86 and x64 have it from libgcc.)
__asm__("  .text\n"
        "  .p2align 2\n"
        "  .globl __chkstk\n"
        "__chkstk:\n"
        "  lsl x16, x15, #4\n"
        "  mov x17, sp\n"
        "1:\n"
        "  sub x17, x17, #4096\n"
        "  ldr xzr, [x17]\n"
        "  subs x16, x16, #4096\n"
        "  b.gt 1b\n"
        "  ret\n");
#endif
