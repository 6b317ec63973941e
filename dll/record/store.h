// Memory of the recorder's own: it must not allocate from the heap that it watches. One reservation that is only
// ever added to, so what was taken stays where it is, and a thread that is killed in here leaves nothing half
// changed.
#ifndef DLL_RECORD_STORE_H
#define DLL_RECORD_STORE_H

#include "os/os.h"

typedef struct store_s {
  uint8_t* base;
  size_t reserved;  // bytes
  size_t committed; // bytes, grows under `lock`
  size_t used;      // bytes; may pass `reserved` when it is full
  os_lock_t lock;
} store_t;

bool store_open(store_t* store, size_t size);

// Zeroed memory, aligned to 8; NULL when the store is full. Any thread.
void* store_take(store_t* store, size_t size);

#endif
