// Most of a runtime's functions are replaced by those of crt_api.c, which libmimalloc-crt.a uses, too. Those
// here add what a program may expect of its own runtime when there is no memory left: its new handler is
// asked.
//
//   the runtime's malloc: jmp --- redirect_malloc --- block_pop
//                                   '-- malloc_slow: block_allocate, else ask the new handler and try again
//
// Which runtime's handler, when a process has several? That of the runtime whose functions the caller
// imports: the return address tells, and only when memory has run out does anybody ask.
#include "redirect_table.h"

#include "api/alloc_fast.h"
#include "core/report/message.h"
#include "crt_api.h"
#include "crt_foreign.h"
#include "mimalloc.h"
#include "record/record.h"
#include "redirect/redirect.h"

typedef int __cdecl query_new_mode_t(void);
typedef int __cdecl call_new_handler_t(size_t size);
typedef void* __cdecl operator_new_t(size_t size);

#if MI_64BIT
#define OPERATOR_NEW "??2@YAPEAX_K@Z"
#else
#define OPERATOR_NEW "??2@YAPAXI@Z"
#endif

// ---- new handlers ---------------------------------------------------------------------------------------

// Does the runtime's malloc call its new handler (_set_new_mode(1))?
static bool malloc_asks(const redirect_runtime_t* runtime) {
  query_new_mode_t* query = (query_new_mode_t*)redirect_export(runtime, "_query_new_mode");
  if (query == NULL) query = (query_new_mode_t*)redirect_export(runtime, "?_query_new_mode@@YAHXZ");
  return query != NULL && query() == 1;
}

// Calls the runtime's new handler. True: it has found memory, or hopes so.
static bool ask_handler(const redirect_runtime_t* runtime, size_t size) {
  call_new_handler_t* call = (call_new_handler_t*)redirect_export(runtime, "_callnewh");
  return call != NULL && call(size) != 0;
}

static MI_COLD bool should_try_again(size_t size, const void* caller) {
  const redirect_runtime_t* runtime = redirect_runtime_of(record_caller(caller));
  return runtime != NULL && malloc_asks(runtime) && ask_handler(runtime, size);
}

// ---- functions whose failure the new handler may turn into success --------------------------------------

static MI_NOINLINE void* malloc_slow(size_t size, bool zero, const void* caller) {
  for (;;) {
    void* p = block_allocate(size, zero);
    if (MI_LIKELY(p != NULL) || !should_try_again(size, caller)) return p;
  }
}

static void* __cdecl redirect_malloc(size_t size) {
  void* p = block_malloc_fast(runtime_theap_fast(), size);
  return MI_LIKELY(p != NULL) ? p : malloc_slow(size, false, __builtin_return_address(0));
}

static void* __cdecl redirect_calloc(size_t count, size_t size) {
  size_t total;
  if (MI_UNLIKELY(block_count_overflows(count, size, &total))) return NULL;
  void* p = block_calloc_fast(runtime_theap_fast(), total);
  return MI_LIKELY(p != NULL) ? p : malloc_slow(total, true, __builtin_return_address(0));
}

// ---- for runtimes that have _recalloc -------------------------------------------------------------------
// It zeroes from the size on that the block was asked for with, which we don't keep. So these functions leave nothing
// but zeros behind that size (docs/decisions/0013).

typedef uint64_t two_words_t __attribute__((vector_size(16)));

// Block sizes are 8, or multiples of 16. What holds the last bytes asked for is cleared, too: malloc gives no contents.
MI_INLINE void clear_rest(void* p, size_t size, size_t block_size) {
  two_words_t *at = (two_words_t*)p + (size >> 4), *end = (two_words_t*)p + (block_size >> 4);
  *(uint64_t*)p = 0; // all of it if there are but 8 bytes
  for (; at < end; at++) {
    *at = (two_words_t){0, 0};
    atomic_compiler_fence(); // no call of memset, which takes longer than these few
  }
}

static MI_NOINLINE void* clean_malloc_slow(size_t size, const void* caller) {
  void* p = malloc_slow(size, false, caller);
  if (p != NULL) mem_zero((uint8_t*)p + size, block_usable_size(p) - size);
  return p;
}

