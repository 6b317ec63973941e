#include "inject_import.h"

#include <stdlib.h>

#include "exit_codes.h"
#include "import_block.h"
#include "paths.h"
#include "pe_image.h"
#include "report.h"

enum { DESCRIPTORS_MAX = 65536 };

enum { BLOCKS_MAX = 2 };

// In the child, one for each DLL.
static struct {
  void* start;
  size_t bytes;
} blocks[BLOCKS_MAX];
static size_t block_count;

// The image of a process, as a source for pe_read.
typedef struct image_memory_s {
  HANDLE process;
  uintptr_t base;
} image_memory_t;

static bool read_memory(void* source, uint64_t offset, void* to, size_t size) {
  const image_memory_t* memory = source;
  SIZE_T length;
  return ReadProcessMemory(memory->process, (const void*)(memory->base + (uintptr_t)offset), to, size,
                           &length) &&
         length == size;
}

// --- where the image lies ----------------------------------------------------------------------------------

typedef struct basic_information_s { // ProcessBasicInformation
  intptr_t exit_status;
  uintptr_t peb;
  uintptr_t affinity;
  intptr_t priority;
  uintptr_t pid;
  uintptr_t parent;
} basic_information_t;

// The process environment block holds the image's base in its third pointer-sized field.
static bool find_image(HANDLE process, uintptr_t* base) {
  union {
    FARPROC found;
    LONG(NTAPI* call)(HANDLE, int, void*, ULONG, ULONG*);
  } query = {.found = GetProcAddress(GetModuleHandleW(L"ntdll"), "NtQueryInformationProcess")};
  basic_information_t information = {0};
  SIZE_T length;
  if (query.found == NULL || query.call(process, 0, &information, sizeof(information), NULL) < 0 ||
      information.peb == 0) {
    return false;
  }
  return ReadProcessMemory(process, (const void*)(information.peb + 2 * sizeof(void*)), base, sizeof(*base),
                           &length) &&
         length == sizeof(*base) && *base != 0;
}

// --- room --------------------------------------------------------------------------------------------------

// Memory above the image and near enough for its RVAs, 2 GiB: a function imported by name has 31 bits.
static uintptr_t allocate_above(HANDLE process, uintptr_t base, size_t image_bytes, size_t bytes) {
  const uintptr_t granularity = 64 * 1024;
  uintptr_t end = base + 0x80000000u - bytes;
  if (end < base) end = UINTPTR_MAX - granularity - bytes; // 32-bit: up to the top
  MEMORY_BASIC_INFORMATION region;
  for (uintptr_t at = base + image_bytes; at < end; at = (uintptr_t)region.BaseAddress + region.RegionSize) {
    at = (at + granularity - 1) & ~(granularity - 1);
    if (VirtualQueryEx(process, (const void*)at, &region, sizeof(region)) == 0)
      return 0; // above all user memory
    if (region.State != MEM_FREE || at >= end ||
        (uintptr_t)region.BaseAddress + region.RegionSize < at + bytes)
      continue;
    if (VirtualAllocEx(process, (void*)at, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE) != NULL)
      return at;
  }
  return 0;
}

// --- the work ----------------------------------------------------------------------------------------------

static int cannot_change(const child_t* child, const wchar_t* what) {
  DWORD error = GetLastError();
  report_error(L"the import directory of '%ls' can't be changed: %ls: %ls", child->path, what,
               report_reason(error));
  report_remedy(L"add --method thread; if that fails too, a policy or a virus scanner protects the process");
  return EXIT_CANNOT;
}

static int unfit(const child_t* child, const wchar_t* why) {
  report_error(L"the import directory of '%ls' can't be extended: %ls", child->path, why);
  report_remedy(L"add --method thread");
  return EXIT_CANNOT;
}

// The program's own descriptors, without the last; NULL when memory is short or they don't end.
static uint8_t* read_descriptors(image_memory_t* memory, const pe_image_t* image, uint32_t* count) {
  uint32_t room = 0;
  uint8_t* descriptors = NULL;
  uint64_t at = image->directories[PE_IMPORTS].rva;
  for (*count = 0; *count < DESCRIPTORS_MAX; ++*count, at += IMPORT_DESCRIPTOR_BYTES) {
    if (*count == room) {
      room = room == 0 ? 64 : 2 * room;
      uint8_t* larger = realloc(descriptors, (size_t)room * IMPORT_DESCRIPTOR_BYTES);
      if (larger == NULL) break;
      descriptors = larger;
    }
    uint8_t* next = descriptors + (size_t)*count * IMPORT_DESCRIPTOR_BYTES;
    if (image->directories[PE_IMPORTS].rva == 0) return descriptors;
    if (!read_memory(memory, at, next, IMPORT_DESCRIPTOR_BYTES)) break;
    if (import_descriptor_ends(next)) return descriptors;
  }
  free(descriptors);
  return NULL;
}

