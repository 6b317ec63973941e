// What libmimalloc-crt.a, and redirect_table.c in a running process, put in the place of the C runtime's
// functions, where the runtime behaves otherwise than the mi_ function of the same name: sizes of zero, errors,
// and blocks that a runtime allocated.
//
//   mi_crt_free --- block_free_fast
//     '-- free_slow: block_free, else free_foreign
//           '-- foreign_find: to the heap it is from; none: one message, the block is left alone
//
// errno is set as documented for the UCRT. Its invalid-parameter handler, which would end the process, is not called.
#include "mimalloc.h"
#include "api/alloc_fast.h"
#include "core/report/message.h"
#include "core/stats/stats.h"
#include "crt_api.h"
#include "crt_foreign.h"

// ---- blocks that aren't ours ----------------------------------------------------------------------------

static MI_COLD void report_unknown(const char* function, const void* p) {
  static uint32_t reported;
  if (!MI_DEBUG && atomic_swap_acq_rel(&reported, 1u) != 0) return;
  message_error_always(
      MESSAGE_EINVAL,
      "%s of invalid pointer %p: neither mimalloc nor a C runtime of this process allocated it; it is left "
      "alone%s",
      function, p, MI_DEBUG ? "" : ", and so are all further ones, without a message");
}

static bool find_or_report(const char* function, const void* p, foreign_kind_t kind, foreign_block_t* found) {
  stats_count(&stats_process.foreign_frees, 1);
  if (foreign_find(p, kind, found)) return true;
  report_unknown(function, p);
  return false;
}

static MI_COLD void free_foreign(const char* function, void* p, foreign_kind_t kind) {
  foreign_block_t found;
  if (os_is_exiting()) return; // the system takes all; a heap's lock may belong to a dead thread
  if (find_or_report(function, p, kind, &found)) foreign_free(&found);
}

static MI_COLD size_t size_foreign(const char* function, const void* p, foreign_kind_t kind) {
  foreign_block_t found;
  return find_or_report(function, p, kind, &found) ? found.size : (size_t)-1;
}

// Moves a runtime's block to us; `alignment` 0: none asked for.
static MI_COLD void* move_foreign(const char* function, void* p, foreign_kind_t kind, size_t size,
                                  size_t alignment, size_t offset, bool zero) {
  foreign_block_t found;
  if (!find_or_report(function, p, kind, &found)) return NULL;
  void* fresh =
      alignment == 0 ? block_allocate(size, zero) : block_allocate_aligned(size, alignment, offset, zero);
  if (fresh == NULL) return NULL;
  mem_copy(fresh, p, size < found.size ? size : found.size);
  foreign_free(&found);
  return fresh;
}

static void* fail(int code) {
  os_set_errno(code);
  return NULL;
}

// ---- plain blocks ---------------------------------------------------------------------------------------

static MI_NOINLINE void free_slow(void* p) {
  if (MI_UNLIKELY(!block_free(p))) free_foreign("free", p, FOREIGN_PLAIN);
}

void mi_crt_free(void* p) { // the free of every program whose runtime is redirected
  if (MI_UNLIKELY(!block_free_fast(p))) free_slow(p);
}

// A runtime's _recalloc zeroes from the old size on, of which we only know an upper bound. What a block loses by
// shrinking is therefore zeroed at once, so that it is zero if the block grows again.
static void* zero_tail(void* p, size_t size, size_t old_usable) {
  if (p != NULL && size < old_usable) mem_zero((uint8_t*)p + size, block_usable_size(p) - size);
  return p;
}

static void* reallocate(const char* function, void* p, size_t size, bool zero) {
  if (p == NULL) return zero ? block_calloc(size) : block_malloc(size);
  if (size == 0) {
    mi_crt_free(p);
    return NULL;
  }
  size_t usable = block_usable_size(p);
  if (MI_UNLIKELY(usable == 0)) return move_foreign(function, p, FOREIGN_PLAIN, size, 0, 0, zero);
  void* fresh = block_reallocate(p, size, zero);
  return zero ? zero_tail(fresh, size, usable) : fresh;
}

void* mi_crt_realloc(void* p, size_t size) { return reallocate("realloc", p, size, false); }

