// A third party's DLL that links the library statically, and has objects of its own that live as long as it
// does.
#include <mimalloc-stats.h>
#include <mimalloc.h>

#include <cstdlib>

#ifndef USER_DLL_NAME
#error "Meson defines USER_DLL_NAME, which programs that link the DLL call"
#endif
extern "C" __declspec(dllexport) int USER_DLL_NAME(void);
int USER_DLL_NAME(void) { return 1; }

// Its destructor is registered before the library's first allocation, so it runs after everything that is
// registered with that, and it still has a block.
struct holder_t {
  char* block = nullptr;
  ~holder_t() {
    if (block == nullptr) return;
    if (block[0] != 7 || block[99999] != 7) std::abort();
    mi_free(block);
    mi_free(mi_malloc(5000));
  }
};
static holder_t holder;

extern "C" __declspec(dllexport) void* user_dll_hold(void);
void* user_dll_hold(void) {
  if (holder.block == nullptr) {
    holder.block = static_cast<char*>(mi_malloc(100000));
    holder.block[0] = holder.block[99999] = 7;
  }
  return holder.block;
}

// Pulls what user_dll.def exports out of the library.
extern "C" __declspec(dllexport) const void* const user_dll_uses[] = {
    reinterpret_cast<const void*>(&mi_malloc), reinterpret_cast<const void*>(&mi_free),
    reinterpret_cast<const void*>(&mi_collect), reinterpret_cast<const void*>(&mi_stats_get),
    reinterpret_cast<const void*>(&mi_thread_exit_mechanism)};
