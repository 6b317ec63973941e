#include "store.h"

#include "base/atomics.h"
#include "base/bits.h"

#define COMMIT_STEP (1 * MI_MIB)

bool store_open(store_t* store, size_t size) {
  size = bits_align_up(size, COMMIT_STEP);
  store->base = os_reserve(size);
  store->reserved = store->base == NULL ? 0 : size;
  return store->base != NULL;
}

static bool commit_up_to(store_t* store, size_t end) {
  bool done = true;
  os_lock_acquire(&store->lock);
  while (done && store->committed < end) {
    done = os_commit(store->base + store->committed, COMMIT_STEP);
    if (done) atomic_set_release(&store->committed, store->committed + COMMIT_STEP);
  }
  os_lock_release(&store->lock);
  return done;
}

void* store_take(store_t* store, size_t size) {
  size = bits_align_up(size, 8);
  if (atomic_get_relaxed(&store->used) + size > store->reserved) return NULL; // `used` can't wrap
  size_t at = atomic_add_relaxed(&store->used, size);
  if (at + size > store->reserved) return NULL;
  if (at + size > atomic_get_acquire(&store->committed) && !commit_up_to(store, at + size)) return NULL;
  return store->base + at;
}
