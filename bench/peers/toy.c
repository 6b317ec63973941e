// The lower bound: what a malloc must cost that keeps a free list per size and thread. malloc takes a TLS slot and pops,
// free takes it and pushes. Nothing is checked, nothing goes back to the system, a freed block stays with the thread
// that freed it, and a thread's lists are lost with it. No allocator: a figure to come near to.
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <windows.h>

enum { CLASSES = 46 * 4, CHUNK = 1 << 16, HEAD = 64, SMALL = 8192, REGION = 1 << 22 };

typedef struct block_s {
  struct block_s* next;
} block_t;

// At the start of each chunk of 64 KiB, all of one class: a block's class is found by its address. A block above SMALL
// has a chunk, or several, to itself.
typedef struct chunk_s {
  uint64_t class;
} chunk_t;

typedef struct cache_s {
  block_t* lists[CLASSES];
  char* at[CLASSES]; // the rest of the class's newest chunk, not cut yet
  char *region, *region_end;
} cache_t;

static DWORD slot;

// 8 bytes, then four classes per doubling, from 16 bytes.
static inline unsigned class_of(size_t size) {
  if (size <= 16) return size > 8;
  unsigned top = 63 - (unsigned)__builtin_clzll(size - 1);
  return (top - 4) * 4 + (unsigned)(((size - 1) >> (top - 2)) & 3) + 2;
}

static inline size_t class_bytes(unsigned class) {
  if (class <= 1) return 8 + 8 * class;
  unsigned top = (class - 2) / 4 + 4, part = (class - 2) % 4 + 1;
  size_t bytes = ((size_t)1 << top) + ((size_t)part << (top - 2));
  return (bytes + 15) & ~(size_t)15;
}

static inline unsigned class_at(void* p) {
  return (unsigned)((chunk_t*)((uintptr_t)p & ~(uintptr_t)(CHUNK - 1)))->class;
}

static inline cache_t* cache(void) {
  return (cache_t*)__readgsqword(0x1480 + 8 * slot); // the first 64 TLS slots lie there
}

static void* pages(size_t bytes) {
  return VirtualAlloc(NULL, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

static cache_t* cache_new(void) {
  cache_t* c = pages(sizeof *c);
  if (c != NULL) TlsSetValue(slot, c);
  return c;
}

static __attribute__((noinline)) void* cut(unsigned class) {
  cache_t* c = cache() != NULL ? cache() : cache_new();
  size_t bytes = class_bytes(class);
  chunk_t* chunk;
  if (c == NULL) return NULL;
  if (bytes > SMALL) {
    if ((chunk = pages(bytes + HEAD)) == NULL) return NULL;
    chunk->class = class;
    return (char*)chunk + HEAD;
  }
  char* p = c->at[class];
  if (p == NULL || bytes > CHUNK - ((uintptr_t)p & (CHUNK - 1))) {
    if (c->region == c->region_end) {
      if ((c->region = pages(REGION)) == NULL) return c->region_end = NULL;
      c->region_end = c->region + REGION;
    }
    chunk = (chunk_t*)c->region;
    c->region += CHUNK;
    chunk->class = class;
    p = (char*)chunk + HEAD;
  }
  c->at[class] = ((uintptr_t)(p + bytes) & (CHUNK - 1)) != 0 ? p + bytes : NULL;
  return p;
}

__declspec(dllexport) void* bench_malloc(size_t size) {
  if (size > (size_t)1 << 40) return NULL;
  unsigned class = class_of(size);
  cache_t* c = cache();
  block_t* b = c != NULL ? c->lists[class] : NULL;
  if (__builtin_expect(b == NULL, 0)) return cut(class);
  c->lists[class] = b->next;
  return b;
}

__declspec(dllexport) void bench_free(void* p) {
  if (p == NULL) return;
  unsigned class = class_at(p);
  cache_t* c = cache() != NULL ? cache() : cache_new();
  if (c == NULL) return; // lost, as everything here is in the end
  ((block_t*)p)->next = c->lists[class];
  c->lists[class] = p;
}

__declspec(dllexport) void* bench_calloc(size_t count, size_t size) {
  if (size != 0 && count > SIZE_MAX / size) return NULL;
  void* p = bench_malloc(count * size);
  if (p != NULL) memset(p, 0, count * size);
  return p;
}

__declspec(dllexport) void* bench_realloc(void* p, size_t size) {
  if (p == NULL) return bench_malloc(size);
  size_t had = class_bytes(class_at(p));
  if (size <= had) return p;
  void* larger = bench_malloc(size);
  if (larger == NULL) return NULL;
  memcpy(larger, p, had);
  bench_free(p);
  return larger;
}

// The distance to the block that an aligned one lies in stands before it. A multiple of 16, and never 0.
__declspec(dllexport) void* bench_aligned(size_t align, size_t size) {
  char* p = bench_malloc(size + align + 16);
  if (p == NULL) return NULL;
  char* q = (char*)(((uintptr_t)p + 16 + align - 1) & ~(uintptr_t)(align - 1));
  ((uint64_t*)q)[-1] = (uint64_t)(q - p);
  return q;
}

__declspec(dllexport) void bench_aligned_free(void* p) {
  if (p != NULL) bench_free((char*)p - ((uint64_t*)p)[-1]);
}

BOOL WINAPI DllMain(HINSTANCE module, DWORD reason, LPVOID reserved) {
  if (reason == DLL_PROCESS_ATTACH) slot = TlsAlloc();
  return reason != DLL_PROCESS_ATTACH || slot < 64;
}
