// The basic family, and what all families share below the hot path.
#include "mimalloc.h"
#include "api/alloc_fast.h"
#include "api/text_copy.h"
#include "core/arenas/arena.h"
#include "core/report/message.h"

// ---- shared ---------------------------------------------------------------------------------------------

static MI_COLD void report_failure(size_t size) {
  if (size > PTRDIFF_MAX) {
    message_error(MESSAGE_EOVERFLOW, "allocation request is too large (%zu bytes)", size);
  } else {
    message_error(MESSAGE_ENOMEM, "unable to allocate memory (%zu bytes)", size);
  }
  os_set_errno(MESSAGE_ENOMEM);
}

// A theap to allocate from; NULL when there is no memory for the calling thread's theap of `heap`.
static theap_t* enter(heap_t* heap) { return heap == NULL ? runtime_enter() : runtime_heap_enter(heap); }

MI_NOINLINE void* block_allocate_in(heap_t* heap, size_t size, bool zero) {
  bool is_zero;
  theap_t* theap = enter(heap);
  void* p = theap == NULL ? NULL : theap_allocate(theap, size, &is_zero);
  runtime_leave(theap);
  if (MI_UNLIKELY(p == NULL)) {
    report_failure(size);
  } else if (zero && !is_zero) {
    mem_zero(p, theap_usable_size(p));
  }
  return p;
}

MI_INLINE bool may_take_medium(const theap_t* theap) {
  return theap->guard_rate == 0 && !os_bell_is_per_fiber && theap->slow_calls + 1 < THEAP_TICK_CALLS;
}

// Sizes beyond the direct table: the first page of the bin's queue, if it has a free block. Counted as slow
// calls, one of so many of which goes the long way: deferred frees, purges and what is kept depend on that.
MI_INLINE void* allocate_medium(size_t size, bool zero) {
  theap_t* theap = runtime_theap_fast();
  if (MI_UNLIKELY(theap == NULL ||
                  size - (SMALL_SIZE_MAX - BLOCK_TAIL + 1) >= LARGE_SIZE_MAX - SMALL_SIZE_MAX))
    return NULL;
  unsigned bin = size_class_bin(size + BLOCK_TAIL);
  if (MI_SECURE) {
    if (!may_take_medium(theap)) return NULL;
    rack_t* rack = theap->racks.by_bin[bin];
    block_t* block = rack_take(rack);
    if (MI_LIKELY(block != NULL)) {
      theap->slow_calls++;
      if (zero) mem_zero(block, rack->tail);
      return block;
    }
  }
  page_t* page = theap->bins[bin].first;
  if (MI_UNLIKELY(page == NULL || !may_take_medium(theap))) return NULL;
  theap->slow_calls++;
  void* p = block_pop(page);
  if (zero && p != NULL) mem_zero(p, page->block_size - BLOCK_TAIL);
  return p;
}

MI_NOINLINE void* block_allocate(size_t size, bool zero) {
  void* p = allocate_medium(size, zero);
  return MI_LIKELY(p != NULL) ? p : block_allocate_in(NULL, size, zero);
}

static MI_NOINLINE void* allocate_aligned_slow(heap_t* heap, size_t size, size_t alignment, size_t offset,
                                               bool zero) {
  if (MI_UNLIKELY(!bits_is_power_of_two(alignment))) {
    message_warning("aligned allocation needs an alignment that is a power of two, not %zu", alignment);
    return NULL;
  }
  bool is_zero, is_possible = size <= PTRDIFF_MAX && alignment <= PTRDIFF_MAX - size;
  theap_t* theap = is_possible ? enter(heap) : NULL;
  void* p = theap == NULL ? NULL : theap_allocate_aligned(theap, size, alignment, offset, &is_zero);
  runtime_leave(theap);
  if (MI_UNLIKELY(p == NULL)) {
    report_failure(size);
  } else if (zero && !is_zero) {
    mem_zero(p, theap_usable_size(p));
  }
  return p;
}

// Secure builds: sizes beyond the direct table, as allocate_medium.
static MI_NOINLINE void* allocate_aligned_medium(size_t size, size_t alignment, bool zero) {
  theap_t* theap = runtime_theap_fast();
  if (theap == NULL || !bits_is_power_of_two(alignment) || alignment > PAGE_SMALL_BLOCK_MAX ||
      size > PAGE_SMALL_BLOCK_MAX - BLOCK_TAIL || !may_take_medium(theap))
    return NULL;
  size_t block_size = bits_align_up(size + BLOCK_TAIL, alignment);
  rack_t* rack = theap->racks.by_bin[size_class_bin(block_size)];
  if (MI_UNLIKELY(((rack->tail + 8) & (alignment - 1)) != 0)) return NULL;
  block_t* block = rack_take(rack);
  if (block == NULL) return NULL;
  theap->slow_calls++;
  if (zero) mem_zero(block, rack->tail);
  return block;
}