static void* __cdecl redirect_clean_malloc(size_t size) {
  theap_t* theap = runtime_theap_fast();
  if (!MI_SECURE &&
      MI_LIKELY(theap != NULL && size <= SMALL_SIZE_MAX)) { // a secure build's blocks end with a canary
    page_t* page = page_for_small(theap, size);
    void* p = block_pop(page);
    if (MI_LIKELY(p != NULL)) {
      clear_rest(p, size, page->block_size);
      return p;
    }
  }
  return clean_malloc_slow(size, __builtin_return_address(0));
}

// Not for want of memory is a pointer that is nobody's not resized: no handler helps against that.
static MI_COLD bool is_known(const void* block) {
  foreign_block_t found;
  return block == NULL || block_is_ours(block) || foreign_find(block, FOREIGN_PLAIN, &found);
}

static MI_COLD bool should_resize_again(const void* block, size_t size, const void* caller) {
  return is_known(block) && should_try_again(size, caller);
}

// NULL stands for "freed" when the size is 0.
static void* __cdecl redirect_realloc(void* block, size_t size) {
  for (;;) {
    void* p = mi_crt_realloc(block, size);
    if (MI_LIKELY(p != NULL) || size == 0) return p;
    if (!should_resize_again(block, size, __builtin_return_address(0))) return NULL;
  }
}

static void* __cdecl redirect_clean_realloc(void* block, size_t size) {
  void* p;
  while (MI_UNLIKELY((p = mi_crt_realloc(block, size)) == NULL)) {
    if (size == 0 || !should_resize_again(block, size, __builtin_return_address(0))) return NULL;
  }
  mem_zero((uint8_t*)p + size, block_usable_size(p) - size);
  return p;
}

static void* __cdecl redirect_recalloc(void* block, size_t count, size_t size) {
  size_t total;
  for (;;) {
    void* p = mi_crt_recalloc(block, count, size);
    if (MI_LIKELY(p != NULL) || bits_multiply_overflows(count, size, &total) || total == 0) return p;
    if (!should_resize_again(block, total, __builtin_return_address(0))) return NULL;
  }
}

// ---- operator new ---------------------------------------------------------------------------------------

// When even the handler can't help, the runtime's own operator new throws std::bad_alloc as the runtime's
// programs expect it (or finds memory: then it is the runtime's block, as those from before the redirection).
static MI_COLD void* new_failed(size_t size, const redirect_runtime_t* runtime) {
  void* function = runtime == NULL ? NULL : redirect_export(runtime, OPERATOR_NEW);
  if (function != NULL) return ((operator_new_t*)redirect_original(function))(size);
  message_error_always(MESSAGE_ENOMEM, "out of memory in operator new (%zu bytes)", size);
  os_abort();
}

static MI_NOINLINE void* new_slow(size_t size, const void* caller) {
  for (;;) {
    void* p = block_allocate(size, false);
    if (MI_LIKELY(p != NULL)) return p;
    const redirect_runtime_t* runtime = redirect_runtime_of(record_caller(caller));
    if (runtime == NULL || !ask_handler(runtime, size)) return new_failed(size, runtime);
  }
}

static void* __cdecl redirect_new(size_t size) {
  theap_t* theap = runtime_theap_fast();
  if (MI_LIKELY(theap != NULL && size <= SMALL_SIZE_MAX)) {
    void* p = block_pop(page_for_small(theap, size));
    if (MI_LIKELY(p != NULL)) return p;
  }
  return new_slow(size, __builtin_return_address(0));
}

// ---- the table ------------------------------------------------------------------------------------------

#define PLAIN(name, function)                                                                                \
  { name, (const void*)(uintptr_t)(function), false }
// The runtime's functions of these names make an aligned block inside of one from its malloc. A thread that
// has computed the size but not called malloc yet would get a block of ours and give a pointer to its inside
// to our _aligned_free.
#define ALONE(name, function)                                                                                \
  { name, (const void*)(uintptr_t)(function), true }

