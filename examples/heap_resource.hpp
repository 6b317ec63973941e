// A std::pmr::memory_resource over a heap of mimalloc: containers of the std::pmr namespace get their memory from it, from any
// thread. C++17.
//
//   heap_resource resource;                        // a heap of its own, gone with the resource, and all that is in it
//   std::pmr::vector<int> numbers(&resource);
#ifndef EXAMPLES_HEAP_RESOURCE_HPP
#define EXAMPLES_HEAP_RESOURCE_HPP

#include <mimalloc.h>

#include <cstddef>
#include <memory_resource>
#include <new>

class heap_resource : public std::pmr::memory_resource {
public:
  // Blocks that are still there when the resource goes are freed with it: then containers needn't be destroyed first if their
  // values own nothing else.
  heap_resource() : heap_(mi_heap_new()) {
    if (heap_ == nullptr) throw std::bad_alloc();
  }
  ~heap_resource() override { mi_heap_destroy(heap_); }
  heap_resource(const heap_resource&) = delete;
  heap_resource& operator=(const heap_resource&) = delete;

  mi_heap_t* heap() const noexcept { return heap_; }

private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    for (;;) {
      void* p = alignment <= alignof(std::max_align_t) && bytes >= alignment
                    ? mi_heap_malloc(heap_, bytes)
                    : mi_heap_malloc_aligned(heap_, bytes, alignment);
      if (p != nullptr) return p;
      std::new_handler handler = std::get_new_handler();
      if (handler == nullptr) throw std::bad_alloc();
      handler();
    }
  }
  void do_deallocate(void* p, std::size_t bytes, std::size_t alignment) override {
    mi_free_size_aligned(p, bytes, alignment);
  }
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override { return this == &other; }

  mi_heap_t* heap_;
};

#endif