void* mi_crt_recalloc(void* p, size_t count, size_t size) {
  size_t total;
  return block_count_overflows(count, size, &total) ? NULL : reallocate("_recalloc", p, total, true);
}

size_t mi_crt_msize(void* p) {
  if (p == NULL) {
    os_set_errno(MESSAGE_EINVAL);
    return (size_t)-1;
  }
  size_t usable = block_usable_size(p);
  return usable != 0 ? usable : size_foreign("_msize", p, FOREIGN_PLAIN);
}

void* mi_crt_expand(void* p, size_t size) {
  if (p == NULL) return fail(MESSAGE_EINVAL);
  void* same;
  if (block_is_ours(p)) {
    same = mi_expand(p, size);
  } else {
    foreign_block_t found;
    if (!find_or_report("_expand", p, FOREIGN_PLAIN, &found)) return NULL;
    same = foreign_expand(&found, size) ? p : NULL;
  }
  return same != NULL ? same : fail(MESSAGE_ENOMEM);
}

// ---- aligned blocks -------------------------------------------------------------------------------------

// The runtimes take alignments below a pointer's size, 0 among them, for that size.
static bool alignment_is_good(size_t* alignment, size_t size, size_t offset) {
  bool is_good = (*alignment & (*alignment - 1)) == 0 && (offset == 0 || offset < size);
  if (!is_good) os_set_errno(MESSAGE_EINVAL);
  if (*alignment < sizeof(void*)) *alignment = sizeof(void*);
  return is_good;
}

static void* aligned_allocate(size_t size, size_t alignment, size_t offset, bool zero) {
  if (!alignment_is_good(&alignment, size, offset)) return NULL;
  void* p = block_allocate_aligned(size, alignment, offset, zero);
  return p != NULL ? p : fail(MESSAGE_ENOMEM); // an alignment beyond what we offer is out of memory, too
}

static void* aligned_reallocate(const char* function, void* p, size_t size, size_t alignment, size_t offset,
                                bool zero) {
  if (p == NULL) return aligned_allocate(size, alignment, offset, zero);
  if (size == 0) {
    mi_crt_aligned_free(p);
    return NULL;
  }
  if (!alignment_is_good(&alignment, size, offset)) return NULL;
  size_t usable = block_usable_size(p);
  if (usable == 0) return move_foreign(function, p, FOREIGN_ALIGNED, size, alignment, offset, zero);
  void* fresh = block_reallocate_aligned(p, size, alignment, offset, zero);
  if (fresh == NULL) return fail(MESSAGE_ENOMEM);
  return zero ? zero_tail(fresh, size, usable) : fresh;
}

void mi_crt_aligned_free(void* p) {
  if (MI_UNLIKELY(!free_try(p))) free_foreign("_aligned_free", p, FOREIGN_ALIGNED);
}

void* mi_crt_aligned_malloc(size_t size, size_t alignment) {
  return aligned_allocate(size, alignment, 0, false);
}

void* mi_crt_aligned_offset_malloc(size_t size, size_t alignment, size_t offset) {
  return aligned_allocate(size, alignment, offset, false);
}

void* mi_crt_aligned_realloc(void* p, size_t size, size_t alignment) {
  return aligned_reallocate("_aligned_realloc", p, size, alignment, 0, false);
}

void* mi_crt_aligned_offset_realloc(void* p, size_t size, size_t alignment, size_t offset) {
  return aligned_reallocate("_aligned_offset_realloc", p, size, alignment, offset, false);
}

void* mi_crt_aligned_recalloc(void* p, size_t count, size_t size, size_t alignment) {
  return mi_crt_aligned_offset_recalloc(p, count, size, alignment, 0);
}

void* mi_crt_aligned_offset_recalloc(void* p, size_t count, size_t size, size_t alignment, size_t offset) {
  size_t total;
  if (block_count_overflows(count, size, &total)) return NULL;
  return aligned_reallocate("_aligned_recalloc", p, total, alignment, offset, true);
}

size_t mi_crt_aligned_msize(void* p, size_t alignment, size_t offset) {
  MI_UNUSED(alignment); // our blocks know
  MI_UNUSED(offset);
  if (p == NULL) return mi_crt_msize(p);
  size_t usable = block_usable_size(p);
  return usable != 0 ? usable : size_foreign("_aligned_msize", p, FOREIGN_ALIGNED);
}
