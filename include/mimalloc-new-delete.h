/**
 * @file mimalloc-new-delete.h
 * The operators new and delete of C++ on top of mimalloc. Include it in exactly one source file of a program:
 * it defines the operators, for all of the program.
 */
#ifndef MIMALLOC_NEW_DELETE_H
#define MIMALLOC_NEW_DELETE_H

#if defined(__cplusplus)

#include "mimalloc.h"
#include <new>

#if __cplusplus >= 201103L || (defined(_MSC_VER) && _MSC_VER > 1900)
#define MI_NEW_THROWS_
#else
#define MI_NEW_THROWS_ throw(std::bad_alloc) /* C++98 wants what <new> declares */
#endif

/* mimalloc is a C library and can't throw: what the language wants when memory runs out is done here, in the program. */
static inline void* mi_operator_new_(std::size_t size, std::size_t align) {
  for (;;) {
    void* p = align == 0 ? mi_malloc(size) : mi_malloc_aligned(size, align);
    if (p != 0) return p;
#if __cplusplus >= 201103L
    std::new_handler handler = std::get_new_handler();
#else
    std::new_handler handler = std::set_new_handler(0);
    std::set_new_handler(handler);
#endif
    if (handler == 0) break;
    handler(); /* frees memory, or throws, or ends the program */
  }
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND)
  throw std::bad_alloc();
#else
  return align == 0 ? mi_new(size) : mi_new_aligned(size, align); /* reports and ends the process */
#endif
}

static inline void* mi_operator_new_nothrow_(std::size_t size, std::size_t align) mi_attr_noexcept {
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND)
  try {
    return mi_operator_new_(size, align);
  } catch (...) { /* the handler's or ours */
    return 0;
  }
#else
  return align == 0 ? mi_new_nothrow(size) : mi_new_aligned_nothrow(size, align);
#endif
}

void* operator new(std::size_t size) MI_NEW_THROWS_ { return mi_operator_new_(size, 0); }
void* operator new[](std::size_t size) MI_NEW_THROWS_ { return mi_operator_new_(size, 0); }
void* operator new(std::size_t size, const std::nothrow_t&) mi_attr_noexcept {
  return mi_operator_new_nothrow_(size, 0);
}
void* operator new[](std::size_t size, const std::nothrow_t&) mi_attr_noexcept {
  return mi_operator_new_nothrow_(size, 0);
}

void operator delete(void* p) mi_attr_noexcept { mi_free(p); }
void operator delete[](void* p) mi_attr_noexcept { mi_free(p); }
void operator delete(void* p, const std::nothrow_t&) mi_attr_noexcept { mi_free(p); }
void operator delete[](void* p, const std::nothrow_t&) mi_attr_noexcept { mi_free(p); }

#if defined(__cpp_sized_deallocation) || __cplusplus >= 201402L || (defined(_MSC_VER) && _MSC_VER >= 1916)
void operator delete(void* p, std::size_t size) mi_attr_noexcept { mi_free_size(p, size); }
void operator delete[](void* p, std::size_t size) mi_attr_noexcept { mi_free_size(p, size); }
#endif

#if defined(__cpp_aligned_new)
void* operator new(std::size_t size, std::align_val_t align) {
  return mi_operator_new_(size, static_cast<std::size_t>(align));
}
void* operator new[](std::size_t size, std::align_val_t align) {
  return mi_operator_new_(size, static_cast<std::size_t>(align));
}
void* operator new(std::size_t size, std::align_val_t align, const std::nothrow_t&) mi_attr_noexcept {
  return mi_operator_new_nothrow_(size, static_cast<std::size_t>(align));
}
void* operator new[](std::size_t size, std::align_val_t align, const std::nothrow_t&) mi_attr_noexcept {
  return mi_operator_new_nothrow_(size, static_cast<std::size_t>(align));
}

void operator delete(void* p, std::align_val_t align) mi_attr_noexcept {
  mi_free_aligned(p, static_cast<std::size_t>(align));
}
void operator delete[](void* p, std::align_val_t align) mi_attr_noexcept {
  mi_free_aligned(p, static_cast<std::size_t>(align));
}
void operator delete(void* p, std::align_val_t align, const std::nothrow_t&) mi_attr_noexcept {
  mi_free_aligned(p, static_cast<std::size_t>(align));
}
void operator delete[](void* p, std::align_val_t align, const std::nothrow_t&) mi_attr_noexcept {
  mi_free_aligned(p, static_cast<std::size_t>(align));
}
void operator delete(void* p, std::size_t size, std::align_val_t align) mi_attr_noexcept {
  mi_free_size_aligned(p, size, static_cast<std::size_t>(align));
}
void operator delete[](void* p, std::size_t size, std::align_val_t align) mi_attr_noexcept {
  mi_free_size_aligned(p, size, static_cast<std::size_t>(align));
}
#endif

#undef MI_NEW_THROWS_

#endif

#endif