// The further arguments of the debug forms come last and are removed by the caller: a function that doesn't
// know them does.
const plan_replacement_t redirect_table[] = {
    PLAIN("malloc", redirect_malloc),
    PLAIN("free", mi_crt_free),
    PLAIN("calloc", redirect_calloc),
    PLAIN("realloc", redirect_realloc),
    PLAIN("_recalloc", redirect_recalloc),
    PLAIN("_msize", mi_crt_msize),
    PLAIN("_expand", mi_crt_expand),

    ALONE("_aligned_malloc", mi_crt_aligned_malloc),
    ALONE("_aligned_realloc", mi_crt_aligned_realloc),
    ALONE("_aligned_recalloc", mi_crt_aligned_recalloc),
    ALONE("_aligned_offset_malloc", mi_crt_aligned_offset_malloc),
    ALONE("_aligned_offset_realloc", mi_crt_aligned_offset_realloc),
    ALONE("_aligned_offset_recalloc", mi_crt_aligned_offset_recalloc),
    PLAIN("_aligned_free", mi_crt_aligned_free),
    PLAIN("_aligned_msize", mi_crt_aligned_msize),

    // UCRT: what the functions above call, and what some DLLs of Windows import
    PLAIN("_malloc_base", redirect_malloc),
    PLAIN("_free_base", mi_crt_free),
    PLAIN("_calloc_base", redirect_calloc),
    PLAIN("_realloc_base", redirect_realloc),
    PLAIN("_recalloc_base", redirect_recalloc),
    PLAIN("_msize_base", mi_crt_msize),
    PLAIN("_expand_base", mi_crt_expand),
    PLAIN("_o_malloc", redirect_malloc),
    PLAIN("_o_free", mi_crt_free),
    PLAIN("_o_calloc", redirect_calloc),
    PLAIN("_o_realloc", redirect_realloc),
    PLAIN("_o__recalloc", redirect_recalloc),
    PLAIN("_o__msize", mi_crt_msize),
    PLAIN("_o__expand", mi_crt_expand),
    PLAIN("_o__malloc_base", redirect_malloc),
    PLAIN("_o__free_base", mi_crt_free),
    PLAIN("_o__calloc_base", redirect_calloc),
    PLAIN("_o__realloc_base", redirect_realloc),
    PLAIN("_o__recalloc_base", redirect_recalloc),
    PLAIN("_o__msize_base", mi_crt_msize),
    PLAIN("_o__expand_base", mi_crt_expand),
    ALONE("_o__aligned_malloc", mi_crt_aligned_malloc),
    ALONE("_o__aligned_realloc", mi_crt_aligned_realloc),
    ALONE("_o__aligned_recalloc", mi_crt_aligned_recalloc),
    ALONE("_o__aligned_offset_malloc", mi_crt_aligned_offset_malloc),
    ALONE("_o__aligned_offset_realloc", mi_crt_aligned_offset_realloc),
    ALONE("_o__aligned_offset_recalloc", mi_crt_aligned_offset_recalloc),
    PLAIN("_o__aligned_free", mi_crt_aligned_free),
    PLAIN("_o__aligned_msize", mi_crt_aligned_msize),

    // msvcr80 to msvcr120: for the DLLs that come with them
    PLAIN("_malloc_crt", redirect_malloc),
    PLAIN("_calloc_crt", redirect_calloc),
    PLAIN("_realloc_crt", redirect_realloc),
    PLAIN("_recalloc_crt", redirect_recalloc),

    // debug runtimes
    PLAIN("_malloc_dbg", redirect_malloc),
    PLAIN("_free_dbg", mi_crt_free),
    PLAIN("_calloc_dbg", redirect_calloc),
    PLAIN("_realloc_dbg", redirect_realloc),
    PLAIN("_recalloc_dbg", redirect_recalloc),
    PLAIN("_msize_dbg", mi_crt_msize),
    PLAIN("_expand_dbg", mi_crt_expand),
    ALONE("_aligned_malloc_dbg", mi_crt_aligned_malloc),
    ALONE("_aligned_realloc_dbg", mi_crt_aligned_realloc),
    ALONE("_aligned_recalloc_dbg", mi_crt_aligned_recalloc),
    ALONE("_aligned_offset_malloc_dbg", mi_crt_aligned_offset_malloc),
    ALONE("_aligned_offset_realloc_dbg", mi_crt_aligned_offset_realloc),
    ALONE("_aligned_offset_recalloc_dbg", mi_crt_aligned_offset_recalloc),
    PLAIN("_aligned_free_dbg", mi_crt_aligned_free),
    PLAIN("_aligned_msize_dbg", mi_crt_aligned_msize),

// C++: operator new, new[], delete, delete[], then with (kind, file, line) behind the size, and delete with
// the size
#if MI_64BIT
    PLAIN(OPERATOR_NEW, redirect_new),
    PLAIN("??_U@YAPEAX_K@Z", redirect_new),
    PLAIN("??3@YAXPEAX@Z", mi_crt_free),
    PLAIN("??_V@YAXPEAX@Z", mi_crt_free),
    PLAIN("??2@YAPEAX_KHPEBDH@Z", redirect_new),
    PLAIN("??_U@YAPEAX_KHPEBDH@Z", redirect_new),
    PLAIN("??3@YAXPEAXHPEBDH@Z", mi_crt_free),
    PLAIN("??_V@YAXPEAXHPEBDH@Z", mi_crt_free),
    PLAIN("??3@YAXPEAX_K@Z", mi_crt_free),
    PLAIN("??_V@YAXPEAX_K@Z", mi_crt_free),
#else
    PLAIN(OPERATOR_NEW, redirect_new),
    PLAIN("??_U@YAPAXI@Z", redirect_new),
    PLAIN("??3@YAXPAX@Z", mi_crt_free),
    PLAIN("??_V@YAXPAX@Z", mi_crt_free),
    PLAIN("??2@YAPAXIHPBDH@Z", redirect_new),
    PLAIN("??_U@YAPAXIHPBDH@Z", redirect_new),
    PLAIN("??3@YAXPAXHPBDH@Z", mi_crt_free),
    PLAIN("??_V@YAXPAXHPBDH@Z", mi_crt_free),
    PLAIN("??3@YAXPAXI@Z", mi_crt_free),
    PLAIN("??_V@YAXPAXI@Z", mi_crt_free),
#endif
    {NULL, NULL, false},
};
_Static_assert(sizeof(redirect_table) / sizeof(redirect_table[0]) <= PLAN_HOOKS_MAX, "raise PLAN_HOOKS_MAX");

