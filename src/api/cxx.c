// What C++ calls: new with its new-handler loop. This library is C and can't throw: where a C++ runtime is
// linked into the same module its handler is called; when that doesn't help, the throwing forms report and
// end the process. (mimalloc-new-delete.h, compiled as C++ in the program, throws std::bad_alloc as the
// language wants.)
#include "api/api_types.h"
#include "api/alloc_fast.h"
#include "core/report/message.h"

typedef void (*new_handler_t)(void);

// std::get_new_handler, if the program has it. The name is the same in GCC's and Clang's C++ runtimes.
extern new_handler_t _ZSt15get_new_handlerv(void) __attribute__((weak));

static bool call_new_handler(void) {
  new_handler_t handler = _ZSt15get_new_handlerv == NULL ? NULL : _ZSt15get_new_handlerv();
  if (handler == NULL) return false;
  handler(); // may free memory, throw, or end the process
  return true;
}

static MI_COLD void new_failed(size_t size) {
  message_error_always(MESSAGE_ENOMEM, "out of memory in operator new (%zu bytes)", size);
  os_abort();
}

// `heap` NULL: the default one.
static void* new_block(heap_t* heap, size_t size, size_t alignment, bool is_throwing) {
  for (;;) {
    void* p = alignment != 0 ? block_allocate_aligned_in(heap, size, alignment, 0, false)
              : heap == NULL ? block_malloc(size)
                             : block_malloc_in(heap, size);
    if (MI_LIKELY(p != NULL)) return p;
    if (!call_new_handler()) break;
  }
  if (is_throwing) new_failed(size);
  return NULL;
}

void* mi_new(size_t size) { return new_block(NULL, size, 0, true); }
void* mi_new_nothrow(size_t size) { return new_block(NULL, size, 0, false); }
void* mi_new_aligned(size_t size, size_t alignment) { return new_block(NULL, size, alignment, true); }
void* mi_new_aligned_nothrow(size_t size, size_t alignment) { return new_block(NULL, size, alignment, false); }

void* mi_new_n(size_t count, size_t size) {
  size_t total;
  if (block_count_overflows(count, size, &total))
    total = SIZE_MAX; // out of memory, as far as C++ is concerned
  return new_block(NULL, total, 0, true);
}

void* mi_heap_alloc_new(mi_heap_t* heap, size_t size) { return new_block(heap_from(heap), size, 0, true); }

void* mi_heap_alloc_new_n(mi_heap_t* heap, size_t count, size_t size) {
  size_t total;
  if (block_count_overflows(count, size, &total)) total = SIZE_MAX;
  return new_block(heap_from(heap), total, 0, true);
}

void* mi_new_realloc(void* p, size_t newsize) {
  if (p != NULL && !block_is_ours(p)) {
    block_report_foreign("realloc", p);
    return NULL;
  }
  for (;;) {
    void* fresh = block_reallocate(p, newsize, false);
    if (MI_LIKELY(fresh != NULL)) return fresh;
    if (!call_new_handler()) break;
  }
  new_failed(newsize);
  return NULL;
}

void* mi_new_reallocn(void* p, size_t newcount, size_t size) {
  size_t total;
  if (block_count_overflows(newcount, size, &total)) total = SIZE_MAX;
  return mi_new_realloc(p, total);
}
