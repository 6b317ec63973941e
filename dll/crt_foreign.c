#include "crt_foreign.h"
#include "base/atomics.h"
#include "base/bits.h"
#include "crt_modules.h"
#include "redirect/redirect.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

typedef intptr_t __cdecl get_heap_handle_t(void);
typedef void __cdecl free_dbg_t(void* block, int kind);
typedef size_t __cdecl msize_dbg_t(void* block, int kind);

// Heap blocks are multiples of this: no need to bother a heap with other addresses.
#define HEAP_ALIGNMENT (2 * sizeof(void*))

// In front of a debug runtime's block: two links, file name, line, kind, size, number and four guard bytes.
#define DEBUG_HEADER (MI_64BIT ? 48u : 32u)
#define NORMAL_BLOCK 1 // the kind of what malloc gives

// The runtime's heap, NULL when it isn't loaded, not initialised yet or too old to tell.
static HANDLE heap_of(size_t runtime) {
  static HANDLE heaps[CRT_MODULES_MAX];
  HANDLE heap = atomic_get_relaxed(&heaps[runtime]);
  if (heap != NULL || crt_modules_handle(runtime) == NULL) return heap;
  get_heap_handle_t* get_heap_handle = (get_heap_handle_t*)crt_modules_function(runtime, CRT_GET_HEAP_HANDLE);
  if (get_heap_handle == NULL) return NULL;
  heap = (HANDLE)get_heap_handle();
  atomic_set_relaxed(&heaps[runtime], heap);
  return heap;
}

// Is `p` memory, and of a kind that heaps use? Keeps heaps from looking where nothing is.
static bool is_heap_memory(const void* p) {
  MEMORY_BASIC_INFORMATION info;
  DWORD error = GetLastError(); // a free must not change it
  if (VirtualQuery(p, &info, sizeof(info)) == 0) {
    SetLastError(error);
    return false;
  }
  return info.State == MEM_COMMIT && info.Type == MEM_PRIVATE &&
         (info.Protect == PAGE_READWRITE || info.Protect == PAGE_EXECUTE_READWRITE);
}

static bool is_start(HANDLE heap, const void* p) {
  if (!bits_is_aligned(p, HEAP_ALIGNMENT) || (uintptr_t)p < HEAP_ALIGNMENT) return false;
  return is_heap_memory((const uint8_t*)p - HEAP_ALIGNMENT) && is_heap_memory(p) && HeapValidate(heap, 0, p);
}

// A debug runtime's block starts behind a header; not every runtime of such a name is one (Wine's msvcrtd.dll
// isn't).
static bool is_block(size_t runtime, HANDLE heap, const void* p, bool* has_header) {
  *has_header = false;
  if (is_start(heap, p)) return true;
  if (!crt_modules_is_debug(runtime) || (uintptr_t)p < DEBUG_HEADER) return false;
  *has_header = is_start(heap, (const uint8_t*)p - DEBUG_HEADER);
  return *has_header;
}

// The runtime's function as it was before it was redirected to us.
static void* original(size_t runtime, crt_function_t name) {
  void* function = crt_modules_function(runtime, name);
  return function == NULL ? NULL : redirect_original(function);
}

static size_t size_of(size_t runtime, HANDLE heap, void* block, bool has_header) {
  if (!has_header) return HeapSize(heap, 0, block);
  msize_dbg_t* msize = (msize_dbg_t*)original(runtime, CRT_MSIZE_DBG);
  return msize == NULL ? (size_t)-1 : msize(block, NORMAL_BLOCK);
}

// The plain block around an aligned one, as _aligned_malloc stored it; debug runtimes leave a gap of a word.
static void* aligned_origin(size_t runtime, const void* p) {
  void* const* words = (void* const*)bits_align_down((uintptr_t)p, sizeof(void*));
  return words[crt_modules_is_debug(runtime) ? -2 : -1];
}

static bool find_in(size_t runtime, const void* p, foreign_kind_t kind, foreign_block_t* found) {
  HANDLE heap = heap_of(runtime);
  if (heap == NULL) return false;
  bool has_header;
  void* origin = kind == FOREIGN_ALIGNED ? aligned_origin(runtime, p) : (void*)p;
  if ((uintptr_t)origin > (uintptr_t)p || !is_block(runtime, heap, origin, &has_header)) return false;
  size_t size = size_of(runtime, heap, origin, has_header);
  size_t before = (size_t)((uintptr_t)p - (uintptr_t)origin);
  if (size == (size_t)-1 || size < before) return false;
  *found = (foreign_block_t){
      .origin = origin, .heap = heap, .has_header = has_header, .runtime = runtime, .size = size - before};
  return true;
}

bool foreign_find(const void* p, foreign_kind_t kind, foreign_block_t* found) {
  // _aligned_malloc stores two words at most.
  size_t words = 2 * sizeof(void*);
  uintptr_t aligned = bits_align_down((uintptr_t)p, sizeof(void*));
  if (kind == FOREIGN_ALIGNED && (aligned < words || !is_heap_memory((const void*)(aligned - words))))
    return false;
  // A bit per runtime: those seen before are asked first, then those that may have come since.
  uint32_t asked = 0;
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

// The runtime's own functions may lead to us, or to each other by way of us: the heap is asked directly, and a
// debug runtime, which keeps a list of its blocks, by the function that was.
void foreign_free(const foreign_block_t* block) {
  free_dbg_t* free_dbg = block->has_header ? (free_dbg_t*)original(block->runtime, CRT_FREE_DBG) : NULL;
  if (free_dbg != NULL) {
    free_dbg(block->origin, NORMAL_BLOCK);
  } else if (!block->has_header) {
    HeapFree(block->heap, 0, block->origin);
  }
}

bool foreign_expand(const foreign_block_t* block, size_t size) {
  if (size <= block->size) return true;
  if (block->has_header) return false;
  return HeapReAlloc(block->heap, HEAP_REALLOC_IN_PLACE_ONLY, block->origin, size) != NULL;
}
