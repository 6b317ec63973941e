// Guests: threads that look at the arenas of a sub-process which isn't theirs, and may be destroyed
// meanwhile. A guest writes down what it looks at, then looks whether it is still open; who is about to
// release it closes it first, then waits until no living guest has it. A guest that was killed leaves its
// line written: it is passed over, and used again when lines run out. A guest that never left, since a visitor of it
// was left by longjmp, uses its line again.
#include "core/arenas/arena_parts.h"

#define GUESTS_MAX 64

typedef struct guest_s {
  uint32_t thread; // whose line it is, 0: nobody's
  arena_set_t* set;
} guest_t;

static guest_t guests[GUESTS_MAX];

static guest_t* line_take(uint32_t self, const arena_set_t* set) {
  for (unsigned yields = 0; !os_is_exiting(); yields++) {
    for (size_t i = 0; i < GUESTS_MAX; i++) {
      guest_t* guest = &guests[(self + i) % GUESTS_MAX];
      uint32_t thread = atomic_get_relaxed(&guest->thread);
      if (thread == self && atomic_get_relaxed(&guest->set) == set) return guest;
      bool is_free = thread == 0 || (yields % 64 == 1 && thread != self && os_thread_is_dead(thread));
      if (!is_free || !atomic_cas_acq_rel(&guest->thread, &thread, self)) continue;
      atomic_set_relaxed(&guest->set, (arena_set_t*)NULL); // what a dead one left
      return guest;
    }
    os_yield();
  }
  return NULL; // all other threads are dead
}

static void line_give(guest_t* guest) {
  atomic_set_release(&guest->set, (arena_set_t*)NULL);
  atomic_set_release(&guest->thread, 0u);
}

bool arena_set_enter(arena_set_t* set, arena_visit_t* visit) {
  uint32_t self = os_thread_id();
  guest_t* guest = line_take(self, set);
  bool is_held =
      guest == NULL || atomic_get_relaxed(&guest->set) == set; // by a call further out, which gives it back
  visit->line = is_held ? NULL : guest;
  if (is_held) return true;
  (void)atomic_swap_seq_cst(&guest->set, set);
  uint32_t closer = atomic_get_seq_cst(&set->closed_by);
  if (closer == 0 || closer == self) return true;
  line_give(guest);
  return false;
}

void arena_set_leave(const arena_visit_t* visit) {
  if (visit->line != NULL) line_give((guest_t*)visit->line);
}

void arena_set_close(arena_set_t* set) {
  uint32_t self = os_thread_id();
  (void)atomic_swap_seq_cst(&set->closed_by, self);
  for (size_t i = 0; i < GUESTS_MAX; i++) {
    for (unsigned yields = 0; atomic_get_seq_cst(&guests[i].set) == set; yields++) {
      uint32_t thread = atomic_get_acquire(&guests[i].thread);
      if (thread == 0 || thread == self || os_is_exiting() ||
          (yields % 64 == 63 && os_thread_is_dead(thread)))
        break;
      os_yield();
    }
  }
}
