// A program (msvcrt) that loads libvips-42.dll (universal C runtime) while it runs and has it scale, blur, pack and unpack
// pictures. With a second argument it loads that DLL, too, in the middle of its life:
//
// usage: vips-host LIBVIPS-42.DLL [before|between MIMALLOC.DLL]
//   before    libvips, and so before the universal C runtime's work; msvcrt is at work already
//   between   two rounds: blocks of the first are resized and freed in the second
//
// Prints sizes and hashes of what came out; two runs must print the same. The prototypes are libvips' public ones.
//
// The host is its own witness of what the runtimes' heaps give (Wine's log of heaps, heap_trace.py, checks whole heaps at
// each call, and libvips makes too many blocks for that): it takes the place of HeapAlloc in the import tables of msvcrt.dll
// and ucrtbase.dll, and tells on standard error how many blocks they took before and after mimalloc.dll was there.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <tlhelp32.h>

enum { WIDTH = 320, HEIGHT = 240, BANDS = 3, FORMAT_UCHAR = 0, STRINGS = 2000 };

typedef struct image_s image_t; // VipsImage

static int (*vips_init)(const char* name);
static void (*vips_shutdown)(void);
static const char* (*vips_error_buffer)(void);
static image_t* (*vips_image_new_from_memory_copy)(const void* data, size_t size, int width, int height,
                                                   int bands, int format);
static image_t* (*vips_image_new_from_buffer)(const void* data, size_t size, const char* options, ...);
static void* (*vips_image_write_to_memory)(image_t* image, size_t* size);
static int (*vips_resize)(image_t* in, image_t** out, double scale, ...);
static int (*vips_gaussblur)(image_t* in, image_t** out, double sigma, ...);
static int (*vips_pngsave_buffer)(image_t* in, void** data, size_t* size, ...);
static int (*vips_jpegsave_buffer)(image_t* in, void** data, size_t* size, ...);
static int (*vips_webpsave_buffer)(image_t* in, void** data, size_t* size, ...);
static void (*g_object_unref)(void* object);
static void (*g_free)(void* block);

static void need(int condition, const char* what) {
  if (condition) return;
  fprintf(stderr, "vips-host: %s failed (error %lu): %s\n", what, GetLastError(),
          vips_error_buffer == NULL ? "" : vips_error_buffer());
  exit(1);
}

// ---- the witness ---------------------------------------------------------------------------------------------------

static const char* const runtime_names[] = {"msvcrt.dll", "ucrtbase.dll"};
enum { RUNTIMES = sizeof(runtime_names) / sizeof(runtime_names[0]) };
static HANDLE runtime_heaps[RUNTIMES];
static HMODULE runtimes[RUNTIMES];
static volatile LONG is_mimalloc_here, blocks[2]; // before, after
typedef LPVOID WINAPI heap_alloc_t(HANDLE heap, DWORD flags, SIZE_T size);
static heap_alloc_t* heap_alloc;

static const IMAGE_NT_HEADERS* headers_of(const BYTE* base) {
  return (const IMAGE_NT_HEADERS*)(base + ((const IMAGE_DOS_HEADER*)base)->e_lfanew);
}

static int number_of_runtime_at(const BYTE* code) {
  for (int i = 0; i < RUNTIMES; i++) {
    const BYTE* base = (const BYTE*)runtimes[i];
    if (base != NULL && code >= base && (SIZE_T)(code - base) < headers_of(base)->OptionalHeader.SizeOfImage)
      return i;
  }
  return -1;
}

// Wine 10's ucrtbase.dll works on the process's heap, from which it and msvcrt.dll also take what they keep for themselves about
// each thread, zeroed. Which function of a runtime it is that wants a zeroed block: the export that begins next below the caller.
static int is_for_itself(DWORD flags, const BYTE* caller) {
  int number = number_of_runtime_at(caller);
  if (!(flags & HEAP_ZERO_MEMORY) || number < 0)
    return 0; // calloc may end in a jump to HeapAlloc: then its caller is ours
  const BYTE *base = (const BYTE*)runtimes[number], *nearest = base;
  const IMAGE_NT_HEADERS* headers = headers_of(base);
  DWORD at = headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_EXPORT].VirtualAddress;
  const IMAGE_EXPORT_DIRECTORY* exports = (const IMAGE_EXPORT_DIRECTORY*)(base + at);
  const DWORD* functions = (const DWORD*)(base + exports->AddressOfFunctions);
  for (DWORD i = 0; i < exports->NumberOfFunctions; i++) {
    const BYTE* function = base + functions[i];
    if (function <= caller && function > nearest) nearest = function;
  }
  static const char* const givers[] = {"calloc", "_recalloc", "_calloc_base", "_recalloc_base"};
  for (unsigned i = 0; i < sizeof(givers) / sizeof(givers[0]); i++) {
    if ((const BYTE*)(uintptr_t)GetProcAddress(runtimes[number], givers[i]) == nearest) return 0;
  }
  return 1;
}

