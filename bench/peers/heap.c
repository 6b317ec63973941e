// HeapAlloc on the process heap, under the names that the workloads call.
#include <windows.h>

__declspec(dllexport) void* bench_malloc(size_t size) { return HeapAlloc(GetProcessHeap(), 0, size); }
__declspec(dllexport) void bench_free(void* p) { HeapFree(GetProcessHeap(), 0, p); }

__declspec(dllexport) void* bench_calloc(size_t count, size_t size) {
  if (size != 0 && count > (size_t)-1 / size) return NULL;
  return HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, count * size);
}

__declspec(dllexport) void* bench_realloc(void* p, size_t size) {
  return p == NULL ? HeapAlloc(GetProcessHeap(), 0, size) : HeapReAlloc(GetProcessHeap(), 0, p, size);
}

__declspec(dllexport) void bench_collect(int force) { HeapCompact(GetProcessHeap(), 0); }
