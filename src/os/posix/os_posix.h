// What the native build's operating system layer offers beyond os.h; for tests only.
#ifndef OS_POSIX_H
#define OS_POSIX_H

#include "base/attributes.h"

typedef struct os_posix_balance_s {
  size_t reservations; // how many are open
  size_t reserved;     // bytes in them
  size_t committed;    // bytes of them that are committed
} os_posix_balance_t;

os_posix_balance_t os_posix_balance(void);

// Whether the `size` bytes at `start` all lie in reserved and committed pages.
bool os_posix_is_committed(const void* start, size_t size);

// Makes os_is_exiting() answer `exiting`, as if every other thread were dead.
void os_posix_set_exiting(bool exiting);

#endif