void* block_allocate_aligned_in(heap_t* heap, size_t size, size_t alignment, size_t offset, bool zero) {
  if (MI_LIKELY(heap == NULL && offset == 0)) {
    void* p = block_malloc_aligned_fast(runtime_theap_fast(), size, alignment, zero);
    if (MI_LIKELY(p != NULL)) return p;
    if (MI_SECURE && !MI_DEBUG && (p = allocate_aligned_medium(size, alignment, zero)) != NULL) return p;
  }
  return allocate_aligned_slow(heap, size, alignment, offset, zero);
}

MI_INLINE bool free_generally(void* p) {
  os_stack_probe();
  theap_t* theap = runtime_theap_fast();
  if (MI_UNLIKELY(theap == NULL)) theap = runtime_theap();
  return theap_free(theap, p) == FREE_DONE;
}

MI_NOINLINE bool block_free(void* p) { return free_generally(p); }

MI_COLD void block_report_foreign(const char* function, const void* p) {
  static uint32_t reported;
  if (!MI_DEBUG && atomic_swap_acq_rel(&reported, 1u) != 0) return;
  const char* why =
      arena_find_page(p) != NULL ? "inside a block, not at its start" : "not allocated by mimalloc";
  message_error_always(MESSAGE_EINVAL, "%s of invalid pointer %p: %s%s", function, p, why,
                       MI_DEBUG ? "" : "; it is left alone, and so are all further ones, without a message");
}

size_t block_usable_size(const void* p) { return p == NULL ? 0 : theap_usable_size(p); }
bool block_is_ours(const void* p) { return theap_usable_size(p) != 0; }

bool block_count_overflows(size_t count, size_t size, size_t* total) {
  if (MI_LIKELY(!bits_multiply_overflows(count, size, total))) return false;
  message_error(MESSAGE_EOVERFLOW, "allocation request is too large (%zu times %zu bytes)", count, size);
  os_set_errno(MESSAGE_ENOMEM);
  return true;
}

// Stays in place when the block is large enough and not more than half of it would be wasted, or when it can
// grow.
static bool fits_in_place(void* p, size_t size, size_t usable) {
  if (size <= usable) return size >= usable / 2 || usable <= 2 * sizeof(void*);
  return usable > LARGE_SIZE_MAX / 2 && theap_expand(runtime_theap(), p, size);
}

// What lies beyond the old contents is zeroed, also after shrinking, so that the block can grow again later.
static void* in_place(void* p, size_t usable, size_t size, bool zero) {
  size_t from = usable < size ? usable : size;
  if (zero) mem_zero((uint8_t*)p + from, theap_usable_size(p) - from);
  return p;
}

// Moves the contents to `fresh` (NULL: out of memory, everything stays) and frees the old block.
static void* move_to(void* fresh, void* p, size_t usable, size_t size, bool zero) {
  if (MI_UNLIKELY(fresh == NULL)) return NULL;
  size_t copied = usable < size ? usable : size;
  mem_copy(fresh, p, copied);
  if (zero) mem_zero((uint8_t*)fresh + copied, theap_usable_size(fresh) - copied);
  free_try(p);
  return fresh;
}

static void* malloc_in(heap_t* heap, size_t size) {
  return heap == NULL ? block_malloc(size) : block_malloc_in(heap, size);
}

// For a block that shrinks: when there is no memory for a smaller one, the old one serves as well, and
// nothing has failed.
static void* malloc_quietly(heap_t* heap, size_t size) {
  bool is_zero;
  theap_t* theap = enter(heap);
  void* p = theap == NULL ? NULL : theap_allocate(theap, size, &is_zero);
  runtime_leave(theap);
  return p;
}

void* block_reallocate_in(heap_t* heap, void* p, size_t size, bool zero) {
  if (p == NULL) return zero ? block_allocate_in(heap, size, true) : malloc_in(heap, size);
  size_t usable = theap_usable_size(p);
  if (MI_UNLIKELY(usable == 0)) {
    block_report_foreign("realloc", p);
    return NULL;
  }
  if (MI_LIKELY(fits_in_place(p, size, usable))) return in_place(p, usable, size, zero);
  if (size > usable) return move_to(malloc_in(heap, size), p, usable, size, zero);
  void* smaller = malloc_quietly(heap, size);
  return smaller == NULL ? in_place(p, usable, size, zero) : move_to(smaller, p, usable, size, zero);
}

