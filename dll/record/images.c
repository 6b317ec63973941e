#include "images.h"

#include "base/atomics.h"
#include "base/text.h"
#include "crt_modules.h"
#include "redirect/modules.h"
#include "store.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#define PATH_BYTES 1024

// Entries are added under the loader lock and never removed: readers need no lock.
static image_t images[IMAGES_MAX];
static size_t image_count;
static uint32_t generation;
uintptr_t images_self;
size_t images_self_size;
static store_t paths;

size_t images_count(void) { return atomic_get_acquire(&image_count); }
const image_t* images_at(size_t index) { return &images[index]; }
uint32_t images_generation(void) { return atomic_get_acquire(&generation); }

const image_t* images_find(uintptr_t address) {
  for (size_t i = images_count(); i-- > 0;) {
    if (address - images[i].base < images[i].size && !atomic_get_relaxed(&images[i].is_unloaded))
      return &images[i];
  }
  return NULL;
}

static bool starts_with(const char* text, const char* start) {
  while (*start != 0 && text_lower(*text) == *start) text++, start++;
  return *start == 0;
}

// Runtimes keep some of their memory until the process ends, and so do those of compilers.
static bool is_runtime(const char* name) {
  static const char* const others[] = {"libstdc++-", "libgcc_s_", "libwinpthread-", "msvcp",
                                       "vcruntime",  "libc++",    "libunwind"};
  for (size_t i = 0; i < crt_modules_count(); i++) {
    if (text_equal_ignoring_case(name, crt_modules_name(i))) return true;
  }
  for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
    if (starts_with(name, others[i])) return true;
  }
  return false;
}

static const char* keep_path(const module_t* module) {
  char* path = store_take(&paths, PATH_BYTES);
  if (path == NULL) return "?";
  const wchar_t* text = module->path;
  DWORD count = (DWORD)module->path_length;
  if (text == NULL) {
    static wchar_t buffer[PATH_BYTES]; // under the loader lock
    count = GetModuleFileNameW((HMODULE)(uintptr_t)module->base, buffer, PATH_BYTES);
    text = buffer;
  }
  int length = WideCharToMultiByte(CP_UTF8, 0, text, (int)count, path, PATH_BYTES - 1, NULL, NULL);
  if (length > 0) return path;
  for (size_t i = 0; module->name[i] != 0; i++) path[i] = module->name[i];
  return path;
}

static const IMAGE_NT_HEADERS* headers_of(const uint8_t* base) {
  const IMAGE_DOS_HEADER* dos = (const IMAGE_DOS_HEADER*)base;
  if (dos->e_magic != IMAGE_DOS_SIGNATURE || dos->e_lfanew < 0 ||
      dos->e_lfanew > 0x1000 - (LONG)sizeof(IMAGE_NT_HEADERS))
    return NULL;
  const IMAGE_NT_HEADERS* headers = (const IMAGE_NT_HEADERS*)(base + dos->e_lfanew);
  bool fits = headers->Signature == IMAGE_NT_SIGNATURE &&
              headers->OptionalHeader.Magic ==
                  (MI_64BIT ? IMAGE_NT_OPTIONAL_HDR64_MAGIC : IMAGE_NT_OPTIONAL_HDR32_MAGIC);
  return fits ? headers : NULL;
}

static void add(const module_t* module) {
  size_t index = images_count();
  const IMAGE_NT_HEADERS* headers = headers_of(module->base);
  if (headers == NULL || index == IMAGES_MAX) return;
  const IMAGE_OPTIONAL_HEADER* header = &headers->OptionalHeader;
  image_t* image = &images[index];
  *image = (image_t){
      .base = (uintptr_t)module->base,
      .size = header->SizeOfImage,
      .path = keep_path(module),
      .timestamp = headers->FileHeader.TimeDateStamp,
      .code = header->BaseOfCode,
      .code_end = header->BaseOfCode + header->SizeOfCode,
      .entry = header->AddressOfEntryPoint,
      .kind = is_runtime(module->name) ? IMAGE_RUNTIME
              : module->is_system      ? IMAGE_SYSTEM
                                       : IMAGE_PROGRAM,
  };
  const IMAGE_DATA_DIRECTORY* functions = &header->DataDirectory[IMAGE_DIRECTORY_ENTRY_EXCEPTION];
  if (MI_64BIT && header->NumberOfRvaAndSizes > IMAGE_DIRECTORY_ENTRY_EXCEPTION &&
      (uint64_t)functions->VirtualAddress + functions->Size <= image->size) {
    image->functions = functions->VirtualAddress;
    image->function_count = functions->Size / 12;
  }
  atomic_set_release(&image_count, index + 1);
  atomic_add_acq_rel(&generation, 1);
}

static bool is_known(const void* base) {
  const image_t* image = images_find((uintptr_t)base);
  return image != NULL && image->base == (uintptr_t)base;
}

static bool add_if_new(void* context, const module_t* module) {
  MI_UNUSED(context);
  if (!is_known(module->base)) add(module);
  return true;
}

static void on_loaded(const module_t* module) { add_if_new(NULL, module); }

static void on_unloaded(const void* base) {
  if (os_is_exiting()) return; // some loaders tell of every module then, though its code stays
  for (size_t i = 0; i < images_count(); i++) {
    if (images[i].base == (uintptr_t)base) atomic_set_relaxed(&images[i].is_unloaded, true);
  }
  atomic_add_acq_rel(&generation, 1);
}

void images_look_again(void) { modules_visit(add_if_new, NULL); }

bool images_start(const void* self) {
  static const modules_events_t events = {on_loaded, on_unloaded};
  if (!store_open(&paths, (size_t)IMAGES_MAX * PATH_BYTES)) return false;
  const IMAGE_NT_HEADERS* headers = headers_of(self);
  if (headers == NULL) return false;
  images_self = (uintptr_t)self;
  images_self_size = headers->OptionalHeader.SizeOfImage;
  images_look_again();
  modules_watch(&events); // without: later modules are found at the end, and stacks stop at them
  return true;
}

const char* images_name(const image_t* image) {
  const char *at = image == NULL ? "?" : image->path, *name = at;
  for (; *at != 0; at++) {
    if (*at == '\\' || *at == '/') name = at + 1;
  }
  return name;
}

// ---- frames ---------------------------------------------------------------------------------------------

frame_t frame_make(const image_t* image, uintptr_t address) {
  if (image == NULL) return FRAME_BARE | address;
  return (frame_t)(image - images) << 32 | (uint32_t)(address - image->base);
}

const image_t* frame_image(frame_t frame, uint64_t* offset) {
  *offset = frame & FRAME_BARE ? frame & ~FRAME_BARE : (uint32_t)frame;
  return frame & FRAME_BARE ? NULL : &images[frame >> 32];
}