enum { THREADS_MOST = 64 };

static int other_threads(LONG* ids) {
  THREADENTRY32 entry = {.dwSize = sizeof(entry)};
  HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
  need(snapshot != INVALID_HANDLE_VALUE, "CreateToolhelp32Snapshot");
  int count = 0;
  for (BOOL more = Thread32First(snapshot, &entry); more; more = Thread32Next(snapshot, &entry)) {
    if (entry.th32OwnerProcessID != GetCurrentProcessId() || entry.th32ThreadID == GetCurrentThreadId())
      continue;
    need(count < THREADS_MOST, "having no more than 64 threads");
    ids[count++] = (LONG)entry.th32ThreadID;
  }
  CloseHandle(snapshot);
  return count;
}

// Libvips' threads may be in a runtime's malloc when mimalloc.dll comes, and ask the heap a little later. That is one block of
// each at most, which came before.
static LONG at_work[THREADS_MOST]; // ids; 0: none

static int was_at_work(void) {
  LONG self = (LONG)GetCurrentThreadId();
  for (int i = 0; i < THREADS_MOST; i++) {
    if (InterlockedCompareExchange(&at_work[i], 0, self) == self) return 1;
  }
  return 0;
}

static LPVOID WINAPI counting_heap_alloc(HANDLE heap, DWORD flags, SIZE_T size) {
  for (int i = 0; i < RUNTIMES; i++) {
    if (heap == runtime_heaps[i] && !is_for_itself(flags, __builtin_return_address(0)))
      InterlockedIncrement(&blocks[is_mimalloc_here && !was_at_work()]);
  }
  return heap_alloc(heap, flags, size);
}

static void look_for_mimalloc(void) { is_mimalloc_here = GetModuleHandleA("mimalloc.dll") != NULL; }

static void watch_runtime(int number) {
  BYTE* base = (BYTE*)LoadLibraryA(runtime_names[number]);
  need(base != NULL, runtime_names[number]);
  runtimes[number] = (HMODULE)base;
  intptr_t (*get_heap_handle)(void) = (void*)(uintptr_t)GetProcAddress((HMODULE)base, "_get_heap_handle");
  need(get_heap_handle != NULL, "_get_heap_handle");
  runtime_heaps[number] = (HANDLE)get_heap_handle();
  DWORD at = headers_of(base)->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT].VirtualAddress;
  int found = 0;
  for (IMAGE_IMPORT_DESCRIPTOR* dll = (IMAGE_IMPORT_DESCRIPTOR*)(base + at); dll->Name != 0; dll++) {
    for (void** slot = (void**)(base + dll->FirstThunk); *slot != NULL; slot++) {
      if (*slot != (void*)(uintptr_t)heap_alloc) continue;
      DWORD old;
      need(VirtualProtect(slot, sizeof(*slot), PAGE_READWRITE, &old), "VirtualProtect");
      *slot = (void*)(uintptr_t)counting_heap_alloc;
      VirtualProtect(slot, sizeof(*slot), old, &old);
      found++;
    }
  }
  need(found > 0, "finding HeapAlloc among a runtime's imports");
}

static void watch_runtimes(void) {
  heap_alloc = (heap_alloc_t*)(uintptr_t)GetProcAddress(GetModuleHandleA("kernel32.dll"), "HeapAlloc");
  look_for_mimalloc();
  for (int i = 0; i < RUNTIMES; i++) watch_runtime(i);
}

// Wine may lose a process that ends while one of its threads is just ending by itself (docs/platforms.md), and libvips tells
// its threads to end when it is shut down. Others stay: mimalloc.dll's timer.
static void wait_for_ends(void) {
  enum { PATIENCE_MS = 200 };
  LONG ids[THREADS_MOST];
  int count = other_threads(ids);
  DWORD begin = GetTickCount();
  for (int i = 0; i < count; i++) {
    HANDLE thread = OpenThread(SYNCHRONIZE, FALSE, (DWORD)ids[i]);
    if (thread == NULL) continue; // it has ended
    DWORD waited = GetTickCount() - begin;
    WaitForSingleObject(thread, waited < PATIENCE_MS ? PATIENCE_MS - waited : 0);
    CloseHandle(thread);
  }
}

// ---- the work ------------------------------------------------------------------------------------------------------

