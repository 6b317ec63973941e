#include "crt_foreign.h"
#include "base/atomics.h"
#include "base/bits.h"
#include "crt_modules.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

typedef intptr_t __cdecl get_heap_handle_t(void);
typedef void __cdecl free_t(void* block);
typedef void* __cdecl expand_t(void* block, size_t size);
typedef size_t __cdecl msize_t(void* block);

// Heap blocks are multiples of this: no need to bother a heap with other addresses.
#define HEAP_ALIGNMENT (2 * sizeof(void*))

// In front of a debug runtime's block: two links, file name, line, kind, size, number and four guard bytes.
#define DEBUG_HEADER (MI_64BIT ? 48u : 32u)

// The runtime's heap, NULL when it isn't loaded, not initialised yet or too old to tell.
static HANDLE heap_of(size_t runtime) {
  static HANDLE heaps[CRT_MODULES_MAX];
  HANDLE heap = atomic_get_relaxed(&heaps[runtime]);
  if (heap != NULL || crt_modules_handle(runtime) == NULL) return heap;
  get_heap_handle_t* get_heap_handle = (get_heap_handle_t*)crt_modules_function(runtime, "_get_heap_handle");
  if (get_heap_handle == NULL) return NULL;
  heap = (HANDLE)get_heap_handle();
  atomic_set_relaxed(&heaps[runtime], heap);
  return heap;
}

// Is `p` memory, and of a kind that heaps use? Keeps heaps from looking where nothing is.
static bool is_heap_memory(const void* p) {
  MEMORY_BASIC_INFORMATION info;
  if (VirtualQuery(p, &info, sizeof(info)) == 0) return false;
  return info.State == MEM_COMMIT && info.Type == MEM_PRIVATE &&
         (info.Protect == PAGE_READWRITE || info.Protect == PAGE_EXECUTE_READWRITE);
}

static bool is_block(size_t runtime, HANDLE heap, const void* p) {
  size_t header = crt_modules_is_debug(runtime) ? DEBUG_HEADER : 0;
  if (!bits_is_aligned(p, HEAP_ALIGNMENT) || (uintptr_t)p < header + HEAP_ALIGNMENT) return false;
  const uint8_t* start = (const uint8_t*)p - header;
  return is_heap_memory(start - HEAP_ALIGNMENT) && is_heap_memory(p) && HeapValidate(heap, 0, start);
}

// The plain block around an aligned one, as _aligned_malloc stored it; debug runtimes leave a gap of a word.
static void* aligned_origin(size_t runtime, const void* p) {
  void* const* words = (void* const*)bits_align_down((uintptr_t)p, sizeof(void*));
  return words[crt_modules_is_debug(runtime) ? -2 : -1];
}

static bool find_in(size_t runtime, const void* p, foreign_kind_t kind, foreign_block_t* found) {
  HANDLE heap = heap_of(runtime);
  if (heap == NULL) return false;
  void* origin = kind == FOREIGN_ALIGNED ? aligned_origin(runtime, p) : (void*)p;
  if ((uintptr_t)origin > (uintptr_t)p || !is_block(runtime, heap, origin)) return false;
  msize_t* msize = (msize_t*)crt_modules_function(runtime, "_msize");
  size_t size = msize == NULL ? 0 : msize(origin);
  size_t before = (size_t)((uintptr_t)p - (uintptr_t)origin);
  if (size == (size_t)-1 || size < before) return false;
  *found = (foreign_block_t){.block = (void*)p, .kind = kind, .runtime = runtime, .size = size - before};
  return true;
}

bool foreign_find(const void* p, foreign_kind_t kind, foreign_block_t* found) {
  // _aligned_malloc stores two words at most.
  size_t words = 2 * sizeof(void*);
  uintptr_t aligned = bits_align_down((uintptr_t)p, sizeof(void*));
  if (kind == FOREIGN_ALIGNED && (aligned < words || !is_heap_memory((const void*)(aligned - words))))
    return false;
  uint32_t asked =
      0; // a bit per runtime: those seen before are asked first, then those that may have come since
  for (size_t runtime = 0; runtime < crt_modules_count(); runtime++) {
    if (!crt_modules_is_known(runtime)) continue;
    asked |= 1u << runtime;
    if (find_in(runtime, p, kind, found)) return true;
  }
  for (size_t runtime = 0; runtime < crt_modules_count(); runtime++) {
    if ((asked & 1u << runtime) == 0 && find_in(runtime, p, kind, found)) return true;
  }
  return false;
}

void foreign_free(const foreign_block_t* block) {
  const char* name = block->kind == FOREIGN_ALIGNED ? "_aligned_free" : "free";
  free_t* runtime_free = (free_t*)crt_modules_function(block->runtime, name);
  if (runtime_free != NULL) runtime_free(block->block);
}

void* foreign_expand(const foreign_block_t* block, size_t size) {
  if (block->kind != FOREIGN_PLAIN) return NULL;
  expand_t* runtime_expand = (expand_t*)crt_modules_function(block->runtime, "_expand");
  return runtime_expand == NULL ? NULL : runtime_expand(block->block, size);
}