static bool write_memory(HANDLE process, uintptr_t at, const void* from, size_t size) {
  SIZE_T written;
  return WriteProcessMemory(process, (void*)at, from, size, &written) && written == size;
}

static bool write_directories(const image_memory_t* memory, const pe_image_t* image,
                              const pe_directory_t* directories) {
  void* at = (void*)(memory->base + (uintptr_t)image->directories_at);
  size_t size = image->directory_count * sizeof(pe_directory_t);
  DWORD protection, ignored;
  if (!VirtualProtectEx(memory->process, at, size, PAGE_READWRITE, &protection)) return false;
  bool written = write_memory(memory->process, (uintptr_t)at, directories, size);
  DWORD error = GetLastError();
  VirtualProtectEx(memory->process, at, size, protection, &ignored);
  SetLastError(error);
  return written;
}

int inject_import(const child_t* child, const injected_t* injected) {
  const wchar_t* dll = injected->dll;
  char* name = path_ascii(dll); // import directories have no Unicode
  if (name == NULL) {
    report_error(
        L"DLL '%ls' can't be named in an import directory: its path has other characters than ASCII, or is "
        L"too long, and the file system has no short form of it",
        dll);
    report_remedy(L"copy it to a folder with a plain name, or add --method thread");
    return EXIT_CANNOT;
  }
  image_memory_t memory = {.process = child->process};
  pe_image_t image;
  if (!find_image(child->process, &memory.base)) return cannot_change(child, L"no access to the process");
  if (pe_read(read_memory, &memory, &image) != PE_OK)
    return cannot_change(child, L"its header can't be read");
  if (image.is_64 != (sizeof(void*) == 8))
    return unfit(child, L"it runs with another number of bits than mi-run");
  if (image.is_managed) return unfit(child, L"it is a .NET program, whose imports the loader does not read");
  if (image.directory_count <= PE_IAT) return unfit(child, L"its header has too few directories");

  import_request_t request = {
      .is_64 = image.is_64, .dll = name, .symbol = injected->symbol, .note = injected->note};
  uint8_t* descriptors = read_descriptors(&memory, &image, &request.descriptor_count);
  if (descriptors == NULL || block_count == BLOCKS_MAX) return unfit(child, L"it does not end");
  request.descriptors = descriptors;

  size_t block_bytes = import_block_bytes(&request);
  uintptr_t at = allocate_above(child->process, memory.base, image.size, block_bytes);
  if (at == 0) return unfit(child, L"there is no room near the program's image");
  uint32_t rva = (uint32_t)(at - memory.base);
  pe_directory_t directories[PE_DIRECTORIES], section;
  bool sectioned = request.descriptor_count > 0 &&
                   pe_section_of(read_memory, &memory, &image, image.directories[PE_IMPORTS].rva, &section);
  import_block_directories(&image, &request, rva, sectioned ? &section : NULL, directories);

  uint8_t* bytes = malloc(block_bytes);
  if (bytes == NULL) return unfit(child, L"out of memory");
  import_block_write(&request, rva, bytes);
  bool done =
      write_memory(child->process, at, bytes, block_bytes) && write_directories(&memory, &image, directories);
  if (!done) return cannot_change(child, L"its memory can't be written");
  blocks[block_count].start = (void*)at;
  blocks[block_count++].bytes = block_bytes;
  report_note(L"image at 0x%I64x, new import directory at 0x%I64x: '%hs' before %u other DLLs",
              (uint64_t)memory.base, (uint64_t)at, name, request.descriptor_count);
  free(bytes);
  free(descriptors);
  free(name);
  return EXIT_DONE;
}

void inject_import_finish(const child_t* child) {
  DWORD before;
  for (size_t i = 0; i < block_count; i++)
    VirtualProtectEx(child->process, blocks[i].start, blocks[i].bytes, PAGE_READONLY, &before);
}
