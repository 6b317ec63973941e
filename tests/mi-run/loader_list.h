// The DLLs of this process in the order in which they were initialised, from the loader's own list. Without
// the C runtime and without imports, so that programs that have neither can ask too.
#ifndef TESTS_MI_RUN_LOADER_LIST_H
#define TESTS_MI_RUN_LOADER_LIST_H

#include <stddef.h>
#include <stdint.h>
#include <wchar.h>

typedef struct loader_link_s {
  struct loader_link_s *next, *previous;
} loader_link_t;

typedef struct loader_module_s { // from its link in the list of initialisation on
  loader_link_t initialised;
  void *base, *entry;
  uintptr_t size;
  uint16_t path_bytes, path_room;
  wchar_t* path;
  uint16_t name_bytes, name_room;
  wchar_t* name; // ends with a NUL
} loader_module_t;

static inline int loader_list_initialised(const wchar_t** names, int room) {
  uintptr_t peb;
#if defined(__x86_64__)
  __asm__("movq %%gs:0x60, %0" : "=r"(peb));
#else
  __asm__("movl %%fs:0x30, %0" : "=r"(peb));
#endif
  uintptr_t data = ((uintptr_t*)peb)[3];
  // Length, initialized (4 bytes each), handle, three lists of two pointers each: this is the third.
  loader_link_t* head = (loader_link_t*)(data + 8 + 5 * sizeof(void*));
  int count = 0;
  for (loader_link_t* at = head->next; at != head && count < room; at = at->next) {
    names[count++] = ((loader_module_t*)at)->name;
  }
  return count;
}

#endif