static void load_vips(const char* path) {
  HMODULE module = LoadLibraryA(path);
  look_for_mimalloc(); // an edited libvips brings it along
  need(module != NULL, "LoadLibrary of libvips");
#define FIND(name)                                                                                           \
  name = (void*)(uintptr_t)GetProcAddress(module, #name);                                                    \
  need(name != NULL, #name)
  FIND(vips_init);
  FIND(vips_shutdown);
  FIND(vips_error_buffer);
  FIND(vips_image_new_from_memory_copy);
  FIND(vips_image_new_from_buffer);
  FIND(vips_image_write_to_memory);
  FIND(vips_resize);
  FIND(vips_gaussblur);
  FIND(vips_pngsave_buffer);
  FIND(vips_jpegsave_buffer);
  FIND(vips_webpsave_buffer);
  FIND(g_object_unref);
  FIND(g_free);
  need(vips_init("vips-host") == 0, "vips_init");
}

static void print_hash(const char* what, const void* data, size_t size) {
  const unsigned char* bytes = data;
  unsigned hash = 2166136261u;
  for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 16777619u;
  printf("%-8s %8lu bytes, hash %08x\n", what, (unsigned long)size, hash);
}

typedef struct packed_s {
  void* data;
  size_t size;
} packed_t;

// The blocks of the result belong to libvips' runtime and are freed in a later round.
static packed_t work(int round) {
  unsigned char* pixels = malloc(WIDTH * HEIGHT * BANDS);
  need(pixels != NULL, "malloc");
  for (int i = 0; i < WIDTH * HEIGHT * BANDS; i++)
    pixels[i] = (unsigned char)(i / 7 * (round + 1) ^ i / WIDTH);
  image_t *source = vips_image_new_from_memory_copy(pixels, WIDTH * HEIGHT * BANDS, WIDTH, HEIGHT, BANDS,
                                                    FORMAT_UCHAR),
          *small, *soft;
  free(pixels);
  need(source != NULL, "vips_image_new_from_memory_copy");
  need(vips_resize(source, &small, 0.4, NULL) == 0, "vips_resize");
  need(vips_gaussblur(small, &soft, 1.5, NULL) == 0, "vips_gaussblur");

  packed_t png, other;
  need(vips_pngsave_buffer(soft, &png.data, &png.size, NULL) == 0, "vips_pngsave_buffer");
  print_hash("png", png.data, png.size);
  need(vips_jpegsave_buffer(soft, &other.data, &other.size, NULL) == 0, "vips_jpegsave_buffer");
  print_hash("jpeg", other.data, other.size);
  g_free(other.data);
  need(vips_webpsave_buffer(small, &other.data, &other.size, NULL) == 0, "vips_webpsave_buffer");
  print_hash("webp", other.data, other.size);
  g_free(other.data);

  image_t* unpacked = vips_image_new_from_buffer(png.data, png.size, "", NULL);
  need(unpacked != NULL, "vips_image_new_from_buffer");
  other.data = vips_image_write_to_memory(unpacked, &other.size);
  need(other.data != NULL, "vips_image_write_to_memory");
  print_hash("pixels", other.data, other.size);
  g_free(other.data);
  g_object_unref(unpacked);
  g_object_unref(soft);
  g_object_unref(small);
  g_object_unref(source);
  return png;
}

static char* strings[STRINGS];

static void make_strings(int from, int to) {
  for (int i = from; i < to; i++) {
    char text[64];
    snprintf(text, sizeof(text), "string %d of the host", i);
    strings[i] = strdup(text);
  }
}

// Half of them were made before the middle, if there is one.
static void end_strings(void) {
  size_t sum = 0;
  for (int i = 0; i < STRINGS; i++) {
    if (i % 2 == 0) {
      strings[i] = realloc(strings[i], 100 + (size_t)i);
      need(strings[i] != NULL, "realloc");
    }
    sum += strlen(strings[i]);
    free(strings[i]);
  }
  printf("strings  %lu characters\n", (unsigned long)sum);
}

static void load_if(const char* now, int argc, char** argv) {
  if (argc == 4 && strcmp(argv[2], now) == 0) {
    other_threads(at_work);
    need(LoadLibraryA(argv[3]) != NULL, "LoadLibrary in the middle");
  }
  look_for_mimalloc();
}

int main(int argc, char** argv) {
  if (argc != 2 && (argc != 4 || (strcmp(argv[2], "before") != 0 && strcmp(argv[2], "between") != 0))) {
    fprintf(stderr, "usage: vips-host LIBVIPS-42.DLL [before|between MIMALLOC.DLL]\n");
    return 2;
  }
  watch_runtimes();
  make_strings(0, STRINGS / 2);
  load_if("before", argc, argv);
  load_vips(argv[1]);
  packed_t first = work(0);
  load_if("between", argc, argv);
  packed_t second = work(1);
  g_free(first.data);
  g_free(second.data);
  make_strings(STRINGS / 2, STRINGS);
  end_strings();
  vips_shutdown();
  wait_for_ends();
  fprintf(stderr, "vips-host: witness: before=%ld missed=%ld\n", blocks[0], blocks[1]);
  return 0;
}
