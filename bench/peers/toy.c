// The lower bound: what a malloc must cost that keeps a free list per size and thread. malloc takes a TLS slot and pops,
// free takes it and pushes. Nothing is checked, nothing goes back to the system, a freed block stays with the thread
// that freed it, and a thread's lists are lost with it. No allocator: a figure to come near to.
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <windows.h>

enum { CLASSES = 49 * 4, HEAD = 16, CHUNK = 1 << 20 };

typedef struct block_s {
  struct block_s* next;
} block_t;

// Lies before each block: a size class is all that free needs.
typedef struct head_s {
  uint64_t class;
  uint64_t offset; // of an aligned block from the one it lies in, class then unused
} head_t;

typedef struct cache_s {
  block_t* lists[CLASSES];
  char *at, *end;
} cache_t;

static DWORD slot;

// Four classes per doubling, from 16 bytes.
static inline unsigned class_of(size_t size) {
  if (size <= 16) return 0;
  unsigned top = 63 - (unsigned)__builtin_clzll(size - 1);
  return (top - 4) * 4 + (unsigned)(((size - 1) >> (top - 2)) & 3) + 1;
}

static inline size_t class_bytes(unsigned class) {
  if (class == 0) return 16;
  unsigned top = (class - 1) / 4 + 4, part = (class - 1) % 4 + 1;
  size_t bytes = ((size_t)1 << top) + ((size_t)part << (top - 2));
  return (bytes + 15) & ~(size_t)15;
}

static inline cache_t* cache(void) {
  return (cache_t*)__readgsqword(0x1480 + 8 * slot); // the first 64 TLS slots lie there
}

static cache_t* cache_new(void) {
  cache_t* c = VirtualAlloc(NULL, sizeof *c, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  if (c != NULL) TlsSetValue(slot, c);
  return c;
}

static __attribute__((noinline)) void* cut(unsigned class) {
  cache_t* c = cache() != NULL ? cache() : cache_new();
  if (c == NULL) return NULL;
  size_t bytes = class_bytes(class) + HEAD;
  if (bytes > (size_t)(c->end - c->at)) {
    size_t chunk = bytes > CHUNK ? bytes : CHUNK;
    char* p = VirtualAlloc(NULL, chunk, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    if (p == NULL) return NULL;
    if (chunk > CHUNK) { // one block
      ((head_t*)p)->class = class;
      return p + HEAD;
    }
    c->at = p;
    c->end = p + chunk;
  }
  char* p = c->at;
  c->at += bytes;
  ((head_t*)p)->class = class;
  return p + HEAD;
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
  unsigned class = (unsigned)((head_t*)p)[-1].class;
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
  size_t had = class_bytes((unsigned)((head_t*)p)[-1].class);
  if (size <= had) return p;
  void* larger = bench_malloc(size);
  if (larger == NULL) return NULL;
  memcpy(larger, p, had);
  bench_free(p);
  return larger;
}

__declspec(dllexport) void* bench_aligned(size_t align, size_t size) {
  char* p = bench_malloc(size + align + HEAD);
  if (p == NULL) return NULL;
  char* q = (char*)(((uintptr_t)p + HEAD + align - 1) & ~(uintptr_t)(align - 1));
  ((head_t*)q)[-1].offset = (uint64_t)(q - p);
  return q;
}

__declspec(dllexport) void bench_aligned_free(void* p) {
  if (p != NULL) bench_free((char*)p - ((head_t*)p)[-1].offset);
}

BOOL WINAPI DllMain(HINSTANCE module, DWORD reason, LPVOID reserved) {
  if (reason == DLL_PROCESS_ATTACH) slot = TlsAlloc();
  return reason != DLL_PROCESS_ATTACH || slot < 64;
}