static bool is_for_new_blocks(const void* function) {
  const void* const allocators[] = {
      (const void*)(uintptr_t)redirect_malloc,
      (const void*)(uintptr_t)redirect_calloc,
      (const void*)(uintptr_t)redirect_new,
      (const void*)(uintptr_t)mi_crt_aligned_malloc,
      (const void*)(uintptr_t)mi_crt_aligned_offset_malloc,
  };
  for (size_t i = 0; i < sizeof(allocators) / sizeof(allocators[0]); i++) {
    if (function == allocators[i]) return true;
  }
  return false;
}

const plan_replacement_t* redirect_table_of_frees(void) {
  static plan_replacement_t frees[sizeof(redirect_table) / sizeof(redirect_table[0])];
  size_t count = 0;
  for (const plan_replacement_t* entry = redirect_table; entry->name != NULL; entry++) {
    if (!is_for_new_blocks(entry->function)) frees[count++] = *entry;
  }
  frees[count] = (plan_replacement_t){NULL, NULL, false};
  return frees;
}

const plan_replacement_t* redirect_table_for_recalloc(void) {
  static plan_replacement_t clean[sizeof(redirect_table) / sizeof(redirect_table[0])];
  for (size_t i = 0; i < sizeof(redirect_table) / sizeof(redirect_table[0]); i++) {
    const void* function = redirect_table[i].function;
    if (function == (const void*)(uintptr_t)redirect_malloc) {
      function = (const void*)(uintptr_t)redirect_clean_malloc;
    } else if (function == (const void*)(uintptr_t)redirect_realloc) {
      function = (const void*)(uintptr_t)redirect_clean_realloc;
    }
    clean[i] = (plan_replacement_t){redirect_table[i].name, function, redirect_table[i].is_exclusive};
  }
  return clean;
}