void* block_reallocate_aligned_in(heap_t* heap, void* p, size_t size, size_t alignment, size_t offset,
                                  bool zero) {
  if (!bits_is_power_of_two(alignment)) return block_reallocate_in(heap, p, size, zero);
  if (p == NULL) return block_allocate_aligned_in(heap, size, alignment, offset, zero);
  size_t usable = theap_usable_size(p);
  if (MI_UNLIKELY(usable == 0)) {
    block_report_foreign("realloc", p);
    return NULL;
  }
  bool is_aligned = (((uintptr_t)p + offset) & (alignment - 1)) == 0;
  if (is_aligned && fits_in_place(p, size, usable)) return in_place(p, usable, size, zero);
  return move_to(block_allocate_aligned_in(heap, size, alignment, offset, false), p, usable, size, zero);
}

// ---- basic ----------------------------------------------------------------------------------------------

void* mi_malloc(size_t size) { return block_malloc(size); }

void* mi_calloc(size_t count, size_t size) {
  size_t total;
  return block_count_overflows(count, size, &total) ? NULL : block_calloc(total);
}

static MI_NOINLINE void free_slow(void* p) {
  if (MI_UNLIKELY(!free_generally(p))) block_report_foreign("free", p);
}

void mi_free(void* p) {
  if (MI_UNLIKELY(!block_free_fast(p))) free_slow(p);
}

void* mi_realloc(void* p, size_t newsize) { return block_reallocate(p, newsize, false); }

void* mi_expand(void* p, size_t newsize) {
  size_t usable = block_usable_size(p); // 0 for NULL and for what isn't ours
  return usable != 0 && newsize <= usable ? p : NULL;
}

size_t text_length(const void* s, size_t max, size_t width) {
  size_t n = 0;
  if (width == 1) {
    while (n < max && ((const uint8_t*)s)[n] != 0) n++;
  } else {
    while (n < max && ((const wchar_t*)s)[n] != 0) n++;
  }
  return n;
}

void* text_duplicate(heap_t* heap, const void* s, size_t max, size_t width) {
  if (s == NULL) return NULL;
  size_t size = text_length(s, max, width) * width;
  uint8_t* copy = (uint8_t*)(heap == NULL ? block_malloc(size + width) : block_malloc_in(heap, size + width));
  if (copy == NULL) return NULL;
  mem_copy(copy, s, size);
  mem_zero(copy + size, width);
  return copy;
}

char* mi_strdup(const char* s) { return (char*)text_duplicate(NULL, s, SIZE_MAX, 1); }
char* mi_strndup(const char* s, size_t n) { return (char*)text_duplicate(NULL, s, n, 1); }

MI_COLD char* text_full_path(heap_t* heap, const char* name, char* resolved) {
  enum { PATH_CAPACITY = 4096 };
  char path[PATH_CAPACITY];
  size_t length = name == NULL ? 0 : os_full_path(name, path, sizeof(path));
  if (length == 0) {
    os_set_errno(name == NULL ? MESSAGE_EINVAL : 2 /* ENOENT in every C runtime */);
    return NULL;
  }
  if (resolved == NULL) return (char*)text_duplicate(heap, path, SIZE_MAX, 1);
  if (length >= os_path_max()) {
    os_set_errno(OS_ENAMETOOLONG);
    return NULL;
  }
  mem_copy(resolved, path, length + 1);
  return resolved;
}

char* mi_realpath(const char* fname, char* resolved_name) {
  return text_full_path(NULL, fname, resolved_name);
}

// ---- extended -------------------------------------------------------------------------------------------

void* mi_malloc_small(size_t size) { return block_malloc(size); }
void* mi_zalloc_small(size_t size) { return block_calloc(size); }
void mi_free_small(void* p) { mi_free(p); }
void* mi_zalloc(size_t size) { return block_calloc(size); }

void* mi_mallocn(size_t count, size_t size) {
  size_t total;
  return block_count_overflows(count, size, &total) ? NULL : block_malloc(total);
}

void* mi_reallocn(void* p, size_t count, size_t size) {
  size_t total;
  return block_count_overflows(count, size, &total) ? NULL : block_reallocate(p, total, false);
}

void* mi_reallocf(void* p, size_t newsize) {
  void* fresh = block_reallocate(p, newsize, false);
  if (fresh == NULL && p != NULL) mi_free(p);
  return fresh;
}

size_t mi_usable_size(const void* p) { return block_usable_size(p); }

size_t mi_good_size(size_t size) {
  if (size <= LARGE_SIZE_MAX - BLOCK_TAIL)
    return size_class_size(size_class_bin(block_size_for(size))) - BLOCK_TAIL;
  return size > PTRDIFF_MAX ? size : bits_align_up(size, SLICE_SIZE);
}

// ---- questions ------------------------------------------------------------------------------------------

bool mi_is_in_heap_region(const void* p) { return arena_contains(p); }
