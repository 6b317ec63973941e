// What C++ calls: new with its new-handler loop, for programs whose operators new aren't code of their own.
// (With our headers they are: mimalloc-new-delete.h and mi_stl_allocator loop and throw in the program
// itself.)
//
//   mi_new --- block_malloc
//     '-- new_failed: the C++ runtime of the program is asked for its new-handler, then to throw std::bad_alloc; with
//         no runtime that could, the last resort is a message and the end of the process
#include "api/api_types.h"
#include "api/alloc_fast.h"
#include "core/report/message.h"

static MI_COLD void new_failed(size_t size, const void* caller) {
  os_cxx_throw_bad_alloc(caller);
  message_error_always(MESSAGE_ENOMEM,
                       "out of memory in operator new (%zu bytes), and there is no C++ runtime DLL to throw "
                       "std::bad_alloc with",
                       size);
  os_abort();
}

// `heap` NULL: the default one.
static void* new_block(heap_t* heap, size_t size, size_t alignment, bool is_throwing, const void* caller) {
  for (;;) {
    void* p = alignment != 0 ? block_allocate_aligned_in(heap, size, alignment, 0, false)
              : heap == NULL ? block_malloc(size)
                             : block_malloc_in(heap, size);
    if (MI_LIKELY(p != NULL)) return p;
    if (!os_cxx_call_new_handler(caller, size)) break;
  }
  if (is_throwing) new_failed(size, caller);
  return NULL;
}

#define CALLER __builtin_return_address(0)

void* mi_new(size_t size) { return new_block(NULL, size, 0, true, CALLER); }
void* mi_new_nothrow(size_t size) { return new_block(NULL, size, 0, false, CALLER); }
void* mi_new_aligned(size_t size, size_t alignment) { return new_block(NULL, size, alignment, true, CALLER); }
void* mi_new_aligned_nothrow(size_t size, size_t alignment) {
  return new_block(NULL, size, alignment, false, CALLER);
}

void* mi_new_n(size_t count, size_t size) {
  size_t total;
  if (block_count_overflows(count, size, &total))
    total = SIZE_MAX; // out of memory, as far as C++ is concerned
  return new_block(NULL, total, 0, true, CALLER);
}

void* mi_heap_alloc_new(mi_heap_t* heap, size_t size) {
  return new_block(heap_from(heap), size, 0, true, CALLER);
}

void* mi_heap_alloc_new_n(mi_heap_t* heap, size_t count, size_t size) {
  size_t total;
  if (block_count_overflows(count, size, &total)) total = SIZE_MAX;
  return new_block(heap_from(heap), total, 0, true, CALLER);
}

static void* new_reallocate(void* p, size_t newsize, const void* caller) {
  if (p != NULL && !block_is_ours(p)) {
    block_report_foreign("realloc", p);
    return NULL;
  }
  for (;;) {
    void* fresh = block_reallocate(p, newsize, false);
    if (MI_LIKELY(fresh != NULL)) return fresh;
    if (!os_cxx_call_new_handler(caller, newsize)) break;
  }
  new_failed(newsize, caller);
  return NULL;
}

void* mi_new_realloc(void* p, size_t newsize) { return new_reallocate(p, newsize, CALLER); }

void* mi_new_reallocn(void* p, size_t newcount, size_t size) {
  size_t total;
  if (block_count_overflows(newcount, size, &total)) total = SIZE_MAX;
  return new_reallocate(p, total, CALLER);
}
