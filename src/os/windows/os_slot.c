#include "os/os.h"
#include "base/atomics.h"
#include "teb.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

uint32_t os_slot_teb_offset;

#define INDEX_NONE 0u // slot_index holds the index + 1
static uint32_t slot_index;

#if MI_64BIT
#define TEB_SLOTS_OFFSET 0x1480u
#else
#define TEB_SLOTS_OFFSET 0xE10u
#endif
#define TEB_SLOTS 64u

// Does the slot lie in the TEB where it should? Checking tools hand out indices that mean something else.
static bool is_direct(uint32_t index) {
  static char marker;
  if (index >= TEB_SLOTS) return false;
  if (!TlsSetValue(index, &marker)) return false;
  void* value = teb_read(TEB_SLOTS_OFFSET + index * sizeof(void*));
  TlsSetValue(index, NULL);
  return value == &marker;
}

bool os_slot_init(void) {
  if (atomic_get_acquire(&slot_index) != INDEX_NONE) return true;
  DWORD error = GetLastError(); // a first malloc may get here
  DWORD index = TlsAlloc();
  if (index == TLS_OUT_OF_INDEXES) {
    SetLastError(error);
    return atomic_get_acquire(&slot_index) != INDEX_NONE; // or another thread was faster
  }
  uint32_t offset = is_direct(index) ? TEB_SLOTS_OFFSET + index * (uint32_t)sizeof(void*) : 0;
  uint32_t expected = INDEX_NONE;
  if (!atomic_cas_acq_rel(&slot_index, &expected, (uint32_t)index + 1)) {
    TlsFree(index); // another thread was faster
    return true;
  }
  atomic_set_release(&os_slot_teb_offset, offset);
  return true;
}

void os_slot_free(void) {
  os_slot_teb_offset = 0;
  if (slot_index != INDEX_NONE) TlsFree(slot_index - 1);
  slot_index = INDEX_NONE;
}

void* os_slot_get(void) {
  if (os_slot_teb_offset != 0) return os_slot_get_fast();
  if (slot_index == INDEX_NONE) return NULL;
  DWORD error = GetLastError(); // TlsGetValue clears it
  void* value = TlsGetValue(slot_index - 1);
  SetLastError(error);
  return value;
}

bool os_slot_set(void* value) { return slot_index != INDEX_NONE && TlsSetValue(slot_index - 1, value); }
