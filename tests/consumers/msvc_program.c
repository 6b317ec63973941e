// A program as MSVC compiles it with /MD, for test_msvc.py. API: it calls mi_ functions. Else it knows nothing of mimalloc,
// but looks where its blocks lie: in mimalloc.dll, or with STATIC in itself.
#include <stdbool.h>
#include <stddef.h>

#define CRT __declspec(dllimport)
CRT void* malloc(size_t size);
CRT void* realloc(void* p, size_t size);
CRT void free(void* p);
CRT size_t _msize(void* p);
CRT char* _strdup(const char* text);
CRT void* _aligned_malloc(size_t size, size_t alignment);
CRT void _aligned_free(void* p);
CRT char* _getcwd(char* buffer, int size);
CRT int puts(const char* text);
void* calloc(size_t count, size_t size); // declared without dllimport: by the thunk

#if defined(API)
#include <mimalloc.h>
#else
CRT void* __stdcall GetModuleHandleA(const char* name);
CRT void* __stdcall GetProcAddress(void* module, const char* name);
bool mi_is_in_heap_region(const void* p);
#endif

static int fail(const char* what) {
  puts(what);
  return 1;
}

int main(void) {
  bool (*is_ours)(const void*) = NULL;
#if defined(API)
  is_ours = mi_is_in_heap_region;
  char* p = mi_malloc(100);
  if (p == NULL || !is_ours(p) || mi_usable_size(p) < 100) return fail("mi_malloc");
  mi_free(p);
  if (mi_version() != MI_MALLOC_VERSION) return fail("mi_version");
#if !defined(STATIC)
  puts("ok");
  return 0;
#endif
#elif defined(STATIC)
  is_ours = mi_is_in_heap_region;
#else
  void* dll = GetModuleHandleA("mimalloc.dll");
  if (dll == NULL) return fail("mimalloc.dll is not in the process");
  is_ours = (bool (*)(const void*))GetProcAddress(dll, "mi_is_in_heap_region");
#endif
#if !defined(API)
  void* blocks[] = {malloc(10), calloc(3, 5), realloc(malloc(7), 9000), _strdup("text")};
  for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
    if (!is_ours(blocks[i])) return fail("a block is not ours");
    if (_msize(blocks[i]) < 5) return fail("_msize");
    free(blocks[i]);
  }
  void* aligned = _aligned_malloc(1000, 256);
  if (!is_ours(aligned) || ((size_t)aligned & 255) != 0) return fail("_aligned_malloc");
  _aligned_free(aligned);
  char* folder = _getcwd(NULL, 0); // the runtime's own
  if (folder == NULL || is_ours(folder)) return fail("_getcwd");
  folder = realloc(folder, 5000);
  if (!is_ours(folder)) return fail("realloc of the runtime's block");
  free(folder);
#endif
  puts("ok");
  return 0;
}
